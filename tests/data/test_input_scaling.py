"""The scaling of inputs travels with a model, through files and tools."""

import json

import numpy as np
import pytest

import tfxp
from tests.test_pipeline import run
from tfxp.data import InputScaling, load_digits, scalings_of
from tfxp.data.input_scaling import crushed_columns, keep_scalings, scalings_in_notes
from tfxp.data.model_notes import notes_in
from tfxp.errors import ConfigError, ScalingWarning
from tfxp.keras import keras, layers

KINDS = [".keras", ".h5", ""]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_every_kind_of_file(kind, tmp_path, rng):
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Dense(2, name="d")(x))
    scalings = {"x": InputScaling((0.5, 1 / 3, 2.0), (0.0, 0.1, -1.0))}
    keep_scalings(model, scalings).save(tmp_path / f"net{kind}")
    again = tfxp.load_model(tmp_path / f"net{kind}")
    assert scalings_of(again) == scalings
    data = scalings["x"].apply(rng.normal(size=(20, 3)))
    qmodel = tfxp.quantize_model(again, "w8a8", tfxp.measure_model(again, data))
    qmodel.save(tmp_path / f"q{kind}")
    quantized = tfxp.load_model(tmp_path / f"q{kind}")
    assert scalings_of(quantized) == scalings_of(tfxp.strip(quantized)) == scalings
    tfxp.export_tflite(quantized, tmp_path / "net.tflite")
    written = notes_in(tfxp.read_tflite(tmp_path / "net.tflite").metadata)
    assert scalings_in_notes(written) == scalings
    assert scalings_of(tfxp.quantize_model(quantized, "w4a4", tfxp.measure_model(again, data)))
    plain = keras.Model(x, layers.Dense(2)(x))
    plain.save(tmp_path / f"plain{kind}")
    assert scalings_of(tfxp.load_model(tmp_path / f"plain{kind}")) == {}


def test_impossible_scalings():
    for scale, shift in (((0.0,), (0.0,)), ((1.0, 2.0), (0.0,)), ((float("nan"),), (0.0,))):
        with pytest.raises(ConfigError, match="expected as many finite factors"):
            InputScaling(scale, shift)
    for content in (b"[]", b'{"input_scaling": {"x": 3}}', b"{"):
        with pytest.raises(ConfigError, match="input scaling|notes of the model"):
            scalings_in_notes(notes_in({"tfxp": content}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Digits in bytes, a recipe that scales them, and the folder with its result."""
    folder = tmp_path_factory.mktemp("scaled")
    train, test = load_digits("train"), load_digits("test")
    as_bytes = {"x_train": train.x * 255, "x_test": test.x * 255}
    as_bytes = {name: np.rint(x).astype(np.uint8) for name, x in as_bytes.items()}
    np.savez(folder / "digits.npz", y_train=train.y, y_test=test.y, **as_bytes)
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 1), name="pixels")
    y = layers.Flatten()(layers.Conv2D(8, 3, activation="relu", strides=2)(x))
    keras.Model(x, layers.Dense(10)(y)).save(folder / "untrained.keras")
    recipe = {"schema": 1, "model": {"file": str(folder / "untrained.keras")}, "epochs": 6,
              "batch_size": 64, "learning_rate": 0.02, "input_scale": 1 / 255}  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe))
    data = folder / "digits.npz"
    assert run("train_model", config=folder / "recipe.json", train_data=data, eval_data=data,
               output=folder / "run", tensorboard="false") == 0  # fmt: skip
    return folder


def test_tools_use_it(trained, tmp_path, capsys):
    data, figures = trained / "digits.npz", tmp_path / "figures.json"
    accuracy = json.loads((trained / "run/result.json").read_text())["accuracy"]
    assert accuracy > 0.9
    assert run("quantize_model", model=trained / "run/model.keras", data=data, eval_data=data,
               output=tmp_path / "q.keras", json=figures) == 0  # fmt: skip
    found = json.loads(figures.read_text())["accuracy"]
    assert found["float"] == pytest.approx(accuracy) and found["calibrated"] > 0.9
    assert "pixels: x · 0.00392157 + 0" in capsys.readouterr().out
    assert run("export_tflite", model=tmp_path / "q.keras", verify_data=data, limit=64,
               output=tmp_path / "q.tflite") == 0  # fmt: skip
    assert run("run_tflite", model=tmp_path / "q.tflite", data=data, json=figures) == 0
    assert json.loads(figures.read_text())["accuracy"] == pytest.approx(found["calibrated"])
    assert run("compare_models", model=tmp_path / "q.keras", against=tmp_path / "q.tflite",
               data=data) == 0  # fmt: skip
    capsys.readouterr()
    assert run("run_tflite", model=tmp_path / "q.tflite", data=data, input_scale=1) == 0
    assert "% of the values" in (text := capsys.readouterr().err) and "saturate" in text


def test_training_goes_on_with_it(trained, tmp_path):
    recipe = {"schema": 1, "model": {"file": str(trained / "run/model.keras")}, "epochs": 1,
              "batch_size": 64, "learning_rate": 1e-4}  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    data = trained / "digits.npz"
    assert run("train_model", config=tmp_path / "recipe.json", train_data=data, eval_data=data,
               output=tmp_path / "run", tensorboard="false") == 0  # fmt: skip
    result = json.loads((tmp_path / "run/result.json").read_text())
    before = json.loads((trained / "run/result.json").read_text())
    assert result["accuracy"] > before["accuracy"] - 0.02
    assert scalings_of(tfxp.load_model(tmp_path / "run/model.keras"))["pixels"].scale == (1 / 255,)


@pytest.fixture(scope="module")
def table():
    """Columns of very unlike size, and a network with its Normalization inside."""
    rng = np.random.default_rng(0)
    x = rng.normal([0.5, 3000.0, -120.0], [0.2, 1500.0, 2.0], (512, 3)).astype(np.float32)
    norm = layers.Normalization(name="norm")
    norm.adapt(x)
    inputs = keras.Input((3,), name="columns")
    hidden = layers.Dense(16, "relu", name="h")(norm(inputs))
    keras.utils.set_random_seed(1)
    return keras.Model(inputs, layers.Dense(1, name="out")(hidden)), x


def test_crushed_columns_are_named_at_measure_time(table):
    model, x = table
    said = r"'columns'.*column 1 reaches.*2 of 3 columns \(0, 2\)"
    with pytest.warns(ScalingWarning, match=said):
        tfxp.measure_model(model, x)
    assert crushed_columns(x.min(0), x.max(0), x.std(0)) == [0, 2]


def test_a_normalization_is_taken_out(table):
    model, x = table
    network, scalings = tfxp.split_normalization(model)
    scaled = scalings["columns"].apply(x)
    assert np.allclose(scaled, (x - x.mean(0)) / x.std(0), atol=1e-3)
    assert np.allclose(network.predict(scaled, verbose=0), model.predict(x, verbose=0), atol=1e-4)
    assert "norm" not in [layer.name for layer in network.layers]
    qmodel = tfxp.quantize_model(network, "w8a8", tfxp.measure_model(network, scaled))
    y = model.predict(x, verbose=0)
    assert np.abs(qmodel.predict(scaled, verbose=0) - y).mean() < 0.05 * np.abs(y - y.mean()).mean()
    assert scalings_of(qmodel) == scalings
    norm = layers.Normalization(mean=[0.0, 1.0], variance=[1.0, 4.0])
    alike = keras.Sequential([keras.Input((2,)), norm])
    assert tfxp.split_normalization(alike, always=False)[0] is alike


def test_tools_take_it_out(table, tmp_path):
    model, x = table
    model.save(tmp_path / "net.keras")
    np.savez(tmp_path / "data.npz", x=x, y=model.predict(x, verbose=0)[:, 0])
    data, figures = tmp_path / "data.npz", tmp_path / "figures.json"
    assert run("quantize_model", model=tmp_path / "net.keras", data=data, eval_data=data,
               metric="mae", output=tmp_path / "q.keras", json=figures) == 0  # fmt: skip
    found = json.loads(figures.read_text())["mae"]
    assert found["float"] < 1e-5 and found["calibrated"] < 0.05
    assert run("export_tflite", model=tmp_path / "q.keras", output=tmp_path / "q.tflite") == 0
    flags = {"model": tmp_path / "q.tflite", "data": data, "metric": "mae", "json": figures}
    assert run("run_tflite", **flags) == 0
    assert json.loads(figures.read_text())["mae"] == pytest.approx(found["calibrated"], rel=0.01)
