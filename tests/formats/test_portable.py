"""The arithmetic behind portable rounding, enumerated for every way in which engines round."""

from fractions import Fraction

import numpy as np
import pytest

from tfxp.formats import MEAN_WEIGHT, parse_format, portable_mean_bias, spare_bits


def double_rounding(sums, scale):
    """TFLM and LiteRT's builtin kernels: a 31-bit multiplier, half up, then half away from zero."""
    mantissa, exponent = np.frexp(scale)
    multiplier = int(np.floor(mantissa * 2.0**31 + 0.5))
    left, right = max(int(exponent), 0), max(-int(exponent), 0)
    product = (sums << left) * multiplier
    high = np.floor_divide(product + (1 << 30), 1 << 31)
    half = (1 << right) >> 1
    return np.sign(high) * ((np.abs(high) + half) >> right)


def once_in_float32(sums, scale):
    """LiteRT's default engine: the sum and the product in float32, half to even."""
    return np.rint(sums.astype(np.float32) * np.float32(scale)).astype(np.int64)


ENGINES = {"double": double_rounding, "float32": once_in_float32}
for _name, _round in {
    "half_up": lambda v: np.floor(v + 0.5),
    "half_away": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
    "floor_of_half": lambda v: -np.floor(-v + 0.5),
}.items():
    ENGINES[_name] = lambda sums, scale, how=_round: how(sums * scale).astype(np.int64)


@pytest.mark.parametrize("engine", ENGINES)
def test_half_a_step_below_the_last_bit_makes_every_engine_round_half_up(engine):
    sums = np.arange(-70_000, 70_000)
    for shift in range(1, 16):
        have = ENGINES[engine](4 * sums + 2, 2.0 ** -(shift + 2))
        assert np.array_equal(have, (sums + (1 << (shift - 1))) >> shift), shift


@pytest.mark.parametrize("engine", ENGINES)
def test_seven_bits_need_a_scale_just_below_a_power_of_two(engine):
    """One spare bit: an odd number of half steps, which the first of two roundings must not see."""
    sums, below = np.arange(-70_000, 70_000), float(np.nextafter(np.float32(1), np.float32(0)))
    for shift in range(-3, 15):
        scale = 2.0 ** -(shift + 1) * below
        if shift < 1:
            want = sums[69_000:71_000] << -shift
            assert np.array_equal(ENGINES[engine](2 * sums[69_000:71_000], scale), want), shift
            continue
        seen = sums[np.abs(sums) >> shift <= 130]  # others saturate
        have = ENGINES[engine](2 * seen + 1, scale)
        assert np.array_equal(have, (seen + (1 << (shift - 1))) >> shift), shift


def test_seven_bits_with_a_power_of_two_are_rounded_twice():
    sums = np.arange(-2_000, 2_000)
    want = (sums + 4) >> 3
    assert np.array_equal(once_in_float32(2 * sums + 1, 2.0**-4), want)
    assert not np.array_equal(double_rounding(2 * sums + 1, 2.0**-4), want)


@pytest.mark.parametrize("engine", ENGINES)
def test_sums_that_get_no_coarser_are_whole(engine):
    sums = np.arange(-4_000, 4_000)
    for shift in range(6):
        assert np.array_equal(ENGINES[engine](4 * sums, 2.0 ** (shift - 2)), sums << shift)


def test_without_half_a_step_engines_differ():
    sums = np.arange(-70_000, 70_000)
    have = [engine(sums, 0.125) for engine in ENGINES.values()]
    assert not all(np.array_equal(have[0], other) for other in have)


COUNTS = (1, 2, 3, 4, 6, 7, 9, 12, 14, 16, 25, 28, 49, 56, 60, 64, 112, 120, 125, 196, 240, 256)


@pytest.mark.parametrize("shift", range(-4, 5))
def test_every_sum_of_a_portable_mean_is_rounded_half_up(shift):
    """Oracle: whole numbers. 2^shift is the input's step in output steps."""
    seen = 0
    for n in COUNTS:
        bias = portable_mean_bias(n, 2.0**shift)
        if bias is None:
            continue
        seen += 1
        largest = min(255 * n, int(130 * n / 2.0**shift) + 1)
        sums = np.arange(-largest, largest + 1)
        up, down = (1 << max(shift, 0)), (1 << max(-shift, 0))
        want = np.floor_divide(2 * sums * up + n * down, 2 * n * down)
        weights = np.float32(1 / (MEAN_WEIGHT * n))
        for name in ("double", "float32"):
            scale = float(np.float32(2.0**shift) * weights)
            assert np.array_equal(ENGINES[name](MEAN_WEIGHT * sums + bias, scale), want), (n, name)
    assert seen > 15


def test_the_distance_from_ties_is_as_stated():
    for n in (6, 8, 12):
        for shift in (-1, 0, 1, 2):
            ratio = Fraction(2) ** shift
            values = [(MEAN_WEIGHT * s + portable_mean_bias(n, float(ratio))) * ratio
                      / (MEAN_WEIGHT * n) for s in range(-4 * n, 4 * n)]  # fmt: skip
            nearest = min(abs(v - Fraction(1, 2) - round(v - Fraction(1, 2))) for v in values)
            assert nearest > 0


@pytest.mark.parametrize(("count", "ratio"), [(0, 1.0), (4, 3.0), (2**18, 1.0), (3, 2.0**9)])
def test_no_bias_where_none_is_safe(count, ratio):
    assert portable_mean_bias(count, ratio) is None


def test_room_of_every_weight_format():
    room = {bits: spare_bits(parse_format(f"Q0.{bits - 1}s")) for bits in range(2, 9)}
    assert room == {2: 6, 3: 5, 4: 4, 5: 3, 6: 2, 7: 1, 8: 0}
    assert spare_bits(parse_format("Q0.5")) == 1  # -32 * 4 is the one code that runtimes avoid
