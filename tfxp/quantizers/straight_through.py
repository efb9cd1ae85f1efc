"""Quantization as TensorFlow operations with straight-through gradients.

Forward, for every function here:

    y = clip(round(x / scale), qmin, qmax) * scale

Backward, with dy the incoming gradient:

    dx = dy                                        saturation gradient "pass"
    dx = dy where qmin - 1/2 <= x/scale <= qmax + 1/2, else 0       "zero"

`scale`, `qmin`, `qmax` are tensors, so a new format needs no new graph.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxp.formats import Rounding

# XNNPACK's ADD keeps 2^-10 of an output step at most, so sums lie on a grid of at least 2^-11 of
# the output step; a quarter of that turns half to even into half up and disturbs nothing else.
HALF_UP_NUDGE = 2.0**-12


def round_half_even(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties to even."""
    return tf.round(v)


def round_half_up(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties towards plus infinity; floor(v + 0.5) would be wrong at 0.49999997."""
    below = tf.floor(v)
    return below + tf.cast(v - below >= 0.5, v.dtype)


def round_half_away(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties away from zero."""
    return tf.sign(v) * round_half_up(tf.abs(v))


def round_stochastic(v: tf.Tensor, seed: int | None) -> tf.Tensor:
    """Up with the probability of the fraction; a new draw at every call."""
    below = tf.floor(v)
    return below + tf.cast(tf.random.uniform(tf.shape(v), seed=seed) < v - below, v.dtype)


def round_by_name(v: tf.Tensor, rounding: str, seed: int | None = None) -> tf.Tensor:
    """Round by any of the modes of `tfxp.formats.Rounding`."""
    mode = Rounding.parse(rounding)
    if mode is Rounding.STOCHASTIC:
        return round_stochastic(v, seed)
    return {
        Rounding.HALF_EVEN: round_half_even,
        Rounding.HALF_UP: round_half_up,
        Rounding.HALF_AWAY: round_half_away,
        Rounding.FLOOR: tf.floor,
    }[mode](v)


def quantize_by_rounding(
    x: tf.Tensor,
    scale: tf.Tensor,
    qmin: tf.Tensor,
    qmax: tf.Tensor,
    rounding: str = "half_even",
    saturation_gradient: str = "zero",
    seed: int | None = None,
) -> tf.Tensor:
    """Quantize with any rounding mode; `scale` may be one number or one per last axis.

    The definition in tensors; slower than `quantize_half_even` on large activations.
    """

    @tf.custom_gradient
    def forward(value: tf.Tensor) -> Any:
        # Not value * (1 / scale): graph mode turns 1 / scale into a vectorised reciprocal that is
        # off by an ulp, which moves ties. Dividing by a power of two is exact.
        scaled = value / scale
        codes = tf.clip_by_value(round_by_name(scaled, rounding, seed), qmin, qmax)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            if saturation_gradient == "pass":
                return upstream
            inside = (scaled >= qmin - 0.5) & (scaled <= qmax + 0.5)
            return tf.where(inside, upstream, tf.zeros_like(upstream))

        return codes * scale, gradient

    return forward(x)


def quantize_half_even(
    x: tf.Tensor, scale: tf.Tensor, qmin: tf.Tensor, qmax: tf.Tensor, nudge: float = 0.0
) -> tf.Tensor:
    """Quantize with ties to even, in one fused kernel each way; for activations.

    `QuantizeAndDequantizeV3` takes the number of bits as a tensor and rounds half to even. It
    knows full signed ranges only, whose top is exact when qmax + 1 is a power of two, as it is in
    every format; the bottom is therefore held by a maximum, or by the ReLU before it.

    The gradient kernel nudges its limits to its own grid; with 16 bits and limits half a code
    wider no value on the format's grid is masked, for 2 to 16 bits.

    Args:
        x: float32 tensor; must be >= qmin * scale.
        scale, qmin, qmax: scalar tensors.
        nudge: added in steps of `scale` before rounding; `HALF_UP_NUDGE` makes ties of sums on a
            grid go up.
    """

    @tf.custom_gradient
    def forward(value: tf.Tensor) -> Any:
        levels = qmax + 1.0
        bits = tf.cast(tf.round(tf.math.log(levels) / tf.math.log(2.0)), tf.int32) + 1
        moved = value + nudge * scale if nudge else value
        result = tf.raw_ops.QuantizeAndDequantizeV3(
            input=moved,
            input_min=-levels * scale,
            input_max=qmax * scale,
            num_bits=bits,
            signed_input=True,
            range_given=True,
        )

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
                gradients=upstream,
                inputs=value,
                min=(qmin - 0.5) * scale,
                max=(qmax + 0.5) * scale,
                num_bits=16,
            )[0]

        return result, gradient

    return forward(x)


@tf.custom_gradient
def straight_through(x: tf.Tensor, quantized: tf.Tensor) -> Any:
    """`quantized` forward, identity to `x` backward."""
    return tf.identity(quantized), lambda upstream: (upstream, None)
