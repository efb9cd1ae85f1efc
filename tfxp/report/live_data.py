"""What a page's script works on: layers with their figures by key, and the meaning of the keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfxp.report.charts import percent
from tfxp.report.layer_figures import LayerFigures


@dataclass(frozen=True)
class FigureKey:
    """The meaning of one key of `LayerFigures`.

    Args:
        key: the key.
        label: its name on pages.
        unit: bit, dB, share, real or count; says how values are written.
        short: its name in filters, such as `sqnr<20`.
    """

    key: str
    label: str
    unit: str
    short: str


FIGURE_KEYS = (
    FigureKey("weight_bits", "bits of weights", "bit", "w"),
    FigureKey("activation_bits", "bits of activations", "bit", "a"),
    FigureKey("sqnr_db", "SQNR of activations", "dB", "sqnr"),
    FigureKey("weight_sqnr_db", "SQNR of weights", "dB", "wsqnr"),
    FigureKey("low", "least activation", "real", "low"),
    FigureKey("high", "largest activation", "real", "high"),
    FigureKey("zeros", "zeros among activations, float", "share", "zeros"),
    FigureKey("quantized_zeros", "zeros among activations, quantized", "share", "qzeros"),
    FigureKey("weight_zeros", "zeros among weights, float", "share", "wzeros"),
    FigureKey("quantized_weight_zeros", "zeros among weights, quantized", "share", "qwzeros"),
    FigureKey("vanished", "activations rounded to zero", "share", "vanished"),
    FigureKey("clipped", "activations clipped", "share", "clipped"),
    FigureKey("weights", "weights", "count", "weights"),
    FigureKey("macs", "MACs", "count", "macs"),
    FigureKey("executed", "MACs executed", "share", "executed"),
)
_EMPTY = (None, 0)


def used_keys(layers: Sequence[LayerFigures]) -> list[FigureKey]:
    """The figures that any layer has."""
    return [k for k in FIGURE_KEYS if any(getattr(x, k.key) not in _EMPTY for x in layers)]


def live_data(layers: Sequence[LayerFigures]) -> dict[str, Any]:
    """What `Page.live` takes for one run.

    Args:
        layers: their figures, in the order they run.

    Example:
        >>> live_data([LayerFigures("conv", "conv", macs=9)])["figures"][0]["label"]
        'MACs'
    """
    return {
        "figures": [vars(key) for key in used_keys(layers)],
        "layers": [{**layer.to_dict(), "lines": node_lines(layer)} for layer in layers],
    }


def compared_data(
    first: Sequence[LayerFigures], second: Sequence[LayerFigures], labels: tuple[str, str]
) -> dict[str, Any]:
    """What `Page.live` takes for two runs: each figure of both, and its change.

    Args:
        first, second: layers of the two runs.
        labels: what the runs are called.
    """
    pairs = paired_layers(first, second)
    both = [layer for pair in pairs for layer in pair if layer is not None]
    keys = used_keys(both)
    figures = []
    for key in keys:
        for part, label in (
            ("a", f"{key.label}, {labels[0]}"),
            ("b", f"{key.label}, {labels[1]}"),
            ("d", f"change of {key.label}"),
        ):
            short = f"{part}.{key.short}"
            figures.append({**vars(key), "key": short, "short": short, "label": label})
    layers = []
    for a, b in pairs:
        own = b or a
        assert own is not None  # a pair has at least one
        entry: dict[str, Any] = {
            "name": own.name, "kind": own.kind, "inputs": own.inputs, "folded": own.folded,
            "output_shape": own.output_shape, "lines": _compared_lines(a, b),
        }  # fmt: skip
        for key in keys:
            values = [None if x is None else getattr(x, key.key) for x in (a, b)]
            entry[f"a.{key.short}"], entry[f"b.{key.short}"] = map(_json, values)
            entry[f"d.{key.short}"] = _json(difference(*values))
        layers.append(entry)
    pairs_of = [{"label": key.label, "short": key.short, "unit": key.unit} for key in keys]
    return {"figures": figures, "layers": layers, "pairs": pairs_of, "colour": "d.sqnr"}


def paired_layers(
    first: Sequence[LayerFigures], second: Sequence[LayerFigures]
) -> list[tuple[LayerFigures | None, LayerFigures | None]]:
    """Layers of two runs side by side by their names, None where one run has no such layer.

    Example:
        >>> a, b = LayerFigures("a", "conv"), LayerFigures("b", "conv")
        >>> [(x and x.name, y and y.name) for x, y in paired_layers([a], [a, b])]
        [('a', 'a'), (None, 'b')]
    """
    left = {layer.name: layer for layer in first}
    right = {layer.name: layer for layer in second}
    names = [*left, *(name for name in right if name not in left)]
    return [(left.get(name), right.get(name)) for name in names]


def difference(first: float | None, second: float | None) -> float | None:
    """The second minus the first; None where either is absent or both are infinite."""
    if first is None or second is None or first == second == math.inf:
        return None
    return second - first


def node_lines(layer: LayerFigures) -> list[str]:
    """The text of a layer's node, below its name.

    Example:
        >>> node_lines(LayerFigures("a", "conv", weight_bits=4, sqnr_db=20.0, macs=1200))
        ['conv · w4 · 20.0 dB', '1.2 k MACs']
    """
    upper = [layer.kind.replace("_", " "), _words(layer), decibels(layer.sqnr_db)]
    lower = []
    if layer.low is not None and layer.high is not None:
        lower.append(f"{_short(layer.low)} … {_short(layer.high)}")
    zeros = layer.zeros if layer.quantized_zeros is None else layer.quantized_zeros
    if zeros is not None:
        lower.append(f"{percent(zeros)} zeros")
    if layer.macs:
        lower.append(f"{short_count(layer.macs)} MACs")
    return [" · ".join(filter(None, upper)), " · ".join(lower)]


def _short(value: float) -> str:
    """Two digits, but 255 rather than 2.6e+02.

    Example:
        >>> _short(-0.0123), _short(255.0), _short(2.5e9)
        ('-0.012', '255', '2.5e+09')
    """
    return f"{value:.0f}" if 10 <= abs(value) < 1e5 else f"{value:.2g}"


def short_count(value: float) -> str:
    """A count in three digits.

    Example:
        >>> short_count(999), short_count(358400), short_count(12_500_000)
        ('999', '358 k', '12.5 M')
    """
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


def figure_text(key: FigureKey, value: float) -> str:
    """A figure as pages write it.

    Example:
        >>> keys = {key.key: key for key in FIGURE_KEYS}
        >>> figure_text(keys["zeros"], 0.25), figure_text(keys["macs"], 1200)
        ('25 %', '1,200')
    """
    if key.unit == "share":
        return percent(value)
    if key.unit == "dB":
        return decibels(value)
    return f"{value:,.0f}" if key.unit == "count" else f"{value:.4g}"


def decibels(value: float | None) -> str:
    """A noise as pages write it; empty for none."""
    if value is None:
        return ""
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _words(layer: LayerFigures) -> str:
    pairs = (("w", layer.weight_bits), ("a", layer.activation_bits))
    return " ".join(f"{letter}{bits}" for letter, bits in pairs if bits is not None)


def _compared_lines(a: LayerFigures | None, b: LayerFigures | None) -> list[str]:
    own = b or a
    assert own is not None  # a pair has at least one
    if a is None or b is None:
        which = "first" if b is None else "second"
        return [own.kind.replace("_", " "), f"in the {which} only"]
    noise = difference(a.sqnr_db, b.sqnr_db)
    words = [f"{x} → {y}" if x != y else x for x, y in [(_words(a), _words(b))]]
    lower = [
        " → ".join(filter(None, (decibels(a.sqnr_db), decibels(b.sqnr_db)))),
        "" if noise is None or math.isinf(noise) else f"({noise:+.1f})",
    ]
    kind = own.kind.replace("_", " ")
    return [" · ".join(filter(None, [kind, *words])), " ".join(filter(None, lower))]


def _json(value: float | None) -> float | str | None:
    """JSON has no infinities: noise that went away, or that came where none was."""
    if value is None or not math.isinf(value):
        return value
    return "exact" if value > 0 else "inexact"
