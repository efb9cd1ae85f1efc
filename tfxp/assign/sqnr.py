"""Signal to quantization noise: Lin's formats, the dB per bit of a tensor, and noise at outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfxp.assign.step_sizes import optimal_step
from tfxp.errors import ConfigError, DataError
from tfxp.formats import (
    FITS,
    FixedPointFormat,
    Format,
    TensorStats,
    fit_mse,
    mean_squared_error,
    quantize,
)
from tfxp.precision import FLOAT, LayerKind, LayerPrecision, LayerStats, ModelStats

XI_FACTOR = 3.0
FRACTIONS = ("ceil", "nearest", "mse")
RULES = ("harmonic", "power")
_SUMS = (LayerKind.ADD, LayerKind.SUBTRACT)
Fit = Callable[[TensorStats, int, bool], FixedPointFormat]


def lin_format(
    stats: TensorStats,
    bits: int,
    signed: bool = True,
    rounding: str = "ceil",
    xi_factor: float = XI_FACTOR,
    distribution: str = "gaussian",
    std: float | None = None,
) -> FixedPointFormat:
    """Lin's format of a word length: the optimal step for the tensor's spread, as a power of two.

        s = xi_factor * std * step(bits),    f = -ceil(log2 s)    (or -round, or by smallest MSE)

    Args:
        stats: statistics of the tensor.
        bits: word length, the sign bit included.
        signed: whether one bit is spent on the sign. An unsigned tensor has the levels of one
            more bit on its one side; its spread is that of the values mirrored about zero.
        rounding: "ceil" as in the paper, "nearest", or "mse" (search by the measured values).
        xi_factor: how much wider than a Gaussian the tails are taken to be; 3 in the paper.
        distribution: column of the table of steps; "gaussian" in the paper for everything.
        std: spread measured elsewhere (before the non-linearity, as in the paper), if known.

    Raises:
        ConfigError: `rounding` or `distribution` has another name.
        DataError: `stats` is empty.

    Example:
        >>> stats = TensorStats(); stats.update(np.random.default_rng(0).normal(size=10000))
        >>> lin_format(stats, 4)   # 3 * 0.335 = 1.005 rounds up to 2: the paper's edge case
        FixedPointFormat('Q4.-1')

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 3.2.
    """
    if rounding not in FRACTIONS:
        raise ConfigError(f"rounding of the step: got {rounding!r}; expected one of {FRACTIONS}.")
    if rounding == "mse":
        return fit_mse(stats, bits, signed)
    if std is None:
        # A rectified tensor holds half of a symmetric one's power.
        std = stats.std if signed else math.sqrt(2 * stats.power)
    if std == 0:
        return FITS["max"](stats, bits, signed, False)
    step = xi_factor * std * optimal_step(bits if signed else bits + 1, distribution)
    exponent = math.log2(step)
    whole = math.ceil(exponent) if rounding == "ceil" else math.floor(exponent + 0.5)
    return FixedPointFormat.of_bits(bits, -whole, signed)


@dataclasses.dataclass(frozen=True)
class KappaFit:
    """SQNR as a straight line of the word length.

        sqnr_db = kappa * bits + offset_db

    Args:
        kappa: dB per bit.
        offset_db: the line's value at 0 bits.
        residual_db: root mean square distance of the points from the line.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016,
        sec. 3.1.
    """

    kappa: float
    offset_db: float
    residual_db: float

    def sqnr_db(self, bits: float) -> float:
        """The line at a word length."""
        return self.kappa * bits + self.offset_db

    def bits(self, sqnr_db: float) -> float:
        """The word length, not rounded, at which the line reaches an SQNR."""
        return (sqnr_db - self.offset_db) / self.kappa


def fit_kappa(bits: Sequence[float], sqnr_db: Sequence[float]) -> KappaFit:
    """The least-squares line through (word length, SQNR) points; infinite ones are left out.

    Args:
        bits: word lengths.
        sqnr_db: the SQNR at each, in dB.

    Raises:
        DataError: fewer than two finite points at different word lengths.

    Example:
        >>> fit_kappa([4, 6, 8], [12.0, 18.0, 24.0]).kappa
        3.0

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016,
        sec. 3.1, where kappa is read off measured curves.
    """
    points = [(b, s) for b, s in zip(bits, sqnr_db, strict=True) if math.isfinite(s)]
    if len({b for b, _ in points}) < 2:
        raise DataError(
            f"points for kappa: got {points}; expected finite SQNRs at two word lengths or more."
        )
    x, y = np.array(points, np.float64).T
    slope = ((x - x.mean()) * (y - y.mean())).sum() / np.square(x - x.mean()).sum()
    offset = y.mean() - slope * x.mean()
    residual = math.sqrt(np.square(y - slope * x - offset).mean())
    return KappaFit(round(float(slope), 12), float(offset), residual)


def measure_kappa(
    stats: TensorStats, bits: Sequence[int] = tuple(range(3, 11)), fit: Fit = fit_mse
) -> KappaFit:
    """dB per bit of one tensor, from its measured distribution.

    Args:
        stats: statistics of the tensor.
        bits: word lengths to try.
        fit: chooses the format of a word length.

    Raises:
        DataError: the tensor is constant or on a grid so coarse that nothing is lost.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016,
        sec. 3.1.
    """
    signed = stats.min < 0
    return fit_kappa(bits, [_db(noise_to_signal(stats, fit(stats, b, signed))) for b in bits])


def noise_to_signal(stats: TensorStats, fmt: Format) -> float:
    """E[(x - Q(x))^2] / E[x^2]; 0 if the tensor is all zeros."""
    if stats.power == 0:
        return 0.0
    if isinstance(fmt, FixedPointFormat):
        return mean_squared_error(stats, fmt) / stats.power
    values, counts = stats.bin_values()
    error = np.square(values - quantize(values, fmt).astype(np.float64))
    return float((error * counts).sum() / stats.count / stats.power)


@dataclasses.dataclass(frozen=True)
class SqnrRow:
    """SQNR of one layer in dB; None where nothing is lost.

    Args:
        layer: its name.
        weights_db: of its weights.
        requantization_db: of rounding its output, on its own.
        output_db: predicted at its output before it is rounded.
        rounded_db: predicted at its output after it is rounded.
        measured_db: measured at its output, if known.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016,
        sec. 4.1.
    """

    layer: str
    weights_db: float | None
    requantization_db: float | None
    output_db: float | None
    rounded_db: float | None
    measured_db: float | None = None

    @property
    def error_db(self) -> float | None:
        """Measured minus predicted (after rounding)."""
        if self.measured_db is None or self.rounded_db is None:
            return None
        return self.measured_db - self.rounded_db

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**dataclasses.asdict(self), "error_db": self.error_db}


def predict_sqnr(
    model: ModelStats,
    precision: Mapping[str, LayerPrecision],
    fit: Fit = fit_mse,
    measured_db: Mapping[str, float] | None = None,
    rule: str = "harmonic",
) -> list[SqnrRow]:
    """SQNR at the output of every layer by the harmonic rule.

        layer with weights:  1/g_out = c (1/g_in + 1/g_w)
        rounding of outputs: 1/g     = 1/g_out + 1/g_a
        sum of branches:     1/g_out = sum_i P_i / g_i / P_out      (P: signal power)
        everything else passes its input's SQNR on

    c is 1 in the paper ("harmonic"): products add up without cancelling. In a real convolution they
    do cancel, the more the further inputs are from zero mean, while noise does not. "power" takes
    that from the measured powers: c = K P_w P_in / P_out with K products per output and P_out
    before the activation function.

    Layers that every step of a sequence calls read states that later layers compute. What noise
    these bring back is left out, so the figures of recurrent networks are upper bounds.

    Args:
        model: measured statistics.
        precision: the precision of every layer; numbers of bits get a format from `fit`.
        fit: chooses the format of a word length.
        measured_db: layer -> SQNR measured at its rounded output, for comparison.
        rule: "harmonic" (the paper) or "power" (ours).

    Raises:
        ConfigError: `rule` has another name.
        DataError: a tensor that is to be quantized was not measured.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, eq. 3
        to 9. The rule for sums is ours: noises of the branches are taken as uncorrelated.
    """
    if rule not in RULES:
        raise ConfigError(f"rule of SQNR: got {rule!r}; expected one of {RULES}.")
    measured_db = measured_db or {}
    noise: dict[str, float] = {}
    rows = []
    for layer in model.layers.values():
        own = precision[layer.name]
        weights = _tensor_noise(layer, "weights", own.weights, fit) if layer.weight_count else 0.0
        # Views and pools pass a format on; their values are on its grid already.
        rounding = 0.0
        if layer.owns_format:
            rounding = _tensor_noise(layer, "activations", own.activations, fit)
        before = _inputs_noise(model, layer, noise) + weights
        if rule == "power":
            before *= _cancelling(model, layer)
        noise[layer.name] = before + rounding
        rows.append(
            SqnrRow(
                layer.name,
                _db_or_none(weights),
                _db_or_none(rounding),
                _db_or_none(before),
                _db_or_none(noise[layer.name]),
                measured_db.get(layer.name),
            )
        )
    return rows


def _inputs_noise(model: ModelStats, layer: LayerStats, noise: Mapping[str, float]) -> float:
    """Noise to signal of what a layer reads, as it arrives at its output."""
    if not layer.inputs:
        return 0.0
    powers = [_power(model[name]) for name in layer.inputs]
    # A layer that every step of a sequence calls reads states of later layers too.
    sources = [noise.get(name, 0.0) for name in layer.inputs]
    total = sum(powers)
    if len(sources) == 1 or total == 0:
        return sum(sources) / len(sources)
    weighted = sum(p * n for p, n in zip(powers, sources, strict=True))
    if layer.kind in _SUMS:
        return weighted / (_power(layer) or total)
    if layer.kind == LayerKind.CONCATENATE:
        counts = [model[name].output_count for name in layer.inputs]
        energy = [p * c for p, c in zip(powers, counts, strict=True)]
        return sum(e * n for e, n in zip(energy, sources, strict=True)) / sum(energy)
    return weighted / total


def _cancelling(model: ModelStats, layer: LayerStats) -> float:
    """By how much a layer's signal is weaker than if its products added up like noise."""
    source = model[layer.inputs[0]] if layer.inputs else None
    out = layer.pre_activations or layer.activations
    if source is None or source.activations is None or layer.weights is None:
        return 1.0
    if not layer.macs or out is None or not out.power:
        return 1.0
    products = layer.macs / max(layer.computed_count, 1)
    return products * layer.weights.power * source.activations.power / out.power


def _power(layer: LayerStats) -> float:
    """Signal power before the non-linearity if that is known: noise is added there."""
    stats = layer.pre_activations if layer.kind in _SUMS else layer.activations
    stats = stats or layer.activations
    return stats.power if stats is not None else 0.0


def _tensor_noise(layer: LayerStats, tensor: str, precision: Any, fit: Fit) -> float:
    if precision is None or precision == FLOAT:
        return 0.0
    stats = getattr(layer, tensor)
    if stats is None:
        raise DataError(
            f"{tensor} of layer {layer.name!r}: got no statistics; expected them measured. "
            "Measure the model with data first."
        )
    fmt = fit(stats, precision, stats.min < 0) if isinstance(precision, int) else precision
    return noise_to_signal(stats, fmt)


def _db(ratio: float) -> float:
    return math.inf if ratio == 0 else -10 * math.log10(ratio)


def _db_or_none(ratio: float) -> float | None:
    return None if ratio == 0 else _db(ratio)
