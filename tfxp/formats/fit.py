"""Choose how a word length is split into integer and fractional bits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tfxp.errors import FormatError
from tfxp.formats.codec import quantize
from tfxp.formats.fixed_point import FixedPointFormat
from tfxp.formats.tensor_stats import TensorStats

Fit = Callable[[TensorStats, int, bool, bool], FixedPointFormat]
_LIMIT = 48


def fit_max_abs(
    stats: TensorStats, bits: int, signed: bool = True, symmetric: bool = False
) -> FixedPointFormat:
    """The finest format that clips nothing.

    Largest f with  x_min >= (qmin - 1/2) 2^-f  and  x_max <= (qmax + 1/2) 2^-f:  the half step is
    what rounding to nearest brings back into the range.

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign bit included.
        signed: whether one bit is spent on the sign.
        symmetric: whether the most negative code is left out.

    Raises:
        FormatError: `bits` is impossible.
        DataError: `stats` is empty.

    Example:
        >>> stats = TensorStats(); stats.update(np.array([-1.0, 3.9]))
        >>> fit_max_abs(stats, 8)
        FixedPointFormat('Q2.5')
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

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign bit included.
        signed: whether one bit is spent on the sign.
        symmetric: whether the most negative code is left out.
        budget: allowed share of clipped values, 0 to 1.

    Raises:
        FormatError: `bits` or `budget` is impossible.
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
    f = _finest(stats, bits, signed, symmetric)
    while f > -_LIMIT:
        fmt = FixedPointFormat.of_bits(bits, f, signed, symmetric)
        half = fmt.scale / 2
        low, high = fmt.min - half, fmt.max + half
        inside = low <= stats.min and stats.max <= high
        if inside or (budget > 0 and stats.clipped_fraction(low, high) <= budget):
            return fmt
        f -= 1
    return FixedPointFormat.of_bits(bits, f, signed, symmetric)


def fit_mse(
    stats: TensorStats, bits: int, signed: bool = True, symmetric: bool = False
) -> FixedPointFormat:
    """The format with the smallest mean squared error, that is the largest SQNR.

        SQNR(f) = 10 log10( E[x^2] / E[(x - Q_f(x))^2] )   [dB]

    Every f from the one that clips nothing up to one that clips nearly everything is tried; ties
    go to the smaller f (the wider range).

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign bit included.
        signed: whether one bit is spent on the sign.
        symmetric: whether the most negative code is left out.

    Raises:
        FormatError: `bits` is impossible.
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
    finest = widest.fractional_bits + min(bits, 8)
    best, best_error = widest, math.inf
    for f in range(widest.fractional_bits, min(finest, _LIMIT) + 1):
        fmt = FixedPointFormat.of_bits(bits, f, signed, symmetric)
        error = mean_squared_error(stats, fmt)
        if error < best_error:
            best, best_error = fmt, error
    return best


def mean_squared_error(stats: TensorStats, fmt: FixedPointFormat) -> float:
    """E[(x - Q(x))^2] over the values behind `stats`.

    Where a bin of the histogram is wider than the format's step, the rounding error inside it is
    taken as uniform, step^2 / 12; elsewhere a bin stands for its mean.
    """
    values, counts = stats.bin_values()
    bin_width = 2.0 ** (stats.exponent - 12)
    error = np.square(values - quantize(values, fmt).astype(np.float64))
    if bin_width > fmt.scale:
        inside = (values >= fmt.min) & (values <= fmt.max)
        error = np.where(inside, fmt.scale**2 / 12, error)
    return float((error * counts).sum() / stats.count)


def sqnr_db(stats: TensorStats, fmt: FixedPointFormat) -> float:
    """Signal to quantization noise ratio in dB; infinite if nothing is lost."""
    noise = mean_squared_error(stats, fmt)
    if noise == 0:
        return math.inf
    return 10 * math.log10(max(stats.power, 1e-300) / noise)


FITS: dict[str, Fit] = {
    "max": fit_max_abs,
    "clip_budget": fit_clip_budget,
    "mse": fit_mse,
}


def _finest(stats: TensorStats, bits: int, signed: bool, symmetric: bool) -> int:
    """A number of fractional bits from which only coarser formats need to be tried."""
    FixedPointFormat.of_bits(bits, 0, signed, symmetric)  # says what is wrong with `bits`
    magnitude = stats.percentile(50) if stats.count else 0.0
    magnitude = max(abs(magnitude), stats.max_abs * 2.0**-16)
    if stats.max_abs == 0:
        return min(bits - int(signed), _LIMIT)
    return min(bits + 1 - math.frexp(magnitude)[1], _LIMIT)
