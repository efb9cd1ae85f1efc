"""A layer that gives a sequence Keras' mask again, for losses and metrics that look at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfxp.keras import keras


@keras.utils.register_keras_serializable(package="tfxp")
class StepMask(keras.layers.Layer):
    """y = x, with a mask: steps whose mark is 0 do not count.

    Example:
        >>> import numpy as np
        >>> from tfxp.transforms.normalize.step_mask import StepMask
        >>> x, marks = np.ones((1, 3, 2)), np.array([[[1.0], [0.0], [1.0]]])
        >>> StepMask()([x, marks])._keras_mask.numpy().tolist()
        [[True, False, True]]
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """The sequence, which comes first; marks have one channel."""
        return tf.identity(inputs[0])

    def compute_mask(self, inputs: Sequence[tf.Tensor], mask: Any = None) -> tf.Tensor:
        """True for a mark that is not zero."""
        return tf.not_equal(inputs[1][..., 0], 0)

    def compute_output_shape(self, input_shape: Sequence[tf.TensorShape]) -> tf.TensorShape:
        """The sequence's shape."""
        return tf.TensorShape(input_shape[0])
