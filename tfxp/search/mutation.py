"""Children of good maps: some words shorter, sometimes one longer."""

from __future__ import annotations

import random
from collections.abc import Callable

from tfxp.assign import Configuration
from tfxp.search.trial_record import SearchTrial, TrialRecord

_PARENTS = 8
_TRIES = 200
_DRAWN = 3


class Mutation:
    """Draws children of the best trials so far; a function of the record and a seed.

    A child has one to three parameters one word shorter and, with a quarter's chance, one that is
    one word longer. Those to shorten are drawn by what it saves and by how it went when it was
    tried: each accepted trial that shortened a parameter of its best predecessor speaks for it,
    each refused one against it. Where there is a budget, words drawn at random then shrink until
    the child is within it, or grow until it is spent.

    Args:
        record: finished trials.
        cost_of: cost of a configuration.
        seed: of the draws; the same seed and record give the same children.
    """

    def __init__(
        self, record: TrialRecord, cost_of: Callable[[Configuration], float], seed: str
    ) -> None:
        self._record, self._cost_of = record, cost_of
        self._random = random.Random(seed)
        self._credit = self._credits()
        self._weights: dict[Configuration, dict[tuple[str, str], float]] = {}
        self._pool = self._best()

    def child(
        self, start: Configuration | None, fresh: Callable[[Configuration], bool]
    ) -> Configuration | None:
        """A child that is `fresh` and could win; None if many draws find none."""
        for _ in range(_TRIES):
            parent = self._parent(start)
            if parent is None:
                return None
            child = self._mutated(parent)
            if child is not None and self._could_win(child) and fresh(child):
                return child
        return None

    def _parent(self, start: Configuration | None) -> Configuration | None:
        pool = self._pool
        if not pool:
            space = self._record.space
            wide = {key: space.words(key[1])[-1] for key in space.parameters()}
            return start or space.nearest(wide)
        # The best of a few drawn: mostly the very best, seldom one far behind.
        return pool[min(self._random.randrange(len(pool)) for _ in range(_DRAWN))].configuration

    def _best(self) -> list[SearchTrial]:
        goal = self._record.goal
        good = [t for t in self._record.trials.values() if t.complete and t.accepted]
        good.sort(key=lambda t: goal.rank(t.accuracy, t.costs[goal.cost]))
        return good[:_PARENTS]

    def _could_win(self, config: Configuration) -> bool:
        goal, best = self._record.goal, self._record.best
        cost = self._cost_of(config)
        if goal.tolerance is None:
            return goal.affordable(cost)
        return best is None or cost < best.costs[goal.cost]

    def _mutated(self, parent: Configuration) -> Configuration | None:
        space, config = self._record.space, parent
        count = self._random.choice((1, 1, 2, 3))
        moves = [(key, -1) for key in self._drawn(parent, count)]
        if self._random.random() < 0.25:
            moves.append((self._random.choice(space.parameters()), 1))
        for (unit, family), by in moves:
            config = space.step(config, unit, family, by) or config
        if self._record.goal.budget is not None:
            config = self._spending(config)
        return None if config == parent else config

    def _spending(self, config: Configuration) -> Configuration:
        """Random words shorter until the budget bears it, then longer as long as it bears one."""
        space, goal = self._record.space, self._record.goal
        while not goal.affordable(self._cost_of(config)):
            lowered = [lower for _, _, lower in space.lowered(config)]
            if not lowered:
                return config
            config = self._random.choice(lowered)
        growing = space.parameters()
        while growing:
            key = self._random.choice(growing)
            longer = space.step(config, *key, 1)
            if longer is not None and goal.affordable(self._cost_of(longer)):
                config = longer
            else:
                growing.remove(key)
        return config

    def _drawn(self, parent: Configuration, count: int) -> list[tuple[str, str]]:
        """Parameters to shorten, drawn by credit and savings, without repetition."""
        if parent not in self._weights:
            self._weights[parent] = self._promise(parent)
        weights = dict(self._weights[parent])
        drawn: list[tuple[str, str]] = []
        while len(drawn) < count and any(weights.values()):
            keys = list(weights)
            drawn += self._random.choices(keys, list(weights.values()))
            del weights[drawn[-1]]
        return drawn

    def _promise(self, parent: Configuration) -> dict[tuple[str, str], float]:
        cost = self._cost_of(parent)
        return {
            (unit, family): max(cost - self._cost_of(lower), 0.0) * self._credit[unit, family]
            for unit, family, lower in self._record.space.lowered(parent)
        }

    def _credits(self) -> dict[tuple[str, str], float]:
        """How promising it is to shorten each parameter, by what trials have shown."""
        won = dict.fromkeys(self._record.space.parameters(), 1.0)
        lost = dict(won)
        shortest: dict[tuple[str, str], int] = {}
        for trial in self._record.trials.values():
            bits = trial.configuration.to_dict()
            shorter = [key for key in bits if bits[key] < shortest.get(key, 99)]
            good = trial.complete and trial.accepted
            for key in shorter:
                if good:
                    won[key] += 1
                    shortest[key] = bits[key]
                else:
                    lost[key] += 1 / len(shorter)
        return {key: won[key] / (won[key] + lost[key] ** 2) for key in won}
