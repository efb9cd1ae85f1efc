"""What each kind of layer means to quantization: one table, extended by `register_layer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tfxp.errors import ConfigError, UnsupportedLayerError
from tfxp.transforms.fold_batch_norm import follows_foldable
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize import is_relu, is_softmax

# What a layer does to the grid of its input:
#   input       a network input; quantized right behind it
#   mac         multiplies by weights and adds a bias; its output gets a format of its own
#   add         sums two tensors; own format, ties go up as in XNNPACK's ADD
#   concatenate joins tensors; own format, parts that differ are requantized, ties go up
#   mean        averages over all positions; own format
#   average_pool keeps its input's format, rounds half away
#   relu        keeps its input's format, or closes the layer before it
#   keep        moves values about and computes nothing
#   softmax     float; only as the last layer
#   batch_norm  kept BatchNormalization, absorbed at export into per-channel scales
ROLES = (
    "input",
    "mac",
    "add",
    "concatenate",
    "mean",
    "average_pool",
    "relu",
    "keep",
    "softmax",
    "batch_norm",
)


@dataclasses.dataclass(frozen=True)
class WeightSpec:
    """A kernel to quantize: attribute path and how many of its last axes number channels."""

    attribute: str
    channel_axes: int = 1


@dataclasses.dataclass(frozen=True)
class LayerRole:
    """How a layer class is quantized.

    Args:
        role: one of `ROLES`.
        kind: what cost models call it.
        weights: kernels to quantize.
        bias: attribute of the bias, which goes to the accumulator's grid.
        accepts: says why a layer of the class is not supported, or None if it is.
    """

    role: str
    kind: str
    weights: tuple[WeightSpec, ...] = ()
    bias: str | None = None
    accepts: Callable[[LayerSpec], str | None] = lambda spec: None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ConfigError(f"role of layer: got {self.role!r}; expected one of {ROLES}.")


def _channels_last(spec: LayerSpec) -> str | None:
    if spec.config.get("data_format", "channels_last") not in (None, "channels_last"):
        return "data_format channels_first; expected channels_last"
    return None


def _activation(spec: LayerSpec) -> str | None:
    if is_relu(spec) is not None or is_softmax(spec):
        return None
    if spec.kind == "Activation" and spec.config["activation"] == "linear":
        return None
    function = spec.config.get("activation", spec.kind)
    return f"activation {function!r}; expected relu, relu6, linear or softmax"


def _last_axis(spec: LayerSpec) -> str | None:
    axis = spec.config.get("axis", -1)
    return None if axis in (-1, 3) else f"axis {axis}; expected -1"


_CONV = LayerRole("mac", "conv", (WeightSpec("kernel"),), "bias", _channels_last)
_TABLE: dict[str, LayerRole] = {
    "InputLayer": LayerRole("input", "input"),
    "Conv2D": _CONV,
    "DepthwiseConv2D": LayerRole(
        "mac", "depthwise_conv", (WeightSpec("depthwise_kernel", 2),), "bias", _channels_last
    ),
    "Dense": LayerRole("mac", "dense", (WeightSpec("kernel"),), "bias"),
    "BatchNormalization": LayerRole("batch_norm", "batch_norm"),
    "Add": LayerRole("add", "add"),
    "Concatenate": LayerRole("concatenate", "concatenate", accepts=_last_axis),
    "GlobalAveragePooling2D": LayerRole("mean", "mean", accepts=_channels_last),
    "AveragePooling2D": LayerRole("average_pool", "pool", accepts=_channels_last),
    "MaxPooling2D": LayerRole("keep", "pool", accepts=_channels_last),
    "GlobalMaxPooling2D": LayerRole("keep", "pool", accepts=_channels_last),
    "ZeroPadding2D": LayerRole("keep", "pad", accepts=_channels_last),
    "Flatten": LayerRole("keep", "reshape", accepts=_channels_last),
    "Reshape": LayerRole("keep", "reshape"),
    "Dropout": LayerRole("keep", "dropout"),
    "SpatialDropout2D": LayerRole("keep", "dropout"),
    "GaussianNoise": LayerRole("keep", "dropout"),
    "ReLU": LayerRole("relu", "activation", accepts=_activation),
    "Activation": LayerRole("relu", "activation", accepts=_activation),
    "Softmax": LayerRole("softmax", "softmax", accepts=_activation),
}


def register_layer(class_name: str, role: LayerRole) -> None:
    """Tell tfxp how a layer class of yours is quantized.

    Args:
        class_name: name of the Keras layer class.
        role: what the layer does to its input's grid, and its weights.

    Raises:
        ConfigError: the class is known already with another role.

    Example:
        >>> register_layer("PixelShuffle", LayerRole("keep", "reshape"))
    """
    if _TABLE.get(class_name, role) != role:
        raise ConfigError(f"layer class {class_name!r}: got a second role; it is registered.")
    _TABLE[class_name] = role


def role_of(spec: LayerSpec) -> LayerRole:
    """The role of a layer.

    Raises:
        UnsupportedLayerError: the layer's class is not in the table.
    """
    if is_softmax(spec):
        return _TABLE["Softmax"]
    if spec.kind == "Activation" and spec.config["activation"] == "linear":
        return LayerRole("keep", "activation")
    if spec.kind not in _TABLE:
        raise UnsupportedLayerError(f"layer {spec.name!r}: got class {spec.kind}.")
    return _TABLE[spec.kind]


def check_supported(graph: LayerGraph) -> None:
    """Raise one error that names every layer quantization cannot take.

    Raises:
        UnsupportedLayerError: some layers are not supported.
    """
    found = [_complaint(graph, number, spec) for number, _, spec in graph.in_order()]
    complaints = list(dict.fromkeys(text for text in found if text))
    if complaints:
        listed = "\n".join(f"  - {text}" for text in complaints)
        raise UnsupportedLayerError(
            f"model {graph.name!r}: got {len(complaints)} layers that tfxp cannot quantize:\n"
            f"{listed}\nSupported: {', '.join(sorted(_TABLE))}. Replace these layers, cut the "
            "model before them, or teach tfxp the class with tfxp.register_layer."
        )


def _complaint(graph: LayerGraph, number: int, spec: LayerSpec) -> str | None:
    if not is_softmax(spec) and spec.kind not in _TABLE:
        detail = spec.config.get("function")
        return f"{spec.name} ({spec.kind}{f' {detail}' if detail else ''}): unknown class"
    role = role_of(spec)
    if role.role == "batch_norm" and not follows_foldable(graph, number):
        return (
            f"{spec.name} ({spec.kind}): axis {spec.config['axis']} of a tensor of rank "
            f"{len(graph.calls[number].output_shapes[0])}; expected the last of rank 2 or 4"
        )
    reason = role.accepts(spec)
    if reason:
        return f"{spec.name} ({spec.kind}): {reason}"
    if role.role == "softmax" and graph.consumers(Ref(number)):
        return f"{spec.name} ({spec.kind}): softmax inside the network; expected only at its end"
    return None
