"""Oracles: what to try next. keras-tuner's random, Bayesian and Hyperband, and our own."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

from sklearn.gaussian_process import kernels

from tfxp.assign import Configuration, JuddDescent
from tfxp.precision import PrecisionMap
from tfxp.search import kerastuner
from tfxp.search.mutation import Mutation
from tfxp.search.search_oracle import IDLE, RUNNING, STOPPED, SearchOracle
from tfxp.search.trial_record import SearchTrial


class RandomOracle(SearchOracle, kerastuner.RandomSearchOracle):
    """keras-tuner's random search."""


class HyperbandOracle(SearchOracle, kerastuner.HyperbandOracle):
    """keras-tuner's Hyperband; its epochs are portions of fine-tuning."""


class EnumerationOracle(SearchOracle):
    """Every configuration of a small space, the cheapest first."""

    def propose(self, trial_id: str) -> dict[str, Any]:
        """The next configuration that nobody has tried."""
        for config in self._all():
            if self.untried(config):
                return {"status": RUNNING, "values": self.values_of(config)}
        return {"status": IDLE if self.ongoing_trials else STOPPED}

    def _all(self) -> list[Configuration]:
        if not hasattr(self, "_sorted"):
            self._sorted = sorted(self._product(), key=self.cost_of)
        return self._sorted

    def _product(self) -> Iterator[Configuration]:
        space = self.record.space
        keys = space.parameters()
        for bits in itertools.product(*(space.words(family) for _, family in keys)):
            yield Configuration.of(dict(zip(keys, bits, strict=True)))


class GreedyOracle(SearchOracle):
    """Judd's slowest descent: `tfxp.assign.JuddDescent` asks, trials answer.

    A candidate is cut short only if it can neither be moved to nor matter to the record, so the
    descent goes where it would go with every image seen. One that was cut short in an earlier
    round is tried again where that is not enough to know.
    """

    descent: JuddDescent | None = None

    def propose(self, trial_id: str) -> dict[str, Any]:
        """The next candidate of the round; waits while others finish the round."""
        descent = self._descent()
        self._tell(descent)
        if self._done(descent):
            return {"status": STOPPED}
        for config in descent.pending():
            if config.key() not in self._under_way():
                return {"status": RUNNING, "values": self.values_of(config)}
        return {"status": IDLE}

    def at_least(self, config: Configuration) -> float:
        """Low enough for the descent's move, too."""
        bound = super().at_least(config)
        return bound if self.descent is None else min(bound, self.descent.at_least)

    def _descent(self) -> JuddDescent:
        if self.descent is None:
            goal, space = self.record.goal, self.record.space
            start = self.warm_start.start if self.warm_start else None
            wide = {key: space.words(key[1])[-1] for key in space.parameters()}
            error = goal.tolerance if goal.tolerance is not None else 1.0

            def cost(pmap: PrecisionMap) -> tuple[float, float]:
                value = self._price(pmap)[goal.cost]
                return value, value / goal.reference

            self.descent = JuddDescent(
                space, start or space.nearest(wide), goal.baseline, error, cost=cost
            )
        return self.descent

    def _tell(self, descent: JuddDescent) -> None:
        told = True
        while told and not self._done(descent):
            told = False
            for config in descent.pending():
                trial = self.record.find(config)
                if trial is not None and self._says_enough(descent, trial):
                    descent.tell(config, trial.accuracy, trial.complete)
                    told = True

    @staticmethod
    def _says_enough(descent: JuddDescent, trial: SearchTrial) -> bool:
        return trial.complete or trial.accuracy < descent.at_least

    def _done(self, descent: JuddDescent) -> bool:
        budget = self.record.goal.budget
        if descent.done or budget is None or not descent.path:
            return descent.done
        return descent.path[-1].traffic_bits <= budget


class EvolutionOracle(SearchOracle):
    """Mutates good maps; see `Mutation` for how.

    Parents are drawn among the best finished trials. A child that could not win however accurate it
    is (dearer than the best accepted map, or over the budget) is not tried at all: costs are
    known without running.
    """

    def propose(self, trial_id: str) -> dict[str, Any]:
        """A child that nobody has tried; the start itself if nothing is finished."""
        mutation = Mutation(self.record, self.cost_of, f"{self.seed} {trial_id}")
        start = self.warm_start.start if self.warm_start else None
        child = mutation.child(start, self.untried)
        if child is None:
            return {"status": IDLE if self.ongoing_trials else STOPPED}
        return {"status": RUNNING, "values": self.values_of(child)}


class BayesianOracle(SearchOracle, kerastuner.BayesianOptimizationOracle):
    """keras-tuner's Gaussian process, asked about words instead of real numbers.

    keras-tuner looks for the best point of a continuous space from 50 random starts, which takes
    longer than a trial here, and may propose what was tried before. This asks its model about
    mutations of the best maps that nobody has tried, and takes the lowest confidence bound.
    """

    _POOL = 200

    def propose(self, trial_id: str) -> dict[str, Any]:
        """The most promising of many mutations; any one while there is too little to learn from."""
        mutation = Mutation(self.record, self.cost_of, f"{self.seed} {trial_id}")
        start = self.warm_start.start if self.warm_start else None
        needed = self.num_initial_points or len(self.record.space.parameters())
        learning = len(self.record) < needed
        pool: dict[Configuration, None] = {}
        for _ in range(1 if learning else self._POOL):
            child = mutation.child(start, self.untried)  # some twice: few good ones may be left
            if child is None:
                break
            pool[child] = None
        if not pool:
            return {"status": IDLE if self.ongoing_trials else STOPPED}
        chosen = next(iter(pool)) if learning else self._best_of(list(pool))
        return {"status": RUNNING, "values": self.values_of(chosen)}

    def _best_of(self, pool: list[Configuration]) -> Configuration:
        x, y = self._vectorize_trials()
        with warnings.catch_warnings():  # of a length scale at its bound
            warnings.simplefilter("ignore")
            self.gpr.fit(x, y)
        mean, deviation = self.gpr.predict([self._vector(c) for c in pool], return_std=True)
        return pool[int((mean - self.beta * deviation).argmin())]

    def _vector(self, config: Configuration) -> list[float]:
        values = self.values_of(config)
        return [hp.value_to_prob(values[hp.name]) for hp in self._nonfixed_space()]

    def _make_gpr(self) -> Any:
        regressor = super()._make_gpr()
        # A loss with a step in it draws the one length scale to nothing; a tenth of a range is as
        # near as two maps can be said to be alike.
        kernel = kernels.Matern(nu=2.5, length_scale_bounds=(0.1, 10.0))
        return regressor.set_params(kernel=kernel, n_restarts_optimizer=0)
