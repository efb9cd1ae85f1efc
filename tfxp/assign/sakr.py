"""Sakr's five criteria: the precision of every tensor of back-propagation from one float run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tfxp.assign.assignment import Assignment, Decision
from tfxp.assign.pareto import relative_error
from tfxp.assign.training_stats import LayerTrainingStats, TrainingStats
from tfxp.errors import ConfigError, DataError
from tfxp.formats import MAX_BITS, FixedPointFormat
from tfxp.precision import FLOAT, LayerPrecision, PrecisionMap

TENSORS = (
    "weights", "activations", "weight_gradients", "activation_gradients", "accumulators"
)  # fmt: skip
VARIANTS = ("code", "paper")
MISMATCH_TARGET = 0.01
_EWMA_MEMORY = 0.9
_MAX_B_MIN = 24
_TOO_COARSE = "leaves hardly a code within the range"


@dataclasses.dataclass(frozen=True)
class SakrAssigner:
    """Five criteria, one after the other, no search.

        EFQN  B_T = B_min + rnd(log2 sqrt(E_T / E_min))             T: every W and A
        GC    r_GW >= 2 sigma_max(G_W),  r_GA >= 4 sigma_max(G_A)     clipping is rare
        RQB   D_GW <= sigma_min(G_W) / 4                            small gradients stay unbiased
        BQN   D_GA <= D_GW / sqrt(lambda_max)                       noise of G_A stays below G_W's
        AS    r_acc = r_W 2^-B_W,  D_acc <= gamma_min D_GW             no update vanishes

    D is the step of a tensor, r its range: D = r 2^-(B-1) if signed, r 2^-B if not; both are
    powers of two. B_min is given, or the smallest whose bound on the probability that the
    network decides otherwise than in float, p_m <= sum D_T^2 E_T, is at most `mismatch_target`.

    Args:
        b_min: B_min; None to find it by `mismatch_target`.
        mismatch_target: largest bound on p_m.
        variant: how GC reads sigma_max. "paper" as above. "code", the authors' scripts and the
            default: sigma_max / sqrt(1 - 0.9), to undo the smoothing of the probed variance, and 8
            instead of 4 for G_A. It is the default because the published configurations were made
            with it, and because it errs towards wide ranges: at most four bits more per gradient,
            while clipped gradients are lost.
        input_bits: of the network's input; 8 as published.

    Raises:
        ConfigError: a setting is impossible, or a tensor would need more than 32 bits.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019; the authors' repository Fixed-Point-Training for "code".
    """

    b_min: int | None = None
    mismatch_target: float = MISMATCH_TARGET
    variant: str = "code"
    input_bits: int | str = 8

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ConfigError(
                f"variant of gradient clipping: got {self.variant!r}; expected one of {VARIANTS}."
            )
        if self.b_min is not None and not 1 <= self.b_min <= _MAX_B_MIN:
            raise ConfigError(f"b_min: got {self.b_min}; expected 1 to {_MAX_B_MIN}.")
        if not 0 < self.mismatch_target < 1:
            raise ConfigError(
                f"mismatch_target: got {self.mismatch_target}; expected a share between 0 and 1."
            )

    def assign(self, stats: TrainingStats) -> Assignment:
        """The precision of all five tensors of every layer.

        Args:
            stats: figures of one float run.

        Raises:
            DataError: no tensor has a noise gain.
            ConfigError: no B_min keeps the bound below the target.
        """
        bounds = {b: mismatch_bound(stats, b) for b in range(1, _MAX_B_MIN + 1)}
        b_min = self.b_min or self._smallest(bounds)
        trace = [Decision("", "B_min", b_min, f"p_m <= {bounds[b_min]:.3g}")]
        rules = _feedforward_rules(stats, b_min)
        for name, rule in rules.items():
            trace += [Decision(name, tensor, str(fmt), "EFQN") for tensor, fmt in rule.items()]
        self._gradients(stats, rules, trace)
        pmap = self._to_map(rules)
        figures = {
            "b_min": b_min,
            "mismatch_bound": bounds[b_min],
            "mismatch_bounds": {str(b): bound for b, bound in bounds.items()},
            "variant": self.variant,
            "warnings": [
                f"{decision.tensor} of {decision.layer!r}: {decision.reason}"
                for decision in trace
                if _TOO_COARSE in decision.reason
            ],
        }
        return Assignment(pmap, tuple(trace), "all five criteria are met", figures)

    def forward(self, stats: TrainingStats, b_min: int) -> PrecisionMap:
        """The weights and activations of a B_min, to measure what it costs before training.

        Args:
            stats: figures of one float run.
            b_min: bits of the tensor that needs fewest.

        Raises:
            DataError: no tensor has a noise gain.
        """
        return self._to_map(_feedforward_rules(stats, b_min))

    def _to_map(self, rules: Mapping[str, Mapping[str, FixedPointFormat]]) -> PrecisionMap:
        layers = {name: LayerPrecision(**_in_order(rule)) for name, rule in rules.items() if rule}
        return PrecisionMap(
            LayerPrecision(weights=FLOAT, activations=FLOAT),
            {"@inputs": LayerPrecision(activations=self.input_bits), **layers},
            rounding="half_away",
        )

    def _smallest(self, bounds: Mapping[int, float]) -> int:
        for b_min, bound in bounds.items():
            if bound <= self.mismatch_target:
                return b_min
        raise ConfigError(
            f"mismatch_target: got {self.mismatch_target}; expected at least "
            f"{min(bounds.values()):.3g}, the bound at {_MAX_B_MIN} bits."
        )

    def _gradients(
        self,
        stats: TrainingStats,
        rules: dict[str, dict[str, FixedPointFormat]],
        trace: list[Decision],
    ) -> None:
        steps: dict[str, float] = {}
        limits: dict[str, list[float]] = {}
        for layer in stats.layers.values():
            if layer.weight_gradient_sigma is None:
                continue
            if "weights" not in rules[layer.name]:
                raise DataError(
                    f"weight_gain of {layer.name!r}: got none; expected one beside the statistics "
                    "of its weight gradient."
                )
            step = weight_gradient_step(layer.weight_gradient_sigma[1])
            steps[layer.name] = step
            r = clipping_range(layer.weight_gradient_sigma[0], "weight", self.variant)
            fmt = _signed(r, step, f"weight gradient of {layer.name!r}")
            rules[layer.name]["weight_gradients"] = fmt
            trace.append(Decision(layer.name, "weight_gradients", str(fmt), "GC and RQB"))
            if layer.jacobian_singular_value is not None:
                limit = activation_gradient_step(step, layer.jacobian_singular_value)
                limits.setdefault(layer.gradient_tensor or layer.name, []).append(limit)
        for layer in stats.layers.values():
            if layer.activation_gradient_sigma is not None:
                self._activation_gradient(layer, limits, rules, trace)
            if layer.name in steps:
                bits = rules[layer.name]["weights"].bits
                r, step = accumulator(
                    bits, layer.weight_range, steps[layer.name], stats.min_learning_rate
                )
                fmt = _signed(r, step, f"accumulator of {layer.name!r}")
                rules[layer.name]["accumulators"] = fmt
                trace.append(Decision(layer.name, "accumulators", str(fmt), "AS"))

    def _activation_gradient(
        self,
        layer: LayerTrainingStats,
        limits: Mapping[str, list[float]],
        rules: dict[str, dict[str, FixedPointFormat]],
        trace: list[Decision],
    ) -> None:
        if layer.name not in limits:
            raise DataError(
                f"gradient of the output of {layer.name!r}: got no layer whose weight gradient is "
                "computed from it; expected one with a jacobian_singular_value. Check "
                "gradient_tensor of the layers before it."
            )
        assert layer.activation_gradient_sigma is not None
        r = clipping_range(layer.activation_gradient_sigma, "activation", self.variant)
        step = min(limits[layer.name])
        fmt = _signed(r, step, f"output gradient of {layer.name!r}")
        rules[layer.name]["activation_gradients"] = fmt
        reason = "GC and BQN"
        if 2 * step >= r:  # r is several deviations of the gradient, so nearly all round to 0
            reason = (
                f"{reason}, but the step of {step:g} {_TOO_COARSE} of {r:g}; 2 bits were taken "
                f"and gradients below {step / 2:g} become 0. Check the statistics, the layer's "
                "jacobian_singular_value above all."
            )
        trace.append(Decision(layer.name, "activation_gradients", str(fmt), reason))


def feedforward_bits(stats: TrainingStats, b_min: int) -> dict[tuple[str, str], int]:
    """EFQN: bits of every weight and activation tensor for a B_min.

        B_T = B_min + floor(log2 sqrt(E_T c_T^2 / min) + 1/2),    D_T = c_T 2^-B_T

    With the published ranges (1 for signed weights, 2 for unsigned activations) every c_T is 2
    and drops out.

    Raises:
        DataError: no tensor has a noise gain.
    """
    gains = _gains(stats)
    smallest = min(gains.values())
    return {
        key: b_min + math.floor(0.5 * math.log2(gain / smallest) + 0.5)
        for key, gain in gains.items()
    }


def mismatch_bound(stats: TrainingStats, b_min: int) -> float:
    """The bound on p_m, the probability to decide otherwise than in float.

        p_m <= sum_T D_T^2 E_T,    D_T the step of tensor T, E_T its noise gain

    Args:
        stats: figures of one float run.
        b_min: bits of the tensor that needs fewest.

    Raises:
        DataError: no tensor has a noise gain.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, criterion 1.
    """
    gains = _gains(stats)
    bits = feedforward_bits(stats, b_min)
    return sum(gain * 4.0 ** -bits[key] for key, gain in gains.items())


def smallest_b_min(scores: Mapping[int, float], baseline: float, tolerance: float) -> int:
    """The smallest B_min from which on no larger one loses more than a tolerance.

    Args:
        scores: B_min -> accuracy with weights and activations of that B_min.
        baseline: accuracy in float.
        tolerance: largest loss, as a share of the baseline.

    Raises:
        ConfigError: even the largest loses more.

    Example:
        >>> smallest_b_min({1: 0.95, 2: 0.4, 3: 0.94, 4: 0.95}, 0.95, 0.02)
        3

    References:
        The authors' quantized_inference.py, which tries B_min by error instead of by the bound.
    """
    chosen = None
    for b_min in sorted(scores, reverse=True):
        if relative_error(scores[b_min], baseline) > tolerance:
            break
        chosen = b_min
    if chosen is None:
        most = max(scores)
        raise ConfigError(
            f"tolerance: got {tolerance:g}; expected at least "
            f"{relative_error(scores[most], baseline):.3g}, which B_min = {most} loses. Sweep "
            "further, or train longer before."
        )
    return chosen


def clipping_range(sigma_max: float, tensor: str, variant: str = "code") -> float:
    """GC: the range of a "weight" or "activation" gradient, a power of two."""
    factor = 2.0 if tensor == "weight" else {"paper": 4.0, "code": 8.0}[variant]
    if variant == "code":
        sigma_max /= math.sqrt(1 - _EWMA_MEMORY)
    return 2.0 ** math.ceil(math.log2(factor * sigma_max))


def weight_gradient_step(sigma_min: float) -> float:
    """RQB: the largest power of two that is at most a quarter of the smallest spread."""
    return 2.0 ** math.floor(math.log2(sigma_min / 4))


def activation_gradient_step(weight_gradient_step: float, singular_value: float) -> float:
    """BQN: the largest power of two that is at most D_GW / sqrt(lambda_max)."""
    return 2.0 ** math.floor(math.log2(weight_gradient_step / math.sqrt(singular_value)))


def accumulator(
    weight_bits: int, weight_range: float, weight_gradient_step: float, min_learning_rate: float
) -> tuple[float, float]:
    """AS: range and step of a weight accumulator.

    Example:
        >>> r, step = accumulator(14, 1.0, 0.25 * 2.0**-10, 1e-3)
        >>> r == 2.0**-14, step == 2.0**-22
        (True, True)
    """
    step = 2.0 ** math.floor(math.log2(min_learning_rate * weight_gradient_step))
    return weight_range * 2.0**-weight_bits, step


def _gains(stats: TrainingStats) -> dict[tuple[str, str], float]:
    """E_T c_T^2 of every tensor: its share of p_m is this times 4^-B."""
    gains = {}
    for layer in stats.layers.values():
        if layer.activation_gain is not None:
            unit = layer.activation_range * (2 if layer.activation_signed else 1)
            gains[layer.name, "activations"] = layer.activation_gain * unit**2
        if layer.weight_gain is not None:
            gains[layer.name, "weights"] = layer.weight_gain * (2 * layer.weight_range) ** 2
    if not gains:
        raise DataError("training statistics: got no noise gain; expected one per tensor.")
    return gains


def _feedforward_rules(stats: TrainingStats, b_min: int) -> dict[str, dict[str, FixedPointFormat]]:
    rules: dict[str, dict[str, FixedPointFormat]] = {name: {} for name in stats.layers}
    for (name, tensor), bits in feedforward_bits(stats, b_min).items():
        rules[name][tensor] = _feedforward_format(stats.layers[name], tensor, bits)
    return rules


def _feedforward_format(layer: LayerTrainingStats, tensor: str, bits: int) -> FixedPointFormat:
    signed = tensor == "weights" or layer.activation_signed
    r = layer.weight_range if tensor == "weights" else layer.activation_range
    bits = max(bits, 2 if signed else 1)
    return FixedPointFormat.of_bits(bits, bits - int(signed) - _exponent(r, layer.name), signed)


def _signed(r: float, step: float, what: str) -> FixedPointFormat:
    """The signed format of a range and a step; at least 2 bits."""
    fraction = -_exponent(step, what)
    bits = max(_exponent(r, what) + fraction + 1, 2)
    if bits > MAX_BITS:
        raise ConfigError(
            f"{what}: got {bits} bits (range {r:g}, step {step:g}); expected at most {MAX_BITS}. "
            "Probe a longer run, or raise the smallest learning rate."
        )
    return FixedPointFormat.of_bits(bits, fraction)


def _exponent(value: float, what: str) -> int:
    mantissa, exponent = math.frexp(value)
    if mantissa != 0.5:
        raise DataError(f"range of {what}: got {value}; expected a power of two.")
    return exponent - 1


def _in_order(rule: Mapping[str, FixedPointFormat]) -> dict[str, Any]:
    return {tensor: rule[tensor] for tensor in TENSORS if tensor in rule}
