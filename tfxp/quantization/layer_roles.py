"""The role of each layer of a network: looked up in one table, which `register_layer` extends."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError, UnsupportedLayerError
from tfxp.precision import LayerKind
from tfxp.quantization.layer_role import LayerRole, WeightSpec
from tfxp.quantization.layer_table import FINAL_SOFTMAX, LAYERS
from tfxp.quantization.role import IN_FLOAT, INTERPOLATE, KEEP, UNARY, UNTOUCHED
from tfxp.quantization.unsupported import plain, reason_against
from tfxp.transforms.fold_batch_norm import follows_foldable
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.layer_spec import Treatment
from tfxp.transforms.normalize.activations import unary_of
from tfxp.transforms.normalize.channel_functions import LENGTH, MEAN, PAD, function_of
from tfxp.transforms.normalize.constants import is_constant
from tfxp.transforms.normalize.matrix_products import FUNCTION as PRODUCT
from tfxp.transforms.normalize.normalize import is_softmax
from tfxp.transforms.normalize.single_functions import TABLE_NAMES

_FUNCTIONS = {
    PRODUCT: "tf.matmul",
    MEAN: "tf.reduce_mean",
    LENGTH: "tf.math.l2_normalize",
    PAD: "tf.pad",
    **TABLE_NAMES,
}
# Keras' layers around a TensorFlow function, by name; a Lambda layer holds bytecode instead.
_FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
# Roles of layers in a network that is quantized in parts.
_TREATED = {
    Treatment.UNTOUCHED: UNTOUCHED,
    Treatment.OUTPUT: IN_FLOAT,
    Treatment.PASSED: KEEP,
}
_MERGING = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot")


def register_layer(class_name: str, role: LayerRole) -> None:
    """Tell tfxp how a layer class of yours is quantized.

    Args:
        class_name: name of the Keras layer class.
        role: what the layer does to its input's grid, and its weights.

    Raises:
        ConfigError: the class is known already with another role.

    Example:
        >>> register_layer("PixelShuffle", LayerRole(KEEP, "reshape"))
    """
    if LAYERS.get(class_name, role) != role:
        raise ConfigError(f"layer class {class_name!r}: got a second role; it is registered.")
    LAYERS[class_name] = role


def table_name(spec: LayerSpec) -> str:
    """Under what a layer stands in the table: its class, or the function it is made of."""
    return _FUNCTIONS.get(function_of(spec) or "", spec.kind)


def role_of(spec: LayerSpec) -> LayerRole:
    """The role of a layer.

    Raises:
        UnsupportedLayerError: the layer's class is not in the table.
    """
    if spec.treatment is not Treatment.DEFAULT:
        default = LAYERS.get(table_name(spec))
        return LayerRole(_TREATED[spec.treatment], default.kind if default else LayerKind.OTHER)
    if is_softmax(spec):
        return LAYERS["Softmax"] if spec.is_read else FINAL_SOFTMAX
    if spec.kind == "Activation" and spec.config["activation"] == "linear":
        return LayerRole(KEEP, LayerKind.ACTIVATION)
    if table_name(spec) not in LAYERS:
        raise UnsupportedLayerError(f"layer {spec.name!r}: got class {spec.kind}.")
    role = LAYERS[table_name(spec)]
    if spec.kind in ("Activation", "ReLU") and unary_of(spec) is not None:
        return LayerRole(UNARY, LayerKind.LOOKUP)
    if spec.config.get("interpolation", "nearest") != "nearest":
        return LayerRole(INTERPOLATE, LayerKind.RESIZE, accepts=role.accepts)
    if role.role != IN_FLOAT:
        return role
    known = tuple(w for w in role.weights if w.attribute in spec.weight_names)
    return dataclasses.replace(role, weights=_found(spec) if role.finds_weights else known)


def _found(spec: LayerSpec) -> tuple[WeightSpec, ...]:
    """The kernels of layers inside a layer; those that no attribute leads to stay float."""
    kernels = [name for name in spec.weight_names if name.endswith("kernel") and "." in name]
    return tuple(WeightSpec(name, 2 if "depthwise" in name else 1) for name in kernels)


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
            f"{listed}\nSupported: {', '.join(sorted(LAYERS))}. Replace these layers, cut the "
            "model before them, or teach tfxp the class with tfxp.register_layer."
        )


def _constants(graph: LayerGraph, number: int) -> list[tuple[int, ...]]:
    """Shapes of the tensors among a call's arguments that no layer computes."""
    call = graph.calls[number]
    values = tf.nest.flatten((call.args, call.kwargs))
    return [tuple(np.shape(value)) for value in values if is_constant(value)]


def _detail(graph: LayerGraph, number: int, spec: LayerSpec) -> str:
    """What a function of tensors is, and which constants it takes."""
    shapes = _constants(graph, number)
    constants = f" with a constant of shape {shapes[0]}" if shapes else ""
    function = str(spec.config.get("function")).removesuffix(" of another kind")
    return f" {function}{constants}" if spec.kind in _FUNCTION_LAYERS else ""


def _complaint(graph: LayerGraph, number: int, spec: LayerSpec) -> str | None:
    if spec.treatment is not Treatment.DEFAULT:
        return None
    if not is_softmax(spec) and table_name(spec) not in LAYERS:
        against = reason_against(graph, number, spec)
        return f"{spec.name} ({spec.kind}{_detail(graph, number, spec)}): {against}"
    constants = _constants(graph, number)
    if constants and spec.kind in _MERGING:
        return (
            f"{spec.name} ({spec.kind}): a constant of shape {constants[0]} among its tensors; "
            "write x + constant"
        )
    role = role_of(spec)
    if role.role.is_absorbed and not follows_foldable(graph, number):
        return (
            f"{spec.name} ({spec.kind}): axis {plain(spec.config['axis'])} of a tensor of rank "
            f"{len(graph.calls[number].output_shapes[0])}; expected the last"
        )
    reason = role.accepts(spec)
    if reason:
        return f"{spec.name} ({spec.kind}): {reason}"
    return None
