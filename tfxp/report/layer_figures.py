"""Figures of each layer, as pages show them and as JSON keeps them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfxp.formats import Format, TensorStats, parse_format
from tfxp.precision import LayerPrecision, LayerStats, ModelStats, PrecisionMap, TensorPrecision
from tfxp.report.format_edges import lost_shares


@dataclass(frozen=True)
class LayerFigures:
    """What is known of one layer; None is what was not measured, infinity a noise that is absent.

    Args:
        name: the layer's name.
        kind: its operation.
        inputs: layers that it reads.
        folded: layers of the Keras model that became part of it.
        output_shape: shape of one sample's output.
        weights: elements of its kernel.
        macs: multiplications for one sample.
        weight_format, activation_format: formats as text, empty for none.
        weight_bits, activation_bits: their word lengths.
        low, high: least and largest activation of the float network.
        zeros, quantized_zeros: share of zeros among activations, in float and on the grid.
        weight_zeros, quantized_weight_zeros: the same of weights.
        vanished: share of activations that the format rounds to zero though they are not.
        clipped: share of activations beyond its format.
        sqnr_db: noise of activations against the float network, built up to there.
        weight_sqnr_db: noise of weights.
        executed: share of multiplications without a zero, where integers were run.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    output_shape: tuple[int, ...] = ()
    weights: int = 0
    macs: int = 0
    weight_format: str = ""
    activation_format: str = ""
    weight_bits: int | None = None
    activation_bits: int | None = None
    low: float | None = None
    high: float | None = None
    zeros: float | None = None
    quantized_zeros: float | None = None
    weight_zeros: float | None = None
    quantized_weight_zeros: float | None = None
    vanished: float | None = None
    clipped: float | None = None
    sqnr_db: float | None = None
    weight_sqnr_db: float | None = None
    executed: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form; an infinite number of decibels is "exact".

        Example:
            >>> LayerFigures("image", "input", sqnr_db=math.inf).to_dict()["sqnr_db"]
            'exact'
        """
        values = dataclasses.asdict(self)
        return {k: "exact" if v == math.inf else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerFigures:
        """From its JSON form; what a later version adds is left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {
            k: math.inf if v == "exact" else v for k, v in data.items() if k in known
        }
        for key in ("inputs", "folded", "output_shape"):
            values[key] = tuple(values.get(key, ()))
        return cls(**values)


def layer_figures(
    stats: ModelStats,
    precision: PrecisionMap,
    after: ModelStats | None = None,
    runs: Sequence[Mapping[str, Any]] = (),
) -> list[LayerFigures]:
    """Every layer's figures, in the order of the network.

    Args:
        stats: measurements of the float network.
        precision: the formats of the quantized one.
        after: measurements of the quantized network.
        runs: the interpreter's rows, one per multiplying operator.
    """
    counted = {str(run["name"]): run for run in runs}
    folded: dict[str, list[str]] = {}
    for name, into in stats.aliases.items():
        folded.setdefault(into, []).append(name)
    return [
        _one(
            layer,
            precision.layers.get(name, LayerPrecision()),
            None if after is None else after.layers.get(name),
            counted.get(name),
            folded.get(name, ()),
        )
        for name, layer in stats.layers.items()
    ]


def _one(
    layer: LayerStats,
    rule: LayerPrecision,
    after: LayerStats | None,
    run: Mapping[str, Any] | None,
    folded: Sequence[str],
) -> LayerFigures:
    seen, kernel = layer.activations, layer.weights
    vanished, clipped = _lost(tensor_before_format(layer, rule), drawn_format(rule.activations))
    weights = rule.weights if layer.weight_count else None
    return LayerFigures(
        layer.name,
        str(layer.kind),
        layer.inputs,
        tuple(folded),
        layer.output_shape,
        layer.weight_count,
        layer.macs,
        format_text(weights),
        format_text(rule.activations),
        _bits(weights),
        _bits(rule.activations),
        low=seen.min if seen is not None and seen.count else None,
        high=seen.max if seen is not None and seen.count else None,
        zeros=_zeros(seen),
        quantized_zeros=_zeros(after.activations if after else None),
        weight_zeros=_zeros(kernel),
        quantized_weight_zeros=_zeros(after.weights if after else None),
        vanished=vanished,
        clipped=clipped,
        sqnr_db=after.sqnr.get("activations") if after else None,
        weight_sqnr_db=after.sqnr.get("weights") if after else None,
        executed=run["macs_executed"] / run["macs_total"] if run and run["macs_total"] else None,
    )


def tensor_before_format(layer: LayerStats, rule: LayerPrecision) -> TensorStats | None:
    """The distribution that the format of a layer's activations meets."""
    before = rule.placement == "pre_activation" and layer.pre_activations is not None
    return layer.pre_activations if before else layer.activations


def drawn_format(precision: TensorPrecision | None) -> Format | None:
    """The format to draw: of a kernel with one per channel, the one that reaches farthest."""
    if isinstance(precision, tuple):
        return max(precision, key=lambda fmt: fmt.max)
    if isinstance(precision, str):
        return None if precision == "float" else parse_format(precision)
    return None if precision is None or isinstance(precision, int) else precision


def format_text(precision: TensorPrecision | None) -> str:
    """A format with its bits, as tables show it; empty for none.

    Example:
        >>> format_text(tfxp.FixedPointFormat.parse("Q0.3")), format_text("float")
        ('Q0.3 (4 bits)', 'float')
    """
    if precision is None:
        return ""
    if isinstance(precision, tuple):
        names = list(dict.fromkeys(map(str, precision)))
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    fmt = drawn_format(precision)
    return str(precision) if fmt is None else f"{fmt} ({fmt.bits} bits)"


def _bits(precision: TensorPrecision | None) -> int | None:
    if isinstance(precision, int):
        return precision
    fmt = drawn_format(precision)
    return None if fmt is None else fmt.bits


def _zeros(seen: TensorStats | None) -> float | None:
    return None if seen is None or not seen.count else seen.zero_fraction


def _lost(seen: TensorStats | None, fmt: Format | None) -> tuple[float, float] | tuple[None, None]:
    if seen is None or fmt is None or not seen.count:
        return None, None
    return lost_shares(seen, fmt)
