"""Exponential, logistic, tanh, reciprocal and logarithm in fixed point, for integer kernels.

A number is an integer of `bits` bits (16 or 32) with m integer bits: raw * 2^-(bits - 1 - m). The
polynomials, constants and rounding steps are those of gemmlowp, which LiteRT's integer SOFTMAX,
LOG_SOFTMAX, TANH, LOGISTIC and LSTM are defined by, so results agree bit for bit. Everything is
vectorised over int64 arrays of raw values.

References:
    gemmlowp, fixedpoint/fixedpoint.h, https://github.com/google/gemmlowp.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.formats.rounding import Rounding, round_scalar
from tfxp.interpreter.numerics.arithmetic import divide_by_power

Raw = NDArray[np.int64]

#: exp(-2^e) in 31 fractional bits, by e.
_EXP_OF_POWERS = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}


def _constant(raw32: int, bits: int) -> int:
    """A constant given in 32 bits, in `bits` bits."""
    return round_scalar(Fraction(raw32, 2 ** (32 - bits)), Rounding.HALF_AWAY)


def _limits(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def wrap(values: Raw, bits: int) -> Raw:
    """Two's-complement wrap to `bits` bits."""
    half = np.int64(1) << (bits - 1)
    return ((values + half) & ((np.int64(1) << bits) - 1)) - half


def multiply(a: Any, b: Any, bits: int = 32) -> Raw:
    """Rounding doubling high product, saturating: (a * b) / 2^(bits-1), halves up.

    Example:
        >>> multiply(np.array([1 << 14]), 1 << 14, bits=16).tolist()
        [8192]
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << (bits - 2))) >> (bits - 1), _limits(bits)[1])


def scale_by_power(x: Any, exponent: int, bits: int = 32) -> Raw:
    """x * 2^exponent: saturating to the left, rounding half away to the right."""
    x = np.asarray(x, np.int64)
    if exponent <= 0:
        return divide_by_power(x, -exponent) if exponent else x
    return np.clip(x << exponent, *_limits(bits))


def _half_sum(a: Raw, b: int) -> Raw:
    """(a + b) / 2, nearest, halves away from zero."""
    return divide_by_power(a + b, 1)


def _exp_near_zero(a: Raw, bits: int) -> Raw:
    """exp(a) for a in [-1/4, 0), 0 integer bits: a Taylor polynomial around -1/8."""
    center = _constant(1895147668, bits)
    third = _constant(715827883, bits)
    x = a + (1 << (bits - 4))
    x2 = multiply(x, x, bits)
    x3 = multiply(x2, x, bits)
    x4_quarter = scale_by_power(multiply(x2, x2, bits), -2, bits)
    tail = scale_by_power(multiply(x4_quarter + x3, third, bits) + x2, -1, bits)
    result = center + multiply(center, x + tail, bits)
    return np.minimum(result, _limits(bits)[1]) if bits == 16 else result


def exp_of_negative(a: Raw, integer_bits: int, bits: int = 32) -> Raw:
    """exp(a) for a <= 0 with `integer_bits` integer bits; the result has none.

    Args:
        a: raw values, <= 0.
        integer_bits: of the input.
        bits: word length, 16 or 32.

    Example:
        >>> exp_of_negative(np.array([0, -(1 << 26)]), 5).tolist()
        [2147483647, 790015308]
    """
    a = np.asarray(a, np.int64)
    fraction_bits = bits - 1 - integer_bits
    quarter = np.int64(1) << (fraction_bits - 2)
    below_quarter = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(scale_by_power(below_quarter, integer_bits, bits), bits)
    remainder = below_quarter - a
    for exponent, factor in _EXP_OF_POWERS.items():
        if integer_bits > exponent:
            chosen = (remainder >> (fraction_bits + exponent)) & 1
            reduced = multiply(result, _constant(factor, bits), bits)
            result = np.where(chosen != 0, reduced, result)
    if integer_bits > 5:
        clamp = (
            -(np.int64(1) << (36 - integer_bits))
            if bits == 32
            else _constant(-(1 << (36 - integer_bits)), bits)
        )
        result = np.where(a < clamp, 0, result)
    return np.where(a == 0, _limits(bits)[1], result)


def _reciprocal_newton(a: Raw, bits: int) -> Raw:
    """2 / (1 + a) for a in [0, 1]; two integer bits out (three Newton-Raphson steps)."""
    half_denominator = _half_sum(np.asarray(a, np.int64), _limits(bits)[1])
    x = _constant(1515870810, bits) + multiply(half_denominator, _constant(-1010580540, bits), bits)
    one = 1 << (bits - 3)
    for _ in range(3):
        error = one - multiply(half_denominator, x, bits)
        x = wrap(x + scale_by_power(multiply(x, error, bits), 2, bits), bits)
    return x


def one_over_one_plus(a: Raw, bits: int = 32) -> Raw:
    """1 / (1 + a) for a in [0, 1], no integer bits."""
    return scale_by_power(_reciprocal_newton(a, bits), 1, bits)


def _one_minus_over_one_plus(a: Raw, bits: int) -> Raw:
    """(1 - a) / (1 + a) for a in [0, 1], no integer bits."""
    return scale_by_power(_reciprocal_newton(a, bits) - (1 << (bits - 3)), 2, bits)


def tanh(a: Raw, integer_bits: int, bits: int = 16) -> Raw:
    """tanh(a); no integer bits out.

    Example:
        >>> tanh(np.array([0, 4096, -32768]), 3).tolist()
        [0, 24964, -32767]
    """
    a = np.asarray(a, np.int64)
    negative = wrap(-np.abs(a), bits)
    t = _one_minus_over_one_plus(exp_of_negative(negative, integer_bits + 1, bits), bits)
    return np.where(a == 0, 0, np.where(a < 0, -t, t))


def logistic(a: Raw, integer_bits: int, bits: int = 16) -> Raw:
    """1 / (1 + exp(-a)); no integer bits out.

    Example:
        >>> logistic(np.array([0, 4096]), 3).tolist()
        [16384, 23952]
    """
    a = np.asarray(a, np.int64)
    positive = one_over_one_plus(exp_of_negative(-np.abs(a), integer_bits, bits), bits)
    one = _limits(bits)[1]
    return np.where(a == 0, (one + 1) >> 1, np.where(a > 0, positive, one - positive))


@functools.cache
def word_table(function: str, integer_bits: int) -> Raw:
    """ "tanh" or "logistic" of all 16-bit values in order, -32768 first; no integer bits out.

    Example:
        >>> word_table("tanh", 3)[[0, 32768, 65535]].tolist()
        [-32767, 0, 32767]
    """
    values = {"tanh": tanh, "logistic": logistic}[function](np.arange(-32768, 32768), integer_bits)
    values.setflags(write=False)
    return values


def leading_zeros(x: Any) -> Raw:
    """Leading zero bits of 32-bit unsigned values; 32 for zero.

    Example:
        >>> leading_zeros(np.array([1, 2**31, 0])).tolist()
        [31, 0, 32]
    """
    x = np.asarray(x, np.int64)
    _, exponent = np.frexp(x.astype(np.float64))
    return 32 - exponent.astype(np.int64)


def reciprocal(x: Raw, integer_bits: int) -> tuple[Raw, Raw]:
    """1 / x for x >= 1, normalised.

    Args:
        x: raw 32-bit values, > 0.
        integer_bits: of x.

    Returns:
        The raw mantissa with no integer bits, and k with 1/x = mantissa * 2^(-k).
    """
    headroom = leading_zeros(x)
    fraction = wrap((x << headroom) - (np.int64(1) << 31), 32)
    return one_over_one_plus(fraction), integer_bits - headroom


def log_of_at_least_one(x: Raw, input_bits: int, output_bits: int) -> Raw:
    """log(x) for x >= 1, 32-bit words.

    Args:
        x: raw values with `input_bits` integer bits.
        input_bits, output_bits: integer bits of the input and of the result.
    """
    x = np.asarray(x, np.int64)
    accumulator_bits = output_bits + 1
    unit = 31 - accumulator_bits
    quarter = scale_by_power(np.int64(536870912), -accumulator_bits)
    sqrt_half, sqrt_sqrt_half = 1518500250, 1805811301
    headroom_a = leading_zeros(x)
    r_a = _shift(multiply(_shift(x, headroom_a - 1), sqrt_half), 1)
    power_a = _saturate(_shift(input_bits - headroom_a, unit) + quarter)
    headroom_b = leading_zeros(multiply(x, sqrt_half)) - 1
    r_b = _shift(x, headroom_b)
    power_b = _saturate(_shift(input_bits - headroom_b, unit) - quarter)
    r, power = np.minimum(r_a, r_b), np.maximum(power_a, power_b)
    p = _half_sum(r, sqrt_sqrt_half)
    q = wrap(2 * (r - sqrt_sqrt_half), 32)
    square = multiply(q, q)
    numerator = multiply(q, r) + multiply(multiply(q, square), 117049297)
    denominator = multiply(p, 1057819769 + q + multiply(127690142, square)) + multiply(638450708, q)
    fraction = multiply(
        scale_by_power(numerator, -accumulator_bits), one_over_one_plus(denominator)
    )
    total = wrap(multiply(power, 1488522236) + fraction, 32)
    return scale_by_power(total, accumulator_bits - output_bits)


def _saturate(x: Raw) -> Raw:
    return np.clip(x, *_limits(32))


def _shift(x: Raw, exponent: Any) -> Raw:
    """Saturating left shift by per-element exponents >= 0."""
    return _saturate(np.asarray(x, np.int64) << np.asarray(exponent, np.int64))


def inverse_square_root(value: Any) -> tuple[Raw, Raw]:
    """1 / sqrt(value) as (multiplier, shift), by five Newton-Raphson steps in 32 bits.

    Args:
        value: integers from 0 to 2^31 - 1; 0 counts as 1.

    Example:
        >>> multiplier, shift = inverse_square_root(np.array([4, 100]))
        >>> (multiplier * 2.0 ** (shift - 31)).round(6).tolist()
        [0.5, 0.1]
    """
    value = np.asarray(value, np.int64)
    reduced, shift = np.maximum(value, 2), np.full(value.shape, 11, np.int64)
    too_large = reduced >= 1 << 29
    reduced, shift = np.where(too_large, reduced // 4, reduced), shift + too_large
    pairs = (leading_zeros(reduced) - 1) // 2 - 1
    reduced, shift = reduced << (2 * pairs), shift - pairs
    half, x = scale_by_power(reduced >> 1, -1), np.full(value.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = scale_by_power(multiply(multiply(x, x), x), 6)
        x = scale_by_power(multiply((1 << 28) + (1 << 27), x) - multiply(half, cube), 3)
    result = multiply(x, 1518500250) << np.maximum(-shift, 0)
    one = value <= 1
    return np.where(one, 2**31 - 1, result), np.where(one, 0, -np.maximum(shift, 0))
