"""Every finished trial of a search: on disk as they come, the best one and the front."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tfxp.assign import Configuration, EvaluationLedger, WordSpace, pareto_front
from tfxp.precision import PrecisionMap
from tfxp.search.search_goal import Costs, SearchGoal


@dataclasses.dataclass(frozen=True)
class SearchTrial:
    """A precision map that was tried.

    Args:
        number: the trial's identifier.
        configuration: bits by (unit, family).
        accuracy: share of right samples; an upper bound if not `complete`.
        complete: whether all samples were looked at.
        costs: totals of the cost report.
        loss: what the oracle minimises.
        accepted: whether it reaches the goal.
        correct, seen, total: samples right, looked at, and in all.
        steps: of fine-tuning before the evaluation.
        seconds: time of the trial.
        tuner: the process that ran it.
    """

    number: str
    configuration: Configuration
    accuracy: float
    complete: bool
    costs: Costs
    loss: float
    accepted: bool
    correct: int
    seen: int
    total: int
    steps: int = 0
    seconds: float = 0.0
    tuner: str = "tuner0"

    @property
    def key(self) -> str:
        """What the result is a function of."""
        return trial_key(self.configuration, self.steps)

    def to_entry(self, space: WordSpace) -> dict[str, Any]:
        """A line of the ledger."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        configuration = fields.pop("configuration")
        return {
            "key": self.key,
            "score": fields.pop("accuracy"),
            "complete": fields.pop("complete"),
            "trial": fields.pop("number"),
            **fields,
            "map": space.to_map(configuration).to_dict(),
        }

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> SearchTrial:
        """The inverse of `to_entry`."""
        key, _, _ = str(entry["key"]).partition("@")
        known = {field.name for field in dataclasses.fields(cls)}
        fields = {name: value for name, value in entry.items() if name in known}
        return cls(
            number=str(entry["trial"]),
            configuration=Configuration.from_key(key),
            accuracy=float(entry["score"]),
            **fields,
        )


def trial_key(configuration: Configuration, steps: int = 0) -> str:
    """The ledger's key of a configuration, evaluated after some steps of fine-tuning."""
    return configuration.key() + (f"@{steps}" if steps else "")


class TrialRecord:
    """Finished trials, kept in a ledger.

    Args:
        ledger: where they are kept; what it has already counts as finished.
        space: what configurations mean.
        goal: what is looked for.
        on_trial: takes every trial that is finished, those of earlier runs included.
    """

    def __init__(
        self,
        ledger: EvaluationLedger,
        space: WordSpace,
        goal: SearchGoal,
        on_trial: Callable[[SearchTrial], None] | None = None,
    ) -> None:
        self.ledger, self.space, self.goal = ledger, space, goal
        self._on_trial = on_trial
        self.trials: dict[str, SearchTrial] = {}
        self._by_configuration: dict[Configuration, SearchTrial] = {}
        self.best: SearchTrial | None = None
        for entry in ledger.entries:
            self._remember(SearchTrial.from_entry(entry))

    def __len__(self) -> int:
        return len(self.trials)

    def add(self, trial: SearchTrial) -> None:
        """Write a finished trial to disk, then count it."""
        entry = trial.to_entry(self.space)
        self.ledger.put(**entry)
        self._remember(trial)

    def find(self, configuration: Configuration) -> SearchTrial | None:
        """The last finished trial of a configuration, if there is one."""
        return self._by_configuration.get(configuration)

    def _remember(self, trial: SearchTrial) -> None:
        self.trials[trial.number] = trial
        self._by_configuration[trial.configuration] = trial
        if self._on_trial is not None:
            self._on_trial(trial)
        if not (trial.complete and trial.accepted):
            return
        rank = self.goal.rank
        cost = trial.costs[self.goal.cost]
        if self.best is None or rank(trial.accuracy, cost) < rank(
            self.best.accuracy, self.best.costs[self.goal.cost]
        ):
            self.best = trial

    def at_least(self, cost: float) -> float:
        """The accuracy below which a map of this cost does not matter any more."""
        name, best = self.goal.cost, self.best
        dominating = max(
            (t.accuracy for t in self.trials.values() if t.complete and t.costs[name] <= cost),
            default=0.0,
        )
        pair = None if best is None else (best.accuracy, best.costs[name])
        return self.goal.at_least(cost, pair, dominating)

    def front(self, cost: str | None = None) -> list[SearchTrial]:
        """The trials that nothing beats in accuracy and a cost; those that were not cut short."""
        name = cost or self.goal.cost
        complete = [trial for trial in self.trials.values() if trial.complete]
        return pareto_front(complete, lambda t: t.costs[name], lambda t: t.accuracy)

    def best_map(self) -> PrecisionMap | None:
        """The precision map of the best trial, if one is accepted."""
        return None if self.best is None else self.space.to_map(self.best.configuration)
