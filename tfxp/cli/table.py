"""Tables for people: aligned columns of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns as wide as their widest cell; numbers to the right, words to the left.

    Args:
        header: column titles.
        rows: cells; None is shown as a dash, a float with four significant digits, a large
            integer with its thousands apart.

    Example:
        >>> print(format_table(["layer", "MACs"], [["conv", 1234567], ["dense", None]]))
        layer       MACs
        conv   1,234,567
        dense          -
    """
    cells = [[_text(value) for value in row] for row in rows]
    widths = [
        max(len(title), *(len(row[i]) for row in cells)) if cells else len(title)
        for i, title in enumerate(header)
    ]
    right = [
        bool(rows)
        and all(row[i] is None or _is_number(row[i]) for row in rows)
        and any(row[i] is not None for row in rows)
        for i in range(len(header))
    ]
    lines = [
        "  ".join(
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        )
        for row in [list(header), *cells]
    ]
    return "\n".join(line.rstrip() for line in lines)


def _is_number(value: object) -> TypeGuard[float]:
    return hasattr(value, "__float__") and not isinstance(value, bool)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not _is_number(value):
        return str(value)
    if float(value).is_integer() and not isinstance(value, float):
        return f"{int(value):,}"
    return f"{float(value):.4g}"
