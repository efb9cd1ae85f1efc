"""Fixed-point functions against the real functions they approximate, and their shapes."""

import math

import numpy as np
import pytest

from tfxp.interpreter.numerics import fixed_point_math as F


@pytest.mark.parametrize(("bits", "tolerance"), [(16, 3e-4), (32, 5e-7)])
def test_exponential(bits, tolerance):
    integer_bits = 5
    fraction = bits - 1 - integer_bits
    raw = -np.unique(np.linspace(0, 2 ** (bits - 1) - 1, 5000).astype(np.int64))
    real = np.exp(raw * 2.0**-fraction)
    got = F.exp_of_negative(raw, integer_bits, bits) * 2.0 ** -(bits - 1)
    assert np.abs(got - real).max() < tolerance


@pytest.mark.parametrize(("bits", "tolerance"), [(16, 4e-4), (32, 1e-6)])
@pytest.mark.parametrize("name", ["tanh", "logistic"])
def test_sigmoids(name, bits, tolerance):
    raw = np.unique(np.linspace(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 5001).astype(np.int64))
    x = raw * 2.0 ** -(bits - 4)
    real = np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x))
    got = getattr(F, name)(raw, 3, bits) * 2.0 ** -(bits - 1)
    assert np.abs(got - real).max() < tolerance


def test_reciprocal_and_logarithm():
    raw = np.unique(np.geomspace(2**19, 2**31 - 1, 2000).astype(np.int64))
    x = raw * 2.0**-19
    mantissa, over = F.reciprocal(raw, 12)
    assert np.abs(mantissa * 2.0**-31 * 2.0**-over * x - 1).max() < 1e-6
    log = F.log_of_at_least_one(raw, 12, 5) * 2.0**-26
    assert np.abs(log - np.log(x)).max() < 1e-6


def test_leading_zeros_of_every_power():
    values = [2**k for k in range(32)] + [2**k - 1 for k in range(1, 33)]
    expected = [32 - v.bit_length() for v in values]
    assert F.leading_zeros(np.array(values)).tolist() == expected


def test_power_scaling_saturates_and_rounds():
    assert F.scale_by_power(np.array([1 << 30, -(1 << 30), 3]), 2).tolist() == [
        2**31 - 1,
        -(2**31),
        12,
    ]
    assert F.scale_by_power(np.array([3, -3, 1]), -1).tolist() == [2, -2, 1]
    assert math.isclose(F.one_over_one_plus(np.array([2**31 - 1]))[0] * 2.0**-31, 0.5, abs_tol=1e-8)
