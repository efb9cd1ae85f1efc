"""Samples that are not trained on, and judge whether a training helped."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfxp.errors import TrainingWarning
from tfxp.keras_types import KerasModel
from tfxp.training.repair.objective import Objective


def split(samples: int, batch_size: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample numbers to train on and to judge by; all for both where none can be spared.

    Example:
        >>> learned, held = split(100, 32, 0.1, seed=0)
        >>> len(learned), len(held), len({*learned, *held})
        (90, 10, 100)
    """
    count = min(round(share * samples), samples - batch_size)
    if count < 1:
        return np.arange(samples), np.arange(samples)
    order = np.random.default_rng(seed).permutation(samples)
    return np.sort(order[count:]), np.sort(order[:count])


class HeldBack:
    """Keeps the weights that judge best on some samples.

    Args:
        qmodel: the model in training.
        objective: what it is trained for.
        arrays: inputs, one array each.
        y: labels, or None.
        rows: the numbers of the samples to judge by.
        batch_size: samples a step.
        start: whether the weights before the training count. Not those of a network that the
            training is to fill with zeros.
    """

    def __init__(
        self,
        qmodel: KerasModel,
        objective: Objective,
        arrays: Sequence[np.ndarray],
        y: np.ndarray | None,
        rows: np.ndarray,
        batch_size: int,
        start: bool = True,
    ) -> None:
        self._qmodel, self._objective = qmodel, objective
        self._rows, self._arrays = rows, arrays
        self._y = np.zeros(len(arrays[0]), np.int64) if y is None else y
        self._batch_size = batch_size
        self._seen: dict[int, tuple[float, float]] = {}
        if start:
            self.look(0)

    def look(self, epoch: int) -> None:
        """Judge the model as it is."""
        self._seen[epoch] = self._score()
        if epoch == self.best:
            self._weights = self._qmodel.get_weights()

    @property
    def has_looked(self) -> bool:
        """Whether there are weights to choose from."""
        return bool(self._seen)

    @property
    def best(self) -> int:
        """The epoch with the most decisions right, then the smallest loss; the first of equals."""
        return max(self._seen, key=lambda epoch: (*self._seen[epoch], -epoch))

    def finish(self, what: str) -> int:
        """Put the best weights back, and warn where they are those before the training.

        Returns:
            The best epoch.
        """
        self._qmodel.set_weights(self._weights)
        if self.best == 0:
            if len(self._seen) > 1:
                later = max(score for epoch, score in self._seen.items() if epoch)
                text = f"it did not help ({self._words(self._seen[0], later)})"
                advice = "Use a smaller learning rate or more data."
            else:
                text, advice = "it was interrupted before the first epoch was complete", ""
            message = f"{what}: {text}; the model is as it was. {advice}".rstrip()
            warnings.warn(message, TrainingWarning, stacklevel=3)
        return self.best

    def _words(self, before: tuple[float, float], after: tuple[float, float]) -> str:
        count = len(self._rows)
        if before[0] != after[0]:
            text = f"{before[0]:g} decisions right before and {after[0]:g} after"
        else:
            text = f"loss {-before[1]:.4g} before and {-after[1]:.4g} after"
        held = " that were held back" if count < len(self._arrays[0]) else ""
        return f"on {count} samples{held}: {text}"

    def _score(self) -> tuple[float, float]:
        """(decisions that are right, minus the mean loss); worst of all where that is no number."""
        hits = loss = 0.0
        size = self._batch_size
        for start in range(0, len(self._rows), size):
            rows = self._rows[start : start + size]
            filled = np.resize(rows, size) if len(rows) < size and self._fixed else rows
            parts = [tf.constant(part[filled], tf.float32) for part in self._arrays]
            x = parts if len(parts) > 1 else parts[0]
            found = self._objective.examine(x, tf.constant(self._y[filled]))
            hits, loss = hits + found[0], loss + found[1] * len(filled)
        return (hits, -loss / len(self._rows)) if math.isfinite(loss) else (-1.0, -math.inf)

    @property
    def _fixed(self) -> bool:
        return self._qmodel.inputs[0].shape[0] is not None
