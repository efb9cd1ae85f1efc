"""ADaPTION: a format per layer from measured ranges, a bit budget and a clip budget."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.assign.assignment import Assignment, Decision
from tfxp.cost.zero_skip import zero_skip
from tfxp.errors import ConfigError, DataError
from tfxp.formats import FixedPointFormat, TensorStats, fit_clip_budget, sqnr_db
from tfxp.precision import (
    FLOAT,
    PLACEMENTS,
    LayerKind,
    LayerPrecision,
    LayerStats,
    ModelStats,
    PrecisionMap,
)

# Wider unsigned formats have no storage that LiteRT takes.
_UNSIGNED_UP_TO = 8


@dataclasses.dataclass(frozen=True)
class AdaptionAssigner:
    """Q formats for every layer's weights and activations.

        m = the smallest number of integer bits with  share(|x| beyond the format) <= budget
        f = bits - 1 - m

    Args:
        weight_bits: word length of weights, the sign included.
        activation_bits: word length of activations.
        weight_budget: share of weights that may clip; the paper's notebook takes 0.
        activation_budget: share of activations that may clip; there 0.01.
        placement: "pre_activation" quantizes the signed values before the ReLU, as in the paper;
            "post_activation" what comes behind it, without a sign up to 8 bits.
        round_bias: whether biases go to the accumulator's grid; the paper leaves them float.
        float_edges: leave the network's input and output float, as in the paper; such a model
            trains and measures but is not exported.
        float_layers: names or full-match patterns of layers that stay float altogether, such as
            the heads of a detection network.
        rounding: "engine" (what the integer engines do), "half_away" or "stochastic" (the paper).
        symmetric: leave out the most negative code, as in the paper.

    Raises:
        ConfigError: bits, a budget or the placement outside its range.

    Example:
        >>> stats = TensorStats(); stats.update(np.linspace(-3, 3, 601))
        >>> layer = LayerStats("c", "conv", weight_shape=(1, 1), weights=stats, activations=stats)
        >>> found = AdaptionAssigner(8, 6).assign(ModelStats({"c": layer}, ("c",), 1))
        >>> str(found.map.layers["c"].weights), str(found.map.layers["c"].activations)
        ('Q2.5s', 'Q2.3s')

    References:
        Milde et al., "ADaPTION: Toolbox and Benchmark for Training Convolutional Neural Networks
        with Reduced Numerical Precision Weights and Activation", arXiv 1711.04713, 2017, and its
        repository's `distribute_bits`. Departs from it: |x| instead of x and both tails; the share
        is tested before a bit is given away, not after; all samples instead of one batch; spare
        bits are never given out by chance.
    """

    weight_bits: int = 16
    activation_bits: int = 16
    weight_budget: float = 0.0
    activation_budget: float = 0.01
    placement: str = "pre_activation"
    round_bias: bool = True
    float_edges: bool = False
    float_layers: Sequence[str] = ()
    rounding: str = "engine"
    symmetric: bool = True

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise ConfigError(
                f"placement: got {self.placement!r}; expected one of {', '.join(PLACEMENTS)}."
            )
        if min(self.weight_bits, self.activation_bits) < 2:
            raise ConfigError(
                f"bits: got {self.weight_bits} for weights and {self.activation_bits} for "
                "activations; expected at least 2, a sign and one more."
            )
        for budget in (self.weight_budget, self.activation_budget):
            if not 0 <= budget < 1:
                raise ConfigError(f"clip budget: got {budget}; expected 0 <= budget < 1.")

    def assign(self, stats: ModelStats) -> Assignment:
        """Choose the format of every measured tensor.

        Raises:
            DataError: nothing was measured, or `float_layers` names a layer that is not there.
        """
        owners = [layer for layer in stats.layers.values() if layer.activations is not None]
        if not owners:
            raise DataError(
                "statistics: got no measured tensor; expected those of tfxp.measure_model."
            )
        self._check_names([layer.name for layer in owners])
        rules: dict[str, LayerPrecision] = {}
        trace: list[Decision] = []
        for layer in owners:
            rules[layer.name] = self._rule(layer, stats, trace)
        pmap = PrecisionMap(layers=rules, rounding=self.rounding)
        zeros = {name: self._zeros(stats[name], rule) for name, rule in rules.items()}
        reason = f"formats of {len(rules)} layers: weights of {self.weight_bits} bits, "
        reason += f"activations of {self.activation_bits}"
        figures = {"zeros": zeros, "zero_skip": _skipped(stats, rules, zeros)}
        return Assignment(pmap, tuple(trace), reason, figures)

    def _check_names(self, names: list[str]) -> None:
        lost = [p for p in self.float_layers if not any(re.fullmatch(p, name) for name in names)]
        if lost:
            raise DataError(
                f"layers that stay float: got {', '.join(lost)}, which match none; expected some "
                f"of {', '.join(names)}."
            )

    def _rule(self, layer: LayerStats, stats: ModelStats, trace: list[Decision]) -> LayerPrecision:
        has_weights = layer.weights is not None
        if any(re.fullmatch(pattern, layer.name) for pattern in self.float_layers):
            trace.append(Decision(layer.name, "all", FLOAT, "stays float as asked"))
            return LayerPrecision(FLOAT if has_weights else None, FLOAT)
        fields: dict[str, Any] = {}
        if layer.weights is not None:
            fields["weights"] = self._fit(layer.weights, self.weight_bits, self.weight_budget)
            trace.append(_decision(layer, "weights", layer.weights, fields["weights"]))
            if not self.round_bias:
                fields["bias"] = FLOAT
        edge = layer.kind == LayerKind.INPUT or layer.name in stats.outputs
        if edge and self.float_edges:
            return LayerPrecision(activations=FLOAT, **fields)
        seen, before = self._activations(layer)
        fmt = self._fit(seen, self.activation_bits, self.activation_budget, not before)
        trace.append(_decision(layer, "activations", seen, fmt))
        if before and layer.pre_activations is not None:
            fields["placement"] = "pre_activation"
        return LayerPrecision(activations=fmt, **fields)

    def _activations(self, layer: LayerStats) -> tuple[TensorStats, bool]:
        """What is measured where the tensor is quantized, and whether that is before the ReLU."""
        before = self.placement == "pre_activation"
        seen = layer.pre_activations if before else None
        assert layer.activations is not None
        return (layer.activations if seen is None else seen), before

    def _fit(
        self, stats: TensorStats, bits: int, budget: float, may_be_unsigned: bool = False
    ) -> FixedPointFormat:
        signed = not (may_be_unsigned and stats.min >= 0 and bits <= _UNSIGNED_UP_TO)
        return fit_clip_budget(stats, bits, signed, signed and self.symmetric, budget=budget)

    def _zeros(self, layer: LayerStats, rule: LayerPrecision) -> dict[str, float]:
        """Shares of zeros before and after, as far as the distributions tell."""
        found = {}
        if layer.weights is not None:
            found["weights_before"] = layer.weights.zero_fraction
            found["weights"] = _zeros_after(layer.weights, rule.weights, False)
        assert layer.activations is not None
        found["activations_before"] = layer.activations.zero_fraction
        before = rule.placement == "pre_activation" and layer.pre_activations is not None
        seen = layer.pre_activations if before else layer.activations
        assert seen is not None
        found["activations"] = _zeros_after(seen, rule.activations, before)
        if before and rule.activations == FLOAT:
            found["activations"] = layer.activations.zero_fraction
        return found


def _skipped(
    stats: ModelStats, rules: dict[str, LayerPrecision], zeros: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """What skipping zeros saves, before and after; empty where shapes are not known."""
    if not all(layer.output_shape for layer in stats.layers.values()):
        return []
    rows = []
    shares = [{name: z[key] for name, z in zeros.items()} for key in
              ("activations_before", "activations")]  # fmt: skip
    floats = {name: LayerPrecision(weights=FLOAT, activations=FLOAT) for name in rules}
    pairs = zip(
        zero_skip(stats, floats, shares[0]), zero_skip(stats, rules, shares[1]), strict=True
    )
    for before, after in pairs:
        rows.append({**dataclasses.asdict(after), "zeros_before": before.zeros,
                     "cycles_before": before.cycles})  # fmt: skip
    return rows


def _zeros_after(stats: TensorStats, fmt: object, relu: bool) -> float:
    """Share of values that a format rounds to zero; with `relu` what is negative counts too."""
    if not isinstance(fmt, FixedPointFormat):
        return stats.zero_fraction
    values, counts = stats.bin_values()
    half = fmt.scale / 2
    zero = (values <= half) if relu else (np.abs(values) <= half)
    return float(counts[zero].sum() / stats.count)


def _decision(
    layer: LayerStats, tensor: str, stats: TensorStats, fmt: FixedPointFormat
) -> Decision:
    half = fmt.scale / 2
    clipped = stats.clipped_fraction(fmt.min - half, fmt.max + half)
    noise = sqnr_db(stats, fmt)
    said = "exact" if noise == math.inf else f"{noise:.1f} dB"
    reason = f"|x| up to {stats.max_abs:.4g}, {clipped:.3%} clip, {said}"
    return Decision(layer.name, tensor, str(fmt), reason)
