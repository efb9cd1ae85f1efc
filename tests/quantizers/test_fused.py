"""The compiled pass over large tensors: the same codes as integers and fractions give."""

from fractions import Fraction

import numpy as np
import pytest

from tfxp.formats import FixedPointFormat
from tfxp.keras import tf
from tfxp.quantizers import fused
from tfxp.quantizers.straight_through import quantize_by_rounding
from tfxp.training.fixed_point.tensor_precision import UpdatePrecision, accumulate_exactly

FORMAT = FixedPointFormat.of_bits(8, 5)
MODES = ("half_even", "half_away", "half_up", "floor")


def whole(value, mode):
    """A fraction rounded in integers."""
    below, rest = divmod(value.numerator, value.denominator)
    twice = 2 * rest - value.denominator
    tie_up = {"half_even": below % 2, "half_away": below >= 0, "half_up": 1, "floor": 0}[mode]
    return below + (0 if mode == "floor" else int(twice > 0 or (twice == 0 and tie_up)))


@pytest.fixture(scope="module")
def values():
    """Every half step from beyond both ends and the float32 next to it on either side, in float32
    steps, filled up with noise until the tensor is a large one."""
    halves = np.arange(2 * FORMAT.qmin - 9, 2 * FORMAT.qmax + 10).astype(np.float32) / 2
    noise = np.random.default_rng(5).normal(0, 60, 2**16).astype(np.float32)
    sides = [np.nextafter(halves, np.float32(end)) for end in (-np.inf, np.inf)]
    steps = np.concatenate([halves, *sides, np.float32([-0.0, 1e-30, -1e-30, 3e38, -3e38]), noise])
    return (steps[: 2**16] * np.float32(FORMAT.scale)).reshape(64, -1)


def limits():
    return [tf.constant(v, tf.float32) for v in (FORMAT.scale, FORMAT.qmin, FORMAT.qmax)]


@pytest.mark.parametrize("mode", MODES)
def test_codes_and_gradients_of_a_large_tensor(values, mode):
    assert fused.is_large(tf.TensorShape(values.shape))
    x = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = quantize_by_rounding(x, *limits(), mode)
    passed = tape.gradient(y, x, output_gradients=tf.fill(x.shape, 3.0)).numpy()
    some = np.linspace(0, values.size - 1, 3000).astype(int)
    some = np.concatenate([np.arange(1600), some])
    exact = [Fraction(float(v)) / Fraction(FORMAT.scale) for v in values.ravel()[some]]
    codes = [min(max(whole(v, mode), FORMAT.qmin), FORMAT.qmax) for v in exact]
    assert np.array_equal(y.numpy().ravel()[some] / FORMAT.scale, codes)
    half = Fraction(1, 2)
    inside = [3.0 * (FORMAT.qmin - half <= v <= FORMAT.qmax + half) for v in exact]
    assert np.array_equal(passed.ravel()[some], inside)


def test_what_is_no_number_stays_so(values):
    bad = values.copy()
    bad[3, 5], bad[4, 4], bad[5, 5] = np.nan, np.inf, -np.inf
    for mode in (*MODES, "stochastic"):
        y = fused.quantize_in_one_pass(tf.constant(bad), *limits(), mode, 1).numpy()
        assert np.isnan(y[3, 5]) and np.isnan(y).sum() == 1
        assert (y[4, 4], y[5, 5]) == (FORMAT.qmax * FORMAT.scale, FORMAT.qmin * FORMAT.scale)


def test_stochastic_rounding_of_a_large_tensor_is_fair():
    x = tf.fill([256, 1024], 0.3 * FORMAT.scale)
    y = fused.quantize_in_one_pass(x, *limits(), "stochastic", 7).numpy() / FORMAT.scale
    assert set(np.unique(y)) == {0, 1}
    assert abs(y.mean() - 0.3) < 0.005  # five and a half standard errors


def test_an_update_of_a_large_kernel_is_exact():
    """All three tensors on grids, so that integers say what the update gives."""
    formats = UpdatePrecision(
        *(FixedPointFormat.parse(name) for name in ("Q0.11", "Q-6.19", "Q-12.29"))
    )
    generator = np.random.default_rng(3)
    weights = generator.integers(-(2**11), 2**11, (256, 300))
    held = generator.integers(-(2**17), 2**17, weights.shape)
    step = generator.integers(-(2**20), 2**20, weights.shape)
    found = accumulate_exactly(
        tf.constant(held, tf.int32), tf.constant(weights / 2**11, tf.float32),
        tf.constant(step / 2**29, tf.float64), formats, "half_away",
    )  # fmt: skip
    total = weights * 2**18 + held - step  # in steps of the accumulator
    codes = np.sign(total) * ((np.abs(total) + 2**17) // 2**18)
    kept = np.clip(codes, -(2**11), 2**11 - 1)
    rest = total - kept * 2**18
    assert np.array_equal(found[0].numpy() * 2**11, kept)
    assert np.array_equal(found[1].numpy(), np.clip(rest, -(2**17), 2**17 - 1))
    assert int(found[2]) == (codes != kept).sum() > 0
    outside = np.maximum(rest - (2**17 - 1), -(2**17) - rest)
    assert int(found[3]) == (outside > 1).sum() > 0
