"""The quantizer that repeats LiteRT's products of two tensors' matrices."""

from __future__ import annotations

import tensorflow as tf

from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.format_context import PRODUCT_SCALE, RIGHT_ZERO_POINT, Constant
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables, coded
from tfxp.quantizers.rounding import round_half_even
from tfxp.quantizers.unary import doubly_rounded


@keras.utils.register_keras_serializable(package="tfxp")
class ProductQuantizer(FormatQuantizer):
    """LiteRT's BATCH_MATMUL of 8-bit tensors for power-of-two scales.

        code = half_even(S s_a s_b / s)                          if the right side has zero point 0
        code = half_away(half_up(S / 2) * 2 s_a s_b / s)         otherwise

    S is the sum of products of codes, which Keras' float32 holds exactly below 2^24. XNNPACK takes
    the first case only; the second is gemmlowp's, which halves first.

    References:
        TensorFlow Lite, lite/kernels/batch_matmul.cc, with gemmlowp's fixed-point
        arithmetic; XNNPACK.
    """

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The value of one step of S, and the zero point of the right side."""
        return PRODUCT_SCALE, RIGHT_ZERO_POINT

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 **_: object) -> tf.Tensor:  # fmt: skip
        """The operator's codes as real values, the gradient passed through."""
        scale, step = weights["scale"], weights["product_scale"]
        total = round_half_even(outputs / step)
        ratio = step / scale
        once = round_half_even(total * ratio)
        twice = doubly_rounded(total, ratio)
        codes = tf.where(weights["right_zero_point"] == 0.0, once, twice)
        return coded(outputs, codes, weights)
