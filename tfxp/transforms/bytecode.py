"""Python functions as Keras writes them into configurations: marshalled code in base64."""

from __future__ import annotations

import base64
import binascii
import re

# What a code object begins with, with and without marshal's reference flag.
_MARKS = (b"\xe3", b"c")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}([A-Za-z0-9+/=]|\n|\\n)*")


def is_bytecode(text: str) -> bool:
    """Whether a string is a function.

    Example:
        >>> from tfxp.transforms.bytecode import is_bytecode
        >>> is_bytecode("4wEAAAAAAAAAAAAAAAIAAAAD"), is_bytecode("dense_1")
        (True, False)
    """
    if not _BASE64.fullmatch(text):
        return False
    try:
        return base64.b64decode(text[:8]).startswith(_MARKS)
    except binascii.Error:
        return False


def without_bytecode(text: str) -> str:
    """A message without the functions that Keras prints into some of its own."""
    return _BASE64.sub(lambda match: "…" if is_bytecode(match.group()) else match.group(), text)
