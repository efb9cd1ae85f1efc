"""The page about one quantized model: bits, ranges, zeros, multiplications, accuracy."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfxp.formats import Format, TensorStats
from tfxp.precision import LayerPrecision, ModelStats, PrecisionMap
from tfxp.report.charts import (
    Bar,
    Histogram,
    Pair,
    RangeRow,
    bar_chart,
    histogram_chart,
    pair_chart,
    percent,
    range_chart,
)
from tfxp.report.costs import costs_section
from tfxp.report.layer_figures import (
    LayerFigures,
    drawn_format,
    layer_figures,
    tensor_before_format,
)
from tfxp.report.live_data import decibels, live_data
from tfxp.report.page import Page, html_table
from tfxp.report.run_figures import RunFigures, accuracy_name


@dataclass(frozen=True)
class ModelFigures:
    """What the page shows; whatever is left empty is left out.

    Args:
        name: the model's name.
        stats: measurements of the float network.
        precision: the formats of the quantized one, as `tfxp.precision_of` gives them.
        runs: the interpreter's rows, one per multiplying operator: `report().to_dict()["layers"]`.
        accuracies: what was evaluated -> its accuracy, in the order of the steps.
        tflite_bytes: size of the integer file.
        float_bytes: size of the weights in float32.
        elements: output elements compared.
        mismatches: engine -> elements where it differs from Keras.
        after: measurements of the quantized network, for its noise and its zeros.
        costs: what is counted -> (of this network, of the float one), as `model_costs` gives it.
        provenance: where the figures come from, as `tfxp.report.provenance` gives it.
    """

    name: str
    stats: ModelStats
    precision: PrecisionMap
    runs: Sequence[Mapping[str, Any]] = ()
    accuracies: Mapping[str, float] = field(default_factory=dict)
    tflite_bytes: int = 0
    float_bytes: int = 0
    elements: int = 0
    mismatches: Mapping[str, int] = field(default_factory=dict)
    after: ModelStats | None = None
    costs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def layers(self) -> list[LayerFigures]:
        """Figures of each layer, in the order of the network."""
        return layer_figures(self.stats, self.precision, self.after, self.runs)

    @property
    def run(self) -> RunFigures:
        """The same without distributions, for JSON and for comparing runs."""
        return RunFigures(
            self.name,
            tuple(self.layers),
            {name: value for value, name in _tiles(self)},
            dict(self.accuracies),
            dict(self.costs),
            dict(self.provenance),
        )


def model_page(figures: ModelFigures) -> Page:
    """Build the page; `.write(path)` saves it.

    Args:
        figures: what was measured.
    """
    samples = figures.stats.samples
    page = Page(
        f"{figures.name} in few bits",
        f"{len(figures.stats.layers)} layers, {figures.stats.weight_count:,} weights,"
        f" {figures.stats.macs:,} multiplications a sample; ranges measured on {samples:,}"
        " samples.",
    )
    page.tiles(_tiles(figures))
    _layers(page, figures)
    _noise(page, figures)
    _ranges(page, figures)
    _zeros(page, figures)
    _macs(page, figures)
    costs_section(page, figures.costs)
    _accuracies(page, figures)
    page.provenance(figures.provenance)
    run = figures.run.to_dict()
    del run["layers"]  # they are there already
    page.live({**live_data(figures.layers), "run": run})
    return page


def _tiles(figures: ModelFigures) -> list[tuple[str, str]]:
    tiles = [
        (f"{100 * value:.2f} %", accuracy_name(name)) for name, value in figures.accuracies.items()
    ]
    for engine, count in figures.mismatches.items():
        tiles.append((f"{count:,} of {figures.elements:,}", f"outputs that differ in {engine}"))
    if figures.tflite_bytes and figures.float_bytes:
        size = f"{figures.tflite_bytes / 1024:.1f} KiB"
        tiles.append(
            (size, f"integer file ({figures.float_bytes / 1024:.1f} KiB of float weights)")
        )
    if figures.after is not None:
        for name, value in figures.after.output_sqnr.items():
            tiles.append((decibels(value), f"SQNR at the output {name}"))
    total, executed = (_sum(figures.runs, key) for key in ("macs_total", "macs_executed"))
    if total:
        tiles.append((percent(executed / total), "multiplications with no zero in them"))
    return tiles


def _layers(page: Page, figures: ModelFigures) -> None:
    layers = figures.layers
    columns: list[tuple[str, list[Any], Any]] = [
        ("layer", [x.name for x in layers], "total"),
        ("kind", [x.kind.replace("_", " ") for x in layers], ""),
        ("output", ["x".join(map(str, x.output_shape)) for x in layers], ""),
        ("weights", [x.weights or None for x in layers], figures.stats.weight_count),
        ("format", [x.weight_format for x in layers], ""),
        ("activations", [x.activation_format for x in layers], ""),
        ("MACs", [x.macs or None for x in layers], figures.stats.macs),
    ]
    text = "Qm.f has m integer and f fractional bits and a sign besides; UQm.f has no sign; a"
    text += " trailing s leaves out the most negative code."
    if figures.after is not None:
        columns.append(("SQNR", [decibels(x.sqnr_db) for x in layers], ""))
    if any(x.executed is not None for x in layers):
        share = _sum(figures.runs, "macs_executed") / max(_sum(figures.runs, "macs_total"), 1)
        cells = ["" if x.executed is None else percent(x.executed) for x in layers]
        columns.append(("executed", cells, percent(share)))
        text += " Executed are multiplications with no zero in them."
    table = html_table(
        [title for title, _, _ in columns],
        list(zip(*(cells for _, cells, _ in columns), strict=True)),
        [total for _, _, total in columns],
        [x.name for x in layers],
    )
    page.section("Layers", text, table)


def _ranges(page: Page, figures: ModelFigures) -> None:
    weights: list[tuple[str, TensorStats, Format | None]] = []
    activations: list[tuple[str, TensorStats, Format | None]] = []
    for name, layer in figures.stats.layers.items():
        rule = figures.precision.layers.get(name, LayerPrecision())
        for rows, stats, precision in (
            (weights, layer.weights, rule.weights),
            (activations, tensor_before_format(layer, rule), rule.activations),
        ):
            if stats is not None and stats.count:
                rows.append((name, stats, drawn_format(precision)))
    page.section(
        "Ranges of activations",
        "The band is what the format can hold: from half a step to the largest value.",
        range_chart([RangeRow(*row) for row in activations], _RANGE_CAPTION),
        histogram_chart([Histogram(*row) for row in activations], _ACTIVATION_CAPTION),
    )
    page.section(
        "Ranges of weights",
        "",
        range_chart([RangeRow(*row) for row in weights], _RANGE_CAPTION),
        histogram_chart(
            [Histogram(*row) for row in weights],
            "Float weights; lines are the values that the format has.",
        ),
    )


_ACTIVATION_CAPTION = (
    "Values without the zeros; lines are the values that the format has, where they are few."
)
_RANGE_CAPTION = (
    "↓ share of values that become zero though they are not, ↑ share that is clipped."
    " Measured in the float network."
)


def _noise(page: Page, figures: ModelFigures) -> None:
    """SQNR of the quantized network, layer by layer."""
    if figures.after is None:
        return
    charts = []
    for tensor, what in (("activations", "activations"), ("weights", "weights")):
        found = {n: x.sqnr[tensor] for n, x in figures.after.layers.items() if tensor in x.sqnr}
        top = max([value for value in found.values() if math.isfinite(value)], default=1.0)
        bars = [_noise_bar(name, value, max(top, 1.0)) for name, value in found.items()]
        caption = f"SQNR of {what} against the float network, in dB."
        if any(value == math.inf for value in found.values()):
            caption += " Pale rows are exact: nothing was lost."
        charts.append(bar_chart(bars, [what], caption, top=max(top, 1.0)))
    page.section(
        "Noise",
        "The noise of activations has built up from the input on: a drop from one layer to the next"
        " shows where precision is lost. 6 dB are about one bit.",
        *charts,
    )


def _noise_bar(name: str, value: float, top: float) -> Bar:
    """A bar of dB; what lost nothing has no length, and its row is pale."""
    exact = value == math.inf
    length = 0.0 if exact else min(max(value, 0.0), top)
    return Bar(name, (length,), decibels(value), endless=exact)


def _zeros(page: Page, figures: ModelFigures) -> None:
    if not figures.runs:
        _measured_zeros(page, figures)
        return
    charts = []
    for key, what in (("input", "activations read"), ("weights", "weights")):
        bars = [
            Bar(str(run["name"]), (share := float(run[f"zero_fraction_{key}"]),), percent(share))
            for run in figures.runs
        ]
        caption = f"Zeros among the {what} of each multiplying operator, in the integer run."
        charts.append(bar_chart(bars, [f"zeros among {what}"], caption, top=1.0))
    page.section("Zeros", "A zero costs nothing where the hardware skips it.", *charts)


def _measured_zeros(page: Page, figures: ModelFigures) -> None:
    """Zeros as measured in Keras, where no integers were run."""
    keys = (("zeros", "quantized_zeros", "activations"),
            ("weight_zeros", "quantized_weight_zeros", "weights"))  # fmt: skip
    two = figures.after is not None and figures.after is not figures.stats
    charts = []
    for before, after, what in keys:
        found = [(x.name, getattr(x, before), getattr(x, after)) for x in figures.layers]
        known = [(name, a, b) for name, a, b in found if a is not None]
        if not any(a or b for _, a, b in known):
            continue
        if two:
            pairs = [
                Pair(n, (a, b), " → ".join(percent(v) for v in (a, b) if v is not None))
                for n, a, b in known
            ]
            caption = f"Zeros among {what}."
            charts.append(pair_chart(pairs, ("float", "quantized"), caption, top=1.0))
        else:
            bars = [Bar(name, (a,), percent(a)) for name, a, _ in known]
            charts.append(bar_chart(bars, [f"zeros among {what}"], "", top=1.0))
    if charts:
        page.section("Zeros", "A zero costs nothing where the hardware skips it.", *charts)


def _macs(page: Page, figures: ModelFigures) -> None:
    if not figures.runs:
        return
    keys = ("macs_executed", "macs_skipped_activation", "macs_skipped_weight")
    images = max(int(figures.runs[0].get("runs", 1)), 1)
    bars = []
    for run in figures.runs:
        parts = tuple(run[key] / images for key in keys)
        text = f"{percent(_share(run, 'macs_executed', 'macs_total'))} of {sum(parts):,.0f}"
        bars.append(Bar(str(run["name"]), parts, text))
    page.section(
        "Multiplications",
        "Per sample, counted in the integer run; padding counts as zeros. A multiplication with two"
        " zeros is counted as skipped by its weight.",
        bar_chart(bars, ["executed", "skipped: zero activation", "skipped: zero weight"]),
    )


def _accuracies(page: Page, figures: ModelFigures) -> None:
    if figures.accuracies:
        bars = [Bar(name, (v,), f"{100 * v:.2f} %") for name, v in figures.accuracies.items()]
        page.section("Accuracy", "", bar_chart(bars, top=1.0))


def _sum(runs: Sequence[Mapping[str, Any]], key: str) -> int:
    return sum(int(run[key]) for run in runs)


def _share(run: Mapping[str, Any], part: str, whole: str) -> float:
    return run[part] / run[whole] if run[whole] else 0.0
