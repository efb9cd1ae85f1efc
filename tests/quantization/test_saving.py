"""Quantized models in files: exact in every format, in a fresh process, and training goes on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfxp
from tests.cases import inputs_of, randomize
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization import FormatWrapper, QuantizeInput

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ["model.keras", "model.h5", "folder"]
PRECISION = PrecisionMap(
    LayerPrecision(4, 5, per_channel=True),
    {"add": LayerPrecision(rounding="floor"), "head": LayerPrecision(weights="wrpn:3")},
)


def network():
    image, side = keras.Input((8, 6, 3), name="image"), keras.Input((4,), name="side")
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    x = layers.ReLU(6.0, name="relu")(layers.BatchNormalization(name="norm")(shared(image)))
    x = layers.Add(name="add")([shared(x), image])
    x = layers.DepthwiseConv2D(3, name="depthwise", activation="relu")(x)
    x = layers.AveragePooling2D(3, 1, "same", name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Concatenate(name="join")([x, layers.Dense(3, name="dense")(side)])
    head = layers.Dense(3, activation="softmax", name="head")(layers.Dropout(0.3, name="drop")(x))
    return randomize(keras.Model([image, side], [head, x]))


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A quantized model trained a little and saved in all formats, and its inputs."""
    folder = tmp_path_factory.mktemp("models")
    model = network()
    x = inputs_of(model, 16)
    qmodel = tfxp.quantize_model(model, PRECISION, tfxp.measure_model(model, x))
    qmodel.compile(keras.optimizers.Adam(1e-3), ["sparse_categorical_crossentropy", "mse"])
    qmodel.fit(x, targets(), epochs=2, batch_size=8, verbose=0, shuffle=False)
    for name in FORMATS:
        qmodel.save(folder / name)
    return folder, qmodel, x


def targets():
    return [np.arange(16) % 3, np.ones((16, 6), np.float32)]


def same(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(setting, name):
    folder, qmodel, x = setting
    loaded = tfxp.load_model(folder / name)
    assert same(loaded.predict(x, verbose=0), qmodel.predict(x, verbose=0))
    assert tfxp.precision_of(loaded).to_dict() == tfxp.precision_of(qmodel).to_dict()
    assert same(loaded.get_weights(), qmodel.get_weights())
    kinds = [type(layer) for layer in loaded.layers]
    assert kinds.count(FormatWrapper) == sum(isinstance(z, FormatWrapper) for z in qmodel.layers)
    assert kinds.count(QuantizeInput) == 2
    tfxp.set_precision(loaded, tfxp.precision_of(loaded))
    assert same(loaded.predict(x, verbose=0), qmodel.predict(x, verbose=0))


@pytest.mark.parametrize("name", FORMATS)
def test_loaded_models_export_the_same_integers(setting, name):
    folder, qmodel, _ = setting
    ours = tfxp.integer_weights(tfxp.load_model(folder / name))
    for layer, theirs in tfxp.integer_weights(qmodel).items():
        assert np.array_equal(ours[layer].weights, theirs.weights)
        assert np.array_equal(ours[layer].bias, theirs.bias)
        assert ours[layer].weight_formats == theirs.weight_formats


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_the_optimizer_is_saved(setting, name):
    folder, qmodel, _ = setting
    loaded = keras.models.load_model(folder / name)
    assert loaded.optimizer.iterations.numpy() == 4
    slots = [v.numpy() for v in loaded.optimizer.variables]
    assert same(slots, [v.numpy() for v in qmodel.optimizer.variables])


def deterministic():
    inputs = keras.Input((6,), name="in")
    y = layers.Dense(5, activation="relu", name="a")(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(2, name="b")(y)))
    x = inputs_of(model, 16)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    qmodel.compile(keras.optimizers.Adam(1e-2), "mse")
    return qmodel, x, np.ones((16, 2), np.float32)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_resumed_training_gives_identical_weights(tmp_path, name):
    qmodel, x, y = deterministic()
    options = {"batch_size": 8, "verbose": 0, "shuffle": False}
    qmodel.fit(x, y, epochs=2, **options)
    qmodel.save(tmp_path / name)
    loaded = keras.models.load_model(tmp_path / name)
    qmodel.fit(x, y, epochs=3, **options)
    loaded.fit(x, y, epochs=3, **options)
    assert same(loaded.get_weights(), qmodel.get_weights())


SCRIPT = """
import sys
import numpy as np
import tfxp
data = np.load(sys.argv[1])
x = [data["x0"], data["x1"]]
for path in sys.argv[2:]:
    model = tfxp.load_model(path)
    got = model.predict(x, verbose=0)
    assert all(np.array_equal(a, data[f"y{i}"]) for i, a in enumerate(got)), path
    assert str(tfxp.precision_of(model).layers["dense"].weights[0]) == str(data["fmt"]), path
print("equal")
"""


def test_in_a_fresh_process(setting):
    folder, qmodel, x = setting
    got = qmodel.predict(x, verbose=0)
    fmt = str(tfxp.precision_of(qmodel).layers["dense"].weights[0])
    np.savez(folder / "d.npz", x0=x[0], x1=x[1], y0=got[0], y1=got[1], fmt=fmt)
    paths = [str(folder / name) for name in FORMATS]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder / "d.npz"), *paths],
        capture_output=True, text=True, cwd=ROOT, timeout=300,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.strip() == "equal", done.stderr[-2000:]


@pytest.mark.slow
def test_weights_files(setting, tmp_path):
    _, qmodel, x = setting
    for name in ("w.weights.h5", "checkpoint"):
        other = keras.models.clone_model(qmodel)
        qmodel.save_weights(tmp_path / name)
        other.load_weights(tmp_path / name)
        assert same(other.predict(x, verbose=0), qmodel.predict(x, verbose=0))


# --- strip ---------------------------------------------------------------------------------------


def test_strip_gives_standard_layers_on_their_grids(setting, tmp_path):
    _, qmodel, x = setting
    plain = tfxp.strip(qmodel)
    assert all(type(layer).__module__.startswith("tf_keras") for layer in plain.layers)
    assert [tuple(t.shape) for t in plain.outputs] == [tuple(t.shape) for t in qmodel.outputs]
    rules = tfxp.precision_of(qmodel).layers
    codes = tfxp.integer_weights(qmodel)
    for name, layer in codes.items():
        spec = plain.get_layer(name)
        kernel = spec.weights[0].numpy()
        scale = np.float32(layer.weight_scale).reshape(
            kernel.shape[2:] if name == "depthwise" and layer.weight_scale.size > 1 else -1
        )
        assert np.array_equal(kernel, layer.weights.astype(np.float32) * scale), name
        # A product in float32, like the kernel's: one in float64 can round to the next number.
        bias = layer.bias.astype(np.float32) * np.float32(layer.bias_scale)
        assert np.array_equal(spec.bias, bias), name
        assert layer.weights.max() <= max(f.qmax for f in layer.weight_formats)
    assert rules["head"].weights.bits == 3
    plain.save(tmp_path / "plain.h5")
    again = keras.models.load_model(tmp_path / "plain.h5", compile=False)
    assert same(again(x), plain(x))
    # With activations as good as float, stripping changes next to nothing.
    edge = LayerPrecision(activations=16)
    fine = PrecisionMap(LayerPrecision(4, 16), {"@inputs": edge, "@outputs": edge})
    model = network()
    near = tfxp.quantize_model(model, fine, tfxp.measure_model(model, x), fit="max")
    for a, b in zip(near(x), tfxp.strip(near)(x), strict=True):
        assert np.abs(a - b).max() < 5e-3
