"""Holds learned formats one after the other, so that a training ends on formats that stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.quantization.learned_formats import freeze_next, learned_steps


class FreezeFormats(keras.callbacks.Callback):
    """Freezes the thresholds of a model in training, those that move least first.

    A threshold near a power of two flips between two formats as long as it trains, and accuracy
    swings with it. Every `every` steps from `start` on, those are held that have settled in the
    more popular of their two formats; see `tfxp.quantization.learned_formats.freeze_next`.

    Args:
        start: training steps before the first is held.
        every: steps from one time to the next.
        end: the step by which as many are held at a time as need be for none to be left; None
            holds one at a time, as the paper does with its one threshold per tensor.

    Raises:
        ConfigError: steps that are not positive, or an end before the start.

    Example:
        >>> learning = tfxp.learn_formats(qmodel)  # doctest: +SKIP
        >>> freezing = tfxp.callbacks.FreezeFormats(500, end=900)  # doctest: +SKIP
        >>> learning.fit(x, y, epochs=4, callbacks=[freezing])  # doctest: +SKIP

    References:
        Jain et al., "Trained Quantization Thresholds", MLSys 2020, sec. 5.2: from step 24,000 / N
        on for batches of N, one every 50 steps.
    """

    def __init__(self, start: int, every: int = 50, end: int | None = None) -> None:
        super().__init__()
        if start < 0 or every < 1 or (end is not None and end < start):
            raise ConfigError(
                f"freezing of formats: got start {start}, every {every}, end {end}; expected steps "
                "in this order."
            )
        self.start, self.every, self.end = start, every, end
        self.steps, self.left = 0, 1

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """See how many there are."""
        self.left = sum(step.variables["frozen"].shape.num_elements() for step in self._learned())

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Hold some of them when it is time."""
        self.steps += 1
        due = self.steps >= self.start and (self.steps - self.start) % self.every == 0
        if due and self.left:
            self.left = freeze_next(self.model, self._count())

    def _learned(self) -> Any:
        return learned_steps(self.model)

    def _count(self) -> int:
        if self.end is None:
            return 1
        turns = max((self.end - self.steps) // self.every + 1, 1)
        return math.ceil(self.left / turns)
