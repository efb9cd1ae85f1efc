"""What is traced once is traced once: networks of any depth share the traces of their roundings."""

import numpy as np

import tfxp
from tfxp.keras import keras, layers
from tfxp.quantizers import traced_once


def traces_of(depth, units):
    """How many functions quantizing a network of some layers traces."""
    stack = [layers.Dense(units, activation="relu", name=f"d{depth}_{i}") for i in range(depth)]
    model = keras.Sequential([layers.Input((units,)), *stack])
    x = np.random.default_rng(0).normal(size=(16, units)).astype("float32")
    stats = tfxp.measure_model(model, x)
    before = traced_once._trace.cache_info().misses
    tfxp.quantize_model(model, "w4a8", stats)
    return traced_once._trace.cache_info().misses - before


def test_deeper_networks_trace_nothing_more():
    assert traces_of(2, 5) <= 3
    assert traces_of(6, 7) == 0
