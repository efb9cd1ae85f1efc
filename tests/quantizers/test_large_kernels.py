"""Kernels that are rounded in one compiled pass: networks have several, of several shapes."""

import numpy as np

import tfxp
from tfxp.keras import keras, layers


def test_large_kernels_of_different_shapes_in_one_network():
    x = inputs = keras.Input((260,))
    for units in (260, 300, 256, 257):
        x = layers.Dense(units)(x)
    model = keras.Model(inputs, x)
    data = np.random.default_rng(0).normal(size=(4, 260)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, data))
    noise = np.square(qmodel.predict(data, verbose=0) - model(data)).mean()
    assert 0 < noise < 0.01 * np.square(model(data)).mean()
