"""A few steps of fine-tuning for each trial, from the same weights every time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from tfxp.devices import scope_of
from tfxp.errors import ModelError
from tfxp.keras_types import KerasModel
from tfxp.training.repair.objective import Objective
from tfxp.training.repair.optimizer import make_optimizer, rate_schedule
from tfxp.training.repair.samples import training_set
from tfxp.training.repair.settings import FineTuneSettings


class TrialTraining:
    """Trains a quantized model for some steps and puts its weights back.

    The step is compiled once for all trials. Every run starts from the weights the model had when
    this was made, with a fresh optimizer and the same batches, so a trial's result depends on its
    map and its steps only. The rate rises and falls as in `fine_tune`, and formats stay. Adafactor
    steers, which gets further in few steps (docs/search.md).

    Args:
        qmodel: the model of the search.
        x: inputs to train on; a list or dict of arrays where there are several; or a stream.
        y: class numbers, where it is no stream; None trains on the float network's outputs alone.
        settings: batch size, first rate, augmentation, weight of the teacher, seed.
        teacher: the float model, or None.

    Raises:
        DataError: neither labels nor a teacher, or fewer samples than a batch.
    """

    def __init__(
        self,
        qmodel: KerasModel,
        x: Any,
        y: np.ndarray | None,
        settings: FineTuneSettings,
        teacher: KerasModel | None = None,
    ) -> None:
        settings = dataclasses.replace(settings, held_back=0.0, optimizer="adafactor")
        self._samples, answers = training_set(qmodel, x, y, None, settings)
        objective = Objective(qmodel, answers, teacher, settings.teacher_weight)
        self._qmodel, self._settings = qmodel, settings
        self._start = [value.numpy() for value in qmodel.trainable_variables]
        with scope_of(qmodel):
            self._optimizer = make_optimizer(qmodel, settings, settings.learning_rate)
        self._step = objective.step(self._optimizer)
        self._fresh = [value.numpy() for value in self._optimizer.variables]

    def run(self, steps: int) -> float:
        """Train for so many steps; returns the mean loss.

        Raises:
            ModelError: the loss became NaN; the weights are as before then.
        """
        for variable, value in zip(self._optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        total, batches = 0.0, self._batches()
        rate = rate_schedule(self._settings, steps)
        for done in range(steps):
            self._optimizer.learning_rate.assign(rate(done))
            total += float(self._step(*next(batches)))
        if not math.isfinite(total):
            self.restore()
            raise ModelError(
                "fine-tuning of a trial: the loss became NaN. Use a smaller learning rate."
            )
        return total / max(steps, 1)

    def restore(self) -> None:
        """Put the weights back."""
        for variable, value in zip(self._qmodel.trainable_variables, self._start, strict=True):
            variable.assign(value)

    def _batches(self) -> Any:
        for epoch in itertools.count():
            yield from self._samples.epoch(epoch)
