"""From sums to codes in C: which rounding, and which factors can be left out.

LiteRT's default engine computes half_even(float32(sum) * float32(scale)) for 8-bit layers. With a
scale of 2^-s, and sums below 2^24 or a result beyond the limits anyway, that is a shift with
rounding to even. It needs no look at ties where none can occur.

Portable files store weights w as f w and biases as f b + r, 0 < r < f = 2^k. Their sums f a + r
divided by 2^s, s > k, are never halfway between two integers, because 2^(s-1) is a multiple of f
and the sum is none. So

    round((f a + r) / 2^s) = floor((f a + r + 2^(s-1)) / 2^s) = floor((a + 2^(s-k-1)) / 2^(s-k)),

which is half-up rounding of the sum without factor and remainder. 7-bit weights have f = 2 and a
scale just below 2^-s, which moves no sum across a tie while s is at most 15.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.operators.site import Site
from tfxp.csource.packing import common_power_of_two
from tfxp.csource.program import Constant
from tfxp.interpreter.mac.layer import MacLayer
from tfxp.interpreter.mac.requantizer import Requantizer

HALF_UP, HALF_EVEN = "TFXP_HALF_UP", "TFXP_HALF_EVEN"
FLOAT32, TWICE = "TFXP_FLOAT32", "TFXP_TWICE"
#: float32 holds whole numbers up to this.
_WHOLE = 2**24
#: Codes are at most this far apart.
_SPAN = 256
#: Right shifts up to which a scale of (2^24 - 1) / 2^24 of a power of two rounds as that power.
_MOST_SHIFT = 15


@dataclasses.dataclass(frozen=True)
class Rounded:
    """A rounding of C kernels, with what it needs.

    Args:
        rounding: name of the C constant.
        shifts: right shifts, one or one per channel.
        multipliers: whole multipliers before the shift; None where all are 1.
        ups: with TWICE, in how many channels the second rounding is half up, not half away.
    """

    rounding: str
    shifts: NDArray[np.int64]
    multipliers: NDArray[np.int64] | None = None
    ups: int = 0

    @classmethod
    def of(cls, requantizer: Requantizer, sums: tuple[int, int]) -> Rounded:
        """The same codes as a requantizer of the interpreter.

        Args:
            requantizer: of LiteRT's default engine, 8 bits.
            sums: the smallest and the largest that there can be.
        """
        if requantizer.mode != "float32":
            channels = len(requantizer.shift)
            ups = {"double_half_up": channels, "double_eights": channels // 8 * 8}
            shifts, multipliers = _fewest(-requantizer.shift, requantizer.multiplier)
            return cls(TWICE, shifts, multipliers, ups.get(requantizer.mode, 0))
        split = [math.frexp(float(scale)) for scale in requantizer.scale]
        exponents = np.array([exponent for _, exponent in split], np.int64)
        multipliers = np.array([int(mantissa * _WHOLE) for mantissa, _ in split], np.int64)
        if (2 * multipliers == _WHOLE).all() and _stays_whole(1 - exponents, sums):
            return cls(HALF_EVEN, _fewest(1 - exponents, multipliers)[0])
        return cls(FLOAT32, *_fewest(24 - exponents, multipliers))


def _stays_whole(shifts: NDArray[np.int64], sums: tuple[int, int]) -> bool:
    """Whether float32 changes no sum, or only sums that are beyond all codes."""
    beyond = (_WHOLE >> np.maximum(shifts, 0)) >= _SPAN
    return max(-sums[0], sums[1]) <= _WHOLE or bool(beyond.all())


def _fewest(
    shifts: NDArray[np.int64], multipliers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One element each where all channels have the same."""
    same = (shifts == shifts[0]).all() and (multipliers == multipliers[0]).all()
    return (shifts[:1], multipliers[:1]) if same else (shifts, multipliers)


def split_factor(layer: MacLayer) -> tuple[NDArray[Any], NDArray[np.int64], Rounded]:
    """Weights and bias without the power of two that they share, and the rounding that is left."""
    rounded = Rounded.of(layer.requantizer, layer.worst_case)
    factor = common_power_of_two(layer.weights)
    bits = factor.bit_length() - 1
    rest = layer.bias % factor
    if rounded.rounding == TWICE or factor == 1:
        return layer.weights, layer.bias, rounded
    rounded = _without_nearly(rounded, rest, bits)
    fewer = dataclasses.replace(rounded, shifts=rounded.shifts - bits)
    if not rest.any():
        return layer.weights // factor, layer.bias // factor, fewer
    if rounded.rounding == HALF_EVEN and rest.all() and (fewer.shifts > 0).all():
        up = dataclasses.replace(fewer, rounding=HALF_UP)
        return layer.weights // factor, layer.bias // factor, up
    return layer.weights, layer.bias, rounded


def _without_nearly(rounded: Rounded, rest: NDArray[np.int64], bits: int) -> Rounded:
    """A shift for scales just below powers of two, where no sum is a multiple of the factor."""
    multipliers = rounded.multipliers
    if rounded.rounding != FLOAT32 or multipliers is None or not rest.all():
        return rounded
    shifts = rounded.shifts - 24
    between = (bits < shifts) & (shifts <= _MOST_SHIFT)
    if (multipliers != _WHOLE - 1).any() or not between.all():
        return rounded
    return Rounded(HALF_EVEN, shifts)


def requantizer_fields(
    site: Site, rounded: Rounded, requantizer: Requantizer
) -> tuple[tuple[Any, ...], list[Constant]]:
    """Fields of the C struct, and the arrays that it names."""
    constants = [site.constant("shifts", "int8_t", np.clip(rounded.shifts, -128, 127))]
    multipliers: int | str = 0
    if rounded.multipliers is not None:
        constants.append(site.constant("multipliers", "int32_t", rounded.multipliers))
        multipliers = constants[-1].name
    limits = (requantizer.zero_point, requantizer.low, requantizer.high)
    fields = (rounded.rounding, constants[0].name, multipliers, len(rounded.shifts), rounded.ups)
    return (*fields, *limits), constants
