"""Quantization in one pass over memory: XLA fuses what TensorFlow runs one operation at a time.

Rounding half away from zero is six operations with the division, clip and multiplication around
it, each of which reads and writes the whole tensor. Compiled, they are one loop, which takes a
third of the time on two million elements. Small tensors gain nothing and every new shape costs a
tenth of a second to compile, so only large ones are compiled (docs/performance.md). Results are
the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from tfxp.formats import Rounding
from tfxp.quantizers.rounding import round_by_name, round_up_below, uniform_draws

# Elements of one sample, where the batch is not known yet, and of a whole tensor.
_LARGE_SAMPLE = 2**12
_LARGE_TENSOR = 2**16


def compiled_if_large(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled by XLA for each shape of its first argument that is large.

    Where a trace does not know the shape, `large` says it.
    """
    # One trace per shape: what relaxes shapes mixes those of different kernels.
    fused = tf.function(function, jit_compile=True, autograph=False)

    def call(x: tf.Tensor, *args: object, large: bool | None = None) -> Any:
        compiled = is_large(x.shape) if large is None else large
        return (fused if compiled else function)(x, *args)

    return call


def quantize_in_one_pass(
    x: tf.Tensor,
    scale: tf.Tensor,
    qmin: tf.Tensor,
    qmax: tf.Tensor,
    rounding: str,
    seed: int | None = None,
    large: bool | None = None,
) -> tf.Tensor:
    """clip(round(x / scale), qmin, qmax) * scale, without a gradient of its own; NaN stays NaN.

    Args:
        x: float tensor.
        scale: scalar, or one per last axis.
        qmin, qmax: scalars, in steps of `scale`.
        rounding: rounding mode.
        seed: seed of stochastic rounding, whose draws are made outside of the compiled loop: XLA
            takes four times as long over them.
        large: whether the loop is compiled, where the shape does not tell.
    """
    if Rounding.parse(rounding) is Rounding.STOCHASTIC:
        return _drawn(x, uniform_draws(x, seed), scale, qmin, qmax, large=large)
    return _rounded(x, scale, qmin, qmax, rounding, large=large)


@compiled_if_large
def where_inside(
    x: tf.Tensor, upstream: tf.Tensor, scale: tf.Tensor, qmin: tf.Tensor, qmax: tf.Tensor
) -> tf.Tensor:
    """`upstream` where qmin - 1/2 <= x / scale <= qmax + 1/2, else 0."""
    scaled = x / scale
    inside = (scaled >= qmin - 0.5) & (scaled <= qmax + 0.5)
    return tf.where(inside, upstream, tf.zeros_like(upstream))


@compiled_if_large
def _rounded(x: tf.Tensor, scale: tf.Tensor, qmin: tf.Tensor, qmax: tf.Tensor, mode: str) -> Any:
    return on_grid(round_by_name(x / scale, mode), scale, qmin, qmax)


@compiled_if_large
def _drawn(
    x: tf.Tensor, draws: tf.Tensor, scale: tf.Tensor, qmin: tf.Tensor, qmax: tf.Tensor
) -> Any:
    return on_grid(round_up_below(x / scale, draws), scale, qmin, qmax)


def on_grid(codes: tf.Tensor, scale: tf.Tensor, qmin: tf.Tensor, qmax: tf.Tensor) -> tf.Tensor:
    """clip(codes, qmin, qmax) * scale; NaN stays NaN."""
    clipped = tf.raw_ops.ClipByValue(t=codes, clip_value_min=qmin, clip_value_max=qmax)
    if traced_by_xla():
        # Its clip makes a limit of a NaN, and a training that has gone wrong would look healthy.
        clipped = tf.where(tf.math.is_nan(codes), codes, clipped)
    return clipped * scale


def traced_by_xla() -> bool:
    """Whether what is being traced will be compiled; to be asked in the forward direction, since
    the gradient of a compiled function is traced outside of it.
    """
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def is_large(shape: tf.TensorShape) -> bool:
    """Whether a tensor of this shape is worth compiling for."""
    if shape.rank is None:
        return False
    known = [size for size in shape.as_list() if size is not None]
    limit = _LARGE_TENSOR if shape.is_fully_defined() else _LARGE_SAMPLE
    return int(np.prod(known)) >= limit
