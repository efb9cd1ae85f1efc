"""How the codes of a format lie in the bytes of an integer file."""

from __future__ import annotations

from tfxp.errors import FormatError
from tfxp.formats.fixed_point import FixedPointFormat
from tfxp.formats.parsing import Format

INT8_MIN, INT8_MAX = -128, 127
# LiteRT's quantization specification keeps int8 weights off -128.
LARGEST_WEIGHT = 127


def int8_zero_point(fmt: Format) -> int:
    """The stored value that means zero when codes of up to 8 bits are kept in int8.

        stored = code + zero_point

    Formats that fill int8 keep both ends where int8 saturates. Narrower ones put their largest
    code at 127, so that the top saturates by itself; the bottom is then held by a RELU (unsigned)
    or a MAXIMUM (signed). Symmetric 8-bit formats lie around zero.

    Args:
        fmt: a format of up to 8 bits.

    Raises:
        FormatError: the format has more codes than int8.

    Example:
        >>> from tfxp.formats import parse_format
        >>> [int8_zero_point(parse_format(n)) for n in ("Q0.7", "UQ0.8", "UQ0.4", "Q0.3")]
        [0, -128, 112, 120]
    """
    if fmt.qmax - fmt.qmin > INT8_MAX - INT8_MIN:
        raise FormatError(f"int8 storage of {fmt}: got {fmt.bits} bits; expected at most 8.")
    return INT8_MAX - fmt.qmax


def spare_bits(fmt: Format) -> int:
    """How often the codes of a weight format can be doubled in int8 storage, from -127 to 127.

    Args:
        fmt: a format of up to 8 bits.

    Example:
        >>> from tfxp.formats import parse_format
        >>> [spare_bits(parse_format(name)) for name in ("Q0.3", "Q0.5", "Q0.5s", "Q0.7s")]
        [3, 1, 2, 0]
    """
    largest = max(-fmt.qmin, fmt.qmax, 1)
    return max((LARGEST_WEIGHT // largest).bit_length() - 1, 0)


def has_power_of_two(fmt: Format) -> bool:
    """Whether the scale of a format is a power of two; that of binary weights is a mean.

    Args:
        fmt: a fixed-point or WRPN format.
    """
    if getattr(fmt, "is_binary", False):
        return False
    return isinstance(fmt, FixedPointFormat) or fmt.qmax == 1
