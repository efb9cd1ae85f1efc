"""WRPN's quantizers against the paper's formulas, written out in fractions."""

from fractions import Fraction

import numpy as np
import pytest

from tfxp.formats import WrpnFormat
from tfxp.keras import keras, tf
from tfxp.quantizers import UnitRange, WrpnActivationQuantizer, WrpnWeightQuantizer

BITS = range(1, 9)


def paper_weight(w, k):
    """Section 5: clip to [-1, 1], k - 1 bits of magnitude; exact arithmetic."""
    levels = 2 ** (k - 1) - 1
    return Fraction(round(levels * min(max(Fraction(w), -1), 1)), levels)


def paper_activation(a, k):
    """Section 5: clip to [0, 1], k bits, no sign."""
    levels = 2**k - 1
    return Fraction(round(levels * min(max(Fraction(a), 0), 1)), levels)


def arguments(low, levels):
    """Every code, every place between two codes, both ends, and what lies beyond."""
    codes = np.arange(low * levels, levels + 1)
    points = np.concatenate([codes, codes + 0.49, codes - 0.49, codes + 0.25]) / levels
    beyond = [-3.0, -1.0001, -1.0, -0.5, -0.0, 0.0, 1e-30, 0.5, 1.0, 1.0001, 7.5]
    return np.concatenate([points, beyond]).astype(np.float32)


def run_of(quantizer, shape, fmt):
    """The quantizer as a compiled function, its variables holding a format."""
    layer = keras.layers.Layer()
    variables = quantizer.build(shape, "tensor", layer)
    variables["qmin"].assign(fmt.qmin)
    variables["qmax"].assign(fmt.qmax)
    variables["scale"].assign(np.full(variables["scale"].shape, fmt.scale, np.float32))
    return tf.function(lambda x: quantizer(x, True, variables)), variables


def value_and_gradient(run, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = run(x)
    return y.numpy(), tape.gradient(y, x).numpy()


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_are_the_papers(bits):
    x = arguments(-1, 2 ** (bits - 1) - 1)
    fmt = WrpnFormat(bits, "weights")
    run, _ = run_of(WrpnWeightQuantizer(), (1,), fmt)
    value, gradient = value_and_gradient(run, x)
    exact = [paper_weight(float(v), bits) for v in x]
    assert value.tolist() == [float(np.float32(float(v))) for v in exact]
    assert len(set(exact)) == 2**bits - 1  # every code was met
    # d/dw clip(w, -1, 1), by hand; identity through the rounding
    assert gradient.tolist() == [1.0 if -1 <= v <= 1 else 0.0 for v in x]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_activations_are_the_papers(bits, relu):
    x = arguments(0, 2**bits - 1)
    quantizer = WrpnActivationQuantizer()
    _, variables = run_of(quantizer, (1,), WrpnFormat(bits, "activations"))
    run = tf.function(lambda v: quantizer(v, True, variables, relu=relu))
    value, gradient = value_and_gradient(run, x)
    codes = [paper_activation(float(v), bits) * (2**bits - 1) for v in x]
    found = value.astype(np.float64) * (2**bits - 1)
    assert np.rint(found).tolist() == [float(code) for code in codes]
    assert len(set(codes)) == 2**bits
    # The fused kernel multiplies codes by a rounded 1/(2^k - 1): one unit in the last place.
    assert np.abs(value - np.float64(codes) / (2**bits - 1)).max() <= 2**-23
    assert gradient.tolist() == [1.0 if 0 <= v <= 1 else 0.0 for v in x]


@pytest.mark.parametrize("rounding", ["half_up", "half_away", "floor"])
def test_other_roundings_on_the_same_grid(rounding):
    run, _ = run_of(WrpnActivationQuantizer(rounding), (1,), WrpnFormat(2, "activations"))
    value, gradient = value_and_gradient(run, np.float32([-1, 0.5, 0.6, 2]))
    middle = 1 if rounding == "floor" else 2  # 3 * 0.5 lies on a tie
    third = 1 if rounding == "floor" else 2
    assert np.rint(3 * value).tolist() == [0, middle, third, 3]
    assert gradient.tolist() == [0, 1, 1, 0]


def test_binary_weights_are_sign_times_mean():
    x = np.float32([[0.5, -0.25], [0.0, 1.25]])
    run, _ = run_of(WrpnWeightQuantizer(binary=True), (2, 2), WrpnFormat(1, "weights"))
    value, gradient = value_and_gradient(run, x)
    assert value.tolist() == [[0.5, -0.5], [0.5, 0.5]]  # the mean of |x| is 1/2
    assert gradient.tolist() == [[1, 1], [1, 0]]  # zero beyond 1


def test_binary_weights_per_filter():
    x = np.float32([[0.5, -0.25], [-0.1, 1.25]])
    quantizer = WrpnWeightQuantizer(binary=True, per_channel=True)
    run, _ = run_of(quantizer, (2, 2), WrpnFormat(1, "weights"))
    value, _ = value_and_gradient(run, x)
    assert np.allclose(value, [[0.3, -0.75], [-0.3, 0.75]])


def test_bits_change_by_assignment_without_a_trace():
    run, variables = run_of(WrpnWeightQuantizer(), (1,), WrpnFormat(4, "weights"))
    x = np.float32([0.3, -0.8])
    assert np.allclose(run(x), [2 / 7, -6 / 7])
    traces = run.experimental_get_tracing_count()
    variables["qmax"].assign(1)
    assert run(x).numpy().tolist() == [0, -1]
    assert run.experimental_get_tracing_count() == traces


def test_unit_range_holds_weights():
    held = UnitRange()(tf.constant([-2.0, -1.0, 0.25, 1.5]))
    assert held.numpy().tolist() == [-1, -1, 0.25, 1]
