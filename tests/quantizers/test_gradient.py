"""Gradient quantizers against exact fractions, and what they count."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tfxp.formats import FixedPointFormat
from tfxp.formats.rounding import round_scalar
from tfxp.keras import keras, layers
from tfxp.quantizers import GradientCounts, GradientQuantizer
from tfxp.quantizers.rounding import round_half_away


def assigned(quantizer, fmt):
    layer = layers.Layer()
    grid = quantizer.build((), "gradient", layer)
    for name, value in (("scale", fmt.scale), ("qmin", fmt.qmin), ("qmax", fmt.qmax)):
        grid[name].assign(value)
    return grid


def backward(quantizer, grid, upstream):
    x = tf.zeros_like(tf.constant(upstream))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = quantizer(x + 3.0, True, grid)
    assert (y.numpy() == 3.0).all()
    return tape.gradient(y, x, output_gradients=tf.constant(upstream)).numpy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_away_by_the_definition(dtype):
    """Ties, their neighbours, and where adding one half would round wrongly."""
    ties = np.arange(-40, 41, dtype=dtype) / dtype(2)
    big = dtype(2) ** np.arange(18, 30, dtype=dtype) + dtype(0.5)
    values = np.concatenate([ties, big, -big, dtype([0.49999997, -0.49999997, 8388609.0])])
    values = np.concatenate([values, np.nextafter(values, 0), np.nextafter(values, dtype(np.inf))])
    found = round_half_away(tf.constant(values)).numpy()
    assert found.dtype == dtype
    assert found.tolist() == [round_scalar(Fraction(float(v)), "half_away") for v in values]


@pytest.mark.parametrize("name", ["Q-3.8", "Q0.3", "Q2.1s", "Q-11.17"])
def test_every_code_and_every_tie(name):
    fmt = FixedPointFormat.parse(name)
    codes = np.arange(fmt.qmin - 3, fmt.qmax + 4)
    upstream = np.concatenate([codes, codes + 0.5, codes + 0.25]).astype(np.float32)
    upstream *= np.float32(fmt.scale)
    quantizer = GradientQuantizer(count_every=1)
    grid = assigned(quantizer, fmt)
    found = backward(quantizer, grid, upstream)
    exact = [Fraction(float(value)) / Fraction(fmt.scale) for value in upstream]
    rounded = [round_scalar(value, "half_away") for value in exact]
    held = [min(max(code, fmt.qmin), fmt.qmax) for code in rounded]
    assert found.tolist() == [code * fmt.scale for code in held]
    counts = GradientCounts.read(grid)
    clipped = sum(a != b for a, b in zip(rounded, held, strict=True))
    assert counts == GradientCounts(1, upstream.size, clipped, 0)
    assert counts.share == clipped / upstream.size


def test_counts_are_sampled_and_know_nan():
    quantizer = GradientQuantizer(count_every=4)
    grid = assigned(quantizer, FixedPointFormat.parse("Q0.3"))
    upstream = np.array([np.nan, np.inf, 0.5, 9.0], np.float32)
    compiled = tf.function(lambda: backward_in_graph(quantizer, grid, upstream))
    for _ in range(9):
        compiled()
    counts = GradientCounts.read(grid)
    assert counts == GradientCounts(9, 3 * 4, 3 * 2, 3 * 2)


def backward_in_graph(quantizer, grid, upstream):
    x = tf.zeros(4)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = quantizer(x, True, grid)
    return tape.gradient(y, x, output_gradients=tf.constant(upstream))


def test_stochastic_is_unbiased_and_seeded():
    fmt, upstream = FixedPointFormat.parse("Q3.0"), np.full(20_000, 1.3, np.float32)

    def draw(seed):
        tf.random.set_seed(5)
        quantizer = GradientQuantizer("stochastic", seed)
        return backward(quantizer, assigned(quantizer, fmt), upstream)

    first, again, other = draw(1), draw(1), draw(2)
    assert set(np.unique(first)) == {1.0, 2.0}
    # standard error of the mean: sqrt(0.3 * 0.7 / 20000) = 0.0032
    assert abs(first.mean() - 1.3) < 0.015
    assert (first == again).all()
    assert (first != other).any()


def test_configuration_round_trip():
    quantizer = GradientQuantizer("stochastic", 7, 3)
    config = keras.utils.legacy.serialize_keras_object(quantizer)
    assert keras.utils.legacy.deserialize_keras_object(config) == quantizer
    assert quantizer != GradientQuantizer("half_away", 7, 3)
