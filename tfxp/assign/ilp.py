"""Integer linear program: the word lengths of least summed sensitivity under a cost bound."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from tfxp.assign.assignment import Assignment, Decision
from tfxp.cost import CostSettings, cost_heading, cost_report
from tfxp.errors import ConfigError, did_you_mean
from tfxp.precision import LayerPrecision, ModelStats, PrecisionMap

Tensor = tuple[str, str]  # layer, "weights" or "activations"
Option = tuple[Tensor, int]  # with a word length
Choice = Mapping[Tensor, int]
# Tensor -> bits -> what is lost at that word length.
Sensitivities = Mapping[Tensor, Mapping[int, float]]
_EXACT = 1e-9  # relative: costs that sum up differ by float64 rounding only


@dataclasses.dataclass(frozen=True)
class IlpAssigner:
    """Word lengths b_t of all tensors t that minimise the summed sensitivity under a bound.

        min  sum_t S_t(b_t)    such that    cost(b) <= bound

    Solved exactly, as an integer linear program with one 0-1 variable for every tensor and word
    length. The cost is a total of the cost report that is a sum over tensors: sizes and traffic
    are, products of two word lengths (`bit_operations`) are while only one of them varies, and a
    peak is not.

    Args:
        sensitivities: (layer, "weights" or "activations") -> bits -> loss, in any unit; what is
            not named keeps the precision of `base`.
        total: name of the total.
        bound: what it may be at most.
        base: precision of everything else; formats, edges and scales per channel included.
        settings: how costs are counted.

    Raises:
        ConfigError: no tensors, or no such total.

    Example:
        >>> from tfxp.assign import IlpAssigner
        >>> from tfxp.models import count_network
        >>> stats = count_network("sakr_convnet")
        >>> loss = {("dense1", "weights"): {2: 9, 8: 0}, ("dense2", "weights"): {2: 1, 8: 0}}
        >>> result = IlpAssigner(loss, "model_size_bits", 12_320_000).assign(stats)
        >>> result.map.layers["dense1"].weights, result.map.layers["dense2"].weights
        (8, 2)

    References:
        Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021, sec. 3.4, with
        measured losses in place of Hessian traces; solved by HiGHS through SciPy.
    """

    sensitivities: Sensitivities
    total: str
    bound: float
    base: PrecisionMap = dataclasses.field(default_factory=lambda: PrecisionMap.uniform(8, 8))
    settings: CostSettings = dataclasses.field(default_factory=CostSettings)

    def __post_init__(self) -> None:
        if not self.sensitivities or not all(self.sensitivities.values()):
            raise ConfigError(
                "integer program: got no word lengths to choose from; expected some per tensor."
            )

    def assign(self, stats: ModelStats) -> Assignment:
        """Solve it.

        Raises:
            ConfigError: there is no such total, it is no sum over tensors, or even the cheapest
                word lengths exceed the bound.
        """
        options = [(key, b) for key, choices in self.sensitivities.items() for b in sorted(choices)]
        widest = {key: max(choices) for key, choices in self.sensitivities.items()}
        start = self._cost(stats, widest)
        steps = {(key, b): self._cost(stats, {**widest, key: b}) - start for key, b in options}
        order = sorted(options, key=lambda option: -steps[option])
        shortest = dict(order)  # of each tensor's options the last one, the cheapest
        least = self._cost(stats, shortest)
        self._check(least, start, steps, shortest)
        if least > self.bound:
            raise ConfigError(
                f"bound of {self.total}: got {self.bound:.12g}; expected at least {least:.12g}, "
                "the cost of the shortest word lengths."
            )
        losses = {(key, b): float(self.sensitivities[key][b]) for key, b in options}
        chosen = _solve(losses, steps, self.bound - start)
        cost = self._cost(stats, chosen)
        self._check(cost, start, steps, chosen)
        trace = [
            Decision(layer, tensor, bits, f"loss {self.sensitivities[layer, tensor][bits]:.3g}")
            for (layer, tensor), bits in chosen.items()
        ]
        loss = math.fsum(losses[item] for item in chosen.items())
        reason = f"least summed loss ({loss:.4g}); {cost_heading(self.total)} {cost:,.12g} of at "
        reason += f"most {self.bound:,.12g}"
        figures = {"loss": loss, "total": self.total, "cost": cost, "bound": self.bound}
        return Assignment(self._map(chosen), tuple(trace), reason, figures)

    def _map(self, chosen: Choice) -> PrecisionMap:
        rules: dict[str, dict[str, int]] = {}
        for (layer, tensor), bits in chosen.items():
            rules.setdefault(layer, {})[tensor] = bits
        return self.base.updated(
            {
                layer: LayerPrecision(rule.get("weights"), rule.get("activations"))
                for layer, rule in rules.items()
            }
        )

    def _cost(self, stats: ModelStats, chosen: Choice) -> float:
        return total_of(stats, self._map(chosen), self.total, self.settings)

    def _check(
        self, cost: float, start: float, steps: Mapping[Option, float], chosen: Choice
    ) -> None:
        """Complain about a total that is no sum."""
        summed = start + math.fsum(steps[item] for item in chosen.items())
        if not math.isclose(cost, summed, rel_tol=_EXACT):
            raise ConfigError(
                f"integer program: got the total {self.total!r}, which is no sum over tensors "
                f"({cost:.12g} for some word lengths, not {summed:.12g}); expected one that is, "
                "or word lengths of weights or of activations alone."
            )


def total_of(stats: ModelStats, pmap: PrecisionMap, total: str, settings: CostSettings) -> float:
    """A total of the cost report by its name.

    Raises:
        ConfigError: there is no such total.
    """
    totals = cost_report(stats, pmap, settings).totals
    if total not in totals:
        raise ConfigError(
            f"total of the cost report: got {total!r}; expected one of {', '.join(totals)}."
            f"{did_you_mean(total, totals)}"
        )
    return float(totals[total])


def _solve(losses: Mapping[Option, float], steps: Mapping[Option, float], room: float) -> Choice:
    """One word length per tensor, of least summed loss with summed steps of at most `room`."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # half a second, for few methods

    options, keys = list(losses), list(dict.fromkeys(key for key, _ in losses))
    one_each = np.array([[float(key == each) for key, _ in options] for each in keys])
    values, costs = np.array(list(losses.values())), np.array([steps[option] for option in options])
    unit = max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    slack = _EXACT * max(abs(room), float(np.abs(costs).max()))
    result = milp(
        values / unit,
        integrality=np.ones(len(options)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(costs[None], -np.inf, room + slack),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if result.x is None:
        raise ConfigError(f"integer program: {result.message}")
    return dict(options[number] for number in np.flatnonzero(result.x > 0.5))
