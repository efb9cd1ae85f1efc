"""The optimizer of a fine-tuning, and its rate from step to step."""

from __future__ import annotations

from typing import Any

from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.training.repair.relative_adam import RelativeAdam, relative_sizes
from tfxp.training.repair.settings import FineTuneSettings

# Keras adds 1e-30 to squared gradients and multiplies two such means: 0 in float32, and then NaN,
# where a channel is dead and an output saturates. Its square is far above the smallest float.
_NO_GRADIENT = 1e-15


def rate_schedule(settings: FineTuneSettings, steps: int) -> Any:
    """A Keras schedule over so many steps: the rate rises from 0, then falls to 0 as a cosine."""
    warm, rate = round(settings.warm_up * steps), settings.learning_rate
    falling = keras.optimizers.schedules.CosineDecay
    if not warm:
        return falling(rate, steps)
    return falling(0.0, steps - warm, warmup_target=rate, warmup_steps=warm)


def make_optimizer(qmodel: KerasModel, settings: FineTuneSettings, rate: Any) -> Any:
    """The settings' optimizer for a model's trainable weights.

    Args:
        qmodel: whose weights' sizes are the unit of the steps.
        settings: which optimizer.
        rate: a number, or a schedule.
    """
    if settings.optimizer == "adafactor":
        return keras.optimizers.Adafactor(rate, relative_step=False, epsilon_1=_NO_GRADIENT)
    return RelativeAdam(rate, relative_sizes(qmodel))
