"""Integer requantization: how an accumulator becomes a code, in every way that LiteRT does it.

A real multiplier M is held as a 32-bit integer q and a shift s with M ~ q * 2^(s - 31) and
2^30 <= q < 2^31, or as a float. REQUANTIZATIONS defines the modes, in the words of
`tfxp.formats.Rounding`; docs/interpreter.md prints it.

Each mode has a scalar definition in Python integers and fractions (`requantize_scalar`,
`requantize_float32_scalar`) and a vectorised twin; the same tests hold both. `x * 2^s` wraps at 32
bits in the double roundings, as it does in LiteRT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfxp.errors import ConfigError, TfliteFormatError
from tfxp.formats.rounding import Rounding, round_half_away, round_scalar

Codes = NDArray[np.int64]
Whole = TypeVar("Whole", int, NDArray[Any])

#: Name of every mode -> what becomes of an accumulator x, and who does that.
REQUANTIZATIONS = {
    "float32": ("half_even(float32(x) * float32(M))", "XNNPACK"),
    "float64": ("half_away(float64(x) * M)", "BUILTIN_REF's FULLY_CONNECTED"),
    "double_rounding": (
        "half_away(half_up(x * 2^max(s, 0) * q / 2^31) / 2^max(-s, 0))",
        "LiteRT's builtin kernels",
    ),
    "double_half_up": (
        "half_up(half_up(x * 2^max(s, 0) * q / 2^31) / 2^max(-s, 0))",
        "their vectorised loops",
    ),
    "double_eights": (
        "`double_half_up` for whole eights of channels, `double_rounding` for those behind them",
        "vectorised loops with a tail loop",
    ),
    "reduced": (
        "half_up(x * q16 / 2^(15 - s)), q16 = q in 16 bits",
        "64-bit accumulators: int16 with int64 bias",
    ),
}
MODES = tuple(REQUANTIZATIONS)
_INTEGER_MODES = MODES[2:]
#: Second rounding of the modes that round twice; the first is half_up.
_SECOND = {"double_rounding": Rounding.HALF_AWAY, "double_half_up": Rounding.HALF_UP}

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


def wrap_int32(values: Whole) -> Whole:
    """Two's-complement wrap to 32 bits, of an int or an int64 array.

    Example:
        >>> wrap_int32(2**31)
        -2147483648
    """
    return ((values + 2**31) & 0xFFFFFFFF) - 2**31


def doubling_high_mul_scalar(a: int, b: int) -> int:
    """The definition of the saturating rounding doubling high product of two 32-bit integers.

    half_up(a * b / 2^31), except that (-2^31)^2 saturates at 2^31 - 1.
    """
    return min(round_scalar(Fraction(a * b, 2**31), Rounding.HALF_UP), INT32_MAX)


def doubling_high_mul(a: ArrayLike, b: ArrayLike) -> Codes:
    """Vectorised `doubling_high_mul_scalar`: int64 arrays that hold 32-bit values.

    Example:
        >>> doubling_high_mul(np.array([1 << 30, -(1 << 30)]), 1 << 30).tolist()
        [536870912, -536870912]
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum(divide_by_power(product, 31, Rounding.HALF_UP), INT32_MAX)


def divide_by_power(
    x: ArrayLike, exponent: ArrayLike, rounding: Rounding = Rounding.HALF_AWAY
) -> Codes:
    """x / 2^exponent in whole numbers: `round_scalar` of the exact quotient.

    Args:
        x: integers.
        exponent: integers of 0 or more that broadcast against x.
        rounding: HALF_AWAY or HALF_UP.

    Example:
        >>> divide_by_power(np.array([3, 1, -1, -3]), 1).tolist()
        [2, 1, -1, -2]
        >>> divide_by_power(np.array([3, 1, -1, -3]), 1, Rounding.HALF_UP).tolist()
        [2, 1, 0, -1]
    """
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    if rounding is Rounding.HALF_UP:
        return np.asarray((x + half) >> exponent)
    magnitude = (np.abs(x) + half) >> exponent
    return np.where(x < 0, -magnitude, magnitude)


def reduced_multiplier(multiplier: ArrayLike) -> Codes:
    """32-bit multipliers in 16 bits: half_up(q / 2^16), at most 2^15 - 1.

    Example:
        >>> reduced_multiplier([1 << 30, 0x7FFFFFFF]).tolist()
        [16384, 32767]
    """
    return np.minimum(divide_by_power(multiplier, 16, Rounding.HALF_UP), 0x7FFF)


def requantize_scalar(x: int, by: QuantizedMultiplier, mode: str = "double_rounding") -> int:
    """x times a quantized multiplier, by exact arithmetic: the definition of the integer modes.

    Args:
        x: the accumulator.
        by: the multiplier.
        mode: "double_rounding", "double_half_up" or "reduced".

    Raises:
        ConfigError: no such mode.

    Example:
        >>> half = QuantizedMultiplier.of(0.5)
        >>> [requantize_scalar(x, half) for x in (1, 3, -1, -3)]
        [1, 2, 0, -1]
    """
    q, s = by.multiplier, by.shift
    if mode in _SECOND:
        high = doubling_high_mul_scalar(wrap_int32(x << max(s, 0)), q)
        return round_scalar(Fraction(high, 2 ** max(-s, 0)), _SECOND[mode])
    if mode == "reduced":
        reduced = min(round_scalar(Fraction(q, 2**16), Rounding.HALF_UP), 0x7FFF)
        return round_scalar(x * reduced / Fraction(2) ** (15 - s), Rounding.HALF_UP)
    raise _no_such_mode(mode)


def _no_such_mode(mode: str) -> ConfigError:
    return ConfigError(
        f"requantization mode: got {mode!r}; expected one of {', '.join(_INTEGER_MODES)}."
    )


def requantize(x: NDArray[Any], by: QuantizedMultiplier, mode: str = "double_rounding") -> Codes:
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
    x: NDArray[Any], multiplier: ArrayLike, shift: ArrayLike, mode: str = "double_rounding"
) -> Codes:
    """`requantize` with one multiplier per element, broadcast against x.

    Args:
        x: integer accumulators, channels last.
        multiplier, shift: integers or integer arrays that broadcast against x.
        mode: as in `requantize_scalar`, or "double_eights".

    Raises:
        ConfigError: no such mode.
    """
    x = np.asarray(x, np.int64)
    q, s = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if mode == "double_eights":
        whole = x.shape[-1] // 8 * 8
        parts = [
            requantize_channels(x, q, s, second) for second in ("double_half_up", "double_rounding")
        ]
        return np.concatenate([parts[0][..., :whole], parts[1][..., whole:]], axis=-1)
    if mode in _SECOND:
        left, right = np.maximum(s, 0), np.maximum(-s, 0)
        shifted = wrap_int32(x << left) if np.any(left) else x
        return divide_by_power(doubling_high_mul(shifted, q), right, _SECOND[mode])
    if mode == "reduced":
        return divide_by_power(x * reduced_multiplier(q), 15 - s, Rounding.HALF_UP)
    raise _no_such_mode(mode)


def requantize_float64(x: NDArray[Any], scale: NDArray[np.float64]) -> Codes:
    """The mode "float64": half_away(float64(x) * scale), within 32 bits.

    Example:
        >>> requantize_float64(np.array([1, 3, -1]), np.array([0.5])).tolist()
        [1, 2, -1]
    """
    product = np.clip(x.astype(np.float64) * scale, -(2.0**31), 2.0**31)
    return round_half_away(product).astype(np.int64)


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
    nearest = round_scalar(float(product), Rounding.HALF_EVEN)
    return min(max(nearest + zero_point, low), high)


def requantize_float32(
    x: NDArray[Any], scale: ArrayLike, zero_point: int, low: int, high: int
) -> Codes:
    """Vectorised `requantize_float32_scalar`; `scale` may be an array that broadcasts against x.

    Example:
        >>> requantize_float32(np.array([1, 3, -1, 999]), 0.5, 0, -128, 127).tolist()
        [0, 2, 0, 127]
    """
    product = np.asarray(x).astype(np.float32) * np.asarray(scale, np.float32)
    clipped = np.clip(product, np.float32(low - zero_point), np.float32(high - zero_point))
    return np.rint(clipped).astype(np.int64) + zero_point


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
