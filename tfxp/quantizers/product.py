"""The quantizer that repeats LiteRT's products of two tensors' matrices."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxp.keras import keras
from tfxp.quantizers.quantizers import FormatQuantizer, Variables, float_variable
from tfxp.quantizers.rounding import round_half_even
from tfxp.quantizers.straight_through import straight_through
from tfxp.quantizers.unary import doubly_rounded


@keras.utils.register_keras_serializable(package="tfxp")
class ProductQuantizer(FormatQuantizer):
    """LiteRT's BATCH_MATMUL of 8-bit tensors for power-of-two scales.

        code = half_even(S s_a s_b / s)                          if the right side has zero point 0
        code = half_away(half_up(S / 2) * 2 s_a s_b / s)         otherwise

    S is the sum of products of codes, which Keras' float32 holds exactly below 2^24. XNNPACK takes
    the first case only; the second is gemmlowp's, which halves first.
    """

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Variables:
        """The format, the value of one step of S, and the zero point of the right side."""
        variables = super().build(tensor_shape, name, layer)
        return {
            **variables,
            "product_scale": float_variable(layer, f"{name}_product_scale", 2.0**-8),
            "right_zero_point": float_variable(layer, f"{name}_right_zero_point", 0.0),
        }

    def __call__(self, inputs: Any, training: Any, weights: Variables, **_: Any) -> tf.Tensor:
        """The operator's codes as real values, the gradient passed through."""
        scale, step = weights["scale"], weights["product_scale"]
        total = round_half_even(inputs / step)
        ratio = step / scale
        once = round_half_even(total * ratio)
        twice = doubly_rounded(total, ratio)
        codes = tf.where(weights["right_zero_point"] == 0.0, once, twice)
        codes = tf.clip_by_value(codes, weights["qmin"], weights["qmax"])
        return straight_through(inputs, codes * scale)
