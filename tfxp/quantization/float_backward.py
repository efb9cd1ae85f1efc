"""Forward through rounded weights, back to the input through the float ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxp.quantizers.custom_gradient import custom_gradient

Call = Callable[[Any, dict[str, Any]], tf.Tensor]


def call_with_float_backward(
    call: Call, inputs: tf.Tensor, rounded: dict[str, tf.Tensor], floats: dict[str, tf.Tensor]
) -> tf.Tensor:
    """Run a linear layer on rounded weights; its input's gradient goes through float weights.

        y = x * Q(W),    dL/dx = dL/dy * W^T,    dL/dQ(W) = x^T * dL/dy

    Args:
        call: the layer, as a function of its input and its weights by name.
        inputs: one tensor.
        rounded: weights of the forward pass; they get the weight gradient.
        floats: weights of the backward pass, under the same names.

    References:
        Milde and others, "ADaPTION", 2017: the layer LPConvolution keeps both copies, reads the
        rounded one forward and the float one backward.
    """

    @custom_gradient
    def run(x: tf.Tensor, *values: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> Any:
            held = [tf.stop_gradient(floats[name]) for name in rounded]
            with tf.GradientTape() as tape:
                tape.watch([x, *held])
                outputs = call(x, dict(zip(rounded, held, strict=True)))
            return tape.gradient(outputs, [x, *held], upstream)

        return call(x, dict(zip(rounded, values, strict=True))), gradient

    return run(inputs, *rounded.values())
