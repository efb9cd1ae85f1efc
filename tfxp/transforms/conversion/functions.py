"""Functions of Keras 3 that tf_keras has not, composed of ones that it has, on its tensors.

The defaults are those of Keras' activations of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

from tfxp.errors import ModelError

Tensor: TypeAlias = tf.Tensor
Tensors: TypeAlias = tf.Tensor | Sequence[tf.Tensor]


def name_steps(results: Tensors, sources: Tensors, name: str) -> None:
    """Name the layers that Keras made around functions between two sets of tensors.

    Its own names count up by the process, so that two twins of one model would differ.
    """
    known = {id(value) for value in tf.nest.flatten(sources)}
    waiting, names = tf.nest.flatten(results), dict[int, str]()
    while waiting:
        tensor = waiting.pop(0)
        if id(tensor) in known or not hasattr(tensor, "_keras_history"):
            continue
        layer, node, _ = tensor._keras_history
        if id(layer) in names or type(layer).__name__ not in ("TFOpLambda", "SlicingOpLambda"):
            continue
        layer._name = names[id(layer)] = f"{name}_part_{len(names)}" if names else name
        waiting += tf.nest.flatten(layer._inbound_nodes[node].keras_inputs)


def above(x: Tensor, threshold: float, value: float = 0.0) -> Tensor:
    """x where it is above a threshold, 0 elsewhere.

    Raises:
        ModelError: another value elsewhere.
    """
    if value:
        raise ModelError(f"threshold: got value {value} below it; expected 0.")
    return x * tf.cast(x > threshold, tf.float32)


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)."""
    return tf.nn.elu(x) if alpha == 1 else alpha * tf.nn.elu(x / alpha)


def glu(x: Tensor, axis: int = -1) -> Tensor:
    """One half times the sigmoid of the other."""
    first, second = tf.split(x, 2, axis)
    return first * tf.sigmoid(second)


def hard_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """x where it is outside [-threshold, threshold], 0 inside."""
    return above(x, threshold) - above(-x, threshold)


def hard_tanh(x: Tensor) -> Tensor:
    """x within [-1, 1]."""
    return tf.clip_by_value(x, -1.0, 1.0)


def soft_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """x brought nearer to 0 by a threshold."""
    return tf.nn.relu(x - threshold) - tf.nn.relu(-x - threshold)


def sparse_plus(x: Tensor) -> Tensor:
    """0 below -1, x above 1, (x + 1)^2 / 4 between."""
    return 0.25 * tf.square(tf.clip_by_value(x + 1.0, 0.0, 2.0)) + tf.nn.relu(x - 1.0)


def sparse_sigmoid(x: Tensor) -> Tensor:
    """(x + 1) / 2 within [0, 1]."""
    return tf.clip_by_value(0.5 * x + 0.5, 0.0, 1.0)


def squareplus(x: Tensor, b: float = 4.0) -> Tensor:
    """(x + sqrt(x^2 + b)) / 2."""
    return 0.5 * (x + tf.sqrt(tf.square(x) + b))


def tanh_shrink(x: Tensor) -> Tensor:
    """x - tanh(x)."""
    return x - tf.tanh(x)


# Names of Keras 3's activations.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{function.__name__: function for function in (
        celu, glu, hard_shrink, hard_tanh, soft_shrink, sparse_plus, sparse_sigmoid, squareplus,
        tanh_shrink,
    )},
    "log_sigmoid": tf.math.log_sigmoid,
    "log_softmax": tf.nn.log_softmax,
}  # fmt: skip
