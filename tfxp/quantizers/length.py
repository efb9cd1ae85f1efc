"""The quantizer that repeats LiteRT's division of a row by its length."""

from __future__ import annotations

import tensorflow as tf

from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.format_quantizer import Variables, coded
from tfxp.quantizers.rounding import round_half_even, round_half_up
from tfxp.quantizers.unary import UnaryQuantizer

# The one scale of an 8-bit L2_NORMALIZATION, and its codes.
_SCALE, _LOWEST, _HIGHEST = 2.0**-7, -128.0, 127.0
_OUTPUT_BITS = 7
_WIDEST = 255.0
_NEWTON_STEPS = 5
_SQRT_HALF = 1518500250  # sqrt(1/2) in 31 fractional bits


@keras.utils.register_keras_serializable(package="tfxp")
class LengthQuantizer(UnaryQuantizer):
    """LiteRT's L2_NORMALIZATION of 8-bit tensors along the last axis, and a step to the format.

        code_i = half_away(half_up(c_i m 2^(k - 31)) 2^-l),    m 2^(k - l - 38) = 1 / sqrt(sum c^2)

    c are the input's codes, whose squares add up exactly; m comes out of five Newton-Raphson steps
    in fixed point. The output has the scale 2^-7 whatever is asked for; another format is reached
    by QUANTIZE, half up. Tensors wider than 8 bits are rounded to their own grid at once. The
    gradient is that of the real function.

    References:
        gemmlowp's fixed-point arithmetic, as LiteRT's reference kernels use it.
    """

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 inputs: tf.Tensor = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The operator's codes for the input's, as real values."""
        codes = tf.cast(round_half_even(inputs / weights["input_scale"]), tf.int64)
        fixed = tf.clip_by_value(tf.cast(_divided(codes), tf.float32), _LOWEST, _HIGHEST) * _SCALE
        wide = weights["qmax"] - weights["qmin"] > _WIDEST
        return coded(
            outputs, round_half_up(tf.where(wide, outputs, fixed) / weights["scale"]), weights
        )


def _divided(codes: tf.Tensor) -> tf.Tensor:
    """Codes in steps of 2^-7 of their rows' lengths."""
    total = tf.reduce_sum(codes * codes, axis=-1, keepdims=True)
    multiplier, shift = _inverse_root(total)
    shift += _OUTPUT_BITS
    left, right = tf.maximum(shift, 0), tf.maximum(-shift, 0)
    high = _high_product(tf.bitwise.left_shift(codes, left), multiplier)
    half = tf.bitwise.right_shift(tf.bitwise.left_shift(tf.ones_like(right), right), 1)
    size = tf.bitwise.right_shift(tf.abs(high) + half, right)
    return tf.sign(high) * size


def _inverse_root(value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(m, s) with m 2^(s - 31) = 1 / sqrt(value); 0 and 1 give the largest m below 1."""
    reduced = tf.maximum(value, 2)
    large = reduced >= 2**29
    reduced = tf.where(large, reduced // 4, reduced)
    pairs = (31 - _bit_length(reduced)) // 2 - 1
    shift = 11 + tf.cast(large, tf.int64) - pairs
    half = _halved(tf.bitwise.left_shift(reduced, 2 * pairs) // 2)
    x = tf.fill(tf.shape(value), tf.constant(2**28, tf.int64))
    for _ in range(_NEWTON_STEPS):
        cube = _high_product(_high_product(x, x), x) * 2**6
        x = (_high_product(tf.constant(3 * 2**27, tf.int64), x) - _high_product(half, cube)) * 2**3
    root = tf.bitwise.left_shift(
        _high_product(x, tf.constant(_SQRT_HALF, tf.int64)), tf.maximum(-shift, 0)
    )
    one = value <= 1
    return (
        tf.where(one, tf.constant(2**31 - 1, tf.int64), root),
        tf.where(one, tf.constant(0, tf.int64), -tf.maximum(shift, 0)),
    )


def _high_product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """(a b) / 2^31, halves up."""
    return tf.bitwise.right_shift(a * b + 2**30, tf.constant(31, tf.int64))


def _halved(x: tf.Tensor) -> tf.Tensor:
    """Half of numbers that are not negative, halves up."""
    return (x + 1) // 2


def _bit_length(x: tf.Tensor) -> tf.Tensor:
    """Bits of positive numbers below 2^31: how many powers of two are not above them."""
    powers = tf.constant([2**k for k in range(31)], tf.int64)
    return tf.reduce_sum(tf.cast(x[..., None] >= powers, tf.int64), axis=-1)
