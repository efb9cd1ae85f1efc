"""The quantizer of means: half up on every runtime, or XNNPACK's MEAN step by step in float32."""

from __future__ import annotations

from dataclasses import dataclass, field

import tensorflow as tf

from tfxp.formats import portable_mean_bias
from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.format_context import (
    INPUT_SCALE,
    INPUT_ZERO_POINT,
    ZERO_POINT,
    Constant,
    FormatContext,
)
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables, coded
from tfxp.quantizers.rounding import round_half_even
from tfxp.quantizers.straight_through import LOG2_E

# Steps of an input in steps of the output, as powers of two.
_EXPONENTS = range(-40, 41)


@keras.utils.register_keras_serializable(package="tfxp")
@dataclass(eq=False)
class MeanQuantizer(FormatQuantizer):
    """Quantizes a mean as the file computes it.

    Portable, where `portable_mean_bias` has an answer, with S the exact sum of n input codes:

        code = floor(S s_in / (n s) + 1/2)

    Otherwise as XNNPACK's MEAN of 8-bit tensors does:

        m = (s_in / s) * (1 / n)
        stored = half_even(S' * m + (z - n * z_in * m)),    code = stored - z

    S' is the exact sum of n stored input codes; z_in and z are the zero points of input and output.
    Every product, sum and quotient is rounded to float32, so the codes are the operator's for
    every n, which is rarely a power of two. The gradient passes through.

    Args:
        count: n, how many elements are averaged; 0 if sizes are free, and known by the call only.
        zero_points: whether the zero points of input and output are known. Models saved by
            version 0.1 have none and compute as if both were 0.
        portable: whether the mean is the same on every runtime.

    References:
        XNNPACK, its MEAN of 8-bit tensors; the portable form is this package's.
    """

    count: int
    zero_points: bool = field(default=False, metadata={"since": "0.2"})
    portable: bool = False

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The scale of the input, both zero points, and whether ties go up."""
        points = (INPUT_ZERO_POINT, ZERO_POINT) if self.zero_points else ()
        half_up = Constant("half_up", 0.0, lambda c: float(_is_portable(self.count, c)))
        return (INPUT_SCALE, *points, *((half_up,) if self.portable else ()))

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 inputs: tf.Tensor = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The mean on its grid, the gradient passed through."""
        count = self._count(outputs, inputs)
        sums = _sums_of_codes(outputs, weights["input_scale"], count)
        codes = self._engine_codes(sums, weights, count)
        if self.portable:
            half_up = _half_up_codes(sums, weights["input_scale"] / weights["scale"], count)
            codes = tf.where(weights["half_up"] > 0, half_up, codes)
        return coded(outputs, codes, weights)

    def following(self, variables: Variables, context: FormatContext) -> Variables:
        """The input's step as it is now, and whether ties go up with it, by a table of ratios."""
        moved = super().following(variables, context)
        if not self.portable:
            return moved
        table = [portable_mean_bias(self.count, 2.0**e) is not None for e in _EXPONENTS]
        ratio = tf.math.log(moved["input_scale"] / moved["scale"]) * LOG2_E
        index = tf.cast(tf.round(ratio), tf.int32) - _EXPONENTS[0]
        known = tf.gather(tf.constant(table), tf.clip_by_value(index, 0, len(table) - 1))
        return {**moved, "half_up": tf.cast(known & ~tf.cast(context.wide, tf.bool), tf.float32)}

    def _engine_codes(self, sums: tf.Tensor, weights: Variables, count: tf.Tensor) -> tf.Tensor:
        none = tf.constant(0.0)
        source_zero = weights.get("input_zero_point", none)
        zero = weights.get("zero_point", none)
        total = tf.cast(sums + tf.cast(count * source_zero, tf.float64), tf.float32)
        multiplier = _product(weights["input_scale"] / weights["scale"], 1.0 / count)
        offset = _sum(zero, -_product(count * source_zero, multiplier))
        return round_half_even(_sum(_product(total, multiplier), offset)) - zero

    def _count(self, outputs: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """n as a float32 number."""
        if self.count:
            return tf.constant(float(self.count))
        return tf.cast(tf.size(inputs) // tf.maximum(tf.size(outputs), 1), tf.float32)


def _is_portable(count: int, context: FormatContext) -> bool:
    source, output = context.inputs[0], context.output
    if context.wide or source is None or output is None:
        return False
    return portable_mean_bias(count, source.scale / output.scale) is not None


def _sums_of_codes(means: tf.Tensor, step: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The sum of codes behind every mean, float64, exact below 2^23."""
    means, step, count = (tf.cast(x, tf.float64) for x in (means, step, count))
    return round_half_even(means / step * count)


def _half_up_codes(sums: tf.Tensor, ratio: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """floor(sums ratio / n + 1/2); a quotient in float64 never crosses a whole number."""
    ratio, count = tf.cast(ratio, tf.float64), tf.cast(count, tf.float64)
    return tf.cast(tf.floor((2.0 * sums * ratio + count) / (2.0 * count)), tf.float32)


def _product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a * b rounded to float32 once; exact in float64, which no compiler merges with a sum."""
    return tf.cast(tf.cast(a, tf.float64) * tf.cast(b, tf.float64), tf.float32)


def _sum(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a + b rounded to float32 once; the sums of this file are exact in float64."""
    return tf.cast(tf.cast(a, tf.float64) + tf.cast(b, tf.float64), tf.float32)
