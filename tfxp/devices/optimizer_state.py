"""What an optimizer's variables say, wherever they live.

Under a strategy each of them is one variable per replica, which `int` and `float` do not take.
"""

from __future__ import annotations

from tfxp.keras import tf
from tfxp.keras_types import KerasModel


def step_count(model: KerasModel) -> int:
    """Steps that a model's optimizer has done; 0 for a model without one.

    Args:
        model: a Keras model, compiled or not.

    Example:
        >>> from tfxp.devices import step_count
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,))])
        >>> step_count(model)
        0
    """
    optimizer = getattr(model, "optimizer", None)
    return 0 if optimizer is None else int(optimizer.iterations.numpy())


def learning_rate(model: KerasModel) -> float:
    """The learning rate of a compiled model, of a schedule that of its next step.

    Args:
        model: a compiled Keras model.
    """
    return float(tf.convert_to_tensor(model.optimizer.learning_rate).numpy())
