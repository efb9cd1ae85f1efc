"""The quantizer that repeats TFLite's AVERAGE_POOL_2D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.format_context import ZERO_POINT, Constant
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables, coded
from tfxp.quantizers.rounding import round_half_even


@keras.utils.register_keras_serializable(package="tfxp")
@dataclass(eq=False)
class AveragePoolQuantizer(FormatQuantizer):
    """Quantizes an average pool as TFLite's AVERAGE_POOL_2D does.

        code = half_away((S + n z) / n) - z,    S the sum of n input codes, z the zero point

    It keeps its input's format and rounds the average of the stored codes half away from zero; the
    zero point is part of a stored code, so the place of the ties depends on it.

    Args:
        counts: how many elements each output position averages: a number, or one per row and
            column for "same" padding, where the border has fewer; 0 if the image's size is free,
            and known by the call only.
        window: sizes and steps of a pool with "same" padding, for free sizes.

    References:
        TensorFlow Lite, lite/kernels/pooling.cc, AVERAGE_POOL_2D of 8-bit tensors.
    """

    counts: Any
    window: list[list[int]] | None = None

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The zero point of the format's storage."""
        return (ZERO_POINT,)

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 inputs: tf.Tensor = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The average on its input's grid, the gradient passed through."""
        counts = self._counts(inputs)
        scale, zero_point = weights["scale"], weights["zero_point"]
        total = round_half_even((outputs / scale) * counts)
        stored = total / counts + zero_point
        # Averages are multiples of 1 / counts; a quarter of that brings ties that the division
        # missed by an ulp back over the edge, and moves nothing else.
        nearest = tf.floor(tf.abs(stored) + 0.5 + 0.25 / counts)
        return coded(outputs, tf.sign(stored) * nearest - zero_point, weights)

    def _counts(self, inputs: tf.Tensor) -> Any:
        """Elements of each window, with an axis for the channels where they differ."""
        if self.window is None:
            counts = np.asarray(self.counts, np.float32)
            return counts[..., None] if counts.ndim else counts
        counts = tf.ones((), tf.int32)
        for axis, (size, step) in enumerate(zip(*self.window, strict=True), 1):
            counts = counts[..., None] * covered(tf.shape(inputs)[axis], size, step)
        return tf.cast(counts, tf.float32)[..., None]


def covered(length: int | tf.Tensor, size: int, step: int) -> Any:
    """How many elements each window of a "same" pool covers along one axis.

    Args:
        length: elements of the axis, a number or a tensor.
        size, step: of the window.
    """
    outputs = -(-length // step)
    padding = tf.maximum((outputs - 1) * step + size - length, 0)
    start = tf.range(outputs) * step - padding // 2
    return tf.minimum(start + size, length) - tf.maximum(start, 0)
