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

_HEIGHT = 20.0
_COLOURS = ("one", "two", "three")
_MOST_OCTAVES = 30
_MOST_GRID_LINES = 64


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart: parts that are stacked, and the text at the end."""

    label: str
    parts: tuple[float, ...]
    value: str = ""


@dataclass(frozen=True)
class RangeRow:
    """One row of a range chart: a tensor's distribution and its format (None: left in float)."""

    label: str
    stats: TensorStats
    fmt: Format | None


@dataclass(frozen=True)
class Histogram:
    """One small histogram: a tensor's values, with the grid of its format drawn in."""

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
        left, shapes = 0.0, []
        for part, colour in zip(bar.parts, _COLOURS, strict=False):
            width = 100 * part / full if full else 0.0
            shapes.append(_rect(left, 3, width, _HEIGHT - 6, colour))
            left += width
        strip = chart_strip(shapes, f"{bar.label}: {bar.value}")
        rows.append(chart_row(bar.label, strip, bar.value))
    return chart_figure(chart_legend(list(zip(legend, _COLOURS, strict=False))), rows, caption)


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
    low, high = _octaves(rows)

    def place(exponent: float) -> float:
        return 100 * (min(max(exponent, low), high) - low) / (high - low)

    lines = []
    for row in rows:
        shapes = []
        if row.fmt is not None:
            left, right = (place(math.log2(edge)) for edge in _edges(row.fmt))
            shapes.append(_rect(left, 1, right - left, _HEIGHT - 2, "band"))
        shapes.append(_hill(row.stats, low, high))
        text = _range_text(row)
        lines.append(chart_row(row.label, chart_strip(shapes, f"{row.label}: {text}"), text))
    step = max(1, math.ceil((high - low) / 10))
    ticks = [(place(e), f"2<sup>{e}</sup>") for e in range(low, high + 1, step)]
    legend = chart_legend([("magnitudes, log2|x|", "one"), ("what the format can hold", "band")])
    return chart_figure(legend, [*lines, chart_axis(ticks)], caption)


def histogram_chart(histograms: Sequence[Histogram], caption: str = "", bins: int = 64) -> str:
    """Small histograms side by side; lines are the values that the format has.

    Zeros are left out of the bars, because a ReLU makes so many that nothing else would show; their
    share is written above.
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
    shapes = [
        _rect(100 * i / bins, 100 - 96 * h / top, 100 / bins, 96 * h / top, "one")
        for i, h in enumerate(heights)
        if h > 0
    ]
    if fmt is not None and fmt.qmax - fmt.qmin < _MOST_GRID_LINES:
        for code in range(fmt.qmin, fmt.qmax + 1):
            if code or not _has_no_zero(fmt):
                x = 100 * (code * fmt.scale - low) / (high - low)
                shapes.append(f'<line class="grid" x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="100"/>')
    name = "float" if fmt is None else str(fmt)
    title = f"{histogram.label}: {name}, zeros {percent(stats.zero_fraction)}"
    return (
        f"<div><b>{html.escape(histogram.label)}</b> {html.escape(name)}, zeros"
        f" {percent(stats.zero_fraction)}{chart_strip(shapes, title, 100)}"
        f'<div class="ends"><span>{low:.3g}</span><span>{high:.3g}</span></div></div>'
    )


def _has_no_zero(fmt: Format) -> bool:
    """Whether this is the one grid without a zero code: binary weights."""
    return bool(getattr(fmt, "is_binary", False))


def _edges(fmt: Format) -> tuple[float, float]:
    """Smallest magnitude that does not round to zero, and the largest value."""
    largest = max(abs(fmt.min), abs(fmt.max))
    return min(fmt.scale / 2, largest), largest


def _octaves(rows: Sequence[RangeRow]) -> tuple[int, int]:
    """The axis: all formats, and the octaves where one value in a thousand lies."""
    exponents = []
    for row in rows:
        if row.fmt is not None:
            exponents += [math.log2(edge) for edge in _edges(row.fmt)]
        counts = row.stats.log2_counts
        shown = np.flatnonzero(counts > counts.sum() / 1000)
        if shown.size:
            exponents += [shown[0] + LOG2_LOW, shown[-1] + LOG2_LOW + 1]
    if not exponents:
        return -8, 0
    high = math.ceil(max(exponents))
    return max(math.floor(min(exponents)), high - _MOST_OCTAVES, LOG2_LOW), high


def _hill(stats: TensorStats, low: int, high: int) -> str:
    """The histogram of log2|x| as an area that is symmetric about the middle of the strip."""
    counts = stats.log2_counts[low - LOG2_LOW : high - LOG2_LOW]
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
    small = _edges(row.fmt)[0]
    to_zero = 1 - row.stats.clipped_fraction(-small, small) - row.stats.zero_fraction
    clipped = row.stats.clipped_fraction(row.fmt.min - small, row.fmt.max + small)
    to_zero = 0.0 if _has_no_zero(row.fmt) else max(to_zero, 0.0)
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
        f'<div class="row"><span class="label" title="{name}">{name}</span>{strip}'
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
    return f"<figure>{legend}{''.join(rows)}{below}</figure>"
