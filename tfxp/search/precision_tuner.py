"""The tuner: runs the trials that an oracle asks for on one built model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tfxp.precision import PrecisionMap
from tfxp.quantization import precision_of
from tfxp.search import kerastuner
from tfxp.search.fast_evaluator import Score
from tfxp.search.kerastuner import Trial
from tfxp.search.search_goal import Costs
from tfxp.search.search_oracle import AT_LEAST, LOSS, SearchOracle
from tfxp.search.stream_evaluator import Evaluator
from tfxp.search.trial_training import TrialTraining

_WAIT_SECONDS = 0.05


class PrecisionTuner(kerastuner.BaseTuner):
    """A keras-tuner BaseTuner whose trials assign precision instead of building models.

    keras-tuner's `Tuner` builds a model per trial and works with Keras 3 models only; its
    `BaseTuner` takes any oracle and its chief/worker service, and leaves the trial to us.

    Args:
        oracle: what to try; see `tfxp.search.oracles`.
        evaluator: the model and the samples.
        price: costs of a precision map.
        directory, project_name: where keras-tuner keeps the oracle's state.
        training: fine-tuning of every trial, or None.
        steps: steps of fine-tuning of a trial, or of one of Hyperband's epochs.
        on_trial: called after every trial with what it reported.
    """

    def __init__(
        self,
        oracle: SearchOracle,
        evaluator: Evaluator,
        price: Callable[[Any], Costs],
        directory: str,
        project_name: str,
        training: TrialTraining | None = None,
        steps: int = 0,
        on_trial: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        self._local, self._evaluator, self._price = oracle, evaluator, price
        self._training, self._steps = training, steps
        self._on_trial = on_trial or (lambda reported: None)
        super().__init__(oracle=oracle, directory=directory, project_name=project_name)
        if not self._is_worker():
            oracle.reload()

    def run_trial(self, trial: Trial, *args: object, **kwargs: object) -> dict[str, float]:
        """Assign the trial's precision, fine-tune if asked, and score it."""
        started = time.perf_counter()
        values = trial.hyperparameters.values
        pmap = self._local.record.space.to_map(self._local.configuration_of(values))
        cost = self._price(pmap)[self._local.record.goal.cost]
        steps = self._steps * int(values.get("tuner/epochs", 1))
        score = self._score(pmap, steps, values.get(AT_LEAST), cost)
        return {
            LOSS: self._local.record.goal.loss(score.accuracy, cost),
            "accuracy": score.accuracy,
            "complete": float(score.complete),
            "correct": float(score.correct),
            "seen": float(score.seen),
            "total": float(score.total),
            "steps": float(steps),
            "seconds": time.perf_counter() - started,
        }

    def _score(self, pmap: PrecisionMap, steps: int, at_least: float | None, cost: float) -> Score:
        if not self._local.record.goal.affordable(cost):
            return Score(0, 0, self._evaluator.total)  # whatever its accuracy
        if not steps or self._training is None:
            return self._evaluator.evaluate(pmap, at_least)
        self._evaluator.setter.set(pmap)
        try:
            self._training.run(steps)
            trained = precision_of(self._evaluator.qmodel)  # formats stay what they were
            self._evaluator.refresh()
            return self._evaluator.evaluate(trained, at_least)
        finally:
            self._training.restore()
            self._evaluator.refresh()

    def search(self, *args: object, **kwargs: object) -> None:
        """Run trials until the oracle stops; errors and Ctrl-C end it at once.

        keras-tuner's own loop turns errors into failed trials and asks without pause while there
        is nothing to do.
        """
        while True:
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == kerastuner.TrialStatus.STOPPED:
                return
            if trial.status == kerastuner.TrialStatus.IDLE:
                time.sleep(_WAIT_SECONDS)
                continue
            reported = self.run_trial(trial)
            self.oracle.update_trial(trial.trial_id, reported)
            trial.status = kerastuner.TrialStatus.COMPLETED
            self.oracle.end_trial(trial)
            self._on_trial(reported)

    def save(self) -> None:
        """Nothing: the ledger and the oracle keep everything as it happens."""

    def _populate_initial_space(self) -> None:
        """Nothing: the oracle is made with the whole space."""
