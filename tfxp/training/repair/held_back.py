"""Samples that are not trained on, and judge whether a training helped."""

from __future__ import annotations

import math
import warnings

from tfxp.errors import TrainingWarning
from tfxp.keras_types import KerasModel
from tfxp.training.repair.objective import Objective
from tfxp.training.repair.training_set import TrainingSet


class HeldBack:
    """Keeps the weights that judge best on some samples.

    Args:
        qmodel: the model in training.
        objective: what it is trained for.
        samples: what it is judged by.
        start: whether the weights before the training count. Not those of a network that the
            training is to fill with zeros.
    """

    def __init__(
        self,
        qmodel: KerasModel,
        objective: Objective,
        samples: TrainingSet,
        start: bool = True,
    ) -> None:
        self._qmodel, self._objective, self._samples = qmodel, objective, samples
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
        count = self._samples.held
        if before[0] != after[0]:
            text = f"{before[0]:g} decisions right before and {after[0]:g} after"
        else:
            text = f"loss {-before[1]:.4g} before and {-after[1]:.4g} after"
        held = " that were held back" if count < self._samples.samples else ""
        return f"on {count} samples{held}: {text}"

    def _score(self) -> tuple[float, float]:
        """(decisions that are right, minus the mean loss); worst of all where that is no number."""
        hits = loss = 0.0
        for batch, count in self._samples.judging():
            found = self._objective.examine(*batch)
            hits, loss = hits + found[0], loss + found[1] * count
        return (hits, -loss / self._samples.held) if math.isfinite(loss) else (-1.0, -math.inf)
