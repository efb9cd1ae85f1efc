"""Charts of searches: scatter with a front, heat map of a sensitivity profile, marks on an axis.

As in `charts`, shapes stretch to the width that there is and text is HTML, so that one chart
serves desk, phone and paper; dots are lines of no length with round ends, which do not stretch.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfxp.report.charts import chart_axis, chart_figure, chart_legend, chart_row, chart_strip

_COLOURS = ("one", "two", "three")
_TICKS = 5


@dataclass(frozen=True)
class Series:
    """Points of one kind: (x, y) each.

    Args:
        label: what the legend calls them.
        points: the points.
        joined: whether a line joins them, in the order given.
        faint: whether they are drawn small and pale, as a background.
        marked: whether they are drawn large, in a colour of warnings, since all depends on them.
    """

    label: str
    points: Sequence[tuple[float, float]]
    joined: bool = False
    faint: bool = False
    marked: bool = False


@dataclass(frozen=True)
class MarkRow:
    """One row of a mark chart: a value per mark (None: absent), and the text at the end.

    Args:
        label: what the row is about.
        values: places on the axis.
        text: what stands at the end.
    """

    label: str
    values: tuple[float | None, ...]
    text: str = ""


def scatter_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    level: tuple[float, str] | None = None,
    bottom: float | None = None,
    caption: str = "",
) -> str:
    """Points against two axes.

    Args:
        series: at most three kinds of points, the first below the others.
        x_label, y_label: what the axes are.
        level: height and name of a dashed line across.
        bottom: smallest y that is shown; points below are left out, which the caption should say.
        caption: a sentence below.

    Example:
        >>> scatter_chart([Series("maps", [(1, 2), (3, 4)])], "size", "accuracy").count("<line")
        2
    """
    shown = [[(x, y) for x, y in s.points if bottom is None or y >= bottom] for s in series]
    everything = [point for points in shown for point in points]
    if not everything:
        return ""
    heights = [y for _, y in everything] + ([level[0]] if level else [])
    low_x, high_x, ticks_x = _range([x for x, _ in everything])
    low_y, high_y, ticks_y = _range(heights)

    def place(x: float, y: float) -> tuple[float, float]:
        return 100 * (x - low_x) / (high_x - low_x), 100 - 100 * (y - low_y) / (high_y - low_y)

    shapes = []
    if level:
        y = place(low_x, level[0])[1]
        shapes.append(f'<line class="level" x1="0" x2="100" y1="{y:.2f}" y2="{y:.2f}"/>')
    for one, points, colour in zip(series, shown, _COLOURS, strict=False):
        tips = [f"{one.label}: {x_label} {x:.4g}, {y_label} {y:.4g}" for x, y in points]
        shapes += _marks(one, [place(*point) for point in points], colour, tips)
    legend = [
        (one.label, "bad" if one.marked else colour)
        for one, colour in zip(series, _COLOURS, strict=False)
    ]
    if level:
        legend.append((f"dashed: {level[1]}", "level"))
    plot = (
        f'<div class="plot"><div class="y-label">{html.escape(y_label)}</div>'
        f"{chart_strip(shapes, f'{y_label} against {x_label}', 100)}"
        + "".join(_tick("left", 100 * (t - low_x) / (high_x - low_x), t) for t in ticks_x)
        + "".join(_tick("bottom", 100 * (t - low_y) / (high_y - low_y), t) for t in ticks_y)
        + f'<div class="x-label">{html.escape(x_label)}</div></div>'
    )
    return chart_figure(chart_legend(legend), [plot], caption)


def _marks(
    series: Series, placed: list[tuple[float, float]], colour: str, tips: list[str]
) -> list[str]:
    """Points of one kind, joined by a line if they are to be."""
    kind = "faint" if series.faint else "marked" if series.marked else ""
    dots = [_dot(x, y, colour, kind, tip) for (x, y), tip in zip(placed, tips, strict=True)]
    if not series.joined or len(placed) < 2:
        return dots
    path = " L".join(f"{x:.2f} {y:.2f}" for x, y in placed)
    return [f'<path class="joined {colour}" d="M{path}"/>', *dots]


def heat_map(rows: Mapping[str, Mapping[int, float]], worst: float = 0.5, caption: str = "") -> str:
    """A table of shares, the darker the larger: rows by name, columns by bits, most bits first.

    Args:
        rows: name -> bits -> share lost.
        worst: the share that gets the full colour.
        caption: a sentence below.

    Example:
        >>> heat_map({"conv": {4: 0.0, 3: 0.02}}).count("<td")
        2
    """
    columns = sorted({bits for row in rows.values() for bits in row}, reverse=True)
    head = "".join(f"<th>{bits}</th>" for bits in columns)
    body = []
    for name, row in rows.items():
        cells = []
        for bits in columns:
            if bits not in row:
                cells.append("<td></td>")
                continue
            # The eye should tell 0 from 1 %, so colour grows with the root.
            strength = math.sqrt(min(max(row[bits], 0.0), worst) / worst)
            cells.append(f'<td style="--heat:{100 * strength:.0f}%">{_loss(row[bits])}</td>')
        body.append(
            f'<tr><th title="{html.escape(name)}">{html.escape(name)}</th>{"".join(cells)}</tr>'
        )
    lines = f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    table = f'<table class="heat">{lines}</table>'
    return chart_figure("", [f'<div class="scroll">{table}</div>'], caption)


def mark_chart(rows: Sequence[MarkRow], legend: Sequence[str], caption: str = "") -> str:
    """Rows with some marks each on one axis, such as predictions beside a measurement.

    Args:
        rows: from top to bottom.
        legend: what the marks are, in the order of the rows' values; at most three.
        caption: a sentence below.
    """
    known = [value for row in rows for value in row.values if value is not None]
    if not known:
        return ""
    low, high, ticks = _range(known)

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    lines = []
    for row in rows:
        marks = [
            _dot(place(value), 10, colour, "")
            for value, colour in zip(row.values, _COLOURS, strict=False)
            if value is not None
        ]
        rule = '<line class="rule" x1="0" x2="100" y1="10" y2="10"/>'
        strip = chart_strip([rule, *marks], f"{row.label}: {row.text}")
        lines.append(chart_row(row.label, strip, row.text))
    axis = chart_axis([(place(t), f"{t:g}") for t in ticks])
    keys = chart_legend(list(zip(legend, _COLOURS, strict=False)))
    return chart_figure(keys, [*lines, axis], caption)


def _dot(x: float, y: float, colour: str, kind: str, tip: str = "") -> str:
    hover = f' data-tip="{html.escape(tip)}"' if tip else ""
    return (
        f'<line class="dot {colour} {kind}" x1="{x:.2f}" x2="{x:.2f}" y1="{y:.2f}" y2="{y:.2f}"'
        f"{hover}/>"
    )


def _tick(side: str, place: float, value: float) -> str:
    return f'<span class="tick {side}" style="{side}:{place:.2f}%">{value:g}</span>'


def _loss(share: float) -> str:
    percent = 100 * share
    if abs(percent) < 0.05:
        return "0"
    return f"{percent:.1f}" if abs(percent) < 9.95 else f"{percent:.0f}"


def _range(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """An axis that holds the values, and round numbers on it.

    Example:
        >>> _range([0.12, 0.49])
        (0.1, 0.5, [0.1, 0.2, 0.3, 0.4, 0.5])
    """
    low, high = min(values), max(values)
    if high - low < 1e-12:
        low, high = low - max(abs(low), 1) * 0.05, high + max(abs(high), 1) * 0.05
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(i * step, 12) for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks
