"""How each Keras layer passes channels on, and what becomes of its weights in a wide network.

A layer kind has up to three rules: `trace` says which channels come out for those that go in,
`configure` changes the configuration, `copy_weights` builds the wide weights from the narrow ones
so that the function stays the same:

    a copied channel has the weights that make it of its original, and
    what reads c copies of one channel gives each of them 1/c of the original's weight.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfxp.keras import tf
from tfxp.transforms.activation_functions import is_keras_function, layer_of
from tfxp.transforms.layer_graph import Call, LayerSpec, Ref, Shape
from tfxp.transforms.linear_layers import DEPTHWISE, LINEAR_LAYERS, TRANSPOSED
from tfxp.transforms.training_only import TRAINING_ONLY
from tfxp.transforms.wrpn import axes
from tfxp.transforms.wrpn.axes import Axis, Concat, Fixed, Free, Repeat, Tile

# Each output channel is a function of the same input channel alone.
CHANNELWISE = {
    "Activation", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "Cropping1D",
    "Cropping2D", "Cropping3D", "ELU", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
    "GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
    "LeakyReLU", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "ReLU", "RepeatVector",
    "Rescaling", "Resizing", "ThresholdedReLU", "UpSampling1D", "UpSampling2D", "UpSampling3D",
    "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", *TRAINING_ONLY,
}  # fmt: skip
# The same with weights per channel, in the last dimension.
WITH_CHANNEL_WEIGHTS = {"BatchNormalization", "LayerNormalization", "PReLU"}
# Element by element over tensors of the same shape.
ELEMENTWISE = {"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"}
_FUNCTIONS = {
    "__operators__.add", "abs", "add", "clip_by_value", "identity", "math.abs", "math.add",
    "math.maximum", "math.minimum", "math.multiply", "math.sigmoid", "math.square",
    "math.subtract", "math.tanh", "multiply", "nn.relu", "nn.relu6", "nn.sigmoid", "nn.silu",
    "nn.tanh", "square", "subtract",
}  # fmt: skip
_SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}
# Layers that own their output channels -> the field of the configuration that counts them.
OWNERS = {
    **{kind: form.counts for kind, form in LINEAR_LAYERS.items() if form.counts},
    **dict.fromkeys(_SEPARABLE, "filters"),
}
WITH_KERNELS = {*LINEAR_LAYERS, *_SEPARABLE}
WITH_WEIGHTS = WITH_KERNELS | WITH_CHANNEL_WEIGHTS


class ImpossibleError(Exception):
    """The channels of this call cannot be followed; the message says why."""


@dataclasses.dataclass
class LayerAxes:
    """The channels a layer reads and writes; the same for every call of a shared layer."""

    read: Axis | None = None
    written: Axis | None = None


def trace(
    spec: LayerSpec, call: Call, inputs: list[Axis], shapes: list[Shape], preserve: bool
) -> Axis:
    """The channels of a call's output.

    Args:
        spec: the layer.
        call: the call.
        inputs: channels of the tensors it reads.
        shapes: shapes of these tensors.
        preserve: whether the function of the network is to be kept.

    Raises:
        ImpossibleError: the layer is unknown, or mixes channels in a way that cannot be widened.
    """
    if not inputs:
        raise ImpossibleError("which reads no tensor")
    if spec.config.get("data_format") == "channels_first" and len(shapes[0]) > 2:
        raise ImpossibleError("which has its channels first")
    if preserve and spec.kind not in OWNERS and _mixes_channels(spec):
        raise ImpossibleError("whose output depends on how many channels there are")
    if spec.kind in OWNERS:
        return _trace_owner(spec, inputs[0], preserve)
    if LINEAR_LAYERS.get(spec.kind) is DEPTHWISE:
        return Repeat(inputs[0], spec.config["depth_multiplier"])
    if spec.kind in CHANNELWISE:
        return inputs[0]
    if spec.kind in WITH_CHANNEL_WEIGHTS:
        return _trace_channel_weights(spec, inputs[0], shapes[0])
    if spec.kind in ELEMENTWISE or _is_elementwise_function(spec, call):
        return _trace_elementwise(inputs)
    if spec.kind == "Concatenate":
        return _trace_concatenate(spec, inputs, shapes[0])
    if spec.kind in ("Flatten", "Reshape"):
        return _trace_reshape(call, inputs[0], shapes[0])
    if spec.kind == "Permute" and spec.config["dims"][-1] == len(shapes[0]) - 1:
        return inputs[0]
    raise ImpossibleError("which tfxp cannot widen")


def _mixes_channels(spec: LayerSpec) -> bool:
    if spec.kind in ("LayerNormalization", "Softmax"):
        return True
    activation = spec.config.get("activation")
    return activation in ("softmax", "log_softmax") or not is_keras_function(activation)


def _is_elementwise_function(spec: LayerSpec, call: Call) -> bool:
    if spec.kind != "TFOpLambda" or spec.config.get("function") not in _FUNCTIONS:
        return False
    constants = [v for v in tf.nest.flatten((call.args, call.kwargs)) if not isinstance(v, Ref)]
    return all(np.ndim(value) == 0 for value in constants)


def is_depthwise_form(spec: LayerSpec, width: int) -> bool:
    """Whether a grouped convolution has one group per input channel."""
    return spec.config.get("groups", 1) == width > 1


def owns_channels(spec: LayerSpec, layer: LayerAxes) -> bool:
    """Whether the layer makes channels of its own, instead of passing on what it reads."""
    assert layer.read is not None
    return spec.kind in OWNERS and not is_depthwise_form(spec, layer.read.width)


def _trace_owner(spec: LayerSpec, read: Axis, preserve: bool) -> Axis:
    width = int(spec.config[OWNERS[spec.kind]])
    groups = spec.config.get("groups", 1)
    if layer_of(spec.config.get("activation")) is not None:
        return Fixed(width, "its activation is a layer; put that behind it")
    if preserve and _mixes_channels(spec):
        return Fixed(width, "its activation depends on how many channels there are")
    if is_depthwise_form(spec, read.width):
        return Repeat(read, width // groups)
    if groups == 1:
        return Free(width)
    try:
        axes.blocks(read, groups)
    except axes.AxisMismatchError:
        raise ImpossibleError("whose groups cut through channels that belong together") from None
    return Concat([Free(width // groups) for _ in range(groups)])


def _trace_channel_weights(spec: LayerSpec, read: Axis, shape: Shape) -> Axis:
    axis = spec.config.get("axis", -1)
    axis = list(axis) if isinstance(axis, list | tuple) else [axis]
    if axis not in ([-1], [len(shape) - 1]):
        raise ImpossibleError("which normalises another axis than the last")
    return read


def _trace_elementwise(inputs: list[Axis]) -> Axis:
    widest = max(inputs, key=lambda axis: axis.width)
    for axis in inputs:
        if axis.width == 1 < widest.width:
            axes.freeze(axis, "its one channel is stretched over many")
            continue
        try:
            axes.unify(axis, widest)
        except axes.AxisMismatchError as error:
            raise ImpossibleError(f"which joins {error}") from None
    return widest


def _trace_concatenate(spec: LayerSpec, inputs: list[Axis], shape: Shape) -> Axis:
    if spec.config["axis"] in (-1, len(shape) - 1):
        return Concat(list(inputs))
    return _trace_elementwise(inputs)


def _trace_reshape(call: Call, read: Axis, shape: Shape) -> Axis:
    """Channels stay innermost: (…, t, a) becomes (…, t·a), or t·a becomes (…, t, a)."""
    target = call.output_shapes[0][-1] if call.output_shapes else None
    if target == read.width:
        return read
    if all(isinstance(leaf, Fixed) for leaf in axes.leaves(read)):
        return Fixed(target or 0, "tied to a reshaped tensor that is fixed")
    axis, positions = axes.resolve(read), list(shape[1:-1])
    if isinstance(axis, Tile):
        positions.append(axis.times)
        axis = axis.inner
    times = (target or 0) // axis.width
    known = [size for size in positions if size is not None]
    if times and times * axis.width == target and len(known) == len(positions):
        if math.prod(known) % times == 0:
            return Tile(axis, times) if times > 1 else axis
    raise ImpossibleError("which moves channels to other axes")


def configure(spec: LayerSpec, layer: LayerAxes) -> None:
    """Set a layer's filters, units, groups or target shape to the wide network's."""
    assert layer.read is not None and layer.written is not None
    config = spec.config
    if spec.kind in OWNERS:
        if is_depthwise_form(spec, layer.read.width):
            config["groups"] = axes.new_width(layer.read)
        config[OWNERS[spec.kind]] = axes.new_width(layer.written)
    elif spec.kind == "Reshape" and config["target_shape"][-1] != -1:
        config["target_shape"] = (*config["target_shape"][:-1], axes.new_width(layer.written))


def uneven_groups(spec: LayerSpec, layer: LayerAxes) -> bool:
    """Whether the groups of a widened convolution would differ in size."""
    groups = spec.config.get("groups", 1)
    assert layer.read is not None and layer.written is not None
    if groups == 1 or is_depthwise_form(spec, layer.read.width):
        return False
    return any(
        len({axes.new_width(block) for block in axes.blocks(axis, groups)}) > 1
        for axis in (layer.read, layer.written)
    )


def copy_weights(spec: LayerSpec, layer: LayerAxes) -> dict[str, np.ndarray]:
    """The weights of the wide layer that keep the network's function, by name."""
    assert layer.read is not None and layer.written is not None
    arrays = {name: np.asarray(value, np.float64) for name, value in spec.arrays().items()}
    write = axes.copies(layer.written)
    result = {}
    for name, value in arrays.items():
        rule = _RULES.get(name)
        if rule is not None:
            result[name] = rule(spec, layer, value)
        elif value.ndim and value.shape[-1] == layer.written.width:
            result[name] = value[..., write]
        else:  # PReLU with its channels shared
            result[name] = value
    return {name: value.astype(np.float32) for name, value in result.items()}


def _kernel(spec: LayerSpec, layer: LayerAxes, kernel: np.ndarray) -> np.ndarray:
    read, written = layer.read, layer.written
    assert read is not None and written is not None
    if LINEAR_LAYERS.get(spec.kind) is TRANSPOSED:
        kernel = kernel[..., axes.copies(written), :]
        return kernel[..., axes.copies(read)] * axes.shares(read)
    if is_depthwise_form(spec, read.width):
        return kernel[..., axes.copies(written)]
    groups = spec.config.get("groups", 1)
    parts = []
    start = 0
    for source, target in zip(axes.blocks(read, groups), axes.blocks(written, groups), strict=True):
        part = kernel[..., start : start + target.width]
        part = part[..., axes.copies(source), :] * axes.shares(source)[:, None]
        parts.append(part[..., axes.copies(target)])
        start += target.width
    return np.concatenate(parts, axis=-1)


def _depthwise_kernel(spec: LayerSpec, layer: LayerAxes, kernel: np.ndarray) -> np.ndarray:
    assert layer.read is not None
    return kernel[..., axes.copies(layer.read), :]


def _pointwise_kernel(spec: LayerSpec, layer: LayerAxes, kernel: np.ndarray) -> np.ndarray:
    assert layer.read is not None and layer.written is not None
    between = Repeat(layer.read, spec.config["depth_multiplier"])
    kernel = kernel[..., axes.copies(between), :] * axes.shares(between)[:, None]
    return kernel[..., axes.copies(layer.written)]


_RULES: dict[str, Callable[[LayerSpec, LayerAxes, Any], np.ndarray]] = {
    "kernel": _kernel,
    "depthwise_kernel": _depthwise_kernel,
    "pointwise_kernel": _pointwise_kernel,
}
