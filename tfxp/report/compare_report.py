"""The page about two runs side by side, with their differences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from tfxp.report.charts import Pair, pair_chart, percent
from tfxp.report.layer_figures import LayerFigures
from tfxp.report.live_data import (
    compared_data,
    decibels,
    difference,
    paired_layers,
)
from tfxp.report.page import Page, html_table
from tfxp.report.run_figures import RunFigures, accuracy_name

_Pairs = Sequence[tuple[LayerFigures | None, LayerFigures | None]]
# Key, heading, how a value and how a change is written.
_NOISE = ("sqnr_db", decibels, lambda value: f"{value:+.1f} dB")
_SHARE = (percent, lambda value: f"{100 * value:+.1f} %")


def compare_page(
    first: RunFigures, second: RunFigures, labels: tuple[str, str] | None = None
) -> Page:
    """Build the page; `.write(path)` saves it.

    Args:
        first, second: the runs; layers are paired by their names.
        labels: what the runs are called; by default by their names.

    Example:
        >>> run = RunFigures("net", (LayerFigures("conv", "conv", sqnr_db=20.0),))
        >>> "SQNR" in compare_page(run, run).html()
        True
    """
    names = labels or (first.name, second.name)
    if names[0] == names[1]:
        names = (f"{names[0]} (first)", f"{names[1]} (second)")
    pairs = paired_layers(first.layers, second.layers)
    page = Page(
        f"{names[0]} and {names[1]}",
        "Two runs side by side; a change is the second minus the first.",
    )
    _summary(page, first, second, names)
    _layer_table(page, pairs, names)
    _noise(page, pairs, names)
    _zeros(page, pairs, names)
    _costs(page, first, second, names)
    _provenance(page, first, second, names)
    page.live(compared_data(first.layers, second.layers, names))
    return page


def _summary(page: Page, a: RunFigures, b: RunFigures, names: tuple[str, str]) -> None:
    rows: list[list[Any]] = []
    for key in dict.fromkeys([*a.accuracies, *b.accuracies]):
        left, right = a.accuracies.get(key), b.accuracies.get(key)
        change = difference(left, right)
        shares = [_or_dash(v, lambda x: f"{100 * x:.2f} %") for v in (left, right)]
        points = _or_dash(change, lambda x: f"{100 * x:+.2f} points")
        rows.append([accuracy_name(key), *shares, points])
    known = (*a.accuracies, *b.accuracies)
    shown = {*known, *map(accuracy_name, known)}  # the bare names are those of version 0.2's pages
    for key in dict.fromkeys([*a.summary, *b.summary]):
        if key not in shown:
            texts = a.summary.get(key), b.summary.get(key)
            rows.append([key, *texts, _change_of_texts(*texts)])
    if rows:
        page.section("Summary", "", html_table(["", *names, "change"], rows))


def _layer_table(page: Page, pairs: _Pairs, names: tuple[str, str]) -> None:
    header = ["layer", "kind"]
    for what in ("weights", "activations"):
        header += [f"{what}, {name}" for name in names]
    columns = _figure_columns(pairs, names)
    header += [title for title, _ in columns]
    rows = []
    for i, (a, b) in enumerate(pairs):
        own = b or a
        assert own is not None  # a pair has at least one
        formats = [
            getattr(layer, key) if layer else None
            for key in ("weight_format", "activation_format")
            for layer in (a, b)
        ]
        rows.append(
            [own.name, own.kind.replace("_", " "), *formats, *(cells[i] for _, cells in columns)]
        )
    layers = [str(row[0]) for row in rows]
    page.section("Layers", "Formats and noise of both.", html_table(header, rows, None, layers))


def _figure_columns(pairs: _Pairs, names: tuple[str, str]) -> list[tuple[str, list[str]]]:
    """Heading and cells of the figures that both or one of the runs have."""
    columns = []
    for key, heading, write, write_change in (
        ("sqnr_db", "SQNR", *_NOISE[1:]),
        ("quantized_zeros", "zeros", *_SHARE),
        ("clipped", "clipped", *_SHARE),
        ("executed", "MACs executed", *_SHARE),
    ):
        values = [_values(pair, key) for pair in pairs]
        if all(value is None for pair in values for value in pair):
            continue
        for i, name in enumerate(names):
            columns.append((f"{heading}, {name}", [_or_dash(pair[i], write) for pair in values]))
        changes = [difference(*pair) for pair in values]
        columns.append((f"{heading}, change", [_change(v, write_change) for v in changes]))
    return columns


def _noise(page: Page, pairs: _Pairs, names: tuple[str, str]) -> None:
    charts = []
    for key, what in (("sqnr_db", "activations"), ("weight_sqnr_db", "weights")):
        rows = _pair_rows(pairs, key, decibels)
        if rows:
            caption = f"SQNR of {what} against the float network. Pale bars are exact."
            charts.append(pair_chart(rows, names, caption))
    if charts:
        page.section("Noise", "Longer is better; 6 dB are about one bit.", *charts)


def _zeros(page: Page, pairs: _Pairs, names: tuple[str, str]) -> None:
    charts = []
    for key, what in (("quantized_zeros", "activations"), ("quantized_weight_zeros", "weights")):
        rows = _pair_rows(pairs, key, percent)
        if rows:
            charts.append(pair_chart(rows, names, f"Zeros among {what}.", top=1.0))
    if charts:
        page.section("Zeros", "A zero costs nothing where the hardware skips it.", *charts)


def _pair_rows(pairs: _Pairs, key: str, write: Callable[[float], str]) -> list[Pair]:
    rows = []
    for a, b in pairs:
        own, values = b or a, _values((a, b), key)
        if own is not None and values != (None, None):
            text = " → ".join(_or_dash(value, write) for value in values)
            rows.append(Pair(own.name, values, text))
    return rows


def _costs(page: Page, a: RunFigures, b: RunFigures, names: tuple[str, str]) -> None:
    rows: list[list[Any]] = []
    for key in dict.fromkeys([*a.costs, *b.costs]):
        left, right = (run.costs[key][0] if key in run.costs else None for run in (a, b))
        share = percent(right / left) if left and right is not None else ""
        rows.append([key, left, right, share])
    if rows:
        header = ["", *names, "second over first"]
        page.section("Costs", "A sample at a time.", html_table(header, rows))


def _provenance(page: Page, a: RunFigures, b: RunFigures, names: tuple[str, str]) -> None:
    page.provenance(
        {
            f"{key}, {name}": text
            for name, run in zip(names, (a, b), strict=True)
            for key, text in run.provenance.items()
        }
    )


def _values(
    pair: tuple[LayerFigures | None, LayerFigures | None], key: str
) -> tuple[float | None, float | None]:
    first, second = (None if layer is None else getattr(layer, key) for layer in pair)
    return first, second


def _or_dash(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)


def _change_of_texts(first: Any, second: Any) -> str:
    """The change of figures such as "35.0 dB"; nothing where they differ in unit or are words."""
    found = [re.fullmatch(r"(-?[\d,]+(?:\.(\d+))?)( \S+)?", str(text)) for text in (first, second)]
    if not all(found):
        return ""
    (a, digits, unit), (b, _, other) = (match.groups() for match in found if match)
    if unit != other:
        return ""
    change = float(b.replace(",", "")) - float(a.replace(",", ""))
    return f"{change:+,.{len(digits or '')}f}{unit or ''}"


def _change(value: float | None, write: Callable[[float], str]) -> str:
    """A change; nothing where there is none to compute, "exact" where noise went away."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "exact now" if value > 0 else "exact no more"
    return write(value)
