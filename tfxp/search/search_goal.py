"""What a search is after: the cheapest map within a tolerance, or the best within a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tfxp.assign.pareto import relative_error
from tfxp.cost import CostSettings, EnergyTable, ExpectedZeros, cost_heading, cost_report
from tfxp.errors import ConfigError, did_you_mean
from tfxp.precision import ModelStats, PrecisionMap

Costs = dict[str, float]


@dataclasses.dataclass(frozen=True)
class SearchGoal:
    """Which of two maps is better, and which maps are good enough.

    With a `tolerance` the cheapest map wins among those whose accuracy is at most that share below
    the float network's; with a `budget` the most accurate one among those that cost at most that.
    For oracles both become one number to minimise:

        loss = cost / reference          accepted, with a tolerance
             = 1 + relative error        too inaccurate
             = 1 - accuracy              accepted, with a budget
             = 1 + overshoot / budget    too expensive

    Args:
        baseline: accuracy of the float network on the same samples.
        cost: a total of `tfxp.cost.cost_report`, such as "traffic_batch_bits" or "macs_executed".
        reference: what that cost is for the float network; scales the loss.
        tolerance: relative error that is accepted.
        budget: largest cost that is accepted, in the figure's unit; instead of a tolerance.
        front_error: relative error up to which the Pareto front is exact. Maps below may be
            dropped early and are then on no front. By default the tolerance, or 10 %.

    Raises:
        ConfigError: neither or both of tolerance and budget, or values that cannot be.

    Example:
        >>> goal = SearchGoal(baseline=0.9, cost="model_size_bits", reference=100.0, tolerance=0.01)
        >>> goal.accepts(0.895, 50.0), goal.accepts(0.85, 5.0)
        (True, False)
    """

    baseline: float
    cost: str
    reference: float
    tolerance: float | None = None
    budget: float | None = None
    front_error: float | None = None

    def __post_init__(self) -> None:
        relative_error(self.baseline, self.baseline)
        if (self.tolerance is None) == (self.budget is None):
            raise ConfigError(
                f"goal of a search: got tolerance {self.tolerance} and budget {self.budget}; "
                "expected exactly one of them."
            )
        for name in ("tolerance", "front_error"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name}: got {value}; expected a share from 0 to 1.")
        if self.budget is not None and not self.budget > 0:
            raise ConfigError(f"budget: got {self.budget}; expected a positive {self.cost}.")

    def affordable(self, cost: float) -> bool:
        """Whether a cost is within the budget, if there is one."""
        return self.budget is None or cost <= self.budget

    def accepts(self, accuracy: float, cost: float) -> bool:
        """Whether a map is good enough to be chosen."""
        if self.tolerance is not None:
            return relative_error(accuracy, self.baseline) <= self.tolerance
        return self.affordable(cost)

    def loss(self, accuracy: float, cost: float) -> float:
        """One number to minimise; see above."""
        if self.tolerance is not None:
            if self.accepts(accuracy, cost):
                return cost / self.reference
            return 1 + relative_error(accuracy, self.baseline)
        assert self.budget is not None
        if self.affordable(cost):
            return 1 - accuracy
        return 1 + (cost - self.budget) / self.budget

    def rank(self, accuracy: float, cost: float) -> tuple[float, float]:
        """Sorts accepted maps, the best first."""
        return (cost, -accuracy) if self.tolerance is not None else (-accuracy, cost)

    def at_least(self, cost: float, best: tuple[float, float] | None, dominating: float) -> float:
        """The accuracy below which a map of this cost can neither win nor be on the front.

        Args:
            cost: of the map that is to be evaluated.
            best: (accuracy, cost) of the best accepted map so far.
            dominating: the best accuracy of maps that cost no more.
        """
        error = self.front_error if self.front_error is not None else self.tolerance
        front = max(dominating, (1 - (0.1 if error is None else error)) * self.baseline)
        return min(front, self._to_win(cost, best))

    def _to_win(self, cost: float, best: tuple[float, float] | None) -> float:
        if self.tolerance is not None:
            worth = best is None or cost <= best[1]
            return (1 - self.tolerance) * self.baseline if worth else float("inf")
        if not self.affordable(cost):
            return float("inf")
        return best[0] if best is not None else 0.0

    def describe(self) -> str:
        """The goal in words."""
        cost = cost_heading(self.cost)
        if self.tolerance is not None:
            return f"least {cost} within {100 * self.tolerance:g} % of {self.baseline:.4f}"
        return f"best accuracy with {cost} <= {self.budget:,.10g}"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


def make_pricer(
    stats: ModelStats,
    settings: CostSettings,
    energy: EnergyTable | None = None,
    skip_zeros: bool = False,
) -> Callable[[PrecisionMap], Costs]:
    """A function that gives every total of the cost report of a map; nothing is run.

    Args:
        stats: the network.
        settings: of the cost report.
        energy: table of energies, for costs of energy.
        skip_zeros: whether multiplications by the zeros that a map makes are left out
            (`tfxp.cost.ExpectedZeros`): "macs_executed" is a total then, and energy counts those.

    Raises:
        ConfigError: zeros are to be skipped, and no distributions were measured.
    """
    zeros = ExpectedZeros(stats) if skip_zeros else None

    def price(pmap: PrecisionMap) -> Costs:
        executed = None if zeros is None else zeros.executed_macs(pmap)
        report = cost_report(stats, pmap, settings, energy, executed)
        return {k: float(v) for k, v in report.totals.items()}

    return price


def check_cost(name: str, known: Mapping[str, float]) -> None:
    """Complain about a figure that the cost report does not have.

    Raises:
        ConfigError: there is no such total.
    """
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"cost of a search: got {name!r}; expected one of {list(known)}.{hint}")


def score_heading(metric: str) -> str:
    """What a search's score is called where people read.

    Args:
        metric: name of the figure that counts; a score is the figure itself or grows with it.

    Example:
        >>> score_heading("accuracy"), score_heading("mae")
        ('accuracy', 'score by mae')
    """
    return metric if metric == "accuracy" else f"score by {metric}"
