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

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from tfxp.formats import Rounding

# XNNPACK's ADD keeps 2^-10 of an output step at most, so sums lie on a grid of at least 2^-11 of
# the output step; a quarter of that turns half to even into half up and disturbs nothing else.
HALF_UP_NUDGE = 2.0**-12
_LOG2_E = 1 / np.log(2.0)
_SMALLEST = float(np.finfo(np.float32).tiny)  # x >= this is x > 0
# The largest number below one half. Added to a tie it still reaches the next integer, because the
# sum rounds up; added to the number below a tie (0.49999997 is one) it does not.
_BELOW_HALF = {
    tf.float32: float(np.nextafter(np.float32(0.5), np.float32(0))),
    tf.float64: float(np.nextafter(0.5, 0.0)),
}


def round_half_even(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties to even."""
    return tf.round(v)


def round_half_up(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties towards plus infinity; floor(v + 0.5) would be wrong at 0.49999997."""
    below = tf.floor(v)
    return below + tf.cast(v - below >= 0.5, v.dtype)


def round_half_away(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties away from zero; float32 and float64."""
    return tf.sign(v) * tf.floor(tf.abs(v) + _BELOW_HALF[v.dtype])


def round_stochastic(v: tf.Tensor, seed: int | None) -> tf.Tensor:
    """Up with the probability of the fraction; a new draw at every call."""
    below = tf.floor(v)
    draws = tf.random.uniform(tf.shape(v), seed=seed, dtype=v.dtype)
    return below + tf.cast(draws < v - below, v.dtype)


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
        xla = _traced_by_xla()
        # Not value * (1 / scale): graph mode turns 1 / scale into a vectorised reciprocal that is
        # off by an ulp, which moves ties. Dividing by a power of two is exact.
        scaled = value / scale
        rounded = round_by_name(scaled, rounding, seed)
        codes = tf.raw_ops.ClipByValue(t=rounded, clip_value_min=qmin, clip_value_max=qmax)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            if saturation_gradient == "pass":
                return upstream
            return _where_between(upstream, scaled, qmin - 0.5, qmax + 0.5, xla)

        return codes * scale, gradient

    return forward(x)


def quantize_half_even(
    x: tf.Tensor,
    scale: tf.Tensor,
    qmin: tf.Tensor,
    qmax: tf.Tensor,
    nudge: float = 0.0,
    nonnegative: bool = False,
    relu: bool = False,
) -> tf.Tensor:
    """Quantize with ties to even, in one fused kernel each way; for activations.

    `QuantizeAndDequantizeV3` takes the number of bits as a tensor and rounds half to even. It knows
    the ranges 0 to 2^n - 1 and -2^n to 2^n - 1 only. The first serves tensors that are not
    negative, whatever their format, and does the work of a ReLU along the way. The second is every
    signed format but the symmetric one; that and unsigned formats of signed tensors are held by a
    maximum, which the conditional skips for the others.

    Args:
        x: float32 tensor.
        scale, qmin, qmax: scalar tensors.
        nudge: added in steps of `scale` before rounding; `HALF_UP_NUDGE` makes ties of sums on a
            grid go up.
        nonnegative: `x` has no negative elements.
        relu: quantize relu(x); the gradient is zero where x <= 0, as a ReLU's is.
    """

    @tf.custom_gradient
    def forward(value: tf.Tensor) -> Any:
        xla, levels = _traced_by_xla(), qmax + 1.0
        bits = tf.cast(tf.math.log(levels) * _LOG2_E + 0.5, tf.int32)
        unsigned = nonnegative or relu
        if unsigned:
            held, bits = value, tf.maximum(bits, 1)
        else:
            bits += 1
            is_full = tf.equal(qmin, -levels)
            held = tf.cond(is_full, lambda: value, lambda: tf.maximum(value, qmin * scale))
        result = tf.raw_ops.QuantizeAndDequantizeV3(
            input=held + nudge * scale if nudge else held,
            input_min=0.0 if unsigned else -levels * scale,
            input_max=qmax * scale,
            num_bits=bits,
            signed_input=not unsigned,
            range_given=True,
        )

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            low = _SMALLEST if relu else (qmin - 0.5) * scale
            return _where_between(upstream, value, low, (qmax + 0.5) * scale, xla)

        return result, gradient

    return forward(x)


def _traced_by_xla() -> bool:
    """Whether what is being traced will be compiled; to be asked in the forward direction, since
    the gradient of a compiled function is traced outside of it.
    """
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def _where_between(
    upstream: tf.Tensor, x: tf.Tensor, low: tf.Tensor, high: tf.Tensor, xla: bool
) -> tf.Tensor:
    """`upstream` where low <= x <= high, else 0."""
    if xla:
        # XLA lacks the kernel below and fuses this instead.
        return tf.where((x >= low) & (x <= high), upstream, tf.zeros_like(upstream))
    # One pass; the gradient kernels of tf.quantization.fake_quant also sum for their limits, and
    # move these.
    return tf.raw_ops.QuantizeAndDequantizeV4Grad(
        gradients=upstream, input=x, input_min=low, input_max=high
    )[0]


@tf.custom_gradient
def straight_through(x: tf.Tensor, quantized: tf.Tensor) -> Any:
    """`quantized` forward, identity to `x` backward."""
    return tf.identity(quantized), lambda upstream: (upstream, None)
