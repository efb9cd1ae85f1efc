"""Sums that could leave 32 bits are refused by name: LiteRT's accumulators wrap."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import ExportError
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap


def exported(model, weights, tmp_path, value):
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([np.full(w.shape, value, np.float32) for w in layer.get_weights()])
    rule = LayerPrecision(weights=weights, activations="UQ0.8")
    qmodel = tfxp.quantize_model(model, PrecisionMap(rule, {"@inputs": rule, "@outputs": rule}))
    return tfxp.export_tflite(qmodel, tmp_path / "net.tflite")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(1, use_bias=False, name="sums"), (300,)),
        (layers.Conv2D(1, 5, use_bias=False, name="sums"), (5, 5, 12)),
        (layers.Conv1D(1, 5, use_bias=False, name="sums"), (5, 60)),
        (layers.Conv2DTranspose(1, 5, use_bias=False, name="sums"), (5, 5, 12)),
    ],
)
def test_largest_sums_past_2_to_the_31(layer, shape, tmp_path):
    """16-bit weights of 32767 by 8-bit activations: 257 products fill 31 bits."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(ExportError, match=r"sums: sums may reach [\d,]+, and LiteRT's wrap"):
        exported(model, "Q0.15", tmp_path, 1.0)
    assert not (tmp_path / "net.tflite").exists()
    assert exported(model, "Q0.7", tmp_path, 0.5).path


def test_a_bias_counts(tmp_path):
    inputs = keras.Input((200,))
    model = keras.Model(inputs, layers.Dense(1, name="sums")(inputs))
    with pytest.raises(ExportError, match="sums: sums may reach"):
        exported(model, "Q0.15", tmp_path, 80.0)
