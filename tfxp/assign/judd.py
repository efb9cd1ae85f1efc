"""Judd's procedure: uniform sweep, one-at-a-time sensitivity, descent, choice by tolerance."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfxp.assign.assignment import Assignment, Decision
from tfxp.assign.descent import TOLERANCES, Evaluate, Evaluation, JuddDescent, scored
from tfxp.assign.evaluation_ledger import EvaluationLedger
from tfxp.assign.pareto import relative_error, tolerance_with_margin
from tfxp.assign.search_space import (
    FAMILIES,
    BitSpace,
    Configuration,
    free_parameters,
    word_lengths,
)
from tfxp.cost import CostSettings
from tfxp.errors import ConfigError
from tfxp.precision import ModelStats

START_ERROR = 0.001
WIDE = {"weight_bits": 15, "data_fraction": 8}


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """Accuracy with one parameter set to a value.

    Args:
        unit: the unit that was varied; "" if all were.
        family: which parameter.
        value: its bits.
        accuracy: the score.
        relative_error: drop below the baseline, as a share.
    """

    unit: str
    family: str
    value: int
    accuracy: float
    relative_error: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


class _Evaluator:
    """Scores of configurations, each evaluated once."""

    def __init__(
        self, space: BitSpace, evaluate: Evaluate, ledger: EvaluationLedger | None
    ) -> None:
        self.space, self._evaluate = space, evaluate
        self.ledger = ledger if ledger is not None else EvaluationLedger()

    def __call__(self, config: Configuration) -> float:
        key = config.key()
        score = self.ledger.get(key)
        if score is None:
            score, _ = scored(self._evaluate, self.space.to_map(config))
            self.ledger.put(key, score)
        return score


def wide_values(space: BitSpace) -> dict[str, int]:
    """Values at which nothing is lost to speak of: the data's range from measurement."""
    return {**WIDE, "data_integer": space.data_integer_bits(), **space.freeze}


def uniform_sweep(
    space: BitSpace,
    evaluate: Evaluate,
    baseline: float,
    families: Sequence[str] = FAMILIES,
    stop_error: float = 0.5,
    ledger: EvaluationLedger | None = None,
    ranges: str = "uniform",
) -> list[SweepPoint]:
    """One parameter family at a time, the same value in all layers, downwards from a wide one.

    Args:
        space: free parameters; frozen families are left out.
        evaluate: accuracy of a precision map.
        baseline: accuracy of the float network.
        families: which families to sweep.
        stop_error: relative error at which a family's sweep ends.
        ledger: scores that are known, and where new ones are kept.
        ranges: "uniform", or "measured": integer bits of data by layer.

    References:
        Judd et al., 2015, sec. 2.2.
    """
    score = _Evaluator(space, evaluate, ledger)
    wide = wide_values(space)
    widest = space.uniform(wide, ranges)
    points = []
    for family in families:
        if family in space.freeze:
            continue
        before = None
        for value in range(wide[family], wide[family] - 32, -1):
            config = space.uniform({**wide, family: value}, ranges)
            # Some word is too short to give up integer bits, or all are as short as can be.
            if config == before or _others(config, family) != _others(widest, family):
                break
            before = config
            accuracy = score(config)
            error = relative_error(accuracy, baseline)
            points.append(SweepPoint("", family, value, accuracy, error))
            if error > stop_error:
                break
    return points


def _others(config: Configuration, family: str) -> list[tuple[str, str, int]]:
    return [value for value in config.values if value[1] != family]


def uniform_start(
    space: BitSpace,
    evaluate: Evaluate,
    baseline: float,
    max_error: float = START_ERROR,
    ledger: EvaluationLedger | None = None,
    ranges: str = "uniform",
) -> tuple[Configuration, list[SweepPoint]]:
    """The uniform configuration to start the descent from: short words, hardly any error.

    Each family's smallest value whose own error is below `max_error`, all together; if together
    they lose more, all are raised by a bit at a time, up to the wide values.

    Args:
        space: free parameters; frozen families are left out.
        evaluate: accuracy of a precision map.
        baseline: accuracy of the float network.
        max_error: relative error that the start may have.
        ledger: scores that are known, and where new ones are kept.
        ranges: "uniform" gives all data the same integer bits, as the paper does; "measured" gives
            each layer those that its own data need, which saves the descent the steps that take
            away bits no data use.

    Returns:
        the configuration, and the sweep's points.

    Raises:
        ConfigError: even the widest configuration loses more than `max_error`.

    References:
        Judd et al., 2015, sec. 2.5: "less than 0.1 % error".
    """
    ledger = ledger if ledger is not None else EvaluationLedger()
    families = [f for f in FAMILIES if ranges == "uniform" or f != "data_integer"]
    points = uniform_sweep(
        space, evaluate, baseline, families, max(max_error, 0.02), ledger, ranges
    )
    wide = wide_values(space)
    values = dict(wide)
    for family in families:
        # Errors of a few samples come and go by chance, so one bad value ends nothing.
        good = [p.value for p in points if p.family == family and p.relative_error <= max_error]
        values[family] = min(good, default=wide[family])
    score = _Evaluator(space, evaluate, ledger)
    while True:
        config = space.uniform(values, ranges)
        error = relative_error(score(config), baseline)
        if error <= max_error:
            return config, points
        if values == wide:
            raise ConfigError(
                f"start of the descent: got a relative error of {error:.4f} with wide formats; "
                f"expected at most {max_error}. Evaluate the float model on the same data, or "
                "allow a larger error."
            )
        values = {name: min(value + 1, wide[name]) for name, value in values.items()}


def sensitivity_profile(
    space: BitSpace,
    evaluate: Evaluate,
    base: Configuration,
    baseline: float,
    families: Sequence[str] = FAMILIES,
    stop_error: float = 0.5,
    ledger: EvaluationLedger | None = None,
    on_point: Callable[[SweepPoint], None] | None = None,
) -> list[SweepPoint]:
    """Lower one parameter of one layer at a time, everything else as in `base`.

        relative error = 1 - accuracy / baseline

    Args:
        space: free parameters.
        evaluate: accuracy of a precision map.
        base: what the other layers keep.
        baseline: accuracy of the float network.
        families: which families to vary.
        stop_error: relative error at which one layer's line ends.
        ledger: scores that are known, and where new ones are kept.
        on_point: called after every score, for progress.

    References:
        Judd et al., 2015, sec. 2.3.
    """
    score = _Evaluator(space, evaluate, ledger)
    points = []
    for unit, family in free_parameters(space, families):
        config = base
        while True:
            accuracy = score(config)
            value = config.to_dict()[unit, family]
            error = relative_error(accuracy, baseline)
            points.append(SweepPoint(unit, family, value, accuracy, error))
            if on_point is not None:
                on_point(points[-1])
            if error > stop_error or not space.can_lower(config, unit, family):
                break
            config = config.changed(unit, family, value - 1)
    return points


@dataclasses.dataclass
class JuddAssigner:
    """Start from a uniform configuration, descend, and take the cheapest within a tolerance.

    Args:
        evaluate: accuracy of a precision map, or an evaluator that may stop early.
        baseline: accuracy of the float network.
        tolerance: relative error that the chosen map may have.
        start_error: relative error that the start may have.
        stop_error: relative error that ends the descent.
        blocks: name -> layers that get one precision.
        freeze: family -> value that all layers keep.
        arithmetic: "quantized", or "storage" as in the paper (see `BitSpace`).
        ranges: integer bits at the start: "uniform" as in the paper, or "measured" by layer.
        settings: how traffic is counted; batches of 64 by default.
        ledger: file that keeps every score; run the same again to resume.
        fingerprint: what the scores depend on besides the network: model, data, ….
        on_evaluation: called after every score of the descent.
        margin: standard errors that a map must stay below a tolerance by, so that it holds on other
            samples too; 0 as in the paper. They are the map's own where `evaluate` has a method
            `spread` (`tfxp.search.FastEvaluator`), else at least `tolerance_with_margin`'s.
        samples: how many samples the scores are of; needed with a margin.

    Raises:
        ConfigError: a margin without the number of samples.

    References:
        Judd et al., "Reduced-Precision Strategies for Bounded Memory in Deep Neural Nets",
        2015, sec. 2.2 to 2.5. Departs from it: an evaluator may stop early, and a margin
        may be kept.
    """

    evaluate: Evaluate
    baseline: float
    tolerance: float = TOLERANCES[0]
    start_error: float = START_ERROR
    stop_error: float = TOLERANCES[-1]
    blocks: Mapping[str, Sequence[str]] | None = None
    freeze: Mapping[str, int] | None = None
    arithmetic: str = "quantized"
    ranges: str = "uniform"
    settings: CostSettings = dataclasses.field(default_factory=lambda: CostSettings(batch_size=64))
    ledger: str | os.PathLike[str] | None = None
    fingerprint: str = ""
    on_evaluation: Callable[[JuddDescent], None] | None = None
    margin: float = 0.0
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.margin and not self.samples:
            raise ConfigError(
                f"samples: got {self.samples} beside a margin of {self.margin:g}; expected the "
                "number of samples that scores are of."
            )

    def assign(self, stats: ModelStats) -> Assignment:
        """Search; the figures hold every visited map, the Pareto front and each tolerance's best.

        Raises:
            ConfigError: no visited map is within the tolerance, or the start loses too much.
        """
        space = BitSpace(stats, self.blocks, self.freeze, arithmetic=self.arithmetic)
        ledger = EvaluationLedger(self.ledger, f"{self.fingerprint} {space.fingerprint()}")
        start, sweep = uniform_start(
            space, self.evaluate, self.baseline, self.start_error, ledger, self.ranges
        )
        descent = JuddDescent(space, start, self.baseline, self.stop_error, self.settings)
        descent.run(self.evaluate, ledger, self.on_evaluation)
        # tolerance that is asked for -> the one that a choice on these samples must keep
        kept = {
            tolerance: tolerance_with_margin(
                tolerance, self.baseline, self.samples or 1, self.margin
            )
            for tolerance in sorted({*TOLERANCES, self.tolerance})
        }
        descent.settle(self.evaluate, list(kept.values()), ledger)
        spreads: dict[str, float] = {}
        selected = {
            tolerance: self._choice(descent, tolerance, strict, spreads)
            for tolerance, strict in kept.items()
        }
        chosen = selected[self.tolerance]
        if chosen is None:
            raise ConfigError(
                f"tolerance: got {self.tolerance}; expected at least the start's error and the "
                "margin. Allow more, or a smaller start_error, or search on more samples."
            )
        trace = tuple(
            Decision(e.unit, e.family or "start", round(e.accuracy, 6), f"round {e.round}")
            for e in descent.path
        )
        summaries = {str(t): _summary(e, space, self.baseline) for t, e in selected.items()}
        figures = {
            "baseline": self.baseline,
            "sweep": [point.to_dict() for point in sweep],
            "visited": [entry.to_dict() for entry in descent.visited.values()],
            "front": [entry.configuration.key() for entry in descent.front()],
            "selected": summaries, "margin": self.margin,
            "settings": dataclasses.asdict(self.settings),
            "arithmetic": self.arithmetic, "ranges": self.ranges,
        }  # fmt: skip
        return Assignment(space.to_map(chosen.configuration), trace, descent.stop_reason, figures)

    def _choice(
        self, descent: JuddDescent, tolerance: float, strict: float, spreads: dict[str, float]
    ) -> Evaluation | None:
        """The cheapest map for a tolerance, which `strict` is what a margin leaves of at most.

        An evaluator that knows how much a map's loss varies decides by that, along the front.
        """
        spread = getattr(self.evaluate, "spread", None)
        if not self.margin or spread is None:
            return descent.select([strict])[strict]
        for entry in descent.front():
            if relative_error(entry.accuracy, self.baseline) > strict:
                continue
            key = entry.configuration.key()
            if key not in spreads:
                spreads[key] = spread(descent.space.to_map(entry.configuration))
            lost = self.baseline - entry.accuracy
            if lost + self.margin * spreads[key] <= tolerance * self.baseline:
                return entry
        return None


def _summary(entry: Evaluation | None, space: BitSpace, baseline: float) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "accuracy": entry.accuracy,
        "relative_error": relative_error(entry.accuracy, baseline),
        "traffic_bits": entry.traffic_bits,
        "traffic_ratio": entry.traffic_ratio,
        "bits": {name: list(b) for name, b in word_lengths(entry.configuration, space).items()},
        "map": space.to_map(entry.configuration).to_dict(),
    }
