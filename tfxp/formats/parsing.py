"""Format names to formats."""

from __future__ import annotations

import re

from tfxp.errors import FormatError
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
