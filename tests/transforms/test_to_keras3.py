"""tf_keras models become Keras 3 models that compute the same, and files that Keras 3 loads."""

import subprocess
import sys

import numpy as np
import pytest

import tfxp
from tests.layer_cases import LAYER_CASES, build, inputs_of
from tfxp.errors import ConfigError, ModelError
from tfxp.keras import keras as keras2
from tfxp.keras import keras3, layers
from tfxp.transforms.conversion.to_keras3 import as_keras3

K = keras3(load=True)
# Keras 3's separable convolutions pad nothing in time's order.
REFUSED = {"separable_conv_1d": "padding"}
# Stripped, saved, and loaded by a Keras 3 that never saw tfxp.
ROUND_TRIPS = (
    "conv_1d", "conv_2d_transpose", "squeeze_and_excite", "hard_swish", "pools_1d", "leaky_relu",
    "tensor_functions", "models_of_models", "sigmoid_tanh", "tables",
)  # fmt: skip


def outputs(model, x):
    return [np.asarray(part) for part in K.tree.flatten(model(x, training=False))]


def difference(a, b, x):
    """The largest difference between two models' outputs, in parts of the largest output."""
    pairs = list(zip(outputs(a, x), outputs(b, x), strict=True))
    assert all(one.shape == other.shape and np.ptp(one) > 0.01 for one, other in pairs)
    return max(np.abs(one - other).max() / max(np.abs(one).max(), 1) for one, other in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYER_CASES)
def test_every_network_of_the_table(name):
    model = build(name)
    if name in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[name]):
            as_keras3(model)
        return
    twin = as_keras3(model)
    assert isinstance(twin, K.Model)
    assert difference(model, twin, inputs_of(name, model, 4)) < 1e-5


LOADS = """
import sys, numpy as np, keras
for path in sys.argv[1:]:
    model = keras.saving.load_model(path + ".keras")
    data = np.load(path + ".npz")
    inputs = [data[f"x{i}"] for i in range(len(model.inputs))]
    found = keras.tree.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    wanted = [data[f"y{i}"] for i in range(len(found))]
    worst = max(np.abs(np.asarray(a) - b).max() for a, b in zip(found, wanted))
    print(path.rsplit("/")[-1], type(model).__module__, float(worst))
assert not [name for name in sys.modules if name.startswith("tfxp")]
"""


@pytest.mark.slow
def test_ten_networks_go_round(tmp_path):
    """Keras 3 -> tf_keras, quantized, stripped back to Keras 3, saved, loaded without tfxp."""
    for name in ROUND_TRIPS:
        keras2.backend.clear_session()
        K.backend.clear_session()
        model = build(name)
        x = inputs_of(name, model, 4)
        first = as_keras3(model)
        qmodel = tfxp.quantize_model(first, "w8a8", tfxp.measure_model(first, x))
        plain, there = tfxp.strip(qmodel), tfxp.strip(qmodel, keras=3)
        assert difference(plain, there, x) < 1e-5
        there.save(tmp_path / f"{name}.keras")
        again = tfxp.load_model(tmp_path / f"{name}.keras")
        assert difference(plain, again, x) < 1e-5
        wanted = {f"y{i}": part for i, part in enumerate(outputs(plain, x))}
        given = {f"x{i}": part for i, part in enumerate(x if isinstance(x, list) else [x])}
        np.savez(tmp_path / f"{name}.npz", **wanted, **given)
    paths = [str(tmp_path / name) for name in ROUND_TRIPS]
    done = subprocess.run([sys.executable, "-c", LOADS, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)
    found = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in found] == list(ROUND_TRIPS)
    assert all(line[1].startswith("keras.") and float(line[2]) < 1e-5 for line in found)


def small():
    model = keras2.Sequential([layers.Dense(3, input_shape=(4,), name="scores")])
    return tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.5"))


def test_strip_keeps_names_and_integers(tmp_path):
    qmodel = small()
    plain = tfxp.strip(qmodel, keras=3)
    assert [layer.name for layer in plain.layers[1:]] == ["scores"]
    kernel = np.asarray(plain.get_layer("scores").kernel)
    assert np.array_equal(kernel * 8, tfxp.integer_weights(qmodel)["scores"].weights)
    plain.save(tmp_path / "plain.keras")
    loaded = K.saving.load_model(tmp_path / "plain.keras")
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    assert np.array_equal(np.asarray(loaded(x)), np.asarray(tfxp.strip(qmodel)(x)))


def test_what_cannot_go_back_is_said():
    with pytest.raises(ConfigError, match="keras of strip: got 4; expected 2"):
        tfxp.strip(small(), keras=4)
    x = keras2.Input((4, 3))
    odd = keras2.Model(x, layers.LocallyConnected1D(2, 2, name="own")(x))
    with pytest.raises(ModelError, match=r"own \(LocallyConnected1D\): Keras 3 has no such layer"):
        as_keras3(odd)
