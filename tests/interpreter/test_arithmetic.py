"""Requantization: vectorised forms against exact definitions, definitions against formulas."""

from fractions import Fraction

import numpy as np
import pytest

from tfxp.errors import ConfigError, TfliteFormatError
from tfxp.interpreter import arithmetic as A

MODES = ("double_rounding", "double_rounding_up", "single_rounding", "reduced")
REALS = (0.5, 0.75, 1.0, 1.9999999, 3.7, 100.25, 2.0**-7, 1e-3, 3.3e-7, 2.0**-31, 0.0)


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("mode", MODES)
def test_vector_form_equals_scalar_definition(real, mode, rng):
    by = A.QuantizedMultiplier.of(real)
    limit = 2**31 // 2 ** max(by.shift, 0)
    x = rng.integers(-limit, limit, 300)
    x = np.concatenate([x, np.arange(-9, 10), [limit - 1, -limit]])
    if mode == "reduced":
        x = np.clip(x, -(2**24), 2**24)
    expected = [A.requantize_scalar(int(v), by, mode) for v in x]
    assert A.requantize(x, by, mode).tolist() == expected


@pytest.mark.parametrize("real", [r for r in REALS if r])
def test_quantized_multiplier_is_the_nearest(real):
    by = A.QuantizedMultiplier.of(real)
    assert 2**30 <= by.multiplier < 2**31
    assert abs(by.value - Fraction(real)) <= Fraction(real) / 2**31


def test_quantized_multiplier_flushes_the_smallest_to_zero():
    assert A.QuantizedMultiplier.of(2.0**-33) == A.QuantizedMultiplier(0, 0)
    assert A.QuantizedMultiplier.of(-0.75).multiplier == -(3 << 29)
    with pytest.raises(TfliteFormatError, match="finite"):
        A.QuantizedMultiplier.of(float("inf"))


@pytest.mark.parametrize("exponent", range(0, 9))
def test_division_by_powers_rounds_halves_away(exponent):
    x = np.arange(-600, 601)
    expected = [int(np.sign(v) * np.floor(abs(v) / 2**exponent + 0.5)) for v in x]
    assert A.divide_by_power(x, exponent).tolist() == expected
    assert [A.divide_by_power_scalar(int(v), exponent) for v in x] == expected


def test_doubling_high_product_on_limits():
    edge = [-(2**31), -(2**31) + 1, -1, 0, 1, 2**30, 2**31 - 1]
    a, b = np.meshgrid(edge, edge)
    pairs = zip(a.flat, b.flat, strict=True)
    expected = [A.doubling_high_mul_scalar(int(x), int(y)) for x, y in pairs]
    assert A.doubling_high_mul(a.ravel(), b.ravel()).tolist() == expected
    assert A.doubling_high_mul_scalar(-(2**31), -(2**31)) == 2**31 - 1


def test_float32_mode_rounds_half_even_and_clamps(rng):
    x = np.concatenate([np.arange(-1000, 1001), rng.integers(-(2**31), 2**31, 500)])
    for scale in (0.5, 0.25, 1.0, 3.1e-3, 7e-9):
        got = A.requantize_float32(x, scale, 5, -128, 127)
        expected = [A.requantize_float32_scalar(int(v), scale, 5, -128, 127) for v in x]
        assert got.tolist() == expected


def test_unknown_modes_are_refused():
    by = A.QuantizedMultiplier.of(0.5)
    with pytest.raises(ConfigError, match="expected one of double_rounding"):
        A.requantize(np.arange(3), by, "nearest")
    with pytest.raises(ConfigError, match="expected one of double_rounding"):
        A.requantize_scalar(3, by, "nearest")
