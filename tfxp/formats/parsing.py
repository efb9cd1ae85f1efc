"""Names, and the numbers in a model's variables, to formats."""

from __future__ import annotations

import math
import re

import numpy as np

from tfxp.errors import FormatError, PrecisionError
from tfxp.formats.fixed_point import FixedPointFormat
from tfxp.formats.wrpn import WrpnFormat

Format = FixedPointFormat | WrpnFormat
_WRPN = re.compile(r"wrpn:([0-9]{1,4})")


def parse_format(text: str, role: str = "weights", sign_in_m: bool = False) -> Format:
    """The format called `text`; the inverse of `str(format)`.

    Args:
        text: "Q2.5", "Q0.3s", "UQ2.4", "Q-2.9" or "wrpn:4".
        role: "weights" or "activations": which of WRPN's two grids is meant.
        sign_in_m: whether m counts the sign bit, as in ADaPTION.

    Raises:
        FormatError: `text` names no format.

    Example:
        >>> parse_format("UQ2.4"), parse_format("wrpn:4", "activations")
        (FixedPointFormat('UQ2.4'), WrpnFormat(4, 'activations'))
    """
    if not isinstance(text, str):
        raise FormatError(f"format: got {text!r}; expected a name such as 'Q2.5' or 'wrpn:4'.")
    match = _WRPN.fullmatch(text.strip())
    if match is not None:
        return WrpnFormat(int(match.group(1)), role)
    return FixedPointFormat.parse(text, sign_in_m)


def format_of_scale(scale: float, qmin: int, qmax: int) -> Format:
    """The format that has these numbers; the inverse of reading a format's properties.

    Args:
        scale: value of one step.
        qmin, qmax: least and largest code.

    Raises:
        PrecisionError: no format has them.

    Example:
        >>> format_of_scale(0.125, -8, 7)
        FixedPointFormat('Q0.3')
    """
    mantissa, exponent = math.frexp(scale)
    signed, codes = qmin < 0, qmax + 1
    bits = codes.bit_length() - 1 + int(signed)
    if mantissa == 0.5 and codes & (codes - 1) == 0:
        return FixedPointFormat.of_bits(bits, 1 - exponent, signed, signed and qmin == -qmax)
    wrpn = WrpnFormat(bits, "weights" if signed else "activations")
    if np.float32(wrpn.scale) == np.float32(scale) and wrpn.qmin == qmin:
        return wrpn
    raise PrecisionError(f"scale {scale} with codes {qmin} to {qmax}: belongs to no known format.")
