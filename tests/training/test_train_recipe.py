"""Recipes: what they refuse, what they build; interrupted trainings end as any other."""

import json
import time

import numpy as np
import pytest

import tfxp
from tests.forked import Forked, run_tool
from tests.slow_cases import slow
from tfxp.data import Dataset
from tfxp.data.paired_test import unpack_hits
from tfxp.errors import ConfigError, DataError, FolderInUseError, ModelError
from tfxp.files import configs_folder
from tfxp.folder_lock import hold_folder
from tfxp.keras import keras, layers, tf
from tfxp.quantization import FormatWrapper
from tfxp.training import TrainingGrid, TrainingRecipe, build_network, train_recipe
from tfxp.training.recipes.answers import SmoothedCrossEntropy
from tfxp.training.recipes.batches import augmented, training_batches
from tfxp.training.recipes.train import learning_rate


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A small residual network in a file."""
    keras.utils.set_random_seed(1)
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    y = layers.BatchNormalization(momentum=0.8, name="stem_norm")(y)
    y = z = layers.ReLU(name="stem_relu")(y)
    z = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2", name="block")(z)
    z = layers.BatchNormalization(momentum=0.8, name="block_norm")(z)
    z = layers.Add(name="add")([y, z])
    z = layers.GlobalAveragePooling2D(name="mean")(layers.ReLU(name="block_relu")(z))
    path = tmp_path_factory.mktemp("recipe") / "narrow.keras"
    keras.Model(x, layers.Dense(3, name="head")(z), name="narrow").save(path)
    return str(path)


@pytest.fixture(scope="module")
def data():
    """Three classes of noisy bars, as bytes."""
    draws = np.random.default_rng(5)
    y = np.arange(192) % 3
    x = draws.integers(0, 60, (192, 8, 8, 1))
    for row, label in enumerate(y):
        x[row, 2 * label : 2 * label + 2] += 150
    return Dataset(x.astype(np.uint8), y)


def recipe_of(path, **changes):
    fields = {"model": {"file": path}, "epochs": 3, "batch_size": 32, "input_scale": 1 / 255}
    fields |= {"learning_rate": 0.01, "augment": "pad_crop_flip", "pad": 1}
    return TrainingRecipe(**{**fields, **changes})


W2A2 = {"wrpn": {"weights": 2, "activations": 2}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "lion"}, "optimizer: got 'lion'; expected one of adam, relative_adam, sgd"),
        (
            {"epochs": 0, "batch_size": 1.5},
            "epochs: got 0; expected a whole number, at least 1; ba",
        ),
        ({"learning_rate": float("nan")}, "learning_rate: got nan; expected a positive number"),
        ({"schedule": "step"}, "step_epochs: got none"),
        ({"warmup_epochs": 2, "schedule": "constant"}, "warmup_epochs: got schedule 'constant'"),
        ({"model": {"nam": "x"}}, "model: got nam; expected name, settings, file"),
        ({"widen": {"factor": 2, "initialization": "net2net"}}, "fresh or preserve"),
        ({"rescale": {"percentil": 1}}, "rescale: got percentil"),
        ({"momentum": 1}, "momentum: got 1"),
    ],
)
def test_impossible_recipes(changes, words):
    with pytest.raises(ConfigError, match=words):
        TrainingRecipe(**{"model": {"name": "lenet"}, **changes})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"schema": 2, "model": {}}, "schema of .*: got 2; expected 1"),
        ({"schema": 1}, "model of .*: got none"),
        ({"schema": 1, "epoch": 3}, "got 'epoch'; .*epochs"),
        ([1], "got list; expected an object"),
    ],
)
def test_impossible_files(content, words, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=words):
        TrainingRecipe.load(tmp_path / "recipe.json")


@pytest.mark.parametrize("path", sorted((configs_folder() / "train").glob("*.json")), ids=str)
def test_shipped_recipes_load_and_survive_a_round_trip(path, tmp_path):
    if path.name.startswith("grid_"):
        grid = TrainingGrid.load(path)
        assert len(grid.runs()) == len(grid.rows) * len(grid.seeds)
        return
    recipe = TrainingRecipe.load(path)
    recipe.save(tmp_path / "again.json")
    assert TrainingRecipe.load(tmp_path / "again.json") == recipe


def test_rows_are_chosen_with_all_their_seeds_or_with_one():
    grid = TrainingGrid(TrainingRecipe(model={"name": "lenet"}), {"wide": {}, "slim": {}}, (0, 1))
    names = [name for name, _ in grid.runs(["slim", "wide_seed1"])]
    assert names == ["slim_seed0", "wide_seed1", "slim_seed1"]
    with pytest.raises(ConfigError, match=r"got wide_seed2; expected some of wide, slim, or one"):
        grid.runs(["wide_seed2"])


def test_the_stream_of_later_epochs_is_the_end_of_the_whole(data, narrow):
    recipe = recipe_of(narrow)
    whole = [(x.numpy(), y.numpy()) for x, y in training_batches(recipe, data.x, data.y)]
    later = [(x.numpy(), y.numpy()) for x, y in training_batches(recipe, data.x, data.y, 2)]
    assert len(whole) == 18 and len(later) == 6
    for (x, y), (again_x, again_y) in zip(whole[12:], later, strict=True):
        assert np.array_equal(x, again_x) and np.array_equal(y, again_y)
    for epoch in range(3):  # every sample once an epoch, in another order each
        labels = np.concatenate([y for _, y in whole[6 * epoch : 6 * epoch + 6]])
        assert sorted(labels) == sorted(data.y)
    assert not np.array_equal(whole[0][1], whole[6][1])


def test_every_crop_is_a_window_of_the_padded_image():
    images = np.arange(1, 65, dtype=np.uint8).reshape(1, 4, 4, 4).repeat(40, 0)
    recipe = TrainingRecipe(model={"name": "resnet8"}, augment="pad_crop_flip", pad=2)
    found = augmented(tf.constant(images), recipe, tf.constant(7, tf.int64)).numpy()
    padded = np.pad(images[0], ((2, 2), (2, 2), (0, 0)))
    windows = [padded[t : t + 4, s : s + 4] for t in range(5) for s in range(5)]
    possible = {w.tobytes() for w in windows} | {w[:, ::-1].tobytes() for w in windows}
    assert all(image.tobytes() in possible for image in found)
    assert len({image.tobytes() for image in found}) > 10
    flips = TrainingRecipe(model={"name": "resnet8"}, augment="flip")
    found = augmented(tf.constant(images), flips, tf.constant(7, tf.int64)).numpy()
    both = {images[0].tobytes(), images[0][:, ::-1].tobytes()}
    assert {image.tobytes() for image in found} == both


def test_schedules():
    base = {"model": {"name": "lenet"}, "learning_rate": 0.5, "epochs": 10}
    cosine = learning_rate(TrainingRecipe(**base), 10)
    assert [float(cosine(step)) for step in (0, 50, 100)] == pytest.approx([0.5, 0.25, 0])
    warm = learning_rate(TrainingRecipe(**base, warmup_epochs=2), 10)
    assert [float(warm(step)) for step in (0, 10, 20, 100)] == pytest.approx([0, 0.25, 0.5, 0])
    step = learning_rate(TrainingRecipe(**base, schedule="step", step_epochs=[4, 8]), 10)
    assert [float(step(s)) for s in (0, 40, 41, 81)] == pytest.approx([0.5, 0.5, 0.05, 0.005])
    assert learning_rate(TrainingRecipe(**base, schedule="constant"), 10) == 0.5


def test_smoothing_spreads_the_target():
    logits = tf.constant([[2.0, 0.0, -1.0]])
    loss = SmoothedCrossEntropy(True, 0.3)(tf.constant([1]), logits).numpy()
    target = np.array([0.1, 0.8, 0.1])  # 0.3 over three classes, the rest on the second
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert loss == pytest.approx(-target @ np.log(probabilities))


def test_the_network_of_a_recipe(narrow, data):
    recipe = recipe_of(
        narrow, widen=2, weight_std=0.5, weight_decay=0.0, precision=W2A2, clip_weights=True,
        fold_batch_norm=False,
    )  # fmt: skip
    model = build_network(recipe, data.inputs(1 / 255))
    block = model.get_layer("block")
    assert isinstance(block, FormatWrapper) and block.layer.filters == 8
    kernel = block.layer.kernel.numpy()
    assert np.abs(kernel).max() <= 1 and 0.35 < kernel.std() <= 0.5
    assert model.losses == []
    assert type(block.layer.kernel_constraint).__name__ == "UnitRange"
    assert "kernel" not in getattr(model.get_layer("head"), "weight_variables", {})
    again = build_network(recipe, data.inputs(1 / 255))
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(one, two)


def test_a_warm_start_keeps_what_the_narrow_network_computes(narrow, data):
    """Widened and rescaled, the network computes the same; at 8 bits on WRPN's grids nearly so."""
    x = data.inputs(1 / 255)
    wanted = keras.models.load_model(narrow).predict(x, verbose=0)
    warm = {"widen": {"factor": 2, "initialization": "preserve"}, "fold_batch_norm": False}
    warm |= {"rescale": {"add_batch_norm": True}}
    model = build_network(recipe_of(narrow, **warm), x)
    assert model.get_layer("block").filters == 8
    assert np.abs(model.predict(x, verbose=0) - wanted).max() < 1e-5
    eight = recipe_of(narrow, **warm, precision={"wrpn": {"weights": 8, "activations": 8}})
    plain = recipe_of(narrow, fold_batch_norm=False, precision=eight.precision)
    errors = [
        np.abs(build_network(r, x).predict(x, verbose=0) - wanted).mean() for r in (eight, plain)
    ]
    assert errors[0] < 0.03 * np.abs(wanted).mean() < errors[1]


def test_callbacks_of_a_recipe(narrow, data, tmp_path):
    wrpn = {str(e): {"wrpn": {"weights": k, "activations": k}} for e, k in ((0, 8), (1, 2))}
    recipe = recipe_of(
        narrow, epochs=2, weight_std=0.5, fold_batch_norm=False, precision=wrpn["0"],
        callbacks={"PrecisionSchedule": {"schedule": wrpn}, "SaturationAlarm": {"samples": 8}},
    )  # fmt: skip
    train_recipe(recipe, data, None, tmp_path)
    model = keras.models.load_model(tmp_path / "model.keras")
    assert str(tfxp.precision_of(model).layers["block"].weights) == "wrpn:2"
    names = {path.name for path in (tmp_path / "callbacks").iterdir()}
    assert {"precision.jsonl", "saturation.jsonl"} <= names
    with pytest.raises(ConfigError, match="got SaturationAlert; .*Did you mean"):
        train_recipe(recipe.updated({"callbacks": {"SaturationAlert": {}}}), data, None, "unused")
    with pytest.raises(ConfigError, match="settings of SparsityLogger: got .'sample'"):
        wrong = {"SparsityLogger": {"sample": 2}}
        train_recipe(recipe.updated({"callbacks": wrong}), data, None, tmp_path / "other")


@pytest.mark.parametrize("factor", [0, -1.5, 1.01])
def test_widening_that_changes_nothing_is_refused(factor, narrow, data):
    words = "expected a number above 0" if factor <= 0 else "stem"
    with pytest.raises(ConfigError, match=words):
        build_network(recipe_of(narrow, widen=factor), data.inputs(1 / 255))


def weights_of(folder):
    with np.load(folder / "checkpoint.npz") as arrays:
        return {key: arrays[key] for key in arrays.files if key != "meta"}


FLOAT = slow(None, id="float")


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("precision", [FLOAT, pytest.param(W2A2, id="w2a2")])
def test_training_learns_and_resumes_exactly(precision, narrow, data, tmp_path):
    recipe = recipe_of(
        narrow, precision=precision, weight_std=0.5, clip_weights=True, fold_batch_norm=False,
        epochs=6, learning_rate=0.02,
    )  # fmt: skip
    whole = train_recipe(recipe, data, data, tmp_path / "whole")
    losses = [row["loss"] for row in whole["epochs"]]
    assert losses[-1] < 0.9 * losses[0]
    assert whole["accuracy"] == whole["epochs"][-1]["val_accuracy"] > 0.4
    assert unpack_hits(whole["hits"], 192).mean() == pytest.approx(whole["accuracy"])

    class Killed(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 15:  # in the middle of epoch 3
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, data, data, tmp_path / "parts", callbacks=[Killed()])
    assert len((tmp_path / "parts/log.jsonl").read_text().splitlines()) == 2
    parts = train_recipe(recipe, data, data, tmp_path / "parts")
    clocks = ("seconds", "cpu_seconds")
    for one, two in zip(whole["epochs"], parts["epochs"], strict=True):
        assert {k: v for k, v in one.items() if k not in clocks} == {
            k: v for k, v in two.items() if k not in clocks
        }
    one, two = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert list((tmp_path / "parts/tensorboard").iterdir())
    model = keras.models.load_model(tmp_path / "parts/model.keras")
    assert all(
        np.array_equal(value, two[f"weight{i}"]) for i, value in enumerate(model.get_weights())
    )
    with pytest.raises(ConfigError, match="of another training .learning_rate differ"):
        train_recipe(recipe.updated({"learning_rate": 0.5}), data, data, tmp_path / "parts")


def test_relative_steps_do_not_see_how_large_a_channel_is(data, tmp_path):
    """A twentieth of a kernel's channel, made up for behind it: the same training, scaled."""
    keras.utils.set_random_seed(2)
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(4, 3, use_bias=False, name="stem")(x)
    norm = layers.BatchNormalization(trainable=False)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(norm(y)))
    model = keras.Model(x, layers.Dense(3)(y))
    kernel, moved = model.get_layer("stem").kernel.numpy(), []
    for factor in ([1, 1, 1, 1], [0.05, 1, 1, 1]):
        path, folder = str(tmp_path / f"{factor[0]}.keras"), tmp_path / f"run{factor[0]}"
        model.get_layer("stem").kernel.assign(kernel * factor)
        norm.gamma.assign(1 / np.array(factor))
        model.save(path)
        recipe = recipe_of(path, optimizer="relative_adam", epochs=1)
        train_recipe(recipe, data, None, folder, tensorboard=False)
        trained = keras.models.load_model(folder / "model.keras")
        assert len(trained.optimizer.get_config()["sizes"]) == len(model.trainable_weights)
        moved.append(trained.get_layer("stem").kernel.numpy() / factor - kernel)
    assert np.abs(moved[0]).max() > 0.003
    assert moved[1] == pytest.approx(moved[0], rel=0.01, abs=1e-5)


def test_a_loss_that_is_no_number_stops_the_training(narrow, data, tmp_path):
    recipe = recipe_of(narrow, optimizer="sgd", learning_rate=0.01)

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.get_layer("head").kernel.assign_add(np.full((4, 3), np.nan))

    with pytest.raises(ModelError, match="step 1 of epoch 2; the checkpoint of epoch 1 is kept"):
        train_recipe(recipe, data, None, tmp_path, callbacks=[Spoil()])
    assert np.isfinite(weights_of(tmp_path)["weight0"]).all()
    assert not (tmp_path / "result.json").exists()


def test_one_process_trains_in_a_folder(narrow, data, tmp_path):
    recipe = recipe_of(narrow, epochs=1)
    with (
        hold_folder(tmp_path, "training"),
        pytest.raises(FolderInUseError, match="folder of a training: got '.*', where one is run"),
    ):
        train_recipe(recipe, data, None, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / ".lock").touch()  # as a killed process leaves it
    assert len(train_recipe(recipe, data, None, tmp_path)["epochs"]) == 1


def test_a_row_that_another_process_trains_is_left_to_it(narrow, data, tmp_path):
    np.savez(tmp_path / "data.npz", x=data.x, y=data.y)
    recipe = recipe_of(narrow, epochs=1)
    grid = {"schema": 1, "base": recipe.to_dict(), "rows": {"a": {}, "b": {"batch_size": 16}}}
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    flags = [f"--grid={tmp_path}/grid.json", f"--train_data={tmp_path}/data.npz",
             f"--output={tmp_path}/out", "--threads=1", "--noprogress",
             "--held_out=64"]  # fmt: skip
    with hold_folder(tmp_path / "out" / "a_seed0", "training"):
        out, _ = Forked(run_tool, ("train_model", *flags), tmp_path / "one").finish(patience=240)
    assert "a_seed0: left to the process that trains it" in out
    table = tmp_path / "out" / "results.json"
    assert list(json.loads(table.read_text())) == ["b_seed0"]
    Forked(run_tool, ("train_model", *flags), tmp_path / "two").finish(patience=240)
    both = json.loads(table.read_text())
    assert list(both) == ["a_seed0", "b_seed0"]
    for result in both.values():
        assert result["samples"] == {"train": 128, "evaluation": 64}
        assert unpack_hits(result["hits"], 64).mean() == result["accuracy"]


def test_data_that_do_not_fit(narrow, data, tmp_path):
    recipe = recipe_of(narrow)
    with pytest.raises(DataError, match=r"got class 7 in sample 0 .*; expected 0 … 2"):
        train_recipe(recipe, Dataset(data.x, np.full(192, 7)), None, tmp_path)
    with pytest.raises(DataError, match="got 20 samples; expected at least a batch of 32"):
        train_recipe(recipe, data.take(20), None, tmp_path)
    with pytest.raises(DataError, match=r"got \(4, 4, 1\) a sample"):
        train_recipe(recipe, Dataset(data.x[:, :4, :4], data.y), None, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_tool_goes_on_exactly(narrow, data, tmp_path):
    """kill -9 in the middle; the same command again; the same bits as without."""
    np.savez(tmp_path / "data.npz", x=data.x, y=data.y)
    recipe = recipe_of(narrow, precision=W2A2, fold_batch_norm=False, epochs=24)
    grid = {"schema": 1, "base": recipe.to_dict(), "rows": {"a": {}}}
    (tmp_path / "grid.json").write_text(json.dumps(grid))

    def start(name, output):
        flags = [f"--grid={tmp_path}/grid.json", f"--train_data={tmp_path}/data.npz",
                 f"--output={tmp_path / output}", "--threads=1", "--noprogress"]  # fmt: skip
        return Forked(run_tool, ("train_model", *flags), tmp_path / name)

    process, log = start("first", "killed"), tmp_path / "killed/a_seed0/log.jsonl"
    while process.running and not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.02)
    process.kill()
    assert 2 <= log.read_text().count("\n") < 24, process.complaint()
    for name, output in (("second", "killed"), ("third", "whole")):
        out, _ = start(name, output).finish(patience=240)
        assert "a_seed0" in out
    one, two = (weights_of(tmp_path / name / "a_seed0") for name in ("killed", "whole"))
    assert all(np.array_equal(one[key], two[key]) for key in two)
