"""From a precision map to the format of every tensor of one network."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tfxp.errors import ConfigError, FormatError, PrecisionError
from tfxp.formats import FITS, FixedPointFormat, Format, TensorStats, portable_mean_bias
from tfxp.precision import FLOAT, PORTABLE, LayerPrecision, ModelStats, PrecisionMap
from tfxp.quantization.layer_formats import LayerFormats, NetworkFormats
from tfxp.quantization.plan import Point, QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.registry import mean_count
from tfxp.quantization.role import INPUT, MEAN, Role

# int8 convention of every runtime: no -128 in weights.
_SYMMETRIC_FROM_BITS = 8
_SYMMETRIC_FROM_PORTABLE_BITS = 6
# int16 storage has no zero point, so wide formats of non-negative tensors keep a sign bit.
_SIGNED_ABOVE_BITS = 8
# Biases beyond these would eat up float32's exact integers, or int32 (int64 beside int16).
_BIAS_BITS = 22
_WIDE_BIAS_BITS = 30
# XNNPACK adds what is at least 2^-10 of an output step.
_ADD_BITS = 10


def resolve_formats(
    plan: QuantizationPlan, precision: PrecisionMap, stats: ModelStats | None, fit: str = "mse"
) -> NetworkFormats:
    """The format of every tensor of a new model: owner -> formats; see `FormatResolver`."""
    return FormatResolver(plan, stats, fit).resolve(precision)


class FormatResolver:
    """From precision maps to the formats of one network; each fit to a distribution is done once.

    Args:
        plan: quantization points of the network; weights are fitted as they are now.
        stats: measured distributions; needed where a map gives bits for activations.
        fit: how bits are split: "mse", "max" or "clip_budget".
        roundings: layer -> rounding where a map says nothing of it; "portable" without one.

    Raises:
        ConfigError: there is no such `fit`.
    """

    def __init__(
        self,
        plan: QuantizationPlan,
        stats: ModelStats | None,
        fit: str = "mse",
        roundings: Mapping[str, str] | None = None,
    ) -> None:
        if fit not in FITS:
            raise ConfigError(f"fit: got {fit!r}; expected one of {', '.join(FITS)}.")
        self._plan, self._stats, self._fit = plan, stats, fit
        self._roundings = roundings or {}
        self._kernels, self._biases = _kernels_of(plan), _biases_of(plan)
        self._activations: dict[tuple[Any, ...], Format | None] = {}
        self._weights: dict[tuple[Any, ...], tuple[Format, ...]] = {}

    def resolve(self, precision: PrecisionMap) -> NetworkFormats:
        """The format of every tensor under a map: owner -> formats.

        Weights that were fitted are kept coarse enough for the bias to fit into the accumulator.

        Raises:
            PrecisionError: the map names a layer that is not there, or gives bits for activations
                that were not measured.
        """
        plan = self._plan
        rules = precision.resolve(list(plan.points), plan.aliases, plan.selected())
        rules = {name: self._rounded(name, rule) for name, rule in rules.items()}
        self._check(rules)
        result = {
            name: LayerFormats(
                rule,
                self._activation_format(name, rule),
                self._weight_formats(name, rule),
                _gradient(plan.points[name], rule),
            )
            for name, rule in rules.items()
        }
        network = QuantizedNetwork(plan, result)
        for name, bias in self._biases.items():
            result[name] = _room_for_bias(network, name, bias)
        for name in plan.points:
            result[name] = _portable_mean(network, name)
        for name in plan.constants:
            result[name] = _beside_activations(result[name], plan.points[name].role)
        return result

    def _rounded(self, name: str, rule: LayerPrecision) -> LayerPrecision:
        if rule.rounding is not None:
            return rule
        return dataclasses.replace(rule, rounding=self._roundings.get(name, PORTABLE))

    def _check(self, rules: dict[str, LayerPrecision]) -> None:
        needed = [name for name, rule in rules.items() if isinstance(rule.activations, int)]
        missing = [name for name in needed if not _measured(self._stats, name)]
        if missing:
            raise PrecisionError(
                f"activations of {', '.join(missing)}: got numbers of bits but no measurement; "
                "expected statistics from tfxp.measure_model, or full formats in the map."
            )
        impossible = [name for name, rule in rules.items() if rule.bias not in (None, FLOAT)]
        if impossible:
            raise PrecisionError(
                f"bias of {', '.join(impossible)}: got {rules[impossible[0]].bias}; expected "
                "'float' or nothing, which is the accumulator's grid. The sum has no other."
            )

    def _activation_format(self, name: str, rule: LayerPrecision) -> Format | None:
        key = name, rule.activations, rule.placement
        if key not in self._activations:
            point = self._plan.points[name]
            with _named(f"activations of {name!r}"):
                self._activations[key] = _activation(point, rule, self._stats, self._fit)
        return self._activations[key]

    def _weight_formats(self, name: str, rule: LayerPrecision) -> tuple[Format, ...]:
        kernel, key = self._kernels.get(name), _weight_key(name, rule)
        if kernel is None:
            return ()
        if key not in self._weights:
            with _named(f"weights of {name!r}"):
                self._weights[key] = fit_weights(kernel, rule, FITS[self._fit], name)
        return self._weights[key]


@contextlib.contextmanager
def _named(tensor: str) -> Iterator[None]:
    """Say of which tensor a fit speaks."""
    try:
        yield
    except FormatError as error:
        text = str(error).replace("range of tensor", f"range of {tensor}")
        raise FormatError(text if tensor in text else f"{tensor}: {text}") from error


def _kernels_of(plan: QuantizationPlan) -> dict[str, np.ndarray]:
    """Layer -> its kernels as one matrix of taps by output channels.

    Kernels that have one format in common, because they number their channels differently or the
    layer's role wants it, are a single column.
    """
    result = {}
    for name in plan.weighted:
        arrays = plan.graph.layers[name].arrays()
        role = plan.role(name)
        parts = [weight.as_matrix(arrays[weight.attribute]) for weight in role.weights]
        if role.one_format or len({part.shape[1] for part in parts}) > 1:
            parts = [part.reshape(-1, 1) for part in parts]
        result[name] = np.concatenate(parts)
    return result


def _biases_of(plan: QuantizationPlan) -> dict[str, np.ndarray]:
    """Layer -> bias, for layers that have one."""
    result = {}
    for name in plan.macs:
        arrays = plan.graph.layers[name].arrays()
        bias = plan.role(name).bias
        if bias in arrays:
            result[name] = arrays[str(bias)]
    return result


def _beside_activations(layer: LayerFormats, role: Role) -> LayerFormats:
    """Coarsen a fitted constant of a sum until its step is at least 2^-10 output steps.

    What is finer adds nothing that the sum could show, and LiteRT's default engine leaves such sums
    to a kernel that rounds otherwise.
    """
    output = layer.activations
    if not role.sums or not isinstance(layer.rule.weights, int) or output is None:
        return layer
    finest = _ADD_BITS - math.floor(math.log2(output.scale))
    return dataclasses.replace(layer, weights=tuple(_at_most(f, finest) for f in layer.weights))


def _at_most(fmt: Format, fractional_bits: int) -> Format:
    """A fixed-point format with no more than some fractional bits, of the same word length."""
    assert isinstance(fmt, FixedPointFormat)  # numbers of bits are fitted to fixed point
    less = max(fmt.fractional_bits - fractional_bits, 0)
    return dataclasses.replace(
        fmt,
        integer_bits=fmt.integer_bits + less,
        fractional_bits=fmt.fractional_bits - less,
    )


def _room_for_bias(network: QuantizedNetwork, name: str, bias: np.ndarray) -> LayerFormats:
    """Coarsen fitted weight formats until the bias is a small number of accumulator steps.

    The accumulator's step is the product of the input's and the weights' steps. A kernel that
    training has shrunk to nothing fits a format so fine that its bias would overflow; its weights
    count for nothing beside the bias, so the format gives way.
    """
    layer, grids = network.formats[name], network.integer_inputs(name)
    if not isinstance(layer.rule.weights, int) or not grids:
        return layer
    step = max(grid.scale for grid in grids)
    wide = any(grid.bits > _SIGNED_ABOVE_BITS for grid in grids)
    limit = 2.0 ** (_WIDE_BIAS_BITS if wide else _BIAS_BITS)
    sizes = np.abs(bias.astype(np.float64)).ravel()
    if len(layer.weights) == 1:
        sizes = np.array([sizes.max(initial=0.0)])
    weights = []
    for fmt, size in zip(layer.weights, sizes, strict=True):
        finest = math.floor(math.log2(limit * step / size)) if size > 0 else None
        weights.append(fmt if finest is None else _at_most(fmt, finest))
    return dataclasses.replace(layer, weights=tuple(weights))


def _portable_mean(network: QuantizedNetwork, name: str) -> LayerFormats:
    """Coarsen the fitted format of a mean until runtimes round the mean alike, if they ever do.

    They do not where its step is more than about 2^-4 of the input's (`portable_mean_bias`); what
    is finer adds little to a mean of so few bits.
    """
    layer, fmt = network.formats[name], network.formats[name].activations
    grids = network.integer_inputs(name)
    fitted = isinstance(layer.rule.activations, int) and layer.rule.rounding == PORTABLE
    if network.plan.points[name].role != MEAN or not fitted or fmt is None or not grids:
        return layer
    assert isinstance(fmt, FixedPointFormat)  # numbers of bits are fitted to fixed point
    count, finest = mean_count(network.plan.graph, name), fmt.fractional_bits
    for digits in range(finest, finest - fmt.bits, -1):
        if portable_mean_bias(count, grids[0].scale * 2.0**digits) is not None:
            return dataclasses.replace(layer, activations=_at_most(fmt, digits))
    return layer


def fit_weights(
    kernel: np.ndarray, rule: LayerPrecision, fit: Callable[..., FixedPointFormat], name: str
) -> tuple[Format, ...]:
    """Formats of a kernel of shape (taps, channels): one, or one per channel; empty for float."""
    wanted = rule.weights
    if wanted == FLOAT or wanted is None:
        return ()
    if isinstance(wanted, tuple):
        if len(wanted) not in (1, kernel.shape[-1]):
            raise PrecisionError(
                f"weights of {name!r}: got {len(wanted)} per-channel formats; "
                f"expected {kernel.shape[-1]}."
            )
        return wanted
    if not isinstance(wanted, int):
        return (wanted,)  # type: ignore[return-value]
    columns = kernel.T if rule.per_channel else kernel.reshape(1, -1)
    symmetric = _is_symmetric(wanted, rule)
    formats = []
    for column in columns:
        stats = TensorStats()
        stats.update(column)
        formats.append(fit(stats, wanted, True, symmetric))
    return tuple(formats)


def _weight_key(name: str, rule: LayerPrecision) -> tuple[Any, ...]:
    """Everything that a kernel's formats follow from."""
    return name, rule.weights, rule.per_channel, rule.rounding == PORTABLE


def _is_symmetric(bits: int, rule: LayerPrecision) -> bool:
    """Whether the lowest code is left out.

    Runtimes want int8 weights without -128; portable ones are stored two or four times as large,
    and 6 and 7 bits then reach the same limit.
    """
    limit = _SYMMETRIC_FROM_PORTABLE_BITS if rule.rounding == PORTABLE else _SYMMETRIC_FROM_BITS
    return bits >= limit


def _measured(stats: ModelStats | None, name: str) -> bool:
    if stats is None or name not in stats.layers:
        return False
    layer = stats.layers[name]
    return layer.activations is not None and layer.activations.count > 0


def _activation(
    point: Point, rule: LayerPrecision, stats: ModelStats | None, fit: str
) -> Format | None:
    wanted = rule.activations
    if wanted == FLOAT or wanted is None:
        return None
    if not isinstance(wanted, int):
        return wanted  # type: ignore[return-value]
    assert stats is not None  # checked by the caller
    layer = stats.layers[point.owner]
    closed = point.layer != point.owner
    before = rule.placement == "pre_activation" and layer.pre_activations is not None
    measured = layer.pre_activations if before and not closed else layer.activations
    assert measured is not None
    positive = point.nonnegative or (point.role == INPUT and measured.min >= 0)
    signed = not positive or wanted > _SIGNED_ABOVE_BITS
    return FITS[fit](measured, wanted, signed, False)


def _gradient(point: Point, rule: LayerPrecision) -> FixedPointFormat | None:
    """Format of the output's gradient; nobody needs the gradient of the network's input."""
    wanted = rule.activation_gradients
    if point.role == INPUT or wanted in (None, FLOAT):
        return None
    if not isinstance(wanted, FixedPointFormat):
        raise PrecisionError(
            f"activation_gradients of {point.owner!r}: got {wanted}; expected a fixed-point format "
            "such as 'Q-11.17'. Gradients are not measured here; assign_precision --method=sakr "
            "gives formats."
        )
    return wanted
