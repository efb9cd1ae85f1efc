"""Storage-only arithmetic and the table of noise, against NumPy."""

import math

import numpy as np
import pytest

import tfxp
from tfxp.assign import BitSpace, measure_kappa
from tfxp.keras import keras, layers
from tfxp.search import scores_fingerprint, sqnr_table


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input((6, 6, 2), name="x")
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, layers.Dense(3, name="dense")(x))
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.linspace(-0.2, 0.3, bias.size)])
    return model


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(8).normal(size=(40, 6, 6, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def stats(model, x):
    return tfxp.measure_model(model, x)


def grid(values, m, f, signed=True):
    step, top = 2.0**-f, 2.0**m
    low = -top if signed else 0
    return np.clip(np.rint(np.float64(values) / step) * step, low, top - step)


def convolve(x, kernel):
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel)


def test_storage_only_rounds_at_the_ends_of_stages(model, stats, x):
    space = BitSpace(stats, arithmetic="storage")
    config = space.uniform({"weight_bits": 5, "data_integer": 3, "data_fraction": 4})
    qmodel = tfxp.quantize_model(model, space.to_map(config))
    m = {name: next(iter(space.units[name].weight_integer.values())) for name in ("conv", "dense")}
    conv, dense = (model.get_layer(name).get_weights() for name in ("conv", "dense"))
    value = convolve(grid(x, 2, 4), grid(conv[0], m["conv"], 4 - m["conv"])) + conv[1]
    mean = grid(np.maximum(value, 0).mean((1, 2)), 2, 4, signed=False)  # the maps are not rounded
    out = grid(mean @ grid(dense[0], m["dense"], 4 - m["dense"]) + dense[1], 2, 4)
    got = qmodel.predict(x, verbose=0)
    # sums in float32 may fall on the other side of a tie
    assert np.mean(got != out) < 0.02 and np.abs(got - out).max() <= 2.0**-4
    whole = BitSpace(stats)
    other = tfxp.quantize_model(model, whole.to_map(whole.uniform(
        {"weight_bits": 5, "data_integer": 3, "data_fraction": 4})))  # fmt: skip
    assert np.mean(other.predict(x, verbose=0) != out) > 0.02


def test_table_has_both_predictions_and_the_measurement(model, stats, x):
    pmap = tfxp.PrecisionMap.uniform(6, 8)
    rows = {row["layer"]: row for row in sqnr_table(stats, pmap, model, x)}
    assert list(rows) == list(stats.layers)
    measured = tfxp.measure_sqnr(model, tfxp.quantize_model(model, pmap, stats), x)
    for name in ("conv", "mean", "dense"):
        assert rows[name]["measured_db"] == pytest.approx(measured[name].output_db)
        assert rows[name]["predicted_db"] > 15
    assert rows["conv"]["kappa"] == measure_kappa(stats["conv"].weights).kappa
    assert rows["x"]["kappa"] is None and rows["x"]["kappa_data"] > 4
    assert math.isfinite(rows["dense"]["power_db"])
    unmeasured = {row["layer"]: row for row in sqnr_table(stats, pmap)}
    assert unmeasured["conv"]["measured_db"] is None
    assert sqnr_table(tfxp.count_model(model), pmap) == []


def test_fingerprint_tells_searches_apart(model, x):
    first = scores_fingerprint(model, x)
    assert first == scores_fingerprint(model, x.copy())
    assert first != scores_fingerprint(model, x[1:])
    assert first != scores_fingerprint(model, x, "top5")
    weights = model.get_weights()
    model.set_weights([weight + 1e-3 for weight in weights])
    assert first != scores_fingerprint(model, x)
    model.set_weights(weights)
