"""Recipes on streams: the same training however it is interrupted, errors that name the sample."""

import json
import time

import numpy as np
import pytest

import tfxp
from tests.forked import Forked, run_tool
from tests.slow_cases import slow
from tfxp.data.paired_test import unpack_hits
from tfxp.errors import DataError
from tfxp.keras import keras, layers, tf
from tfxp.streams.stream import Stream
from tfxp.training import TrainingRecipe, build_network, train_recipe
from tfxp.training.recipes import recipe_data as module
from tfxp.training.recipes.answers import Answers
from tfxp.training.recipes.recipe_data import Position, StreamedData, recipe_data

COUNT, BATCH = 60, 8
STEPS = COUNT // BATCH


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    keras.utils.set_random_seed(1)
    x = keras.Input((6, 6, 1), name="image")
    t = layers.Conv2D(3, 3, name="conv")(x)
    t = layers.ReLU(name="relu")(layers.BatchNormalization(momentum=0.8, name="norm")(t))
    path = tmp_path_factory.mktemp("net") / "net.keras"
    keras.Model(x, layers.Dense(3, name="out")(layers.Flatten()(t)), name="net").save(path)
    return str(path)


@pytest.fixture(scope="module")
def arrays():
    draws = np.random.default_rng(5)
    y = np.arange(COUNT) % 3
    x = draws.integers(0, 60, (COUNT, 6, 6, 1))
    for row, label in enumerate(y):
        x[row, 2 * label : 2 * label + 2] += 150
    return x.astype(np.uint8), y


def recipe_of(net, **changes):
    fields = {"model": {"file": net}, "epochs": 3, "batch_size": BATCH, "input_scale": 1 / 255}
    fields |= {"learning_rate": 0.01, "augment": "pad_crop_flip", "pad": 1}
    return TrainingRecipe(**{**fields, **changes})


def as_folder(made, x, y):
    for number, (image, label) in enumerate(zip(x, y, strict=True)):
        tf.io.write_file(f"{made}/set/{label}/{number}.png", tf.io.encode_png(image))
    steps = {"schema": 1, "image": {"channels": 1}}
    (made / "steps.json").write_text(json.dumps(steps))
    return tfxp.open_data(f"{made}/set", preprocessing=f"{made}/steps.json")


def as_memory_map(made, x, y):
    np.save(made / "set_x.npy", x)
    np.save(made / "set_y.npy", y)
    return tfxp.open_data(f"{made}/set_x.npy")


def as_records(made, x, y):
    whole = tf.train.Int64List
    with tf.io.TFRecordWriter(f"{made}/set.tfrecord") as file:
        for image, label in zip(x, y, strict=True):
            feature = {"image": tf.train.Feature(int64_list=whole(value=image.ravel())),
                       "label": tf.train.Feature(int64_list=whole(value=[label]))}  # fmt: skip
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            file.write(example.SerializeToString())
    features = {"image": {"shape": [6, 6, 1], "type": "int64", "role": "x"},
                "label": {"shape": [], "type": "int64", "role": "y"}}  # fmt: skip
    (made / "steps.json").write_text(json.dumps({"schema": 1, "features": features}))
    return tfxp.open_data(f"{made}/set.tfrecord", preprocessing=f"{made}/steps.json")


def as_data_set(made, x, y):
    return tfxp.open_data(tf.data.Dataset.from_tensor_slices((x, y)), {"image": (6, 6, 1)})


KINDS = [as_folder, as_memory_map, as_records, as_data_set]


def taken(source, recipe, at):
    """The batches of a training from a position on."""
    data = recipe_data(recipe, source)
    assert isinstance(data, StreamedData)
    answers = Answers.of(build_network(recipe, None), data.looked_at())
    return [(x.numpy(), y.numpy()) for x, y in data.training(recipe, answers, at)]


@pytest.mark.parametrize("make", KINDS)
def test_batches_from_a_position_are_the_end_of_all(make, net, arrays, tmp_path):
    recipe, source = recipe_of(net), make(tmp_path, *arrays)
    whole = taken(source, recipe, Position())
    assert len(whole) == 3 * STEPS
    first, second = (
        sorted(np.concatenate([y for _, y in whole[e * STEPS : (e + 1) * STEPS]])) for e in (0, 1)
    )
    assert len(first) == STEPS * BATCH and set(first) == {0, 1, 2} == set(second)
    assert not np.array_equal(whole[0][0], whole[STEPS][0])  # another order in every epoch
    later = taken(source, recipe, Position(1, 3))
    assert len(later) == 3 * STEPS - STEPS - 3
    for (x, y), (again, labels) in zip(whole[STEPS + 3 :], later, strict=True):
        assert np.array_equal(x, again) and np.array_equal(y, labels)


class Killed(keras.callbacks.Callback):
    """Ends the training where a kill would."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            raise KeyboardInterrupt


def arrays_of(folder):
    with np.load(folder / "checkpoint.npz") as found:
        return {key: found[key] for key in found.files if key != "meta"}


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("make", [slow(as_folder), None])
def test_interrupted_within_an_epoch_ends_as_undisturbed(make, net, arrays, tmp_path):
    """Streams and arrays alike: weights, optimizer, and the figures of the epoch that was cut."""
    data = arrays if make is None else make(tmp_path, *arrays)
    recipe = recipe_of(net, checkpoint_every=2, precision="w4a4")
    whole = train_recipe(recipe, data, data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, data, data, tmp_path / "cut", callbacks=[Killed(STEPS + 5)])
    with np.load(tmp_path / "cut/checkpoint.npz") as found:
        meta = json.loads(str(found["meta"]))
    assert (len(meta["epochs"]), meta["step"]) == (1, 4)
    parts = train_recipe(recipe, data, data, tmp_path / "cut")
    assert unpack_hits(whole["hits"], COUNT).mean() == pytest.approx(whole["accuracy"])
    for one, two in zip(whole["epochs"], parts["epochs"], strict=True):
        for key in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert one[key] == two[key], key
    one, two = arrays_of(tmp_path / "whole"), arrays_of(tmp_path / "cut")
    assert all(np.array_equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_a_killed_tool_goes_on_within_an_epoch(net, arrays, tmp_path):
    """kill -9, on a folder of pictures; the same command again; the same bits as without."""
    as_folder(tmp_path, *arrays)
    recipe_of(net, epochs=60, checkpoint_every=3).save(tmp_path / "recipe.json")

    def start(name, output):
        flags = [f"--config={tmp_path}/recipe.json", f"--train_data={tmp_path}/set",
                 f"--preprocessing={tmp_path}/steps.json", f"--output={tmp_path / output}",
                 "--threads=1", "--noprogress"]  # fmt: skip
        return Forked(run_tool, ("train_model", *flags), tmp_path / name)

    process, log = start("first", "killed"), tmp_path / "killed/log.jsonl"
    while process.running and not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.02)
    process.kill()
    assert 2 <= log.read_text().count("\n") < 60, process.complaint()
    for name, output in (("second", "killed"), ("third", "whole")):
        start(name, output).finish(patience=600)
    one, two = (arrays_of(tmp_path / name) for name in ("killed", "whole"))
    assert all(np.array_equal(one[key], two[key]) for key in two)
    assert tfxp.data.preprocessing.preprocessing_of(
        tfxp.load_model(tmp_path / "killed/model.keras")
    )


def test_errors_name_the_sample(net, arrays, tmp_path, monkeypatch):
    x, y = arrays
    monkeypatch.setattr(module, "_LOOK", 8)  # the wrong ones come later
    recipe = recipe_of(net, epochs=1)
    wrong = y.copy()
    wrong[50] = 7
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"got class 7 in sample 50 \(counted"):
        train_recipe(recipe, as_memory_map(tmp_path / "a", x, wrong), None, tmp_path / "labels")
    real = x.astype(np.float32)
    real[51, 2, 2] = np.nan
    with pytest.raises(DataError, match="NaN or infinity in sample 51"):
        train_recipe(recipe, as_data_set(tmp_path, real, y), None, tmp_path / "nan")
    pictures = as_folder(tmp_path, x, y)
    (tmp_path / "set/1/49.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"49\.png"):
        train_recipe(recipe, pictures, None, tmp_path / "png")
    short = as_data_set(tmp_path, x, y)
    short = Stream(**{**vars(short), "count": 200})
    with pytest.raises(DataError, match=r"ended after .*; expected 200"):
        train_recipe(recipe, short, None, tmp_path / "short")
    for folder in ("labels", "nan", "png", "short"):
        assert not (tmp_path / folder / "model.keras").exists()
