"""Functions of tensors in functional models, `x + y` or `tf.nn.relu(x)`, as Keras layers.

Keras keeps such a call as a TFOpLambda layer with the function's name. One table says which layer
computes the same; what it does not know stays as it is and is reported by the layers' check.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, Shape, weight_names
from tfxp.transforms.normalize.constant_layers import (
    AddConstant,
    MultiplyConstant,
    SubtractFromConstant,
    constant_layer,
)
from tfxp.transforms.normalize.constants import Learned


@dataclasses.dataclass(frozen=True)
class _Use:
    """A call of a function: positional and named arguments, the shapes of its tensors, and whether
    it reads whole numbers from a network input."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Shape]
    output: Shape
    reads_integers: bool

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, however it was given; tensors are `Ref`s, constants plain values."""
        value = self.args[position] if len(self.args) > position else self.kwargs.get(name, default)
        return value.numpy() if isinstance(value, tf.Tensor) and hasattr(value, "numpy") else value


# What computes a function: a new layer and, if they are not all its tensors, what it reads.
Converter = Callable[[_Use, str], Any]


def functions_to_layers(graph: LayerGraph) -> LayerGraph:
    """Replace every TFOpLambda that the table knows by a layer of the same name."""
    for _, call, spec in graph.in_order():
        if spec.kind != "TFOpLambda" or len(graph.uses(spec.name)) > 1:
            continue
        converter = _TABLE.get(_plain_name(str(spec.config.get("function"))))
        if converter is not None and call.output_shapes:
            _convert(graph, call, spec, converter)
    return graph


def _plain_name(function: str) -> str:
    """`add` of "__operators__.add", "math.add" and "compat.v1.add"."""
    return function.split(".")[-1]


def _convert(graph: LayerGraph, call: Call, spec: LayerSpec, converter: Converter) -> None:
    refs = call.refs()
    shapes = [graph.shape_of(ref) for ref in refs]
    integers = any("int" in str(graph.spec_of(ref).config.get("dtype")) for ref in refs)
    use = _Use(tuple(call.args), call.kwargs, shapes, call.output_shapes[0], integers)
    layer = converter(use, spec.name)
    if layer is None:
        return
    spec.become(layer)
    spec.weights, spec.weight_names = list(layer.weights), weight_names(layer)
    call.read(refs[0] if len(refs) == 1 else refs)


def _operands(use: _Use) -> tuple[Any, Any]:
    return use.argument(0, "x"), use.argument(1, "y")


def _constant(value: Any, use: _Use) -> Any:
    """A number, or one per channel, as Rescaling takes it; None for other constants."""
    array = np.asarray(value, np.float64)
    if use.inputs[0] != use.output:
        return None
    if array.size == 1:
        return float(array.ravel()[0])
    per_channel = array.shape[-1] == array.size == use.output[-1]
    return array.ravel().tolist() if per_channel else None


def _with_constant(kind: Any, value: Any, use: _Use, name: str, change: Any = None) -> Any:
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


def _two_tensors(use: _Use) -> bool:
    return all(isinstance(value, Ref) for value in _operands(use))


def _sum(sign: float, kind: Any) -> Converter:
    def convert(use: _Use, name: str) -> Any:
        if _two_tensors(use):
            return kind(name=name)
        first, second = _operands(use)
        reads_first = isinstance(first, Ref)
        value = second if reads_first else first
        constant = _constant(value, use)
        if constant is None and not reads_first and sign < 0:
            return _with_constant(SubtractFromConstant, value, use, name)
        if constant is None:
            return _with_constant(AddConstant, value, use, name, None if sign > 0 else np.negative)
        scale = 1.0 if reads_first else sign
        offset = np.asarray(constant) * (sign if reads_first else 1.0)
        return layers.Rescaling(scale, offset.tolist(), name=name)

    return convert


def _product(use: _Use, name: str) -> Any:
    if _two_tensors(use):
        return layers.Multiply(name=name)
    first, second = _operands(use)
    value = second if isinstance(first, Ref) else first
    constant = _constant(value, use)
    if constant is None:
        return _with_constant(MultiplyConstant, value, use, name)
    return layers.Rescaling(constant, name=name)


def _quotient(use: _Use, name: str) -> Any:
    first, second = _operands(use)
    if isinstance(second, Ref):
        return None
    constant = _constant(second, use)
    if constant is None:
        return _with_constant(MultiplyConstant, second, use, name, np.reciprocal)
    return layers.Rescaling((1.0 / np.asarray(constant)).tolist(), name=name)


def _negative(use: _Use, name: str) -> Any:
    return layers.Rescaling(-1.0, name=name)


def _maximum(use: _Use, name: str) -> Any:
    if _two_tensors(use):
        return layers.Maximum(name=name)
    constants = [value for value in _operands(use) if not isinstance(value, Ref)]
    return layers.ReLU(name=name) if np.size(constants[0]) == 1 and not constants[0] else None


def _minimum(use: _Use, name: str) -> Any:
    return layers.Minimum(name=name) if _two_tensors(use) else None


def _clip(use: _Use, name: str) -> Any:
    low, high = use.argument(1, "clip_value_min"), use.argument(2, "clip_value_max")
    if isinstance(low, Ref) or isinstance(high, Ref) or np.size(low) + np.size(high) > 2:
        return None
    return layers.ReLU(max_value=float(high), name=name) if float(low) == 0 else None


def _cast(use: _Use, name: str) -> Any:
    """To real numbers only; those are one type everywhere (`data_types`)."""
    dtype = use.argument(1, "dtype")
    if not tf.as_dtype(dtype).is_floating:
        return None
    return layers.Rescaling(1.0, name=name) if use.reads_integers else layers.Activation("linear")


def _activation(function: str) -> Converter:
    return lambda use, name: layers.Activation(function, name=name)


def _leaky(use: _Use, name: str) -> Any:
    return layers.LeakyReLU(float(use.argument(1, "alpha", 0.2)), name=name)


def _gelu(use: _Use, name: str) -> Any:
    return None if use.argument(1, "approximate", False) else layers.Activation("gelu", name=name)


def _softmax(use: _Use, name: str) -> Any:
    axis = use.argument(1, "axis", -1)
    return layers.Softmax(-1 if axis is None else axis, name=name)


def _concatenation(use: _Use, name: str) -> Any:
    if not all(isinstance(value, Ref) for value in use.argument(0, "values")):
        return None
    return layers.Concatenate(use.argument(1, "axis"), name=name)


def _reshape(use: _Use, name: str) -> Any:
    """Any rearrangement of a sample's elements whose result has at most one free size."""
    target = use.output[1:]
    free = sum(size is None for size in target)
    same_batch = use.inputs[0][:1] == use.output[:1]
    if free > 1 or not same_batch or not target:
        return None
    return layers.Reshape([-1 if size is None else size for size in target], name=name)


def _transpose(use: _Use, name: str) -> Any:
    order = use.argument(1, "perm")
    if order is None or order[0] != 0:
        return None
    return layers.Permute([int(axis) for axis in order[1:]], name=name)


def _pad(use: _Use, name: str) -> Any:
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
    def convert(use: _Use, name: str) -> Any:
        rank = len(use.inputs[0])
        axis = use.argument(1, "axis")
        found = {} if axis is None else {int(a) % rank for a in np.atleast_1d(axis)}
        if rank not in by_rank or found != set(range(1, rank - 1)):
            return None
        return by_rank[rank](keepdims=len(use.output) == rank, name=name)

    return convert


def _resize(use: _Use, name: str) -> Any:
    method = use.argument(2, "method", "bilinear")
    method = getattr(method, "value", method)
    height, width = use.output[1:3]
    known = height is not None and width is not None and len(use.inputs[0]) == 4
    if method not in ("nearest", "bilinear") or not known:
        return None
    return layers.Resizing(height, width, interpolation=method, name=name)


_MEANS = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D}
_PEAKS = {3: layers.GlobalMaxPooling1D, 4: layers.GlobalMaxPooling2D}
_TABLE: dict[str, Converter] = {
    "add": _sum(1.0, layers.Add),
    "subtract": _sum(-1.0, layers.Subtract),
    "sub": _sum(-1.0, layers.Subtract),
    "multiply": _product,
    "mul": _product,
    "truediv": _quotient,
    "divide": _quotient,
    "negative": _negative,
    "maximum": _maximum,
    "minimum": _minimum,
    "clip_by_value": _clip,
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
    "cast": _cast,
}
_ACTIVATIONS = {"silu": "swish", **{name: name for name in (
    "relu", "relu6", "sigmoid", "tanh", "elu", "selu", "swish", "softplus", "softsign",
)}}  # fmt: skip
_TABLE.update({name: _activation(function) for name, function in _ACTIVATIONS.items()})
