"""The quantizer that repeats XNNPACK's MEAN, step by step in float32."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from tfxp.keras import keras
from tfxp.quantizers.format_context import INPUT_SCALE, INPUT_ZERO_POINT, ZERO_POINT, Constant
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables, coded
from tfxp.quantizers.rounding import round_half_even


@keras.utils.register_keras_serializable(package="tfxp")
@dataclass(eq=False)
class MeanQuantizer(FormatQuantizer):
    """Quantizes a mean as XNNPACK's MEAN of 8-bit tensors does.

        m = (s_in / s) * (1 / n)
        stored = half_even(S * m + (z - n * z_in * m)),    code = stored - z

    S is the exact sum of n stored input codes; z_in and z are the zero points of input and output.
    Every product, sum and quotient is rounded to float32, so the codes are the operator's for
    every n, which is rarely a power of two. The gradient passes through.

    Args:
        count: n, how many elements are averaged; 0 if sizes are free, and known by the call only.
        zero_points: whether the zero points of input and output are known. Models saved by
            version 0.1 have none and compute as if both were 0.
    """

    count: int
    zero_points: bool = field(default=False, metadata={"since": "0.2"})

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The scale of the input, and both zero points."""
        return (INPUT_SCALE, *((INPUT_ZERO_POINT, ZERO_POINT) if self.zero_points else ()))

    def __call__(
        self, outputs: Any, /, training: Any, weights: Variables, inputs: Any = None, **_: Any
    ) -> tf.Tensor:
        """The mean on its grid, the gradient passed through."""
        scale, source = weights["scale"], weights["input_scale"]
        none = tf.constant(0.0)
        source_zero = weights.get("input_zero_point", none)
        zero = weights.get("zero_point", none)
        count = self._count(outputs, inputs)
        total = _sum_of_codes(outputs, source, count, source_zero)
        multiplier = _product(source / scale, 1.0 / count)
        offset = _sum(zero, -_product(count * source_zero, multiplier))
        codes = round_half_even(_sum(_product(total, multiplier), offset)) - zero
        return coded(outputs, codes, weights)

    def _count(self, outputs: Any, inputs: Any) -> tf.Tensor:
        """n as a float32 number."""
        if self.count:
            return tf.constant(float(self.count))
        return tf.cast(tf.size(inputs) // tf.maximum(tf.size(outputs), 1), tf.float32)


def _sum_of_codes(
    means: tf.Tensor, step: tf.Tensor, count: tf.Tensor, zero: tf.Tensor
) -> tf.Tensor:
    """The sum of stored codes behind every mean, exact below 2^23, rounded to float32."""
    means, step, count, zero = (tf.cast(x, tf.float64) for x in (means, step, count, zero))
    return tf.cast(round_half_even(means / step * count) + count * zero, tf.float32)


def _product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a * b rounded to float32 once; exact in float64, which no compiler merges with a sum."""
    return tf.cast(tf.cast(a, tf.float64) * tf.cast(b, tf.float64), tf.float32)


def _sum(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a + b rounded to float32 once; the sums of this file are exact in float64."""
    return tf.cast(tf.cast(a, tf.float64) + tf.cast(b, tf.float64), tf.float32)
