"""Activations of 9 to 16 bits: linear layers, sums and pools are the same in all three engines."""

import numpy as np
import pytest

import tfxp
from tfxp.keras import keras, layers

WIDTHS = ["w4a9", "w4a10", "w8a12", "w8a16"]


@pytest.fixture(scope="module")
def network():
    """Every operator that rounds once beside 16-bit activations, side by side."""
    keras.utils.set_random_seed(3)
    image, row = keras.Input((6, 6, 2)), keras.Input((12,))
    a = layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    b = layers.Conv2D(4, 3, name="linear")(image)
    tensors = [
        layers.Add(name="sum")([a, b]),
        layers.ReLU(name="closed")(layers.Subtract(name="difference")([a, b])),
        layers.DepthwiseConv2D(3, name="depthwise")(a),
        layers.Conv2DTranspose(3, 2, strides=2, name="transposed")(a),
        layers.AveragePooling2D(2, name="pool")(b),
        layers.UpSampling2D(2, interpolation="bilinear", name="enlarged")(b),
        layers.Dense(3, use_bias=False, name="no_bias")(row),
        layers.Dense(5, name="dense")(layers.Dense(7, activation="relu", name="hidden")(row)),
        layers.Conv1D(3, 3, name="sequence")(layers.Reshape((6, 2))(row)),
    ]
    model = keras.Model([image, row], tensors)
    draws = np.random.default_rng(4)
    x = [draws.normal(size=(64, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    return model, x, tfxp.measure_model(model, x)


@pytest.mark.parametrize("precision", WIDTHS)
def test_the_same_everywhere(network, precision, tmp_path):
    model, x, stats = network
    qmodel = tfxp.quantize_model(model, precision, stats)
    report = tfxp.export_tflite(qmodel, tmp_path / "wide.tflite", verify=x)
    assert report.verification.exact
    assert not [note for note in report.notes if "2^24" not in note]


def test_precision_may_cross_the_width_of_storage(network):
    """Zero points and roundings follow: set is the same as quantized afresh, both ways."""
    model, x, stats = network
    moved = tfxp.quantize_model(model, "w4a4", stats)
    for precision in ("w4a10", "w4a4"):
        tfxp.set_precision(moved, precision)
        afresh = tfxp.quantize_model(model, precision, stats)
        pairs = zip(moved.predict(x, verbose=0), afresh.predict(x, verbose=0), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_operators_that_round_twice_are_named(tmp_path):
    inputs = keras.Input((7, 3))
    y = layers.Dense(4, name="first")(inputs)
    model = keras.Model(inputs, layers.GlobalAveragePooling1D(name="mean")(y))
    x = np.random.default_rng(5).normal(size=(32, 7, 3)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a12", tfxp.measure_model(model, x))
    report = tfxp.export_tflite(qmodel, tmp_path / "wide.tflite", verify=x)
    assert report.verification.mismatches_interpreter == report.verification.mismatches_litert
    assert [note for note in report.notes if note.startswith("mean: LiteRT rounds twice")]
