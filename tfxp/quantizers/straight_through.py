"""Quantization as TensorFlow operations with straight-through gradients.

Forward, for every function here:

    y = clip(round(x / scale), qmin, qmax) * scale

Backward, with dy the incoming gradient:

    dx = dy                                        saturation gradient "pass"
    dx = dy where qmin - 1/2 <= x/scale <= qmax + 1/2, else 0       "zero"

`scale`, `qmin`, `qmax` are tensors, so a new format needs no new graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfxp.quantizers.custom_gradient import custom_gradient
from tfxp.quantizers.fused import is_large, quantize_in_one_pass, traced_by_xla, where_inside
from tfxp.quantizers.learned_step import LearnedStep
from tfxp.quantizers.traced_once import call_traced

# XNNPACK's ADD keeps 2^-10 of an output step at most, so sums lie on a grid of at least 2^-11 of
# the output step; a quarter of that turns half to even into half up and disturbs nothing else.
HALF_UP_NUDGE = 2.0**-12
LOG2_E = 1 / np.log(2.0)
_SMALLEST = float(np.finfo(np.float32).tiny)  # x >= this is x > 0


def quantize_by_rounding(
    x: tf.Tensor,
    scale: tf.Tensor,
    qmin: tf.Tensor,
    qmax: tf.Tensor,
    rounding: str = "half_even",
    saturation_gradient: str = "zero",
    seed: int | None = None,
    step: LearnedStep | None = None,
) -> tf.Tensor:
    """Quantize with any rounding mode; `scale` may be one number or one per last axis.

    The definition in tensors, fused to one pass each way; for activations whose ties go to even
    `quantize_half_even` has kernels without a compiler. A gradient reaches `step` where given.
    """

    @custom_gradient
    def forward(value: tf.Tensor, *trained: tf.Tensor) -> Any:
        # Not value * (1 / scale): graph mode turns 1 / scale into a vectorised reciprocal that is
        # off by an ulp, which moves ties. Dividing by a power of two is exact.
        result = quantize_in_one_pass(value, scale, qmin, qmax, rounding, seed)

        def gradient(upstream: tf.Tensor) -> Any:
            passes = saturation_gradient == "pass"
            if passes and step is None:
                return upstream
            inside = where_inside(value, upstream, scale, qmin, qmax)
            if step is None:
                return inside
            slope = step.gradient(upstream, inside, value, result, scale)
            return upstream if passes else inside, slope

        return result, gradient

    return forward(x, *trained_of(step))


def _fast_or_other(
    x: tf.Tensor, scale: tf.Tensor, qmin: tf.Tensor, qmax: tf.Tensor, chosen: tf.Tensor, *,
    nudge: float, unsigned: bool, relu: bool, other: str, large: bool
) -> tf.Tensor:  # fmt: skip
    """The other rounding where it is chosen, else the fused kernel."""

    def by_name() -> tf.Tensor:
        real = tf.nn.relu(x) if relu else x
        return quantize_in_one_pass(real, scale, qmin, qmax, other, large=large)

    # Inside both branches, so that each may take the value's memory for its result.
    return tf.cond(chosen, by_name, lambda: _half_even(x, scale, qmin, qmax, nudge=nudge,
                                                       unsigned=unsigned))  # fmt: skip


def _half_even(
    x: tf.Tensor, scale: tf.Tensor, qmin: tf.Tensor, qmax: tf.Tensor, *, nudge: float,
    unsigned: bool
) -> tf.Tensor:  # fmt: skip
    """The fused kernel with the range that it knows."""
    levels = qmax + 1.0
    bits = tf.cast(tf.math.log(levels) * LOG2_E + 0.5, tf.int32)
    if unsigned:
        held, bits = x, tf.maximum(bits, 1)
    else:
        bits += 1
        is_full = tf.equal(qmin, -levels)
        held = tf.cond(is_full, lambda: x, lambda: tf.maximum(x, qmin * scale))
    return tf.raw_ops.QuantizeAndDequantizeV3(
        input=held + nudge * scale if nudge else held,
        input_min=0.0 if unsigned else -levels * scale,
        input_max=qmax * scale,
        num_bits=bits,
        signed_input=not unsigned,
        range_given=True,
    )


class Alternative(NamedTuple):
    """Another way to round, without draws, which a scalar tensor chooses."""

    chosen: tf.Tensor
    rounding: str


def quantize_half_even(
    x: tf.Tensor,
    scale: tf.Tensor,
    qmin: tf.Tensor,
    qmax: tf.Tensor,
    nudge: float = 0.0,
    nonnegative: bool = False,
    relu: bool = False,
    alternative: Alternative | None = None,
    step: LearnedStep | None = None,
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
        alternative: another rounding, when it is chosen; the gradient is the same.
        step: where the scale is trained.
    """

    grid = (scale, qmin, qmax)
    settings = {"nudge": nudge, "unsigned": nonnegative or relu}

    @custom_gradient
    def forward(value: tf.Tensor, *trained: tf.Tensor) -> Any:
        xla = traced_by_xla()
        if alternative is None:
            result = call_traced(_half_even, value, *grid, **settings)
        else:
            chosen, other = alternative
            result = call_traced(
                _fast_or_other, value, *grid, chosen, **settings, relu=relu, other=other,
                large=is_large(value.shape)
            )  # fmt: skip

        def gradient(upstream: tf.Tensor) -> Any:
            low = _SMALLEST if relu else (qmin - 0.5) * scale
            inside = where_between(upstream, value, low, (qmax + 0.5) * scale, xla)
            if step is None:
                return inside
            return inside, step.gradient(upstream, inside, value, result, scale)

        return result, gradient

    return forward(x, *trained_of(step))


def trained_of(step: LearnedStep | None) -> tuple[tf.Tensor, ...]:
    """The tensors besides the input that a gradient reaches."""
    return () if step is None else (tf.convert_to_tensor(step.variables["trained"]),)


def where_between(
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


@custom_gradient
def straight_through(x: tf.Tensor, quantized: tf.Tensor) -> Any:
    """`quantized` forward, identity to `x` backward."""
    return tf.identity(quantized), lambda upstream: (upstream, None)
