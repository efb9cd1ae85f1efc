"""Samples that are not trained on, and judge whether a training helped."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

from tfxp.errors import TrainingWarning
from tfxp.keras_types import KerasModel
from tfxp.training.repair.objective import Objective
from tfxp.training.repair.training_set import TrainingSet


class _Score(NamedTuple):
    """What the held-back samples say: right decisions, and the mean loss; the worst for NaN."""

    right: float
    loss: float


class HeldBack:
    """Keeps the weights that judge best on some samples.

    Labels judge by the decisions that are right. Where a teacher takes part, its loss judges: on
    2,000 samples a share of right decisions is known to about 0.7 points only, which is more than
    an epoch changes, and the loss against a teacher's probabilities is known much better.

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
        self._seen: dict[int, _Score] = {}
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
        """The epoch that judges best; the first of equals."""
        return max(self._seen, key=self._rank)

    def _rank(self, epoch: int) -> tuple[float, ...]:
        score = self._seen[epoch]
        order = [score.right, -score.loss]
        return (*(reversed(order) if self._objective.is_taught else order), -epoch)

    def finish(self, what: str) -> int:
        """Put the best weights back, and warn where they are those before the training.

        Returns:
            The best epoch.
        """
        self._qmodel.set_weights(self._weights)
        if self.best == 0:
            if len(self._seen) > 1:
                later = max((epoch for epoch in self._seen if epoch), key=self._rank)
                text = f"it did not help ({self._words(self._seen[0], self._seen[later])})"
                advice = "Use a smaller learning rate or more data."
            else:
                text, advice = "it was interrupted before the first epoch was complete", ""
            message = f"{what}: {text}; the model is as it was. {advice}".rstrip()
            warnings.warn(message, TrainingWarning, stacklevel=3)
        return self.best

    def _words(self, before: _Score, after: _Score) -> str:
        count = self._samples.held
        if before.right != after.right and not self._objective.is_taught:
            text = f"{before.right:g} decisions right before and {after.right:g} after"
        else:
            text = f"loss {before.loss:.4g} before and {after.loss:.4g} after"
        held = " that were held back" if count < self._samples.samples else ""
        return f"on {count} samples{held}: {text}"

    def _score(self) -> _Score:
        hits = loss = 0.0
        for batch, count in self._samples.judging():
            found = self._objective.examine(*batch)
            hits, loss = hits + found[0], loss + found[1] * count
        if not math.isfinite(loss):
            return _Score(-1.0, math.inf)
        return _Score(hits, loss / self._samples.held)
