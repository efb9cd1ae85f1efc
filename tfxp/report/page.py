"""Page: headings, text, tables and charts in one file that needs nothing else."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from importlib import resources
from typing import Any

from tfxp.files import write_text


class Page:
    """An HTML page that is built from top to bottom.

    Text is escaped; blocks (from `html_table` and the charts) go in as they are.

    Args:
        title: the page's title.
        lead: one sentence below it.

    Example:
        >>> page = Page("Digits", "A small network in 4 bits.")
        >>> page.section("Layers", "Two of them.", html_table(["layer"], [["conv"], ["dense"]]))
        >>> "<h2>Layers</h2>" in page.html()
        True
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self._title = title
        self._body = [f"<h1>{html.escape(title)}</h1>"]
        if lead:
            self._body.append(f'<p class="lead">{html.escape(lead)}</p>')

    def section(self, heading: str, text: str, *blocks: str) -> None:
        """Add a heading, a paragraph that says how to read what follows, and blocks."""
        self._body.append(f"<h2>{html.escape(heading)}</h2>")
        if text:
            self._body.append(f"<p>{html.escape(text)}</p>")
        self._body.extend(blocks)

    def tiles(self, figures: Sequence[tuple[str, str]]) -> None:
        """Add the few figures that matter most: (value, what it is)."""
        tiles = "".join(
            f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
            for value, name in figures
        )
        self._body.append(f'<div class="tiles">{tiles}</div>')

    def html(self) -> str:
        """The whole page."""
        style = resources.files("tfxp.report").joinpath("page.css").read_text(encoding="utf-8")
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self._title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
            + "\n".join(self._body)
            + "\n</body>\n</html>\n"
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, self.html())


def html_table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], total: Sequence[Any] | None = None
) -> str:
    """A table; numbers to the right, None as a dash, wide ones scroll by themselves.

    Args:
        header: column titles.
        rows: cells; text is shown as it is, integers with their thousands apart.
        total: one more row, set apart.

    Example:
        >>> "1,234" in html_table(["layer", "MACs"], [["conv", 1234]])
        True
    """
    everything = [*rows, *([total] if total is not None else [])]
    numeric = [
        any(is_number(row[i]) for row in everything)
        and all(row[i] is None or is_number(row[i]) or row[i] == "" for row in everything)
        for i in range(len(header))
    ]

    def line(cells: Sequence[Any], tag: str, kind: str = "") -> str:
        parts = []
        for cell, right in zip(cells, numeric, strict=True):
            mark = ' class="number"' if right else ""
            parts.append(f"<{tag}{mark}>{html.escape(cell_text(cell))}</{tag}>")
        return f"<tr{kind}>{''.join(parts)}</tr>"

    body = [line(row, "td") for row in rows]
    if total is not None:
        body.append(line(total, "td", ' class="total"'))
    head = f"<thead>{line(header, 'th')}</thead>"
    return f'<div class="scroll"><table>{head}<tbody>{"".join(body)}</tbody></table></div>'


def is_number(value: Any) -> bool:
    """Whether a cell is set as a number."""
    return hasattr(value, "__float__") and not isinstance(value, bool)


def cell_text(value: Any) -> str:
    """How a cell is written."""
    if value is None:
        return "–"
    if not is_number(value):
        return str(value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{int(value):,}"
