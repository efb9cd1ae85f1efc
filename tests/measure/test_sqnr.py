"""measure_sqnr against a network computed here in NumPy."""

import math

import numpy as np
import pytest

import tfxp
from tfxp.errors import DataError, ModelError
from tfxp.keras import keras, layers


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((12,), name="x")
    x = layers.Dense(16, activation="relu", name="first")(x)
    x = layers.Add(name="sum")([x, layers.Dense(16, name="second")(x)])
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(5).normal(size=(70, 12)).astype(np.float32)


def db(x, y):
    return 10 * math.log10(np.square(x).sum() / np.square(x - y).sum())


def grid(x, m, f, signed=True):
    top = 2.0**m - 2.0**-f
    return np.clip(np.rint(np.float64(x) * 2.0**f) / 2.0**f, -(2.0**m) if signed else 0, top)


def test_against_numpy(model, x):
    rules = {
        "x": {"activations": "Q2.3"},
        "first": {"weights": "Q0.4", "activations": "UQ2.2"},
        "second": {"weights": "Q0.5", "activations": "Q3.2"},
        "sum": {"activations": "Q3.1", "rounding": "half_even"},
        "head": {"weights": "Q0.6", "activations": "Q4.3"},
    }
    pmap = tfxp.PrecisionMap.from_dict({"schema": 1, "layers": rules, "rounding": "engine"})
    found = tfxp.measure_sqnr(model, tfxp.quantize_model(model, pmap), x, batch_size=32)
    kernels = {n: model.get_layer(n).get_weights()[0] for n in ("first", "second", "head")}
    assert list(found) == ["x", "first", "second", "sum", "head"]

    clean = {"x": x}
    clean["first"] = np.maximum(x @ kernels["first"], 0)
    clean["second"] = clean["first"] @ kernels["second"]
    clean["sum"] = clean["first"] + clean["second"]
    clean["head"] = clean["sum"] @ kernels["head"]
    noisy = {"x": grid(x, 2, 3)}
    noisy["first"] = grid(noisy["x"] @ grid(kernels["first"], 0, 4), 2, 2, False)
    noisy["second"] = grid(noisy["first"] @ grid(kernels["second"], 0, 5), 3, 2)
    noisy["sum"] = grid(noisy["first"] + noisy["second"], 3, 1)
    noisy["head"] = grid(noisy["sum"] @ grid(kernels["head"], 0, 6), 4, 3)
    for name, row in found.items():
        assert row.output_db == pytest.approx(db(clean[name], noisy[name]), abs=1e-3), name
    for name, f in (("first", 4), ("second", 5), ("head", 6)):
        expected = db(kernels[name], grid(kernels[name], 0, f))
        assert found[name].weights_db == pytest.approx(expected, abs=1e-4)
    assert found["sum"].weights_db is None


def test_nothing_lost_is_infinite(model, x):
    pmap = tfxp.PrecisionMap.from_dict({
        "schema": 1,
        "default": {"weights": "float", "activations": "float"},
        "layers": {"head": {"activations": "Q4.3"}},
    })  # fmt: skip
    found = tfxp.measure_sqnr(model, tfxp.quantize_model(model, pmap), x)
    assert found["first"].output_db == math.inf
    assert found["first"].weights_db == math.inf
    assert 20 < found["head"].output_db < 60


def test_another_model_is_refused(model, x):
    other = keras.Sequential([layers.Dense(3, input_shape=(12,), name="other")])
    stats = tfxp.measure_model(other, x)
    with pytest.raises(ModelError, match="got no layer 'x'|got no layer 'first'"):
        tfxp.measure_sqnr(model, tfxp.quantize_model(other, "w8a8", stats), x)
    qmodel = tfxp.quantize_model(other, "w8a8", stats)
    with pytest.raises(DataError):
        tfxp.measure_sqnr(other, qmodel, x[:0])
