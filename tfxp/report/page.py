"""Page: headings, text, tables and charts in one file that needs nothing else."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, TypeGuard

from tfxp.files import plain, write_text

_LEAST_CONTENTS = 4  # sections from which a table of contents helps
_SCRIPTS = ("vendor/dagre.min.js", "vendor/d3-selection.min.js", "live.js")


class Page:
    """An HTML page that is built from top to bottom.

    Text is escaped; blocks (from `html_table` and the charts) go in as they are.

    Args:
        title: the page's title.
        lead: one sentence below it.

    Example:
        >>> page = Page("Digits", "A small network in 4 bits.")
        >>> page.section("Layers", "Two of them.", html_table(["layer"], [["conv"], ["dense"]]))
        >>> '<h2 id="layers">Layers</h2>' in page.html()
        True
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self._title = title
        self._lead = lead
        self._headings: list[str] = []
        self._body: list[str] = []
        self._data: Mapping[str, Any] | None = None

    def section(self, heading: str, text: str, *blocks: str) -> None:
        """Add a heading, a paragraph that says how to read what follows, and blocks."""
        self._headings.append(heading)
        self._body.append(f'<h2 id="{_anchor(heading)}">{html.escape(heading)}</h2>')
        if text:
            self._body.append(f"<p>{html.escape(text)}</p>")
        self._body.extend(blocks)

    def live(self, data: Mapping[str, Any] | None = None) -> None:
        """Let tables sort and filter; with layers, draw their graph and let them be selected.

        Args:
            data: "layers", each with name, kind, inputs, lines of text and figures by key, and
                "figures", which say what the keys are (`tfxp.report.live_data`).
        """
        self._data = data or {"layers": [], "figures": []}

    def provenance(self, facts: Mapping[str, str]) -> None:
        """Add a last section that says where the figures come from."""
        if facts:
            rows = "".join(
                f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
                for name, text in facts.items()
            )
            self.section("Provenance", "", f'<dl class="facts">{rows}</dl>')

    def tiles(self, figures: Sequence[tuple[str, str]]) -> None:
        """Add the few figures that matter most: (value, what it is)."""
        tiles = "".join(
            f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
            for value, name in figures
        )
        self._body.append(f'<div class="tiles">{tiles}</div>')

    def html(self) -> str:
        """The whole page."""
        lead = f'<p class="lead">{html.escape(self._lead)}</p>' if self._lead else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self._title)}</title>\n<style>\n{_asset('page.css')}</style>\n"
            f"{self._scripts()}</head>\n<body>\n<header>\n<h1>{html.escape(self._title)}</h1>\n"
            f"{lead}{self._contents()}</header>\n<main>\n"
            + "\n".join(self._body)
            + "\n</main>\n</body>\n</html>\n"
        )

    def _contents(self) -> str:
        if len(self._headings) < _LEAST_CONTENTS:
            return ""
        links = "".join(
            f'<a href="#{_anchor(heading)}">{html.escape(heading)}</a>'
            for heading in self._headings
        )
        return f'\n<nav aria-label="Contents">{links}</nav>\n'

    def _scripts(self) -> str:
        """Libraries, our own script, and what they work on; nothing on a page that is not live."""
        if self._data is None:
            return ""
        # "<" could end the element or open a comment; JSON has another spelling for it.
        data = json.dumps(plain(self._data), separators=(",", ":")).replace("<", "\\u003c")
        code = [f"<script>\n{_asset(name)}\n</script>" for name in _SCRIPTS]
        return "\n".join([f'<script type="application/json" id="data">{data}</script>', *code, ""])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, self.html())


def _asset(name: str) -> str:
    """A file beside this one."""
    return resources.files("tfxp.report").joinpath(name).read_text(encoding="utf-8")


def _anchor(heading: str) -> str:
    """The name of a section in addresses."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def html_table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    total: Sequence[Any] | None = None,
    layers: Sequence[str] = (),
) -> str:
    """A table; numbers to the right, None as a dash, wide ones scroll by themselves.

    Args:
        header: column titles.
        rows: cells; text is shown as it is, integers with their thousands apart.
        total: one more row, set apart.
        layers: of each row, the layer that it is about.

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

    marks = [f' data-layer="{html.escape(name)}"' for name in layers] or [""] * len(rows)
    body = "".join(line(row, "td", mark) for row, mark in zip(rows, marks, strict=True))
    head = f"<thead>{line(header, 'th')}</thead>"
    foot = ""
    if total is not None:
        last = line(total, "td", ' class="total"')
        foot = f"<tfoot>{last}</tfoot>"
    # Sentences at the beginning of rows wrap, but not into a column of single words.
    kind = ' class="words"' if any(" " in cell_text(row[0]) for row in rows) else ""
    return f'<div class="scroll"><table{kind}>{head}<tbody>{body}</tbody>{foot}</table></div>'


def is_number(value: object) -> TypeGuard[float]:
    """Whether a cell is set as a number."""
    return hasattr(value, "__float__") and not isinstance(value, bool)


def cell_text(value: object) -> str:
    """How a cell is written."""
    if value is None:
        return "–"
    if not is_number(value):
        return str(value)
    # Four digits, but 12,502 rather than 1.25e+04.
    if isinstance(value, float) and not 1e4 <= abs(value) < 1e12:
        return f"{value:,.4g}"
    return f"{int(round(value)):,}"
