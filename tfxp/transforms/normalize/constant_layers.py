"""Layers that add a constant tensor to their input, or multiply by one: positions, masks, windows.

The constant is a weight, so that it is quantized, saved and, where a network learned it, trained
like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import keras

_register = keras.utils.register_keras_serializable(package="tfxp")


class ConstantLayer(keras.layers.Layer):
    """Base: a tensor with one sample's shape, or one that broadcasts to it.

    Args:
        shape: the constant's shape, without the batch.
        learned: whether training changes it.
    """

    def __init__(self, shape: Sequence[int], learned: bool = False, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.shape, self.learned = tuple(int(size) for size in shape), bool(learned)
        self.supports_masking = True

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the constant."""
        self.constant = self.add_weight(
            name="constant", shape=self.shape, initializer="zeros", trainable=self.learned
        )
        self.built = True

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        """The input's shape, broadcast to the constant's."""
        sample = tf.TensorShape(input_shape)
        return tf.broadcast_static_shape(sample, tf.TensorShape((1, *self.shape)))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "shape": list(self.shape), "learned": self.learned}


@_register
class AddConstant(ConstantLayer):
    """y = x + c.

    Example:
        >>> from tfxp.transforms.normalize.constant_layers import AddConstant, constant_layer
        >>> positions = np.arange(6).reshape(3, 2)
        >>> layer = constant_layer(AddConstant, positions, "positions")
        >>> layer(np.ones((1, 3, 2))).numpy()[0].tolist()
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """x + c."""
        return inputs + self.constant


@_register
class SubtractFromConstant(ConstantLayer):
    """y = c - x."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """c - x."""
        return self.constant - inputs


@_register
class MultiplyConstant(ConstantLayer):
    """y = x * c."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """x * c."""
        return inputs * self.constant


CONSTANT_LAYERS = ("AddConstant", "SubtractFromConstant", "MultiplyConstant")


def constant_layer(kind: type, value: object, name: str, learned: bool = False) -> Any:
    """A layer that holds a value."""
    array = np.asarray(value, np.float32)
    layer = kind(array.shape, learned, name=name)
    layer.build(None)
    layer.constant.assign(array)
    return layer
