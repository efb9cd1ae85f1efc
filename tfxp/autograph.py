"""Which Python AutoGraph rewrites while TensorFlow traces: users' layers, and nothing of tfxp.

AutoGraph reads the source of every function that is traced, so that an `if` or a `for` may depend
on a tensor. Here only what `tf.function` itself decorates has such a branch, and that is still
read. In a fresh process, reading all others took a third of the time in which a model is quantized
or a training begins.

`tf.autograph.experimental.do_not_convert` would leave out what is called from there too, a user's
own layer with branches among it. AutoGraph's list of packages that it does not read leaves out this
package alone. The list is private; where it is another than the one known here, tracing is slower
and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_PACKAGE = "tfxp"


def leave_as_written() -> None:
    """Put this package on AutoGraph's list of those it does not read."""
    try:
        from tensorflow.python.autograph.core import config

        rules = tuple(config.CONVERSION_RULES)
        known = [rule for rule in rules if getattr(rule, "_prefix", None) == _PACKAGE]
        if not known:
            config.CONVERSION_RULES = (config.DoNotConvert(_PACKAGE), *rules)
    except (ImportError, AttributeError):
        return


def as_keras_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's `call` as `layer(...)` would run it, with branches on tensors where a graph is
    traced."""
    import tensorflow as tf  # which `tfxp.keras` loads, quietly

    if tf.executing_eagerly():
        return function
    internal = tf.__internal__.autograph  # TensorFlow keeps it for Keras
    converted: Callable[..., Any] = internal.tf_convert(function, internal.control_status_ctx())
    return converted
