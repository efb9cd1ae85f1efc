"""Charts as rows of HTML with a strip of SVG in each: text stays readable on a phone.

Every strip is 100 units wide and stretched to the width that there is; colours are classes of the
page's style sheet, so that one chart serves light, dark and paper.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfxp.formats import Format, TensorStats
from tfxp.formats.tensor_stats import LOG2_LOW
from tfxp.report.format_edges import format_edges, has_no_zero, lost_shares

_HEIGHT = 20.0
_COLOURS = ("one", "two", "three")
_MOST_GRID_LINES = 64
_MOST_OCTAVES = 24
_MANY = 40  # rows of a chart that scrolls by itself


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart: parts that are stacked, and the text at the end.

    Args:
        label: what the row is about.
        parts: lengths.
        value: text at the end.
        endless: whether there is no length, because it would be infinite: a pale row.
    """

    label: str
    parts: tuple[float, ...]
    value: str = ""
    endless: bool = False


@dataclass(frozen=True)
class Pair:
    """One row of a pair chart: two bars above each other; None draws none.

    Args:
        label: what the row is about.
        values: lengths of the two bars.
        value: text at the end.
    """

    label: str
    values: tuple[float | None, float | None]
    value: str = ""


@dataclass(frozen=True)
class RangeRow:
    """One row of a range chart: a tensor's distribution and its format (None: left in float).

    Args:
        label: the tensor's name.
        stats: its distribution.
        fmt: its format.
    """

    label: str
    stats: TensorStats
    fmt: Format | None


@dataclass(frozen=True)
class Histogram:
    """One small histogram: a tensor's values, with the grid of its format drawn in.

    Args:
        label: the tensor's name.
        stats: its distribution.
        fmt: its format; None draws no grid.
    """

    label: str
    stats: TensorStats
    fmt: Format | None


def bar_chart(
    bars: Sequence[Bar], legend: Sequence[str] = (), caption: str = "", top: float | None = None
) -> str:
    """Horizontal bars, stacked where they have several parts.

    Args:
        bars: rows from top to bottom; parts must not be negative.
        legend: what the parts are; at most three.
        caption: a sentence below.
        top: the length of a full bar; by default the longest one's.

    Example:
        >>> bar_chart([Bar("conv", (3.0, 1.0), "75 %")], ["done", "skipped"]).count("<rect")
        4
    """
    full = top if top is not None else max((sum(bar.parts) for bar in bars), default=0.0)
    rows = []
    for bar in bars:
        left = 0.0
        shapes = [_rect(0, 3, 100, _HEIGHT - 6, "band")] if bar.endless else []
        for part, colour in zip(bar.parts, _COLOURS, strict=False):
            width = 100 * part / full if full else 0.0
            shapes.append(_rect(left, 3, width, _HEIGHT - 6, colour))
            left += width
        strip = chart_strip(shapes, f"{bar.label}: {bar.value}")
        rows.append(chart_row(bar.label, strip, bar.value))
    return chart_figure(chart_legend(list(zip(legend, _COLOURS, strict=False))), rows, caption)


def pair_chart(
    pairs: Sequence[Pair], legend: tuple[str, str], caption: str = "", top: float | None = None
) -> str:
    """Rows of two bars each, such as before and after.

    Args:
        pairs: rows from top to bottom; finite values are as long as they say, infinite ones pale.
        legend: what the two bars are.
        caption: a sentence below.
        top: the length of a full bar; by default the longest finite one's.

    Example:
        >>> pair_chart([Pair("conv", (0.5, 0.25))], ("float", "4 bits")).count("<rect")
        4
    """
    known = [abs(v) for p in pairs for v in p.values if v is not None and math.isfinite(v)]
    full = top if top is not None else max(known, default=0.0)
    rows = []
    for pair in pairs:
        shapes = []
        for i, (value, colour) in enumerate(zip(pair.values, ("three", "one"), strict=True)):
            if value is None:
                continue
            endless = not math.isfinite(value)
            width = 100.0 if endless else 100 * max(value, 0.0) / full if full else 0.0
            y = 2 + i * _HEIGHT / 2
            shapes.append(_rect(0, y, width, _HEIGHT / 2 - 3, "band" if endless else colour))
        strip = chart_strip(shapes, f"{pair.label}: {pair.value}")
        rows.append(chart_row(pair.label, strip, pair.value))
    keys = chart_legend([(legend[0], "three"), (legend[1], "one")])
    return chart_figure(keys, rows, caption)


def range_chart(rows: Sequence[RangeRow], caption: str = "") -> str:
    """Where magnitudes lie against what their formats can hold, on a logarithmic axis.

    The band runs from half a code step (what is smaller rounds to zero) to the largest value (what
    is larger is clipped); the hill is the histogram of log2|x|. At the end of a row: format, share
    of values that round to zero though they are not, share that is clipped.

    Args:
        rows: tensors from top to bottom.
        caption: a sentence below.
    """
    if not rows:
        return ""
    low, high, cut = _octaves(rows)

    def place(exponent: float) -> float:
        return 100 * (min(max(exponent, low), high) - low) / (high - low)

    lines = []
    for row in rows:
        shapes = []
        if row.fmt is not None:
            left, right = (place(math.log2(edge)) for edge in format_edges(row.fmt))
            shapes.append(_rect(left, 1, right - left, _HEIGHT - 2, "band"))
        shapes.append(_hill(row.stats, low, high))
        text = _range_text(row)
        lines.append(chart_row(row.label, chart_strip(shapes, f"{row.label}: {text}"), text))
    step = max(1, math.ceil((high - low) / 10))
    ticks = [(place(e), f"2<sup>{e}</sup>") for e in range(low, high + 1, step)]
    if cut:
        ticks[0] = (ticks[0][0], f"≤ 2<sup>{low}</sup>")
    legend = chart_legend([("magnitudes, log2|x|", "one"), ("what the format can hold", "band")])
    return chart_figure(legend, [*lines, chart_axis(ticks)], caption)


def histogram_chart(histograms: Sequence[Histogram], caption: str = "", bins: int = 64) -> str:
    """Small histograms side by side; lines are the values that the format has.

    Zeros are left out of the bars, because a ReLU makes so many that nothing else would show; their
    share is written above.

    Args:
        histograms: from left to right, then down.
        caption: a sentence below.
        bins: columns of each.
    """
    cells = [_one_histogram(histogram, bins) for histogram in histograms]
    legend = chart_legend([("values", "one"), ("grid of the format", "two")])
    return chart_figure(legend, [f'<div class="histograms">{"".join(cells)}</div>'], caption)


def percent(share: float) -> str:
    """A share in per cent, short.

    Example:
        >>> percent(0.5), percent(0.00012), percent(0.0)
        ('50 %', '0.01 %', '0 %')
    """
    value = 100 * share
    if value == 0:
        return "0 %"
    return f"{value:.0f} %" if value >= 10 else f"{max(value, 0.01):.{1 if value >= 1 else 2}f} %"


def _one_histogram(histogram: Histogram, bins: int) -> str:
    stats, fmt = histogram.stats, histogram.fmt
    values, counts = stats.bin_values()
    low, high = float(values[0]), float(values[-1])
    if fmt is not None:
        low, high = min(low, fmt.min), max(high, fmt.max)
    low, high = (low, high) if high > low else (low - 1, high + 1)
    shown = values != 0
    heights, _ = np.histogram(values[shown], bins, (low, high), weights=counts[shown])
    top = heights.max() if heights.size and heights.max() > 0 else 1
    shapes = [_columns([96 * height / top for height in heights])]
    if fmt is not None and fmt.qmax - fmt.qmin < _MOST_GRID_LINES:
        for code in range(fmt.qmin, fmt.qmax + 1):
            if code or not has_no_zero(fmt):
                x = 100 * (code * fmt.scale - low) / (high - low)
                shapes.append(f'<line class="grid" x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="100"/>')
    name = "float" if fmt is None else str(fmt)
    title = f"{histogram.label}: {name}, zeros {percent(stats.zero_fraction)}"
    return (
        f'<div data-layer="{html.escape(histogram.label)}"><b>{html.escape(histogram.label)}</b>'
        f" {html.escape(name)}, zeros"
        f" {percent(stats.zero_fraction)}{chart_strip(shapes, title, 100)}"
        f'<div class="ends"><span>{low:.3g}</span><span>{high:.3g}</span></div></div>'
    )


def _columns(heights: Sequence[float]) -> str:
    """Bars side by side from the bottom of a box of 100 x 100, as one shape."""
    width = 100 / len(heights)
    parts = [
        f"M{i * width:.2f} 100v{-height:.2f}h{width:.2f}V100"
        for i, height in enumerate(heights)
        if height > 0
    ]
    return f'<path class="one" d="{"".join(parts)}"/>' if parts else ""


def _octaves(rows: Sequence[RangeRow]) -> tuple[int, int, bool]:
    """The axis: all formats, and the octaves where one value in a thousand lies.

    The third value tells that one tensor reaches farther down than the axis, which keeps to
    `_MOST_OCTAVES` so that a few tiny weights do not squeeze everything else.
    """
    exponents = []
    for row in rows:
        if row.fmt is not None:
            exponents += [math.log2(edge) for edge in format_edges(row.fmt)]
        counts = row.stats.log2_counts
        shown = np.flatnonzero(counts > counts.sum() / 1000)
        if shown.size:
            exponents += [shown[0] + LOG2_LOW, shown[-1] + LOG2_LOW + 1]
    if not exponents:
        return -8, 0, False
    high, least = math.ceil(max(exponents)), math.floor(min(exponents))
    low = max(least, high - _MOST_OCTAVES, LOG2_LOW)
    return low, high, least < low


def _hill(stats: TensorStats, low: int, high: int) -> str:
    """The histogram of log2|x| as an area that is symmetric about the middle of the strip."""
    counts = stats.log2_counts[low - LOG2_LOW : high - LOG2_LOW].copy()
    if counts.size:
        counts[0] += stats.log2_counts[: low - LOG2_LOW].sum()
    top = counts.max() if counts.size and counts.max() > 0 else 1
    step = 100 / (high - low)
    upper, lower = [], []
    for i, count in enumerate(counts):
        half = (_HEIGHT / 2 - 2) * count / top
        for x in (i * step, (i + 1) * step):
            upper.append(f"{x:.2f} {_HEIGHT / 2 - half:.2f}")
            lower.append(f"{x:.2f} {_HEIGHT / 2 + half:.2f}")
    return f'<path class="one" d="M{" L".join(upper + lower[::-1])} Z"/>'


def _range_text(row: RangeRow) -> str:
    if row.fmt is None:
        return "float"
    to_zero, clipped = lost_shares(row.stats, row.fmt)
    return f"{row.fmt} ↓{percent(to_zero)} ↑{percent(clipped)}"


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect class="{colour}" x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}"'
        f' height="{max(height, 0):.2f}"/>'
    )


def chart_strip(shapes: Sequence[str], title: str, height: float = _HEIGHT) -> str:
    """Shapes in a box that stretches to its row; `title` shows on hover."""
    return (
        f'<svg viewBox="0 0 100 {height:g}" preserveAspectRatio="none" role="img">'
        f"<title>{html.escape(title)}</title>{''.join(shapes)}</svg>"
    )


def chart_row(label: str, strip: str, value: str) -> str:
    """A row of a chart: name, strip, figure."""
    name = html.escape(label)
    return (
        f'<div class="row" data-layer="{name}">'
        f'<span class="label" title="{name}">{name}</span>{strip}'
        f'<span class="value">{html.escape(value)}</span></div>'
    )


def chart_axis(ticks: Sequence[tuple[float, str]]) -> str:
    """Marks below a chart: (percent of the width, text)."""
    marks = "".join(f'<span style="left:{x:.2f}%">{text}</span>' for x, text in ticks)
    return (
        f'<div class="row axis"><span class="label"></span><div class="ticks">{marks}</div></div>'
    )


def chart_legend(entries: Sequence[tuple[str, str]]) -> str:
    """What colours mean: (text, colour)."""
    keys = "".join(
        f'<span><svg viewBox="0 0 10 10">{_rect(0, 0, 10, 10, colour)}</svg>'
        f"{html.escape(text)}</span>"
        for text, colour in entries
    )
    return f'<div class="legend">{keys}</div>' if keys else ""


def chart_figure(legend: str, rows: Sequence[str], caption: str) -> str:
    """A whole chart."""
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    inside = "".join(rows)
    if len(rows) > _MANY:
        inside = f'<div class="many">{inside}</div>'
    return f"<figure>{legend}{inside}{below}</figure>"
