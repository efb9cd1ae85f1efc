"""The state that stateful recurrent layers carry from one batch to the next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tfxp.quantization.wrapper import FormatWrapper


def state_variables(layers: Iterable[Any]) -> list[tf.Variable]:
    """Variables of the stateful ones among some layers, quantized or not.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> x, lstm = keras.Input(batch_shape=(2, 5, 3)), layers.LSTM(4, stateful=True)
        >>> len(state_variables(keras.Model(x, lstm(x)).layers))
        2
    """
    plain = [layer.layer if isinstance(layer, FormatWrapper) else layer for layer in layers]
    stateful = [layer for layer in plain if getattr(layer, "stateful", False)]
    return [state for layer in stateful for state in tf.nest.flatten(layer.states)]


def clear_state(variables: list[tf.Variable]) -> None:
    """Start anew: what is measured must not depend on what ran before; fit for graph functions."""
    for variable in variables:
        variable.assign(tf.zeros_like(variable))
