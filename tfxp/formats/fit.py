"""Choose how a word length is split into integer and fractional bits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tfxp.errors import FormatError
from tfxp.formats.codec import quantize
from tfxp.formats.fixed_point import MAX_EXPONENT, FixedPointFormat
from tfxp.formats.tensor_stats import LOG2_LOW, TensorStats

Fit = Callable[[TensorStats, int, bool, bool], FixedPointFormat]
_MSE_SPAN = 10


def fit_max_abs(
    stats: TensorStats, bits: int, signed: bool = True, symmetric: bool = False
) -> FixedPointFormat:
    """The finest format that clips nothing.

        Largest f with  x_min >= (qmin - 1/2) 2^-f  and  x_max <= (qmax + 1/2) 2^-f

    The half step is brought back into the range by rounding to nearest.

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign bit included.
        signed: whether one bit is spent on the sign.
        symmetric: whether the most negative code is left out.

    Raises:
        FormatError: `bits` is impossible, or the range is beyond 2^64.
        DataError: `stats` is empty.

    Example:
        >>> stats = TensorStats(); stats.update(np.array([-1.0, 3.9]))
        >>> fit_max_abs(stats, 8)
        FixedPointFormat('Q2.5')

    References:
        Milde et al., "ADaPTION", 2017: its range tool without clipping. Departs from it:
        both tails count, and the half step that rounding brings back.
    """
    return fit_clip_budget(stats, bits, signed, symmetric, budget=0.0)


def fit_clip_budget(
    stats: TensorStats,
    bits: int,
    signed: bool = True,
    symmetric: bool = False,
    budget: float = 0.01,
) -> FixedPointFormat:
    """The finest format that clips at most a share `budget` of the values, both tails counted.

        Largest f with  P(x < (qmin - 1/2) 2^-f) + P(x > (qmax + 1/2) 2^-f) <= budget

    Ranges of a bin of the histogram and more are judged by it, narrower ones by the counts of
    floor(log2|x|): outliers may be any number of powers of two beyond the body.

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign bit included.
        signed: whether one bit is spent on the sign.
        symmetric: whether the most negative code is left out.
        budget: allowed share of clipped values, 0 to 1.

    Raises:
        FormatError: `bits` or `budget` is impossible, or the range is beyond 2^64.
        DataError: `stats` is empty.

    Example:
        >>> stats = TensorStats(); stats.update(np.array([0.1] * 99 + [8.0]))
        >>> fit_clip_budget(stats, 8, budget=0.01)
        FixedPointFormat('Q-3.10')

    References:
        Milde et al., "ADaPTION", 2017: its range tool (`distribute_bits`). Departs from it: |x|
        instead of x, both tails, and the share is tested before a bit is given away, not after.
    """
    if not 0 <= budget < 1:
        raise FormatError(f"clip budget: got {budget}; expected 0 <= budget < 1.")
    narrow = _narrow_range(stats, bits, signed, symmetric, budget)
    if narrow is not None:
        return narrow
    values, counts = stats.bin_values()
    widest = bits - int(signed) - MAX_EXPONENT
    for f in range(_finest(stats, bits, signed, symmetric), widest - 1, -1):
        fmt = FixedPointFormat.of_bits(bits, f, signed, symmetric)
        half = fmt.scale / 2
        low, high = fmt.min - half, fmt.max + half
        if low <= stats.min and stats.max <= high:
            return fmt
        clipped = counts[(values < low) | (values > high)].sum() / stats.count
        if budget > 0 and clipped <= budget:
            return fmt
    raise FormatError(
        f"range of tensor: got {stats.min:g} to {stats.max:g}; expected one that "
        f"{bits} bits with at most {MAX_EXPONENT} integer bits hold."
    )


def fit_mse(
    stats: TensorStats, bits: int, signed: bool = True, symmetric: bool = False
) -> FixedPointFormat:
    """The format with the smallest mean squared error, that is the largest SQNR.

        SQNR(f) = 10 log10( E[x^2] / E[(x - Q_f(x))^2] )   [dB]

    Every f from the one that clips nothing up to one whose range is a thousandth of the tensor's
    is tried; ties go to the smaller f (the wider range).

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign bit included.
        signed: whether one bit is spent on the sign.
        symmetric: whether the most negative code is left out.

    Raises:
        FormatError: `bits` is impossible, or the range is beyond 2^64.
        DataError: `stats` is empty.

    Example:
        >>> stats = TensorStats(); stats.update(np.linspace(-1, 1, 1001))
        >>> fit_mse(stats, 4)
        FixedPointFormat('Q0.3')

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 3.
        Departs from it: the measured distribution instead of a Gaussian.
    """
    widest = fit_max_abs(stats, bits, signed, symmetric)
    finest = min(widest.fractional_bits + _MSE_SPAN, MAX_EXPONENT)
    best, best_error = widest, math.inf
    for f in range(widest.fractional_bits, finest + 1):
        fmt = FixedPointFormat.of_bits(bits, f, signed, symmetric)
        error = mean_squared_error(stats, fmt)
        if error < best_error:
            best, best_error = fmt, error
    return best


def mean_squared_error(stats: TensorStats, fmt: FixedPointFormat) -> float:
    """E[(x - Q(x))^2] over the values behind `stats`.

        E = sum over bins of  share * ((mean - Q(mean))^2 + variance)

    That is exact (up to float64 rounding) for formats whose step is at least two bins,
    2^-f >= 2^(e-11), because no decision threshold lies inside a bin then, and for bins that hold
    one distinct value. Elsewhere the rounding error is taken as uniform, step^2 / 12.

    Args:
        stats: of the tensor.
        fmt: the format that rounds it.
    """
    values, counts = stats.bin_values()
    variances = stats.bin_variances()
    error = np.square(values - quantize(values, fmt).astype(np.float64)) + variances
    if stats.bin_width > fmt.scale / 2:
        inside = (values >= fmt.min) & (values <= fmt.max)
        uniform = fmt.scale**2 / 12
        error = np.where(inside & (variances > uniform / 16), uniform, error)
    return float((error * counts).sum() / stats.count)


def sqnr_db(stats: TensorStats, fmt: FixedPointFormat) -> float:
    """Signal to quantization noise ratio in dB; infinite if nothing is lost.

        SQNR = 10 log10( E[x^2] / E[(x - Q(x))^2] )

    Args:
        stats: of the tensor.
        fmt: the format that rounds it.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016,
        sec. 3.1.
    """
    return decibels(stats.power, mean_squared_error(stats, fmt))


def decibels(power: float, noise: float) -> float:
    """10 log10(power / noise); infinite without noise.

    Args:
        power: mean square of the signal.
        noise: mean square of the error.

    Example:
        >>> decibels(100.0, 1.0), decibels(1.0, 0.0)
        (20.0, inf)
    """
    if noise == 0:
        return math.inf
    return 10 * math.log10(max(power, 1e-300) / noise)


FITS: dict[str, Fit] = {
    "max": fit_max_abs,
    "clip_budget": fit_clip_budget,
    "mse": fit_mse,
}


def _narrow_range(
    stats: TensorStats, bits: int, signed: bool, symmetric: bool, budget: float
) -> FixedPointFormat | None:
    """The finest format within the budget among those that cover less than one bin, if any."""
    coarser = _finest(stats, bits, signed, symmetric)
    negative = 0.0 if signed else stats.negative_fraction  # all of them are clipped
    if 1 - stats.zero_fraction <= budget:
        return None  # a budget for all that is not zero says nothing of the range
    for f in range(min(bits - int(signed) - LOG2_LOW, MAX_EXPONENT), coarser, -1):
        clipped = stats.share_beyond(bits - int(signed) - f) + negative
        if clipped <= budget and budget > 0:
            return FixedPointFormat.of_bits(bits, f, signed, symmetric)
    return None


def _finest(stats: TensorStats, bits: int, signed: bool, symmetric: bool) -> int:
    """A number of fractional bits from which only coarser formats need to be tried."""
    FixedPointFormat.of_bits(bits, 0, signed, symmetric)  # says what is wrong with `bits`
    if stats.max_abs == 0:
        return bits - int(signed)
    # A format whose range is one bin: the histogram does not see into the two bins around zero.
    return min(bits - int(signed) - math.frexp(stats.bin_width)[1] + 1, MAX_EXPONENT)
