"""Judd's slowest descent: take away the bit that hurts least, again and again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tfxp.assign.evaluation_ledger import EvaluationLedger
from tfxp.assign.pareto import cheapest_within, pareto_front, relative_error
from tfxp.assign.search_space import BitSpace, Configuration
from tfxp.assign.word_space import WordSpace
from tfxp.cost import CostSettings, total_traffic
from tfxp.errors import ConfigError
from tfxp.files import write_text
from tfxp.precision import PrecisionMap

SCHEMA = 1
TOLERANCES = (0.01, 0.02, 0.05, 0.10)


class Scored(Protocol):
    """A score that may be only a bound from above."""

    @property
    def accuracy(self) -> float:
        """The score; not below the true one."""
        ...

    @property
    def complete(self) -> bool:
        """Whether it is the true one."""
        ...


class BoundedEvaluator(Protocol):
    """An evaluator that may stop once a map cannot reach what is asked for."""

    def evaluate(self, precision: PrecisionMap, at_least: float | None = None) -> Scored:
        """The score of a map; not complete only if it is below `at_least`."""
        ...


Evaluate = Callable[[PrecisionMap], float] | BoundedEvaluator
Space = BitSpace | WordSpace
Cost = Callable[[PrecisionMap], tuple[float, float]]


def scored(
    evaluate: Evaluate, pmap: PrecisionMap, at_least: float | None = None
) -> tuple[float, bool]:
    """A map's score, and whether it is complete."""
    if callable(evaluate):
        return float(evaluate(pmap)), True
    score = evaluate.evaluate(pmap, at_least)
    return float(score.accuracy), bool(score.complete)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One visited configuration.

    Args:
        configuration: its parameters.
        accuracy: its score.
        traffic_bits: Judd's batch traffic per sample.
        traffic_ratio: the same over the baseline's bits.
        round: the step of the descent in which it was evaluated; 0 is the start.
        unit, family: the parameter that was lowered; "" at the start.
        complete: whether all samples were seen; otherwise the accuracy is a bound from above.
    """

    configuration: Configuration
    accuracy: float
    traffic_bits: float
    traffic_ratio: float
    round: int = 0
    unit: str = ""
    family: str = ""
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**dataclasses.asdict(self), "configuration": self.configuration.key()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evaluation:
        """The inverse of `to_dict`."""
        values = dict(data)
        values["configuration"] = Configuration.from_key(values["configuration"])
        return cls(**values)


class JuddDescent:
    """Slowest descent as ask and tell, so that anybody may do the evaluating.

    From a start whose error is small, every free parameter is lowered by one bit in turn; the
    descent moves to the candidate with the best accuracy (ties: least traffic, then order of
    layers), and again. It stops when the best candidate's error exceeds `stop_error`, or nothing
    can be lowered. Every candidate that was evaluated counts as visited.

        descent = JuddDescent(space, start, baseline)
        while not descent.done:
            for configuration in descent.pending():
                descent.tell(configuration, evaluate(space.to_map(configuration)))

    Args:
        space: free parameters.
        start: where to begin.
        baseline: accuracy of the float network.
        stop_error: relative error that ends the descent; the paper's curves go past 10 %.
        settings: how traffic is counted.
        cost: (cost, cost over a reference) of a map, to be used in the place of traffic.

    Raises:
        ConfigError: `stop_error` is no share, or the baseline is not positive.

    References:
        Judd et al., "Reduced-Precision Strategies for Bounded Memory in Deep Neural Nets", 2015,
        sec. 2.5. Its stopping rule and ties are not printed; those here are ours.
    """

    def __init__(
        self,
        space: Space,
        start: Configuration,
        baseline: float,
        stop_error: float = TOLERANCES[-1],
        settings: CostSettings | None = None,
        cost: Cost | None = None,
    ) -> None:
        relative_error(baseline, baseline)
        if not 0 <= stop_error <= 1:
            raise ConfigError(f"stop_error: got {stop_error}; expected a share from 0 to 1.")
        self.space, self.baseline, self.stop_error = space, baseline, stop_error
        self.settings = settings or CostSettings(batch_size=64)
        self._cost = cost or (lambda pmap: total_traffic(space.stats, pmap, self.settings))
        self.visited: dict[str, Evaluation] = {}
        self.path: list[Evaluation] = []
        self.stop_reason = ""
        self._round = 0
        self._lately: dict[tuple[str, str], float] = {}
        self._asked: list[tuple[str, str, Configuration]] = [("", "", start)]

    @property
    def done(self) -> bool:
        """Whether the descent has ended."""
        return bool(self.stop_reason)

    def pending(self) -> list[Configuration]:
        """The configurations of this round that have no accuracy yet, most promising first.

        A parameter that did well in the round before comes early, so that evaluation of the others
        can stop soon. The order has no influence on where the descent goes.
        """
        waiting = [step for step in self._asked if step[2].key() not in self.visited]
        waiting.sort(key=lambda step: -self._lately.get(step[:2], 1.0))
        return [config for _, _, config in waiting]

    @property
    def at_least(self) -> float:
        """The best accuracy of this round so far: whoever cannot reach it cannot be moved to."""
        known = [self.visited[c.key()] for _, _, c in self._asked if c.key() in self.visited]
        return max((e.accuracy for e in known if e.complete), default=0.0)

    def tell(self, configuration: Configuration, accuracy: float, complete: bool = True) -> None:
        """Report an accuracy; when the round is complete, the descent moves.

        Args:
            configuration: one of `pending`.
            accuracy: its score.
            complete: False if the score is only a bound from above, below `at_least`.

        Raises:
            ConfigError: a configuration that was not asked for.
        """
        step = next((s for s in self._asked if s[2] == configuration), None)
        if step is None:
            raise ConfigError("configuration: got one that the descent did not ask for.")
        bits, ratio = self._cost(self.space.to_map(configuration))
        self.visited.setdefault(
            configuration.key(),
            Evaluation(
                configuration, accuracy, bits, ratio, self._round, step[0], step[1], complete
            ),
        )
        self._lately[step[:2]] = accuracy
        while not self.done and not self.pending():
            self._move()

    def _move(self) -> None:
        candidates = [self.visited[config.key()] for _, _, config in self._asked]
        best = max(candidates, key=lambda e: (e.complete, e.accuracy, -e.traffic_bits))
        error = relative_error(best.accuracy, self.baseline)
        if error > self.stop_error:
            self.stop_reason = (
                f"the best of {len(candidates)} steps has a relative error of {error:.4f}, "
                f"more than {self.stop_error:g}"
            )
            return
        self.path.append(best)
        self._round += 1
        self._asked = self.space.lowered(best.configuration)
        if not self._asked:
            self.stop_reason = "every parameter is at its minimum"

    def run(
        self,
        evaluate: Evaluate,
        ledger: EvaluationLedger | None = None,
        on_evaluation: Callable[[JuddDescent], None] | None = None,
    ) -> JuddDescent:
        """Evaluate until the end.

        The descent is a function of its scores: with the ledger of an earlier run it goes the same
        way without evaluating anything twice, and carries on where that run ended.

        Args:
            evaluate: accuracy of a precision map, or an evaluator that may stop early.
            ledger: scores that are known, and where new ones are kept.
            on_evaluation: called after every score, for progress.
        """
        ledger = ledger if ledger is not None else EvaluationLedger()
        while not self.done:
            for configuration in self.pending():
                at_least = self.at_least
                key = configuration.key()
                known = ledger.find(key, at_least)
                if known is None:
                    known = scored(evaluate, self.space.to_map(configuration), at_least)
                    ledger.put(key, *known)
                self.tell(configuration, *known)
                if on_evaluation is not None:
                    on_evaluation(self)
        return self

    def settle(
        self,
        evaluate: Evaluate,
        tolerances: Sequence[float] = TOLERANCES,
        ledger: EvaluationLedger | None = None,
    ) -> None:
        """Complete what an early stop left open and `select` might want.

        A candidate that lost its round may still have the least traffic within a tolerance. Those
        whose bound allows it are evaluated, cheapest first, until none of them can be chosen.

        Args:
            evaluate: as in `run`.
            tolerances: relative errors that will be asked for.
            ledger: as in `run`.
        """
        ledger = ledger if ledger is not None else EvaluationLedger()
        for tolerance in tolerances:
            while (entry := self._open_choice(tolerance)) is not None:
                key = entry.configuration.key()
                # A hair below, so that what is found short is short by the same arithmetic.
                floor = (1 - tolerance) * self.baseline * (1 - 1e-9)
                known = ledger.find(key, floor)
                if known is None:
                    known = scored(evaluate, self.space.to_map(entry.configuration), floor)
                    ledger.put(key, *known)
                accuracy, complete = known
                self.visited[key] = dataclasses.replace(entry, accuracy=accuracy, complete=complete)

    def _open_choice(self, tolerance: float) -> Evaluation | None:
        """The cheapest incomplete configuration that might be the choice for a tolerance."""
        chosen = self.select([tolerance])[tolerance]
        limit = chosen.traffic_bits if chosen is not None else float("inf")
        waiting = [
            entry
            for entry in self.visited.values()
            if not entry.complete
            and entry.traffic_bits <= limit
            and relative_error(entry.accuracy, self.baseline) <= tolerance
        ]
        return min(waiting, key=lambda e: e.traffic_bits, default=None)

    def front(self) -> list[Evaluation]:
        """The completely evaluated configurations that nothing beats in traffic and accuracy."""
        return pareto_front(self._complete(), lambda e: e.traffic_bits, lambda e: e.accuracy)

    def select(self, tolerances: Sequence[float] = TOLERANCES) -> dict[float, Evaluation | None]:
        """For each relative tolerance the visited configuration with least traffic, if any."""
        return {
            tolerance: cheapest_within(
                self._complete(),
                lambda e: e.traffic_bits,
                lambda e: e.accuracy,
                self.baseline,
                tolerance,
            )
            for tolerance in tolerances
        }

    def _complete(self) -> list[Evaluation]:
        return [entry for entry in self.visited.values() if entry.complete]

    def state(self) -> dict[str, Any]:
        """Everything that a resumed descent needs, ready for JSON."""
        return {
            "schema": SCHEMA,
            "fingerprint": self.space.fingerprint(),
            "baseline": self.baseline,
            "stop_error": self.stop_error,
            "settings": dataclasses.asdict(self.settings),
            "round": self._round,
            "stop_reason": self.stop_reason,
            "asked": [[unit, family, config.key()] for unit, family, config in self._asked],
            "path": [evaluation.configuration.key() for evaluation in self.path],
            "lately": [[*step, accuracy] for step, accuracy in self._lately.items()],
            "visited": [evaluation.to_dict() for evaluation in self.visited.values()],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as JSON, whole or not at all."""
        write_text(path, json.dumps(self.state(), indent=1) + "\n")

    @classmethod
    def restore(cls, space: Space, state: Mapping[str, Any]) -> JuddDescent:
        """A descent from its state.

        Raises:
            ConfigError: the state is of another network or space, or broken.
        """
        if state.get("schema") != SCHEMA or state.get("fingerprint") != space.fingerprint():
            raise ConfigError(
                "state of a descent: got one of another network or other settings; expected this "
                "one's. Start afresh."
            )
        try:
            asked = [(u, f, Configuration.from_key(key)) for u, f, key in state["asked"]]
            result = cls(
                space,
                asked[0][2] if asked else Configuration(()),
                state["baseline"],
                state["stop_error"],
                CostSettings(**state["settings"]),
            )
            visited = [Evaluation.from_dict(entry) for entry in state["visited"]]
            result.visited = {entry.configuration.key(): entry for entry in visited}
            result.path = [result.visited[key] for key in state["path"]]
            result.stop_reason, result._round = state["stop_reason"], state["round"]
            result._lately = {(unit, family): a for unit, family, a in state["lately"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"state of a descent: {error!r}. Start afresh.") from None
        result._asked = asked
        return result
