"""Functions of tensors in functional models, `x + y` or `tf.nn.relu(x)`, as Keras layers.

Keras keeps such a call as a TFOpLambda layer with the function's name. One table says which layer
computes the same; what it does not know stays as it is and is reported by the layers' check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.activation_functions import gelu_tanh
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, weight_names
from tfxp.transforms.normalize.constant_layers import (
    AddConstant,
    MultiplyConstant,
    SubtractFromConstant,
    constant_layer,
)
from tfxp.transforms.normalize.constants import Learned
from tfxp.transforms.normalize.function_calls import FunctionCall, plain_name
from tfxp.transforms.refusals import NOT_READ, naming

# What computes a function: a new layer and, if they are not all its tensors, what it reads.
Converter = Callable[[FunctionCall, str], Any]


def functions_to_layers(graph: LayerGraph) -> LayerGraph:
    """Replace every TFOpLambda that the table knows by a layer of the same name."""
    for _, call, spec in graph.in_order():
        if spec.kind != "TFOpLambda" or len(graph.uses(spec.name)) > 1:
            continue
        converter = _TABLE.get(plain_name(spec))
        if converter is not None and call.output_shapes:
            with naming(spec.name, spec.kind, NOT_READ):
                _convert(graph, call, spec, converter)
    return graph


def _convert(graph: LayerGraph, call: Call, spec: LayerSpec, converter: Converter) -> None:
    refs, use = call.refs(), FunctionCall.of(graph, call)
    layer = converter(use, spec.name)
    if layer is None:
        return
    spec.become(layer)
    spec.weights, spec.weight_names = list(layer.weights), weight_names(layer)
    call.read(refs[0] if len(refs) == 1 else refs)


def _with_constant(
    kind: type, value: object, use: FunctionCall, name: str, change: Any = None
) -> Any:
    """A layer that holds a constant of one sample's shape; None for one with a value per sample."""
    array = np.asarray(value, np.float32)
    rank = len(use.output)
    if len(use.inputs[0]) != rank or array.ndim > rank:
        return None
    if array.ndim == rank:
        if array.shape[0] != 1:
            return None
        array = array[0]
    array = array if change is None else change(array)
    return constant_layer(kind, array, name, isinstance(value, Learned))


def _sum(sign: float, kind: type) -> Converter:
    def convert(use: FunctionCall, name: str) -> Any:
        if use.two_tensors:
            return kind(name=name)
        first, second = use.operands
        reads_first = isinstance(first, Ref)
        value = second if reads_first else first
        constant = use.number(value)
        if constant is None and not reads_first and sign < 0:
            return _with_constant(SubtractFromConstant, value, use, name)
        if constant is None:
            return _with_constant(AddConstant, value, use, name, None if sign > 0 else np.negative)
        scale = 1.0 if reads_first else sign
        offset = np.asarray(constant) * (sign if reads_first else 1.0)
        return layers.Rescaling(scale, offset.tolist(), name=name)

    return convert


def _product(use: FunctionCall, name: str) -> Any:
    if use.two_tensors:
        return layers.Multiply(name=name)
    first, second = use.operands
    value = second if isinstance(first, Ref) else first
    constant = use.number(value)
    if constant is None:
        return _with_constant(MultiplyConstant, value, use, name)
    return layers.Rescaling(constant, name=name)


def _quotient(use: FunctionCall, name: str) -> Any:
    first, second = use.operands
    if isinstance(second, Ref):
        return None
    constant = use.number(second)
    if constant is None:
        return _with_constant(MultiplyConstant, second, use, name, np.reciprocal)
    return layers.Rescaling((1.0 / np.asarray(constant)).tolist(), name=name)


def _negative(use: FunctionCall, name: str) -> Any:
    return layers.Rescaling(-1.0, name=name)


def _pairwise(kind: type) -> Converter:
    return lambda use, name: kind(name=name) if use.two_tensors else None


def _cast(use: FunctionCall, name: str) -> Any:
    """To real numbers, from the whole ones of an input."""
    real = tf.as_dtype(use.argument(1, "dtype")).is_floating
    return layers.Rescaling(1.0, name=name) if real and use.reads_integers else None


def _activation(function: str) -> Converter:
    return lambda use, name: layers.Activation(function, name=name)


def _leaky(use: FunctionCall, name: str) -> Any:
    return layers.LeakyReLU(float(use.argument(1, "alpha", 0.2)), name=name)


def _gelu(use: FunctionCall, name: str) -> Any:
    function = gelu_tanh if use.argument(1, "approximate", False) else "gelu"
    return layers.Activation(function, name=name)


def _softmax(use: FunctionCall, name: str) -> Any:
    axis = use.argument(1, "axis", -1)
    return layers.Softmax(-1 if axis is None else axis, name=name)


def _concatenation(use: FunctionCall, name: str) -> Any:
    if not all(isinstance(value, Ref) for value in use.argument(0, "values")):
        return None
    return layers.Concatenate(use.argument(1, "axis"), name=name)


def _reshape(use: FunctionCall, name: str) -> Any:
    """Any rearrangement of a sample's elements whose result has at most one free size."""
    target = use.output[1:]
    free = sum(size is None for size in target)
    same_batch = use.inputs[0][:1] == use.output[:1]
    if free > 1 or not same_batch or not target:
        return None
    return layers.Reshape([-1 if size is None else size for size in target], name=name)


def _transpose(use: FunctionCall, name: str) -> Any:
    order = use.argument(1, "perm")
    if order is None or order[0] != 0:
        return None
    return layers.Permute([int(axis) for axis in order[1:]], name=name)


def _pad(use: FunctionCall, name: str) -> Any:
    pads = np.asarray(use.argument(1, "paddings")).tolist()
    mode, value = use.argument(2, "mode", "CONSTANT"), use.argument(4, "constant_values", 0)
    kind = {3: layers.ZeroPadding1D, 4: layers.ZeroPadding2D, 5: layers.ZeroPadding3D}
    if mode != "CONSTANT" or value or pads[0] != [0, 0] or pads[-1] != [0, 0]:
        return None
    if len(pads) not in kind:
        return None
    inside = tuple(tuple(pair) for pair in pads[1:-1])
    return kind[len(pads)](inside[0] if len(inside) == 1 else inside, name=name)


def _reduction(by_rank: dict[int, Any]) -> Converter:
    def convert(use: FunctionCall, name: str) -> Any:
        rank = len(use.inputs[0])
        if rank not in by_rank or use.axes(1) != list(range(1, rank - 1)):
            return None
        return by_rank[rank](keepdims=len(use.output) == rank, name=name)

    return convert


def _pooling(by_rank: dict[int, Any]) -> Converter:
    def convert(use: FunctionCall, name: str) -> Any:
        kind, layout = by_rank.get(len(use.output)), str(use.argument(4, "data_format", "NHWC"))
        padding = use.argument(3, "padding")
        if kind is None or padding not in ("SAME", "VALID") or not layout.endswith("C"):
            return None
        size, strides = (np.ravel(use.argument(*at)) for at in ((1, "ksize"), (2, "strides")))
        inside = [part[1:-1] if len(part) == len(use.output) else part for part in (size, strides)]
        window, steps = (np.broadcast_to(part, len(use.output) - 2).tolist() for part in inside)
        return kind(tuple(window), tuple(steps), padding.lower(), name=name)

    return convert


def _resize(use: FunctionCall, name: str) -> Any:
    method = use.argument(2, "method", "bilinear")
    method = getattr(method, "value", method)
    height, width = use.output[1:3]
    known = height is not None and width is not None and len(use.inputs[0]) == 4
    if method not in ("nearest", "bilinear") or not known:
        return None
    return layers.Resizing(height, width, interpolation=method, name=name)


_MEANS = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D}
_PEAKS = {3: layers.GlobalMaxPooling1D, 4: layers.GlobalMaxPooling2D}
_AVERAGE_POOLS = {3: layers.AveragePooling1D, 4: layers.AveragePooling2D}
_MAX_POOLS = {3: layers.MaxPooling1D, 4: layers.MaxPooling2D}
_TABLE: dict[str, Converter] = {
    "add": _sum(1.0, layers.Add),
    "subtract": _sum(-1.0, layers.Subtract),
    "sub": _sum(-1.0, layers.Subtract),
    "multiply": _product,
    "mul": _product,
    "truediv": _quotient,
    "divide": _quotient,
    "negative": _negative,
    "maximum": _pairwise(layers.Maximum),
    "minimum": _pairwise(layers.Minimum),
    "leaky_relu": _leaky,
    "gelu": _gelu,
    "softmax": _softmax,
    "concat": _concatenation,
    "reshape": _reshape,
    "expand_dims": _reshape,
    "squeeze": _reshape,
    "transpose": _transpose,
    "pad": _pad,
    "reduce_mean": _reduction(_MEANS),
    "reduce_max": _reduction(_PEAKS),
    "resize": _resize,
    "bias_add": _sum(1.0, layers.Add),
    "exp": lambda use, name: layers.Activation("exponential", name=name),
    "avg_pool1d": _pooling(_AVERAGE_POOLS),
    "avg_pool2d": _pooling(_AVERAGE_POOLS),
    "max_pool1d": _pooling(_MAX_POOLS),
    "max_pool2d": _pooling(_MAX_POOLS),
    "cast": _cast,
}
_ACTIVATIONS = {"silu": "swish", **{name: name for name in (
    "relu", "relu6", "sigmoid", "tanh", "elu", "selu", "swish", "softplus", "softsign",
)}}  # fmt: skip
_TABLE.update({name: _activation(function) for name, function in _ACTIVATIONS.items()})
