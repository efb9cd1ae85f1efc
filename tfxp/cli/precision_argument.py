"""The value of --precision as a precision map."""

from __future__ import annotations

from tfxp.files import find_config
from tfxp.precision import PrecisionMap


def read_precision(text: str) -> PrecisionMap:
    """What --precision means: a shorthand, a file, or the name of a map that ships with tfxp.

    Args:
        text: the flag's value.

    Raises:
        ConfigError: no such file.
        PrecisionError: neither a shorthand nor a precision map.

    Example:
        >>> read_precision("w4a6").default.activations
        6
    """
    path = str(find_config(text, "precision")) if text.endswith(".json") else text
    return PrecisionMap.parse(path)
