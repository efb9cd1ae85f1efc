"""Keras 3 operations on tensors (`x + y`, `keras.ops.relu(x)`) as TensorFlow functions.

On tf_keras' symbolic tensors these become TFOpLambda layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ModelError
from tfxp.keras import layers
from tfxp.keras_types import KerasLayer, Tensor
from tfxp.transforms.conversion import functions
from tfxp.transforms.conversion.layers import COMPOSED
from tfxp.transforms.data_types import float32_value

# (the operation, which holds its settings; its arguments) -> tensor
Operation = Callable[..., Any]


def _pad(op: KerasLayer, x: Tensor, constant_values: Any = None) -> Any:
    return tf.pad(x, [list(pair) for pair in op.pad_width], op.mode.upper(), constant_values or 0)


def _reshape(op: KerasLayer, x: Tensor) -> Any:
    return tf.reshape(x, [-1 if size is None else size for size in op.newshape])


def _alike(function: Callable[[Any, Any], Any]) -> Operation:
    """A function of two tensors, of which one may be a constant of whole numbers."""

    def call(op: KerasLayer, x: Tensor, y: Tensor) -> Any:
        kinds = {value.dtype for value in (x, y) if hasattr(value, "_keras_history")}
        if len(kinds) == 1:
            kind = kinds.pop()
            x, y = (v if hasattr(v, "_keras_history") else tf.cast(v, kind) for v in (x, y))
        return function(x, y)

    return call


def _swapped(op: KerasLayer, x: Tensor) -> Any:
    order = list(range(len(x.shape)))
    first, second = op.axis1, op.axis2
    order[first], order[second] = order[second], order[first]
    return tf.transpose(x, order)


def _moved(op: KerasLayer, x: Tensor) -> Any:
    rank = len(x.shape)
    moves = zip(np.atleast_1d(op.destination), np.atleast_1d(op.source), strict=True)
    places = {int(to) % rank: int(of) % rank for to, of in moves}
    rest = iter(axis for axis in range(rank) if axis not in places.values())
    return tf.transpose(x, [places[a] if a in places else next(rest) for a in range(rank)])


def _split(op: KerasLayer, x: Tensor) -> Any:
    """Into equal parts, or at places."""
    given, axis = op.indices_or_sections, op.axis
    if isinstance(given, int):
        return tf.split(x, given, axis)
    ends = [*given, x.shape[axis]]
    sizes = [int(end - start) for start, end in zip([0, *given], ends, strict=True)]
    return tf.split(x, sizes, axis)


def _tiled(op: KerasLayer, x: Tensor) -> Any:
    repeats = np.atleast_1d(op.repeats).tolist()
    return tf.tile(x, [1] * (len(x.shape) - len(repeats)) + repeats)


def _flipped(op: KerasLayer, x: Tensor) -> Any:
    axes = range(len(x.shape)) if op.axis is None else np.atleast_1d(op.axis)
    return tf.reverse(x, [int(axis) % len(x.shape) for axis in axes])


def _normalized(op: KerasLayer, x: Tensor) -> Any:
    if op.order != 2:
        raise ModelError(f"operation {op.name!r}: got order {op.order}; expected 2.")
    return tf.math.l2_normalize(x, op.axis, epsilon=(op.epsilon or _EPSILON) ** 2)


def _resized(op: KerasLayer, x: Tensor) -> Any:
    if op.antialias or op.crop_to_aspect_ratio or op.pad_to_aspect_ratio:
        raise ModelError(f"operation {op.name!r}: got antialias or an aspect ratio; expected none.")
    return tf.image.resize(x, op.size, op.interpolation)


def _relu(op: KerasLayer, x: Tensor) -> Any:
    return layers.ReLU(op.max_value, op.negative_slope, op.threshold, name=op.name)(x)


def _pool(by_rank: dict[int, Any]) -> Operation:
    def call(op: KerasLayer, x: Tensor) -> Any:
        kind = by_rank[len(x.shape)]
        size, strides = op.pool_size, op.strides
        return kind(size, strides, op.padding, op.data_format, name=op.name)(x)

    return call


def _reduced(function: Callable[..., Any]) -> Operation:
    return lambda op, x: function(x, op.axis, keepdims=op.keepdims)


_EPSILON = 1e-7  # Keras' own
_AVERAGE_POOLS = {3: layers.AveragePooling1D, 4: layers.AveragePooling2D}
_MAX_POOLS = {3: layers.MaxPooling1D, 4: layers.MaxPooling2D}
# Functions of one tensor without settings.
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "Relu": tf.nn.relu,
    "Relu6": tf.nn.relu6,
    "Sigmoid": tf.sigmoid,
    "Tanh": tf.tanh,
    "Silu": tf.nn.silu,
    "Selu": tf.nn.selu,
    "Softplus": tf.math.softplus,
    "Softsign": tf.math.softsign,
    "LogSigmoid": tf.math.log_sigmoid,
    "Exp": tf.exp,
    "Expm1": tf.math.expm1,
    "Log": tf.math.log,
    "Log1p": tf.math.log1p,
    "Sqrt": tf.sqrt,
    "Rsqrt": tf.math.rsqrt,
    "Reciprocal": tf.math.reciprocal,
    "Square": tf.square,
    "Abs": tf.abs,
    "Absolute": tf.abs,
    "Sin": tf.sin,
    "Cos": tf.cos,
    "Tan": tf.tan,
    "Sinh": tf.sinh,
    "Cosh": tf.cosh,
    "Arcsin": tf.asin,
    "Arccos": tf.acos,
    "Arctan": tf.atan,
    "Arcsinh": tf.asinh,
    "Arccosh": tf.acosh,
    "Arctanh": tf.atanh,
    "Erf": tf.math.erf,
    "Erfc": tf.math.erfc,
    "Sign": tf.sign,
    "Floor": tf.floor,
    "Ceil": tf.math.ceil,
    "Round": tf.round,
    "Negative": tf.negative,
    "StopGradient": tf.stop_gradient,
    "Conj": tf.math.conj,
    "Conjugate": tf.math.conj,
    "Real": tf.math.real,
    "Copy": tf.identity,
    "Log2": lambda x: tf.math.log(x) * (1.0 / math.log(2.0)),
    "Log10": lambda x: tf.math.log(x) * (1.0 / math.log(10.0)),
    "Exp2": lambda x: tf.exp(x * math.log(2.0)),
    "HardTanh": functions.hard_tanh,
    "SparsePlus": functions.sparse_plus,
    "SparseSigmoid": functions.sparse_sigmoid,
    "TanhShrink": functions.tanh_shrink,
    "HardSigmoid": lambda x: COMPOSED["hard_sigmoid"](x),
    "HardSilu": lambda x: COMPOSED["hard_silu"](x),
}
OPERATIONS: dict[str, Operation] = {
    **{name: (lambda op, x, f=function: f(x)) for name, function in _PLAIN.items()},
    "Add": _alike(lambda x, y: x + y),
    "Subtract": _alike(lambda x, y: x - y),
    "Multiply": _alike(lambda x, y: x * y),
    "Divide": _alike(lambda x, y: x / y),
    "TrueDivide": _alike(lambda x, y: x / y),
    "Power": _alike(lambda x, y: tf.pow(x, y)),
    "Matmul": lambda op, x, y: tf.matmul(x, y),
    "Maximum": lambda op, x, y: tf.maximum(x, y),
    "Minimum": lambda op, x, y: tf.minimum(x, y),
    "Clip": lambda op, x: tf.clip_by_value(x, op.x_min, op.x_max),
    "ReLU": _relu,
    "Elu": lambda op, x: layers.ELU(op.alpha, name=op.name)(x),
    "Gelu": lambda op, x: tf.nn.gelu(x, approximate=op.approximate),
    "LeakyRelu": lambda op, x: tf.nn.leaky_relu(x, op.negative_slope),
    "LogSoftmax": lambda op, x: tf.nn.log_softmax(x, axis=op.axis),
    "Softmax": lambda op, x: tf.nn.softmax(x, axis=op.axis),
    "GetItem": lambda op, x, key: x[key],
    "Reshape": _reshape,
    "Transpose": lambda op, x: tf.transpose(x, op.axes),
    "ExpandDims": lambda op, x: tf.expand_dims(x, op.axis),
    "Squeeze": lambda op, x: tf.squeeze(x, op.axis),
    "Concatenate": lambda op, x: tf.concat(x, op.axis),
    "Stack": lambda op, x: tf.stack(x, op.axis),
    "Split": _split,
    "Unstack": lambda op, x: tf.unstack(x, op.num, op.axis),
    "Swapaxes": _swapped,
    "Moveaxis": _moved,
    "Tile": _tiled,
    "Repeat": lambda op, x: tf.repeat(x, op.repeats, op.axis),
    "Flip": _flipped,
    "Mean": _reduced(tf.reduce_mean),
    "Sum": _reduced(tf.reduce_sum),
    "Var": _reduced(tf.math.reduce_variance),
    "Std": _reduced(tf.math.reduce_std),
    "Max": _reduced(tf.reduce_max),
    "Min": _reduced(tf.reduce_min),
    "Amax": _reduced(tf.reduce_max),
    "Amin": _reduced(tf.reduce_min),
    "AveragePool": _pool(_AVERAGE_POOLS),
    "MaxPool": _pool(_MAX_POOLS),
    "Take": lambda op, x, indices: tf.gather(x, indices, axis=op.axis),
    "Roll": lambda op, x: tf.roll(x, op.shift, op.axis),
    "Einsum": lambda op, *operands: tf.einsum(op.subscripts, *operands),
    "Normalize": _normalized,
    "Resize": _resized,
    "Celu": lambda op, x: functions.celu(x, op.alpha),
    "Glu": lambda op, x: functions.glu(x, op.axis),
    "HardShrink": lambda op, x: functions.hard_shrink(x, op.threshold),
    "SoftShrink": lambda op, x: functions.soft_shrink(x, op.threshold),
    "Squareplus": lambda op, x: functions.squareplus(x, op.b),
    "Threshold": lambda op, x: functions.above(x, op.threshold, op.default_value),
    "Cumsum": lambda op, x: tf.cumsum(x, op.axis),
    "Greater": _alike(lambda x, y: x > y),
    "Where": lambda op, *choice: tf.where(*choice),
    "DepthToSpace": lambda op, x: tf.nn.depth_to_space(x, op.block_size),
    "SpaceToDepth": lambda op, x: tf.nn.space_to_depth(x, op.block_size),
    "Pad": _pad,
    "Cast": lambda op, x: tf.cast(x, float32_value(op.dtype)),
}
