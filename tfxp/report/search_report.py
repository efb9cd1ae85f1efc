"""The page about one search for precision: front, bits, sensitivity, size and noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfxp.report.charts import Bar, bar_chart
from tfxp.report.costs import costs_section
from tfxp.report.page import Page, html_table
from tfxp.report.search_charts import MarkRow, Series, heat_map, mark_chart, scatter_chart

# What is far below the best cannot be chosen and would squeeze the rest of the chart.
_SHOWN_SHARE = 0.8
_SHOWN_OF_BEST = 0.5  # where even the best is lower than that
_FAMILY_NAMES = {
    "weight_bits": "Bits of weights",
    "data_integer": "Integer bits of data",
    "data_fraction": "Fractional bits of data",
}


_Bits = Mapping[str, tuple[int | None, int | None]]  # layer -> (of weights, of data)


@dataclass(frozen=True)
class ResultTable:
    """A table of the method's own.

    Args:
        heading: of its section.
        text: how to read it.
        header: column titles.
        rows: cells, the layer's name first.
    """

    heading: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Choice:
    """A map that a search offers.

    Args:
        label: what it is the best for, such as "1 %".
        score: its accuracy on the samples searched on.
        cost: its cost, in the unit of the search.
        bits: layer -> (bits of weights or None, bits of data or None).
        report_score: its accuracy on samples that the search has not seen, if measured.
    """

    label: str
    score: float
    cost: float
    bits: _Bits
    report_score: float | None = None


@dataclass(frozen=True)
class SearchFigures:
    """What the page shows; whatever is left empty is left out.

    Args:
        name: the network's name.
        method: how precision was searched for.
        baseline: score of the float network on the samples searched on, if any were evaluated.
        metric: what the score is.
        cost: what the cost is, with its unit.
        visited: (cost, score) of every map that was evaluated on all samples.
        front: those that no other beats, by cost.
        choices: maps that are offered; the first is the one that was asked for.
        bits: layer -> (bits of weights or None, bits of data or None) of the map of a method that
            offers one only.
        tables: what the method says of its decisions.
        costs: of that map, as `model_costs` gives them.
        profile: points of a one-at-a-time profile: unit, family, value, relative_error.
        sqnr: rows with layer, predicted_db, power_db, measured_db.
        sizes: points of a size curve: kind, size_bits, accuracy.
        saving: (share saved, accuracy) where allocation saves most below saturation.
        report_baseline: score of the float network on samples that the search has not seen.
        notes: sentences on how it was done.
        provenance: where the figures come from, as `tfxp.report.provenance` gives it.
    """

    name: str
    method: str
    baseline: float | None = None
    metric: str = "accuracy"
    cost: str = "batch traffic, % of 32 bits"
    visited: Sequence[tuple[float, float]] = ()
    front: Sequence[tuple[float, float]] = ()
    choices: Sequence[Choice] = ()
    bits: _Bits = field(default_factory=dict)
    tables: Sequence[ResultTable] = ()
    costs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    profile: Sequence[Mapping[str, Any]] = ()
    sqnr: Sequence[Mapping[str, Any]] = ()
    sizes: Sequence[Mapping[str, Any]] = ()
    saving: tuple[float, float] | None = None
    report_baseline: float | None = None
    notes: Sequence[str] = field(default_factory=tuple)
    provenance: Mapping[str, str] = field(default_factory=dict)


def search_page(figures: SearchFigures) -> Page:
    """Build the page; `.write(path)` saves it.

    Args:
        figures: what was searched and found.

    Example:
        >>> figures = SearchFigures("net", "greedy", 0.9, visited=[(0.2, 0.8)], front=[(0.2, 0.8)])
        >>> "Pareto front" in search_page(figures).html()
        True
    """
    page = Page(f"Precision of {figures.name}", f"Found by {figures.method}.")
    page.tiles(_tiles(figures))
    if figures.notes:
        page.section("How", " ".join(figures.notes))
    _front(page, figures)
    _choices(page, figures)
    _sizes(page, figures)
    _profile(page, figures)
    _sqnr(page, figures)
    _tables(page, figures)
    costs_section(page, figures.costs)
    page.provenance(figures.provenance)
    page.live()
    return page


def _tiles(figures: SearchFigures) -> list[tuple[str, str]]:
    tiles = []
    if figures.baseline is not None:
        tiles.append((_percent(figures.baseline), f"{figures.metric} in float"))
    if figures.choices:
        best = figures.choices[0]
        tiles.append((_percent(best.score), f"{figures.metric} of the chosen map"))
        tiles.append(_cost_tile(best.cost, figures.cost))
        if best.report_score is not None and figures.report_baseline is not None:
            text = f"on other samples, {_percent(figures.report_baseline)} in float"
            tiles.append((_percent(best.report_score), text))
    if figures.visited:
        tiles.append((f"{len(figures.visited):,}", "maps evaluated on all samples"))
    if figures.saving is not None:
        share, score = figures.saving
        tiles.append((_percent(share), f"smaller than equal bits at {_percent(score)}"))
    return tiles


def _cost_tile(cost: float, name: str) -> tuple[str, str]:
    """A cost beside its name; of "traffic, % of float" the per cent stand with the figure."""
    what, share, base = name.partition(", % of ")
    return (f"{cost:.3g} %", f"{what}, share of {base}") if share else (f"{cost:.4g}", name)


def _front(page: Page, figures: SearchFigures) -> None:
    if not figures.visited or figures.baseline is None:
        return
    chosen = [(choice.cost, choice.score) for choice in figures.choices]
    series = [
        Series("every map visited", figures.visited, faint=True),
        Series("Pareto front", sorted(figures.front), joined=True),
        Series("chosen", chosen, marked=True),
    ]
    scores = [score for _, score in figures.visited]
    bottom = _SHOWN_SHARE * figures.baseline
    if max(scores) < bottom:  # nothing is near the float network
        bottom = _SHOWN_OF_BEST * max(scores)
    hidden = sum(score < bottom for score in scores)
    caption = f"Not shown below {bottom:.3g}: {_counted(hidden, 'map')}." if hidden else ""
    page.section(
        "Pareto front",
        "Every dot is a precision map. No map is both cheaper and better than one on the front.",
        scatter_chart(
            series, figures.cost, figures.metric, (figures.baseline, "float"), bottom, caption
        ),
    )


def _choices(page: Page, figures: SearchFigures) -> None:
    if not figures.choices or figures.baseline is None:
        _assigned_bits(page, figures)
        return
    head = ["", figures.metric, "below float", figures.cost]
    reported = any(choice.report_score is not None for choice in figures.choices)
    if reported:
        head.append(f"{figures.metric}, other samples")
    rows = [
        [
            choice.label,
            _percent(choice.score),
            _percent(1 - choice.score / figures.baseline),
            choice.cost,
            *([_percent(choice.report_score)] if reported else []),
        ]
        for choice in figures.choices
    ]
    layers = list(dict.fromkeys(name for choice in figures.choices for name in choice.bits))
    bits = [
        [name, *(_bits(choice.bits.get(name, (None, None))) for choice in figures.choices)]
        for name in layers
    ]
    best = figures.choices[0]
    page.section(
        "What to choose",
        "First the map that was asked for, then others that are good enough, by their accuracy on"
        " the samples searched on.",
        html_table(head, rows),
    )
    page.section(
        "Bits per layer",
        f"The bars show the first map ({best.label}); the table has bits of weights/data of all.",
        *_bit_bars(best.bits),
        html_table(["layer", *(choice.label for choice in figures.choices)], bits, layers=layers),
    )


def _assigned_bits(page: Page, figures: SearchFigures) -> None:
    """The bits of the one map of a method that looks at no accuracy."""
    if figures.bits:
        page.section(
            "Bits per layer", "Bits of the map that was written.", *_bit_bars(figures.bits)
        )


def _bit_bars(bits: _Bits) -> Iterator[str]:
    """A chart of the bits of weights, and one of those of data."""
    for index, kind in enumerate(("weights", "data")):
        rows = [
            Bar(name, (float(pair[index] or 0),), f"{pair[index]} bit")
            for name, pair in bits.items()
            if pair[index] is not None
        ]
        if rows:
            yield bar_chart(rows, [f"bits of {kind}"])


def _sizes(page: Page, figures: SearchFigures) -> None:
    if not figures.sizes or figures.baseline is None:
        return
    series = [
        Series(
            label,
            sorted(
                (p["size_bits"] / 1e3, p["accuracy"]) for p in figures.sizes if p["kind"] == kind
            ),
            joined=True,
        )
        for kind, label in (("equal", "equal bits"), ("allocated", "allocated by SQNR"))
    ]
    page.section(
        "Size of the weights",
        "The same accuracy in less memory: bits where they cost little, beside equal bits.",
        scatter_chart(
            series, "weights, kbit", figures.metric, (figures.baseline, "float"), caption=""
        ),
    )


def _profile(page: Page, figures: SearchFigures) -> None:
    families = list(dict.fromkeys(point["family"] for point in figures.profile))
    blocks = []
    for family in families:
        rows: dict[str, dict[int, float]] = {}
        for point in figures.profile:
            if point["family"] == family:
                rows.setdefault(point["unit"], {})[point["value"]] = point["relative_error"]
        blocks.append(heat_map(rows, caption=f"{_FAMILY_NAMES.get(family, family)}."))
    if blocks:
        page.section(
            "Sensitivity",
            "Relative loss in per cent when one parameter of one layer is lowered and everything"
            " else stays as at the start.",
            *blocks,
        )


def _sqnr(page: Page, figures: SearchFigures) -> None:
    if not figures.sqnr:
        return
    keys = ("predicted_db", "power_db", "measured_db")
    names = ("harmonic rule", "with measured powers", "measured")
    rows = [
        MarkRow(
            row["layer"],
            tuple(row.get(key) for key in keys),
            " / ".join("–" if row.get(key) is None else f"{row[key]:.1f}" for key in keys) + " dB",
        )
        for row in figures.sqnr
        if any(row.get(key) is not None for key in keys)
    ]
    page.section(
        "Signal to quantization noise",
        "At the stored output of each layer, all noise before it included: predicted from"
        " distributions alone, and measured against the float network.",
        mark_chart(rows, names, "Values at the end of rows: harmonic / with powers / measured."),
    )


def _tables(page: Page, figures: SearchFigures) -> None:
    for table in figures.tables:
        layers = [str(row[0]) for row in table.rows]
        page.section(table.heading, table.text, html_table(table.header, table.rows, layers=layers))


def _counted(number: int, noun: str) -> str:
    """ "1 map", "2 maps"."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _bits(pair: tuple[int | None, int | None]) -> str:
    weights, data = pair
    return f"{weights if weights is not None else '–'}/{data if data is not None else '–'}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"
