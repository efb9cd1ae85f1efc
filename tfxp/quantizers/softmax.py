"""The quantizer that repeats LiteRT's integer softmax."""

from __future__ import annotations

import tensorflow as tf

from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables, coded
from tfxp.quantizers.rounding import round_half_away, round_half_up

# The one scale of an 8-bit SOFTMAX, and its codes.
_SCALE, _CODES = 2.0**-8, 255.0


@keras.utils.register_keras_serializable(package="tfxp")
class SoftmaxQuantizer(FormatQuantizer):
    """LiteRT's SOFTMAX of 8-bit tensors along the last axis, and a step to the format asked for.

        e_i = float32(exp(x_i - max x)),    t = half_away(e_i * (1 / (sum e * 2^-8))) * 2^-8

    The sum is taken in float32 from the first element to the last, as the operator takes it. Its
    output has the scale 2^-8 whatever is asked for; another format is reached by QUANTIZE, half
    up. Tensors wider than 8 bits are rounded to their own grid at once. The gradient is that of the
    real function.

    References:
        TensorFlow Lite, lite/kernels/activations.cc, SOFTMAX of 8-bit tensors.
    """

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 inputs: tf.Tensor = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The operator's codes for the input's, as real values."""
        table = tf.minimum(_probability_codes(inputs), _CODES) * _SCALE
        wide = weights["qmax"] - weights["qmin"] > _CODES
        codes = round_half_up(tf.where(wide, outputs, table) / weights["scale"])
        return coded(outputs, codes, weights)


def _probability_codes(x: tf.Tensor) -> tf.Tensor:
    """Probabilities in steps of 2^-8, rounded; differences of codes are exact in float32."""
    difference = tf.cast(x - tf.reduce_max(x, axis=-1, keepdims=True), tf.float64)
    exponentials = tf.cast(tf.exp(difference), tf.float32)
    total = tf.cumsum(exponentials, axis=-1)[..., -1:]
    # In float64, since graph mode takes the reciprocal of a float32 by an approximation.
    inverse = tf.cast(1.0 / (tf.cast(total, tf.float64) * _SCALE), tf.float32)
    return round_half_away(exponentials * inverse)
