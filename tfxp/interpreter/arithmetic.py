"""Integer requantization: how an accumulator becomes a code, in every way that LiteRT does it.

A real multiplier M is held as a 32-bit integer q and a shift s with M ~ q * 2^(s - 31) and
2^30 <= q < 2^31. An accumulator x then becomes, by name of the mode:

double_rounding     half_away(half_up(x * 2^max(s, 0) * q / 2^31) / 2^max(-s, 0)): LiteRT's builtin
                    kernels
double_rounding_up  the same with half_up in both places: LiteRT's vectorised QUANTIZE
single_rounding     half_up(x * q / 2^(31 - s)): builds of LiteRT with one rounding
reduced             half_up(x * q16 / 2^(15 - s)), q16 = q in 16 bits: LiteRT's 64-bit accumulators
float32             half_even(float32(x) * float32(M)): XNNPACK's convolutions and MUL

Each has a scalar definition in Python integers and fractions (`requantize_scalar`) and a
vectorised twin (`requantize`); the same tests hold both. `x * 2^s` wraps at 32 bits in the double
roundings, as it does in LiteRT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import ConfigError, TfliteFormatError

Codes = NDArray[np.int64]
MODES = ("double_rounding", "double_rounding_up", "single_rounding", "reduced", "float32")

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class QuantizedMultiplier:
    """A real multiplier as a 32-bit integer and a power of two: value = multiplier * 2^(shift-31).

    Args:
        multiplier: 0, or of magnitude 2^30 to 2^31 - 1.
        shift: positive shifts left.

    Example:
        >>> QuantizedMultiplier.of(0.75)
        QuantizedMultiplier(multiplier=1610612736, shift=0)
        >>> QuantizedMultiplier.of(0.75).value
        Fraction(3, 4)
    """

    multiplier: int
    shift: int

    @classmethod
    def of(cls, real: float) -> QuantizedMultiplier:
        """The nearest such multiplier; below 2^-32 it is zero.

        Raises:
            TfliteFormatError: `real` is not finite.
        """
        if not math.isfinite(real):
            raise TfliteFormatError(
                f"multiplier: got {real}; expected a finite number. It comes from the scales of a "
                "model, which is damaged"
            )
        if real == 0.0:
            return cls(0, 0)
        mantissa, shift = math.frexp(real)
        scaled = mantissa * 2.0**31
        fixed = math.floor(abs(scaled) + 0.5) * (1 if scaled >= 0 else -1)
        if fixed == 2**31:
            fixed //= 2
            shift += 1
        if shift < -31:
            return cls(0, 0)
        return cls(fixed, shift)

    @property
    def value(self) -> Fraction:
        """The multiplier it stands for, exactly."""
        return Fraction(self.multiplier) * Fraction(2) ** (self.shift - 31)


def float32_product(a: float, b: float, over: float) -> QuantizedMultiplier:
    """a * b / over in float32, as a quantized multiplier.

    Example:
        >>> float32_product(0.5, 0.25, 2.0)
        QuantizedMultiplier(multiplier=1073741824, shift=-3)
    """
    return QuantizedMultiplier.of(float(np.float32(a) * np.float32(b) / np.float32(over)))


def wrap_int32(values: Any) -> Any:
    """Two's-complement wrap to 32 bits, of an int or an int64 array.

    Example:
        >>> wrap_int32(2**31)
        -2147483648
    """
    return ((values + 2**31) & 0xFFFFFFFF) - 2**31


def doubling_high_mul_scalar(a: int, b: int) -> int:
    """The definition of the saturating rounding doubling high product of two 32-bit integers.

    floor(a * b / 2^31 + 1/2), except that (-2^31)^2 saturates at 2^31 - 1.
    """
    if a == b == INT32_MIN:
        return INT32_MAX
    return math.floor(Fraction(a * b, 2**31) + Fraction(1, 2))


def divide_by_power_scalar(x: int, exponent: int) -> int:
    """The definition of rounding division by 2^exponent: nearest, halves away from zero."""
    exact = Fraction(x, 2**exponent)
    nearest = math.floor(abs(exact) + Fraction(1, 2))
    return nearest if exact >= 0 else -nearest


def doubling_high_mul(a: Any, b: Any) -> Codes:
    """Vectorised `doubling_high_mul_scalar`: int64 arrays that hold 32-bit values.

    Example:
        >>> doubling_high_mul(np.array([1 << 30, -(1 << 30)]), 1 << 30).tolist()
        [536870912, -536870912]
    """
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    return np.minimum((a * b + (1 << 30)) >> 31, INT32_MAX)


def divide_by_power(x: Any, exponent: Any) -> Codes:
    """Vectorised `divide_by_power_scalar`.

    Example:
        >>> divide_by_power(np.array([3, 1, -1, -3]), 1).tolist()
        [2, 1, -1, -2]
    """
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    magnitude = (np.abs(x) + half) >> exponent
    return np.where(x < 0, -magnitude, magnitude)


def _reduced(multiplier: int) -> int:
    return (multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF


def requantize_scalar(x: int, by: QuantizedMultiplier, mode: str = "double_rounding") -> int:
    """x times a quantized multiplier, by exact arithmetic: the definition of the integer modes.

    Args:
        x: the accumulator.
        by: the multiplier.
        mode: "double_rounding", "double_rounding_up", "single_rounding" or "reduced".

    Raises:
        ConfigError: no such mode.

    Example:
        >>> half = QuantizedMultiplier.of(0.5)
        >>> [requantize_scalar(x, half) for x in (1, 3, -1, -3)]
        [1, 2, 0, -1]
    """
    q, s = by.multiplier, by.shift
    if mode == "double_rounding":
        high = doubling_high_mul_scalar(wrap_int32(x << max(s, 0)), q)
        return divide_by_power_scalar(high, max(-s, 0))
    if mode == "double_rounding_up":
        high = doubling_high_mul_scalar(wrap_int32(x << max(s, 0)), q)
        return math.floor(Fraction(high, 2 ** max(-s, 0)) + Fraction(1, 2))
    if mode == "single_rounding":
        return math.floor(Fraction(x * q) / Fraction(2) ** (31 - s) + Fraction(1, 2))
    if mode == "reduced":
        return math.floor(Fraction(x * _reduced(q)) / Fraction(2) ** (15 - s) + Fraction(1, 2))
    raise ConfigError(f"requantization mode: got {mode!r}; expected one of {', '.join(MODES)}.")


def requantize(
    x: NDArray[Any], by: QuantizedMultiplier, mode: str = "double_rounding"
) -> Codes:
    """Vectorised `requantize_scalar`.

    Args:
        x: integer accumulators; 32-bit values, up to 48 bits for "reduced".
        by: the multiplier, one for all of x.
        mode: as in `requantize_scalar`.

    Raises:
        ConfigError: no such mode.

    Example:
        >>> requantize(np.array([1, 3, -1, -3]), QuantizedMultiplier.of(0.5)).tolist()
        [1, 2, 0, -1]
    """
    return requantize_channels(x, by.multiplier, by.shift, mode)


def requantize_channels(
    x: NDArray[Any], multiplier: Any, shift: Any, mode: str = "double_rounding"
) -> Codes:
    """`requantize` with one multiplier per element, broadcast against x.

    Args:
        x: integer accumulators.
        multiplier, shift: integers or integer arrays that broadcast against x.
        mode: as in `requantize_scalar`.

    Raises:
        ConfigError: no such mode.
    """
    x = np.asarray(x, np.int64)
    q, s = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if mode in ("double_rounding", "double_rounding_up"):
        left, right = np.maximum(s, 0), np.maximum(-s, 0)
        shifted = wrap_int32(x << left) if np.any(left) else x
        high = doubling_high_mul(shifted, q)
        if mode == "double_rounding":
            return divide_by_power(high, right)
        return (high + ((np.int64(1) << right) >> 1)) >> right
    if mode == "single_rounding":
        return (x * q + (np.int64(1) << (30 - s))) >> (31 - s)
    if mode == "reduced":
        small = np.where(q < 0x7FFF0000, (q + (1 << 15)) >> 16, 0x7FFF)
        return (x * small + (np.int64(1) << (14 - s))) >> (15 - s)
    raise ConfigError(f"requantization mode: got {mode!r}; expected one of {', '.join(MODES)}.")


def requantize_float32_scalar(x: int, scale: float, zero_point: int, low: int, high: int) -> int:
    """XNNPACK's requantization of one accumulator: the definition of the mode "float32".

    half_even(clip(float32(float32(x) * scale), low - zero_point, high - zero_point)) + zero_point

    Args:
        x: the accumulator.
        scale: float32 multiplier.
        zero_point: zero point of the output.
        low, high: inclusive code limits.

    Example:
        >>> [requantize_float32_scalar(x, 0.5, 0, -128, 127) for x in (1, 3, -1, 999)]
        [0, 2, 0, 127]
    """
    product = np.float32(np.float32(x) * np.float32(scale))
    nearest = round(Fraction(float(product)))
    return min(max(nearest + zero_point, low), high)


def requantize_float32(
    x: NDArray[Any], scale: Any, zero_point: int, low: int, high: int
) -> Codes:
    """Vectorised `requantize_float32_scalar`; `scale` may be an array that broadcasts against x.

    Example:
        >>> requantize_float32(np.array([1, 3, -1, 999]), 0.5, 0, -128, 127).tolist()
        [0, 2, 0, 127]
    """
    product = np.asarray(x).astype(np.float32) * np.asarray(scale, np.float32)
    clipped = np.clip(product, np.float32(low - zero_point), np.float32(high - zero_point))
    return np.rint(clipped).astype(np.int64) + zero_point


def round_half_away(values: Any) -> Any:
    """Nearest integer with halves away from zero, in the input's own float type (C's `round`).

    Example:
        >>> round_half_away(np.float32([0.5, -0.5, 1.5, 0.49999997])).tolist()
        [1.0, -1.0, 2.0, 0.0]
    """
    values = np.asarray(values)
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):  # infinities have no fraction
        away = np.abs(values - whole) >= 0.5
    return whole + np.copysign(away, values).astype(values.dtype)


def log2_if_power_of_two(scale: float) -> int | None:
    """log2 of a float32 scale that is a power of two to a part in a thousand, else None.

    Example:
        >>> log2_if_power_of_two(2.0**-15), log2_if_power_of_two(0.3)
        (-15, None)
    """
    if scale <= 0.0:
        return None
    exponent = np.float32(np.log(np.float32(scale))) * np.float32(1.0 / math.log(2.0))
    nearest = round_half_away(exponent)
    return int(nearest) if abs(exponent - nearest) < 1e-3 else None
