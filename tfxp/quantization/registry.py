"""Which QuantizeConfig each layer of a planned network gets: tfmot's registry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tfxp.formats import WrpnFormat
from tfxp.keras_types import KerasLayer
from tfxp.precision import PORTABLE
from tfxp.quantization.backward_settings import BackwardSettings
from tfxp.quantization.layer_roles import WeightSpec, role_of
from tfxp.quantization.plan import Point
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.role import (
    AVERAGE_POOL,
    INPUT,
    INTERPOLATE,
    MATMUL,
    MEAN,
    RELU,
    UNARY,
    Role,
)
from tfxp.quantizers import (
    ActivationQuantizer,
    AveragePoolQuantizer,
    BiasQuantizer,
    FormatQuantizer,
    GradientQuantizer,
    LeakyReluQuantizer,
    LearnedActivationQuantizer,
    LearnedWeightQuantizer,
    LengthQuantizer,
    LstmQuantizer,
    MeanQuantizer,
    PReluQuantizer,
    ProductQuantizer,
    SoftmaxQuantizer,
    TableQuantizer,
    WeightQuantizer,
    WrpnActivationQuantizer,
    WrpnWeightQuantizer,
    seed_of,
)
from tfxp.quantizers.average_pool import covered
from tfxp.tfmot import QuantizeRegistry
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.normalize.activations import is_tabulated, unary_of
from tfxp.transforms.normalize.channel_functions import function_of
from tfxp.transforms.normalize.integer_lstm import lstm_obstacle
from tfxp.transforms.normalize.masks import mask_readers
from tfxp.transforms.normalize.normalize import is_relu, is_softmax


class FormatRegistry(QuantizeRegistry):
    """Looks up the quantizers of a layer by its name in the plan.

    Args:
        network: plan and formats; only what is float, binary or WRPN, and the rounding, decide
            about quantizers, since formats themselves live in variables.
        backward: how gradients run.
    """

    def __init__(self, network: QuantizedNetwork, backward: BackwardSettings | None = None) -> None:
        self._network, self._plan, self._formats = network, network.plan, network.formats
        self._backward = backward or BackwardSettings()
        # Means and softmaxes over sequences that end early are not the operators'.
        self._masked = mask_readers(network.graph)
        self._points = {point.layer: point for point in network.plan.points.values()}
        # Channels of one layer may all have one format, and need not keep it.
        self._has_channels = any(len(layer.weights) > 1 for layer in network.formats.values())

    def supports(self, layer: KerasLayer) -> bool:
        """Whether a layer is quantized at all."""
        return self.config_for(layer.name) is not None

    def get_quantize_config(self, layer: KerasLayer) -> TensorQuantizeConfig | None:
        """tfmot's question, by layer."""
        return self.config_for(layer.name)

    def config_for(self, name: str) -> TensorQuantizeConfig | None:
        """The config of a layer by name; None if nothing of it is quantized."""
        role = role_of(self._plan.graph.layers[name])
        if role.role == INPUT:
            return None
        owner = self._plan.aliases.get(name, name)
        if owner in self._plan.own_configs:
            return self._own_config(owner, name)
        weights = self._weight_quantizers(name) if role.weights else {}
        keeping = None if name in self._points else self._KEEPING.get(role.role)
        output = keeping(self, name) if keeping else self._output_quantizer(name)
        gradient = self._gradient_quantizer(name)
        if not weights and output is None and gradient is None:
            return None
        linear = bool(weights) and not role.finds_weights  # one product, whose sides can part
        backward = self._backward.backward_weights if linear else "rounded"
        portable = bool(weights) and self._network.may_round_half_up(name)
        return TensorQuantizeConfig(weights, output, gradient, backward, portable)

    def _own_config(self, owner: str, name: str) -> TensorQuantizeConfig | None:
        """A layer's part of what its owner's annotation asks for."""
        own = self._plan.own_configs[owner]
        weights = own.weight_quantizers if name == owner else {}
        output = own.output_quantizer if self._plan.points[owner].layer == name else None
        return TensorQuantizeConfig(weights, output) if weights or output else None

    def input_quantizer(self, name: str) -> FormatQuantizer | None:
        """The quantizer behind an Input layer; None if the input stays float."""
        return self._output_quantizer(name)

    def _gradient_quantizer(self, name: str) -> FormatQuantizer | None:
        point = self._points.get(name)
        if point is None or self._formats[point.owner].activation_gradients is None:
            return None
        seed = seed_of(f"{name}/gradient") ^ self._backward.seed
        return GradientQuantizer(self._backward.gradient_rounding, seed)

    def _weight_quantizers(self, name: str) -> dict[str, FormatQuantizer]:
        formats = self._formats[name]
        if not formats.weights:
            return {}
        spec = self._plan.graph.layers[name]
        role = role_of(spec)
        result = {w.attribute: self._weight_quantizer(name, w) for w in role.weights}
        if role.bias in spec.weight_names and self._network.bias_has_grid(name):
            result[str(role.bias)] = BiasQuantizer()
        return result

    def _weight_quantizer(self, name: str, weight: WeightSpec) -> FormatQuantizer:
        formats = self._formats[name]
        kernel: dict[str, Any] = {
            "channel_axes": weight.channel_axes,
            "trailing": weight.trailing,
            "rounding": formats.rule.rounding_mode or "half_even",
            "seed": seed_of(f"{name}/{weight.attribute}"),
        }
        if not isinstance(formats.weights[0], WrpnFormat):
            rule, many = self._backward.learned_formats, self._has_channels
            if rule is not None and self._learns_kernel(name):
                return LearnedWeightQuantizer(**kernel, method=rule, per_channel=many)
            saturation = self._backward.weight_saturation
            return WeightQuantizer(**kernel, saturation_gradient=saturation)
        binary = formats.weights[0].is_binary
        per_channel = binary and bool(formats.rule.per_channel)
        return WrpnWeightQuantizer(**kernel, binary=binary, per_channel=per_channel)

    def _learns_kernel(self, name: str) -> bool:
        """Whether a kernel's format is trained: not one that several kernels have in common, nor
        that of a constant, which the tensor that it is added to limits."""
        role = self._plan.role(name)
        one = len(role.weights) == 1 and not role.one_format
        return one and role.role.adds_up

    def _output_quantizer(self, name: str) -> FormatQuantizer | None:
        point = self._points.get(name)
        if point is None or self._formats[point.owner].activations is None:
            return None
        explicit = self._formats[point.owner].rule.rounding_mode
        alone = explicit is None and point.owner not in self._masked
        exact = alone and bool(self._network.integer_inputs(point.owner))
        wrpn = isinstance(self._formats[point.owner].activations, WrpnFormat)
        repeated = self._REPEATED.get(point.role) if exact else None
        if repeated is not None and (point.role == MEAN or not wrpn):
            quantizer = repeated(self, point)
            if quantizer is not None:
                return quantizer
        if wrpn:
            # Half to even is the paper's formula in every float library; it differs from the ADD of
            # the engine at one place only, the threshold of 1-bit sums.
            engine = point.role.rounding if point.role.sums else None
            return WrpnActivationQuantizer(explicit or engine, seed=seed_of(name))
        role = role_of(self._plan.graph.layers[point.owner])
        wide = None if explicit else role.wide_rounding
        settings: dict[str, Any] = {
            "rounding": explicit or point.role.rounding or "half_even",
            "nonnegative": point.nonnegative,
            "saturation_gradient": self._backward.activation_saturation,
            "seed": seed_of(name),
            "wide_rounding": wide,
            "no_value": is_tabulated(self._plan.graph.layers[point.owner]),
        }
        if self._is_integer_lstm(point):
            return LstmQuantizer(**settings)
        rule = self._backward.learned_formats
        if rule is None or point.role == INPUT:  # inputs come as they are
            return ActivationQuantizer(**settings)
        return LearnedActivationQuantizer(**settings, method=rule)

    def _is_integer_lstm(self, point: Point) -> bool:
        """Whether a layer is an LSTM that is computed as LiteRT's integer operator does."""
        name, graph = point.owner, self._plan.graph
        integer = bool(self._formats[name].weights and self._network.integer_inputs(name))
        if graph.layers[name].kind != "LSTM" or name in self._masked or not integer:
            return False
        return lstm_obstacle(graph, name) is None

    def _mean(self, point: Point) -> FormatQuantizer:
        portable = self._formats[point.owner].rule.rounding == PORTABLE
        return MeanQuantizer(mean_count(self._plan.graph, point.owner), True, portable)

    def _product(self, point: Point) -> FormatQuantizer:
        return ProductQuantizer()

    def _function(self, point: Point) -> FormatQuantizer | None:
        return unary_quantizer(self._plan.graph.layers[point.owner])

    def _limited_relu(self, name: str) -> FormatQuantizer | None:
        """A ReLU that keeps its input's format, whose limit need not lie on that grid."""
        limit = is_relu(self._plan.graph.layers[name])
        if limit is None or np.isinf(limit) or not self._network.integer_inputs(name):
            return None
        return ActivationQuantizer("half_even", nonnegative=True, seed=seed_of(name))

    def _interpolation(self, name: str) -> FormatQuantizer | None:
        if not self._network.integer_inputs(name):
            return None
        positive = self._plan.points[self._plan.input_owners(name)[0]].nonnegative
        return ActivationQuantizer(
            INTERPOLATE.rounding,
            nonnegative=positive,
            seed=seed_of(name),
            wide_rounding=self._plan.role(name).wide_rounding,
        )

    def _average_pool(self, name: str) -> FormatQuantizer | None:
        if not self._network.integer_inputs(name):
            return None
        spec = self._plan.graph.layers[name]
        shape = self._plan.graph.input_shape(self._plan.graph.uses(name)[0])
        if None in shape[1:-1] and spec.config["padding"] == "same":
            return AveragePoolQuantizer(0, pool_window(spec.config))
        return AveragePoolQuantizer(pool_counts(spec.config, shape[1:-1]))

    # Layers that keep their input's format, and still round or cut off.
    _KEEPING: ClassVar[dict[Role, Callable[..., FormatQuantizer | None]]] = {
        AVERAGE_POOL: _average_pool,
        INTERPOLATE: _interpolation,
        RELU: _limited_relu,
    }
    # Layers whose operator's integers are repeated.
    _REPEATED: ClassVar[dict[Role, Callable[..., FormatQuantizer | None]]] = {
        MEAN: _mean,
        MATMUL: _product,
        UNARY: _function,
    }


def mean_count(graph: LayerGraph, name: str) -> int:
    """How many elements a mean is of: of all axes between, or of the last; 0 if that is free."""
    shape = graph.input_shape(graph.uses(name)[0])
    last = function_of(graph.layers[name]) is not None
    return int(np.prod([int(size or 0) for size in (shape[-1:] if last else shape[1:-1])]))


def pool_counts(config: dict[str, Any], shape: tuple[int | None, ...]) -> Any:
    """How many elements each output position of an average pool covers.

    Returns:
        A number, or nested lists with one number per position where a "same" border has fewer.
    """
    sizes, strides = pool_window(config)
    if config["padding"] == "valid":
        return int(np.prod(sizes))
    axes = [
        covered(int(length or 0), size, step).numpy()
        for length, size, step in zip(shape, sizes, strides, strict=True)
    ]
    counts = functools.reduce(np.multiply.outer, axes)
    return int(counts.flat[0]) if (counts == counts.flat[0]).all() else counts.tolist()


def pool_window(config: dict[str, Any]) -> list[list[int]]:
    """Sizes and steps of a pool's window."""
    sizes, strides = np.atleast_1d(config["pool_size"]), np.atleast_1d(config["strides"])
    return [[int(size) for size in sizes], [int(step) for step in strides]]


def unary_quantizer(spec: LayerSpec) -> FormatQuantizer | None:
    """What repeats the integer operator of an activation layer; None if there is none."""
    unary = unary_of(spec)
    if is_softmax(spec):
        return SoftmaxQuantizer()
    if unary is None or not unary.is_integer:
        return None
    if unary.function == "l2_normalize":
        return LengthQuantizer()
    if unary.function == "leaky_relu":
        return LeakyReluQuantizer(unary.alpha)
    return PReluQuantizer() if unary.function == "prelu" else TableQuantizer(unary.function)
