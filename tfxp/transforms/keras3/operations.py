"""Keras 3 operations on tensors (`x + y`, `keras.ops.relu(x)`) as TensorFlow functions.

On tf_keras' symbolic tensors these become TFOpLambda layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.data_types import float32_value
from tfxp.transforms.keras3.layers import COMPOSED

# (the operation, which holds its settings; its arguments) -> tensor
Operation = Callable[..., Any]


def _pad(op: Any, x: Any, constant_values: Any = None) -> Any:
    return tf.pad(x, [list(pair) for pair in op.pad_width], op.mode.upper(), constant_values or 0)


def _reshape(op: Any, x: Any) -> Any:
    return tf.reshape(x, [-1 if size is None else size for size in op.newshape])


def _alike(function: Callable[[Any, Any], Any]) -> Operation:
    """A function of two tensors, of which one may be a constant of whole numbers."""

    def call(op: Any, x: Any, y: Any) -> Any:
        kinds = {value.dtype for value in (x, y) if hasattr(value, "_keras_history")}
        if len(kinds) == 1:
            kind = kinds.pop()
            x, y = (v if hasattr(v, "_keras_history") else tf.cast(v, kind) for v in (x, y))
        return function(x, y)

    return call


OPERATIONS: dict[str, Operation] = {
    "Add": _alike(lambda x, y: x + y),
    "Subtract": _alike(lambda x, y: x - y),
    "Multiply": _alike(lambda x, y: x * y),
    "Divide": _alike(lambda x, y: x / y),
    "TrueDivide": _alike(lambda x, y: x / y),
    "Negative": lambda op, x: -x,
    "Matmul": lambda op, x, y: tf.matmul(x, y),
    "Maximum": lambda op, x, y: tf.maximum(x, y),
    "Minimum": lambda op, x, y: tf.minimum(x, y),
    "Clip": lambda op, x: tf.clip_by_value(x, op.x_min, op.x_max),
    "Relu": lambda op, x: tf.nn.relu(x),
    "Relu6": lambda op, x: tf.nn.relu6(x),
    "Sigmoid": lambda op, x: tf.sigmoid(x),
    "Tanh": lambda op, x: tf.tanh(x),
    "Silu": lambda op, x: tf.nn.silu(x),
    "Elu": lambda op, x: layers.ELU(op.alpha, name=op.name)(x),
    "Gelu": lambda op, x: tf.nn.gelu(x, approximate=op.approximate),
    "LeakyRelu": lambda op, x: tf.nn.leaky_relu(x, op.negative_slope),
    "HardSigmoid": lambda op, x: COMPOSED["hard_sigmoid"](x),
    "HardSilu": lambda op, x: COMPOSED["hard_silu"](x),
    "Softmax": lambda op, x: tf.nn.softmax(x, axis=op.axis),
    "GetItem": lambda op, x, key: x[key],
    "Reshape": _reshape,
    "Transpose": lambda op, x: tf.transpose(x, op.axes),
    "ExpandDims": lambda op, x: tf.expand_dims(x, op.axis),
    "Squeeze": lambda op, x: tf.squeeze(x, op.axis),
    "Concatenate": lambda op, x: tf.concat(x, op.axis),
    "Mean": lambda op, x: tf.reduce_mean(x, op.axis, keepdims=op.keepdims),
    "Max": lambda op, x: tf.reduce_max(x, op.axis, keepdims=op.keepdims),
    "Pad": _pad,
    "Cast": lambda op, x: tf.cast(x, float32_value(op.dtype)),
}
