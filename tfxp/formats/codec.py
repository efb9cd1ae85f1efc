"""Real numbers to integer codes and back.

For every format with a zero code:

    code  = overflow(round(x * inverse_scale))
    value = code / inverse_scale

The product is taken in float32, as TensorFlow takes it: exact for fixed point; for WRPN correctly
rounded, and taken after the clip. `encode_scalar` is the definition in exact fractions; `encode`
is the vectorised twin.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from tfxp.errors import FormatError
from tfxp.formats.parsing import Format
from tfxp.formats.rounding import Overflow, Rounding, round_array, round_scalar
from tfxp.formats.wrpn import WrpnFormat


def encode_scalar(
    value: float,
    fmt: Format,
    rounding: Rounding | str = Rounding.HALF_EVEN,
    overflow: Overflow | str = Overflow.SATURATE,
    draw: float = 0.0,
) -> int:
    """The code of one number: the definition.

    Args:
        value: finite number; rounded to float32 first.
        fmt: number format.
        rounding: rounding mode.
        overflow: `saturate`, or `wrap` modulo the number of codes (fixed point only).
        draw: draw in [0, 1) for stochastic rounding.

    Raises:
        FormatError: `value` is not finite; `wrap` with a WRPN format.

    Example:
        >>> from tfxp.formats import parse_format
        >>> encode_scalar(0.9, parse_format("Q0.3")), encode_scalar(5.0, parse_format("Q0.3"))
        (7, 7)
    """
    single = np.float32(value)
    if not np.isfinite(single):
        raise FormatError(f"value for {fmt}: got {value}; expected a finite number.")
    if getattr(fmt, "is_binary", False):
        return 1 if single >= 0 else -1
    overflow = _overflow_of(fmt, overflow)
    if not _is_power_of_two(fmt.inverse_scale):
        single = min(max(single, np.float32(fmt.min)), np.float32(fmt.max))
    scaled = Fraction(float(single)) * Fraction(fmt.inverse_scale)
    if not _is_power_of_two(fmt.inverse_scale):
        scaled = Fraction(float(np.float32(float(scaled))))  # the product of WRPN, in float32
    code = round_scalar(scaled, rounding, draw)
    if overflow is Overflow.SATURATE:
        return min(max(code, fmt.qmin), fmt.qmax)
    return (code - fmt.qmin) % (fmt.qmax - fmt.qmin + 1) + fmt.qmin


def decode_scalar(code: int, fmt: Format) -> float:
    """The value of one code.

    Args:
        code: an integer.
        fmt: the format that it is a code of.

    Raises:
        FormatError: the format has no such code.

    Example:
        >>> from tfxp.formats import parse_format
        >>> decode_scalar(-3, parse_format("Q0.3"))
        -0.375
    """
    if not fmt.qmin <= code <= fmt.qmax:
        raise FormatError(f"code of {fmt}: got {code}; expected {fmt.qmin} to {fmt.qmax}.")
    if getattr(fmt, "is_binary", False) and code == 0:
        raise FormatError(f"code of {fmt}: got 0; expected -1 or 1.")
    return float(np.float32(code) / np.float32(fmt.inverse_scale))


def encode(
    values: np.ndarray,
    fmt: Format,
    rounding: Rounding | str = Rounding.HALF_EVEN,
    overflow: Overflow | str = Overflow.SATURATE,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Integer codes of an array.

    Args:
        values: finite numbers of any shape; rounded to float32 first.
        fmt: number format.
        rounding: rounding mode.
        overflow: `saturate` or `wrap`.
        generator: seeded generator, required for stochastic rounding.

    Returns:
        int64 array of the same shape.

    Raises:
        FormatError: a value is NaN or infinite; stochastic rounding without a generator; `wrap`
            with a WRPN format.

    Example:
        >>> from tfxp.formats import parse_format
        >>> encode(np.array([0.1, -0.5, 2.0]), parse_format("Q0.3")).tolist()
        [1, -4, 7]
    """
    single = np.asarray(values, np.float32)
    if not np.isfinite(single).all():
        raise FormatError(
            f"values for {fmt}: got {int((~np.isfinite(single)).sum())} that are NaN or infinite; "
            "expected finite numbers."
        )
    if getattr(fmt, "is_binary", False):
        return np.where(single >= 0, 1, -1).astype(np.int64)
    overflow = _overflow_of(fmt, overflow)
    if _is_power_of_two(fmt.inverse_scale):
        scaled = single.astype(np.float64) * fmt.inverse_scale
    else:
        clipped = np.clip(single, np.float32(fmt.min), np.float32(fmt.max))
        scaled = (clipped * np.float32(fmt.inverse_scale)).astype(np.float64)
    codes = round_array(scaled, rounding, generator)
    if overflow is Overflow.SATURATE:
        return np.clip(codes, fmt.qmin, fmt.qmax).astype(np.int64)
    span = fmt.qmax - fmt.qmin + 1
    # The first remainder is exact whatever the size of the code; a difference would not be.
    return (np.mod(np.mod(codes, span) - fmt.qmin, span) + fmt.qmin).astype(np.int64)


def decode(codes: np.ndarray, fmt: Format) -> np.ndarray:
    """Values of an array of codes, float32.

    Args:
        codes: integers of any shape.
        fmt: the format that they are codes of.

    Raises:
        FormatError: a code is outside the format.

    Example:
        >>> from tfxp.formats import parse_format
        >>> decode(np.array([1, -4, 7]), parse_format("Q0.3")).tolist()
        [0.125, -0.5, 0.875]
    """
    codes = np.asarray(codes)
    if codes.size and (codes.min() < fmt.qmin or codes.max() > fmt.qmax):
        raise FormatError(
            f"codes of {fmt}: got {codes.min()} to {codes.max()}; "
            f"expected {fmt.qmin} to {fmt.qmax}."
        )
    if getattr(fmt, "is_binary", False) and (codes == 0).any():
        raise FormatError(f"codes of {fmt}: got 0; expected -1 or 1.")
    return (codes.astype(np.float64) / fmt.inverse_scale).astype(np.float32)


def quantize(
    values: np.ndarray,
    fmt: Format,
    rounding: Rounding | str = Rounding.HALF_EVEN,
    overflow: Overflow | str = Overflow.SATURATE,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """The nearest values that the format holds: `decode(encode(values))`.

    Binary WRPN weights come back as +-mean|w|, the mean taken over the whole array.

    Args:
        values: array of any shape, real values.
        fmt: a fixed-point or WRPN format.
        rounding: what happens between two codes.
        overflow: what happens beyond the last code.
        generator: draws for stochastic rounding.

    Example:
        >>> from tfxp.formats import parse_format
        >>> quantize(np.array([0.1, -0.45, 2.0]), parse_format("Q0.3")).tolist()
        [0.125, -0.5, 0.875]
    """
    result = decode(encode(values, fmt, rounding, overflow, generator), fmt)
    if getattr(fmt, "is_binary", False):
        result = result * np.float32(np.abs(np.asarray(values, np.float32)).mean(dtype=np.float64))
    return result


def _is_power_of_two(value: float) -> bool:
    return float(np.frexp(value)[0]) == 0.5


def _overflow_of(fmt: Format, overflow: Overflow | str) -> Overflow:
    mode = Overflow.parse(overflow)
    if mode is Overflow.WRAP and isinstance(fmt, WrpnFormat):
        raise FormatError(f"overflow of {fmt}: got wrap; expected saturate. WRPN clips, always.")
    return mode
