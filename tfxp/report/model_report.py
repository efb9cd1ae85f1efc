"""The page about one quantized model: bits, ranges, zeros, multiplications, accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfxp.cost import cost_report
from tfxp.formats import Format, TensorStats, parse_format
from tfxp.precision import LayerPrecision, ModelStats, PrecisionMap
from tfxp.report.charts import (
    Bar,
    Histogram,
    RangeRow,
    bar_chart,
    histogram_chart,
    percent,
    range_chart,
)
from tfxp.report.page import Page, html_table


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
        costs: what is counted -> (of this network, of the float one), as `cost_report` totals.
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


_COSTS = {
    "model_size_bits": "weights and biases, bits",
    "traffic_bits": "traffic, bits",
    "activation_peak_bits": "most activations at a time, bits",
    "bit_operations": "bit operations",
}


def model_costs(stats: ModelStats, precision: PrecisionMap) -> dict[str, tuple[float, float]]:
    """What a network costs in a precision and in float32, for `ModelFigures.costs`.

    Example:
        >>> from tfxp.models import count_network
        >>> net = count_network("sakr_convnet")
        >>> model_costs(net, PrecisionMap.uniform(8, 8))["traffic, bits"]
        (13893200.0, 55572800.0)
    """
    own = cost_report(stats, precision).totals
    base = cost_report(stats, PrecisionMap.uniform("float", "float")).totals
    return {text: (float(own[key]), float(base[key])) for key, text in _COSTS.items()}


def model_page(figures: ModelFigures) -> Page:
    """Build the page; `.write(path)` saves it."""
    samples = figures.stats.samples
    page = Page(
        f"{figures.name} in few bits",
        f"{len(figures.stats.layers)} layers, {figures.stats.weight_count:,} weights,"
        f" {figures.stats.macs:,} multiplications an image; ranges measured on {samples:,} images.",
    )
    page.tiles(_tiles(figures))
    _layers(page, figures)
    _noise(page, figures)
    _ranges(page, figures)
    _zeros(page, figures)
    _macs(page, figures)
    _costs(page, figures)
    _accuracies(page, figures)
    return page


def _tiles(figures: ModelFigures) -> list[tuple[str, str]]:
    tiles = [(f"{100 * value:.2f} %", name) for name, value in figures.accuracies.items()]
    for engine, count in figures.mismatches.items():
        tiles.append((f"{count:,} of {figures.elements:,}", f"outputs that differ in {engine}"))
    if figures.tflite_bytes and figures.float_bytes:
        size = f"{figures.tflite_bytes / 1024:.1f} KiB"
        tiles.append(
            (size, f"integer file ({figures.float_bytes / 1024:.1f} KiB of float weights)")
        )
    if figures.after is not None:
        for name, value in figures.after.output_sqnr.items():
            tiles.append((f"{value:.1f} dB", f"SQNR at the output {name}"))
    total, executed = (_sum(figures.runs, key) for key in ("macs_total", "macs_executed"))
    if total:
        tiles.append((percent(executed / total), "of multiplications have no zero in them"))
    return tiles


def _layers(page: Page, figures: ModelFigures) -> None:
    runs = _runs_by_name(figures.runs)
    header = ["layer", "kind", "output", "weights", "format", "activations", "MACs", "executed"]
    rows = []
    for name, layer in figures.stats.layers.items():
        rule = figures.precision.layers.get(name, LayerPrecision())
        shape = "x".join(map(str, layer.output_shape))
        run = runs.get(name)
        weights = layer.weight_count or None
        rows.append(
            [
                name,
                layer.kind.replace("_", " "),
                shape,
                weights,
                _format_text(rule.weights) if weights else "",
                _format_text(rule.activations),
                layer.macs or None,
                percent(_share(run, "macs_executed", "macs_total")) if run else "",
            ]
        )
    stats = figures.stats
    share = _sum(figures.runs, "macs_executed") / max(_sum(figures.runs, "macs_total"), 1)
    executed = percent(share) if figures.runs else ""
    total = ["total", "", "", stats.weight_count, "", "", stats.macs, executed]
    page.section(
        "Layers",
        "Qm.f has m integer and f fractional bits and a sign besides; UQm.f has no sign; a trailing"
        " s leaves out the most negative code. Executed are multiplications with no zero in them.",
        html_table(header, rows, total),
    )


def _ranges(page: Page, figures: ModelFigures) -> None:
    weights: list[tuple[str, TensorStats, Format | None]] = []
    activations: list[tuple[str, TensorStats, Format | None]] = []
    for name, layer in figures.stats.layers.items():
        rule = figures.precision.layers.get(name, LayerPrecision())
        before = rule.placement == "pre_activation" and layer.pre_activations is not None
        for rows, stats, precision in (
            (weights, layer.weights, rule.weights),
            (activations, layer.pre_activations if before else layer.activations, rule.activations),
        ):
            if stats is not None and stats.count:
                rows.append((name, stats, _format(precision)))
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
        charts.append(bar_chart(bars, [what], caption, top=max(top, 1.0)))
    page.section(
        "Noise",
        "Of activations, what has built up from the input to there: a drop from one layer to the"
        " next shows where precision is lost. 6 dB are about one bit.",
        *charts,
    )


def _noise_bar(name: str, value: float, top: float) -> Bar:
    """A bar of dB; what lost nothing fills its row."""
    exact = not math.isfinite(value)
    length = top if exact else min(max(value, 0.0), top)
    return Bar(name, (length,), "exact" if exact else f"{value:.1f} dB")


def _costs(page: Page, figures: ModelFigures) -> None:
    if not figures.costs:
        return
    rows = [
        [name, own, base, percent(own / base) if base else ""]
        for name, (own, base) in figures.costs.items()
    ]
    header = ["", "this network", "in float32", "share"]
    page.section("Costs", "A sample at a time.", html_table(header, rows))


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
    both = [(figures.stats, "float")]
    if figures.after is not None and figures.after is not figures.stats:
        both.append((figures.after, "quantized"))
    charts = []
    for tensor in ("activations", "weights"):
        bars = []
        for name in figures.stats.layers:
            for stats, kind in both:
                seen = getattr(stats[name], tensor)
                if seen is not None and seen.count:
                    label = name if len(both) == 1 else f"{name}, {kind}"
                    share = seen.zero_fraction
                    bars.append(Bar(label, (share,), percent(share)))
        if any(bar.parts[0] for bar in bars):
            charts.append(bar_chart(bars, [f"zeros among {tensor}"], "", top=1.0))
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
        "Per image, counted in the integer run; padding counts as zeros. A multiplication with two"
        " zeros is counted as skipped by its weight.",
        bar_chart(bars, ["executed", "skipped: zero activation", "skipped: zero weight"]),
    )


def _accuracies(page: Page, figures: ModelFigures) -> None:
    if figures.accuracies:
        bars = [Bar(name, (v,), f"{100 * v:.2f} %") for name, v in figures.accuracies.items()]
        page.section("Accuracy", "", bar_chart(bars, top=1.0))


def _runs_by_name(runs: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(run["name"]): run for run in runs}


def _sum(runs: Sequence[Mapping[str, Any]], key: str) -> int:
    return sum(int(run[key]) for run in runs)


def _share(run: Mapping[str, Any], part: str, whole: str) -> float:
    return run[part] / run[whole] if run[whole] else 0.0


def _format(precision: Any) -> Format | None:
    """The format to draw: of a kernel with one per channel, the one that reaches farthest."""
    if isinstance(precision, tuple):
        return max(precision, key=lambda fmt: fmt.max)
    if isinstance(precision, str):
        return None if precision == "float" else parse_format(precision)
    return None if precision is None or isinstance(precision, int) else precision


def _format_text(precision: Any) -> str:
    if isinstance(precision, tuple):
        names = list(dict.fromkeys(map(str, precision)))
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    if precision is None:
        return ""
    fmt = _format(precision)
    return str(precision) if fmt is None else f"{fmt} ({fmt.bits} bits)"
