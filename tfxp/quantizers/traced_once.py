"""Functions of tensors that a process traces once, whatever the shapes; graphs call the trace.

A conditional traces both its branches anew wherever it stands, which took a third of the time to
build a quantized network and of its first prediction. A function that is called costs one operation
instead, and TensorFlow writes it out again when it optimizes the graph that runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxp.quantizers.fused import traced_by_xla


def call_traced(function: Callable[..., Any], *tensors: tf.Tensor, **settings: Any) -> tf.Tensor:
    """What the function makes of tensors; no gradient runs through it.

    Args:
        function: makes a tensor of the shape of the first argument, and keeps nothing.
        tensors: its arguments.
        settings: further arguments, which make another trace each.

    Example:
        >>> def halve(x, *, by):
        ...     return x / by
        >>> graph = tf.function(lambda x: call_traced(halve, x, by=2.0))
        >>> graph(tf.constant([3.0])).numpy()
        array([1.5], dtype=float32)
    """
    values = [tf.convert_to_tensor(tensor) for tensor in tensors]
    if tf.executing_eagerly() or traced_by_xla():
        return tf.stop_gradient(function(*values, **settings))
    kinds = tuple(value.dtype for value in values)
    # Without a gradient to prepare for, the call is no more than the trace.
    result = _trace(function, kinds, tuple(settings.items()))(*map(tf.stop_gradient, values))
    result.set_shape(values[0].shape)
    return result


@functools.cache
def _trace(
    function: Callable[..., Any], kinds: tuple[tf.DType, ...], settings: tuple[tuple[str, Any], ...]
) -> Callable[..., tf.Tensor]:
    call = functools.partial(function, **dict(settings))
    with tf.init_scope():  # outside of whatever graph asks first
        signature = [tf.TensorSpec(None, kind) for kind in kinds]
        traced = tf.function(call, input_signature=signature, autograph=False)
        return traced.get_concrete_function()
