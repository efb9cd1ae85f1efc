"""Lin's cross-layer allocation: more bits where they cost little, so that noise adds up cheaply."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfxp.assign.assignment import Assignment, Decision
from tfxp.assign.pareto import relative_error
from tfxp.assign.sqnr import KappaFit, lin_format, measure_kappa
from tfxp.errors import ConfigError, did_you_mean
from tfxp.formats import MAX_BITS, FixedPointFormat
from tfxp.precision import FLOAT, LayerKind, LayerPrecision, LayerStats, ModelStats, PrecisionMap

KAPPA = 3.0
RHO: dict[str, Callable[[LayerStats], float]] = {
    "parameters": lambda layer: float(layer.weight_count),
    "macs": lambda layer: float(layer.macs),
}
Rho = str | Mapping[str, float] | Callable[[LayerStats], float]


def bit_offsets(rho: Mapping[str, float], anchor: str, kappa: float = KAPPA) -> dict[str, float]:
    """How many bits more than the anchor each layer gets, not rounded.

        beta_i - beta_anchor = 10 log10(rho_anchor / rho_i) / kappa

    It is what minimises sum_i rho_i beta_i for a given SQNR at the network's output.

    Args:
        rho: layer -> what one more bit costs there (parameters, MACs, …).
        anchor: the layer that the others are compared with.
        kappa: dB per bit.

    Raises:
        ConfigError: a cost is not positive, or the anchor has none.

    Example:
        >>> bit_offsets({"a": 1.0, "b": 1000.0}, "a")
        {'a': 0.0, 'b': -10.0}

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, eq. 15.
    """
    if anchor not in rho:
        hint = did_you_mean(anchor, rho)
        raise ConfigError(f"anchor layer: got {anchor!r}; expected one of {', '.join(rho)}.{hint}")
    _check_rho(rho)
    if not kappa > 0:
        raise ConfigError(f"kappa: got {kappa}; expected a positive number of dB per bit.")
    return {name: 10 * math.log10(rho[anchor] / cost) / kappa + 0.0 for name, cost in rho.items()}


@dataclasses.dataclass(frozen=True)
class LinAssigner:
    """Allocate the bits of convolution weights so that the weakest layers do not cost the most.

        b_i - b_j = 10 log10(rho_j / rho_i) / kappa,    rho_i what a bit of layer i costs

    Either `anchor_bits` or `target_db` is given. With `anchor_bits` the first convolution gets
    these bits and the others follow by the offsets, rounded to the nearest integer, as in the
    paper. With `target_db` the SQNR that all weights leave at the output is met: real-valued bits
    from the Lagrangian, rounded up. Bits are then raised to the next supported width.

    Args:
        anchor_bits: bits of the anchor; fractions are allowed, and rounded like the others.
        target_db: SQNR at the output as far as weights are concerned, in dB.
        rho: what a bit costs: "parameters", "macs", layer -> cost, or a function of a layer.
        kappa: dB per bit: a number for all layers, layer -> number, or "measured" (a straight
            line is fitted to every layer's measured weights, its offset included).
        anchor: the layer with `anchor_bits`; the first allocated one by default.
        activation_bits: of all activations and the input; the paper uses 16.
        dense_bits: of dense layers, which the paper keeps apart; None allocates them too.
        fixed: layer -> bits that stay as they are; their noise counts towards `target_db`.
        excluded: layers whose weights stay float.
        widths: word lengths that the hardware has; any integer by default.
        min_bits, max_bits: limits of allocated bits.
        fraction: None leaves the split into integer and fractional bits to measurement; "ceil",
            "nearest" or "mse" writes Lin's formats, which needs measured statistics.

    Raises:
        ConfigError: settings that contradict each other or the network, or a target that cannot
            be met.

    Example:
        >>> from tfxp.models import count_network
        >>> result = LinAssigner(anchor_bits=10).assign(count_network("lin_cifar10"))
        >>> [result.figures["bits"][f"conv{i}"] for i in range(6)]
        [10, 5, 5, 4, 4, 2]

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 4.
    """

    anchor_bits: float | None = None
    target_db: float | None = None
    rho: Rho = "parameters"
    kappa: float | Mapping[str, float] | str = KAPPA
    anchor: str | None = None
    activation_bits: int | str = 16
    dense_bits: int | None = 16
    fixed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    excluded: Sequence[str] = ()
    widths: Sequence[int] | None = None
    min_bits: int = 2
    max_bits: int = 16
    fraction: str | None = None

    def __post_init__(self) -> None:
        if (self.anchor_bits is None) == (self.target_db is None):
            raise ConfigError(
                f"Lin's allocation: got anchor_bits={self.anchor_bits} and target_db="
                f"{self.target_db}; expected exactly one of them."
            )
        if not 1 <= self.min_bits <= self.max_bits <= MAX_BITS:
            raise ConfigError(
                f"limits of bits: got {self.min_bits} to {self.max_bits}; expected 1 to {MAX_BITS}."
            )
        if self.widths is not None and (not self.widths or min(self.widths) < 1):
            raise ConfigError(f"supported widths: got {self.widths}; expected positive numbers.")

    def assign(self, stats: ModelStats) -> Assignment:
        """Allocate bits to the weights of every layer.

        Args:
            stats: what was measured.

        Raises:
            ConfigError: no layer is left to allocate bits to, or a layer, an anchor, a cost or a
                noise target that does not fit the network.
        """
        fixed = self._fixed(stats)
        free = [
            layer
            for layer in stats.layers.values()
            if layer.weight_count and layer.name not in fixed and layer.name not in self.excluded
        ]
        if not free:
            raise ConfigError("Lin's allocation: got no layer to allocate bits to. Fix fewer.")
        rho = self._rho(free)
        lines = {layer.name: self._line(layer) for layer in free}
        if self.anchor_bits is not None:
            exact = self._from_anchor(rho, lines, self.anchor_bits)
            rounded = {n: self._supported(math.floor(b + 0.5)) for n, b in exact.items()}
        else:
            exact = self._from_target(rho, lines, stats, fixed)
            rounded = {n: self._supported(b) for n, b in exact.items()}
        bits: dict[str, int] = {**fixed, **rounded}
        in_order = {name: bits[name] for name in stats.layers if name in bits}
        trace = self._trace(stats, in_order, exact, rho)
        figures = {
            "bits": in_order,
            "exact_bits": exact,
            "rho": rho,
            "kappa": {name: line.kappa for name, line in lines.items()},
            "size_bits": sum(bits[name] * stats[name].weight_count for name in bits),
        }
        reason = "anchor" if self.anchor_bits is not None else "target SQNR"
        return Assignment(
            self._map(stats, in_order), trace, f"closed form from the {reason}", figures
        )

    def _fixed(self, stats: ModelStats) -> dict[str, int]:
        known = [name for name, layer in stats.layers.items() if layer.weight_count]
        for name in (*self.fixed, *self.excluded):
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(
                    f"layer: got {name!r}; expected a layer with weights: {', '.join(known)}.{hint}"
                )
        fixed = dict(self.fixed)
        if self.dense_bits is not None:
            for name in known:
                if stats[name].kind == LayerKind.DENSE and name not in self.excluded:
                    fixed.setdefault(name, self.dense_bits)
        return fixed

    def _rho(self, layers: Sequence[LayerStats]) -> dict[str, float]:
        if isinstance(self.rho, Mapping):
            missing = [layer.name for layer in layers if layer.name not in self.rho]
            if missing:
                raise ConfigError(f"costs of a bit: got none for {missing}; expected one each.")
            rho = {layer.name: float(self.rho[layer.name]) for layer in layers}
        elif isinstance(self.rho, str):
            if self.rho not in RHO:
                hint = did_you_mean(self.rho, RHO)
                raise ConfigError(f"rho: got {self.rho!r}; expected one of {tuple(RHO)}.{hint}")
            rho = {layer.name: RHO[self.rho](layer) for layer in layers}
        else:
            rho = {layer.name: float(self.rho(layer)) for layer in layers}
        _check_rho(rho)
        return rho

    def _line(self, layer: LayerStats) -> KappaFit:
        if self.kappa == "measured":
            if layer.weights is None:
                raise ConfigError(
                    f"kappa of layer {layer.name!r}: got no measured weights. Measure the model, "
                    "or give kappa as a number."
                )
            return measure_kappa(layer.weights)
        if isinstance(self.kappa, Mapping):
            value = float(self.kappa.get(layer.name, KAPPA))
        else:
            value = float(self.kappa)
        if not value > 0:
            raise ConfigError(f"kappa of {layer.name!r}: got {value}; expected a positive number.")
        return KappaFit(value, 0.0, 0.0)

    def _from_anchor(
        self, rho: Mapping[str, float], lines: Mapping[str, KappaFit], anchor_bits: float
    ) -> dict[str, float]:
        anchor = self.anchor or next(iter(rho))
        if anchor not in rho:
            hint = did_you_mean(anchor, rho)
            raise ConfigError(
                f"anchor layer: got {anchor!r}; expected one of {', '.join(rho)}.{hint}"
            )
        # rho_i / kappa_i * g_i is the same for all: for one kappa, rho_i * g_i as in the paper.
        level = lines[anchor].sqnr_db(anchor_bits) + _decibel(rho[anchor] / lines[anchor].kappa)
        exact = {}
        for name, cost in rho.items():
            exact[name] = lines[name].bits(level - _decibel(cost / lines[name].kappa))
        return exact

    def _from_target(
        self,
        rho: Mapping[str, float],
        lines: Mapping[str, KappaFit],
        stats: ModelStats,
        fixed: Mapping[str, int],
    ) -> dict[str, float]:
        assert self.target_db is not None
        noise = 10 ** (-self.target_db / 10)
        for name, bits in fixed.items():
            noise -= 10 ** (-self._line(stats[name]).sqnr_db(bits) / 10)
        if noise <= 0:
            raise ConfigError(
                f"target SQNR: got {self.target_db} dB; expected less than the layers with fixed "
                f"bits ({', '.join(fixed)}) leave by themselves. Give them more bits."
            )
        weight = {name: cost / lines[name].kappa for name, cost in rho.items()}
        level = -_decibel(noise) + _decibel(sum(weight.values()))
        return {name: lines[name].bits(level - _decibel(w)) for name, w in weight.items()}

    def _supported(self, exact: float) -> int:
        bits = min(max(math.ceil(exact - 1e-9), self.min_bits), self.max_bits)
        if self.widths is None:
            return bits
        return min((w for w in sorted(self.widths) if w >= bits), default=max(self.widths))

    def _trace(
        self,
        stats: ModelStats,
        bits: Mapping[str, int],
        exact: Mapping[str, float],
        rho: Mapping[str, float],
    ) -> tuple[Decision, ...]:
        trace = []
        for name, layer in stats.layers.items():
            if not layer.weight_count:
                continue
            if name in exact:
                why = f"rho = {rho[name]:.4g}, {exact[name]:.2f} bits before rounding"
                trace.append(Decision(name, "weights", bits[name], why))
            elif name in bits:
                why = "fixed" if name in self.fixed else "dense layers are kept apart"
                trace.append(Decision(name, "weights", bits[name], why))
            else:
                trace.append(Decision(name, "weights", FLOAT, "excluded"))
        return tuple(trace)

    def _map(self, stats: ModelStats, bits: Mapping[str, int]) -> PrecisionMap:
        rules: dict[str, LayerPrecision] = {}
        for name, layer in stats.layers.items():
            fields: dict[str, Any] = {}
            if layer.weight_count:
                fields["weights"] = self._format(layer, "weights", bits.get(name, FLOAT))
            if self.fraction is not None:
                fields["activations"] = self._format(layer, "activations", self.activation_bits)
            if fields:
                rules[name] = LayerPrecision(**fields)
        default = LayerPrecision(weights=FLOAT, activations=self.activation_bits)
        return PrecisionMap(default, rules)

    def _format(
        self, layer: LayerStats, tensor: str, bits: int | str
    ) -> int | str | FixedPointFormat:
        values = getattr(layer, tensor)
        if self.fraction is None or bits == FLOAT or values is None:
            return bits
        signed = values.min < 0
        before = layer.pre_activations if tensor == "activations" else None
        std = before.std if before is not None else None
        return lin_format(values, int(bits), signed, self.fraction, std=std)


def dense_sweep(
    evaluate: Callable[[PrecisionMap], float],
    pmap: PrecisionMap,
    stats: ModelStats,
    start_bits: int = 16,
    min_bits: int = 2,
    tolerance: float = 0.0,
) -> Assignment:
    """Lower the bits of all dense layers together until accuracy starts to drop.

    Args:
        evaluate: accuracy of a precision map.
        pmap: the precision of everything else; the paper keeps it float.
        stats: the network.
        start_bits: where to begin; its accuracy is what the others are compared with.
        min_bits: where to stop at the latest.
        tolerance: largest relative drop that does not count as one.

    Raises:
        ConfigError: the network has no dense layer, or the limits are the wrong way round.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 5.3.
    """
    dense = [layer.name for layer in stats.layers.values() if layer.kind == LayerKind.DENSE]
    if not dense or not 1 <= min_bits <= start_bits:
        raise ConfigError(
            f"dense sweep: got {len(dense)} dense layers and {start_bits} down to {min_bits} bits; "
            "expected one or more layers and falling bits."
        )
    baseline, best, trace, reason = 0.0, pmap, [], f"{min_bits} bits reached"
    points = []
    for bits in range(start_bits, min_bits - 1, -1):
        candidate = pmap.updated(
            {name: pmap.layers.get(name, LayerPrecision()).updated(LayerPrecision(weights=bits))
             for name in dense}
        )  # fmt: skip
        accuracy = evaluate(candidate)
        baseline = accuracy if bits == start_bits else baseline
        points.append({"bits": bits, "accuracy": accuracy})
        if bits != start_bits and relative_error(accuracy, baseline) > tolerance:
            reason = f"accuracy {accuracy:.4g} at {bits} bits is below {baseline:.4g}"
            break
        best = candidate
        trace.append(Decision("dense layers", "weights", bits, f"accuracy {accuracy:.4g}"))
    return Assignment(best, tuple(trace), reason, {"points": points})


def _check_rho(rho: Mapping[str, float]) -> None:
    for name, cost in rho.items():
        if not cost > 0:
            raise ConfigError(
                f"cost of a bit in {name!r}: got {cost}; expected a positive number. "
                "Fix or exclude layers that cost nothing."
            )


def _decibel(ratio: float) -> float:
    return 10 * math.log10(ratio)
