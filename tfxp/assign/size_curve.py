"""Accuracy against the size of the weights: Lin's allocation beside equal bits everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfxp.assign.lin import LinAssigner
from tfxp.assign.pareto import cheapest_within, pareto_front
from tfxp.errors import ConfigError
from tfxp.precision import ModelStats, PrecisionMap

KINDS = ("allocated", "equal")


@dataclasses.dataclass(frozen=True)
class SizePoint:
    """One map of the curve.

    Args:
        kind: "allocated" (Lin) or "equal" (the same bits in every layer that Lin would allocate).
        knob: bits of the anchor, or of all.
        bits: layer -> bits of its weights.
        size_bits: size of all weights with bits; layers left float and biases do not count.
        accuracy: the score.
    """

    kind: str
    knob: float
    bits: Mapping[str, int]
    size_bits: float
    accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**dataclasses.asdict(self), "bits": dict(self.bits)}


@dataclasses.dataclass(frozen=True)
class Saving:
    """What allocation saves at the accuracy of one allocated map.

    Args:
        accuracy: the score of both.
        allocated_bits: size of the allocated map.
        equal_bits: size that equal bits need for the same score, between maps by a straight line.
        next_equal_bits: size of the smallest map of equal bits that scores no less.
    """

    accuracy: float
    allocated_bits: float
    equal_bits: float
    next_equal_bits: float

    @property
    def share(self) -> float:
        """How much smaller the allocated map is."""
        return 1 - self.allocated_bits / self.equal_bits

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**dataclasses.asdict(self), "share": self.share}


def size_curve(
    evaluate: Callable[[PrecisionMap], float],
    stats: ModelStats,
    assigner: LinAssigner,
    anchors: Sequence[float],
    equal_bits: Sequence[int],
    on_point: Callable[[SizePoint], None] | None = None,
) -> list[SizePoint]:
    """Score allocated maps of many sizes, and maps with equal bits.

    Maps that several knobs lead to are scored once. Fixed and excluded layers, dense layers kept
    apart, activations and the way formats are chosen are the assigner's for both kinds.

    Args:
        evaluate: accuracy of a precision map.
        stats: the network.
        assigner: rho, kappa and everything else; its own anchor or target is not used.
        anchors: bits of the anchor to try, halves allowed.
        equal_bits: bits of the maps that allocation is compared with.
        on_point: called after every score, for progress.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 5.
    """
    points: list[SizePoint] = []
    known: dict[tuple[tuple[str, int], ...], float] = {}
    knobs = [("allocated", a) for a in anchors] + [("equal", float(b)) for b in equal_bits]
    for kind, knob in knobs:
        result = _map(assigner, stats, kind, knob)
        bits = result.figures["bits"]
        key = tuple(sorted(bits.items()))
        if any(p.kind == kind and tuple(sorted(p.bits.items())) == key for p in points):
            continue
        if key not in known:
            known[key] = evaluate(result.map)
        points.append(SizePoint(kind, knob, bits, result.figures["size_bits"], known[key]))
        if on_point is not None:
            on_point(points[-1])
    return points


def _map(assigner: LinAssigner, stats: ModelStats, kind: str, knob: float) -> Any:
    changes: dict[str, Any] = {"anchor_bits": knob, "target_db": None}
    if kind == "equal":
        # One cost for all gives every layer the anchor's bits.
        changes |= {"rho": lambda layer: 1.0, "kappa": 1.0}
    return dataclasses.replace(assigner, **changes).assign(stats)


def savings(points: Sequence[SizePoint]) -> list[Saving]:
    """For every allocated map that no other beats: the size that equal bits need for its score.

    Between neighbouring maps of the front of equal bits, size is a straight line of the score.
    Scores above or below all of them are left out. Sorted by size.

    Args:
        points: sizes and scores of maps of both kinds, "equal" and "allocated".

    Raises:
        ConfigError: the points are not of both kinds.

    Example:
        >>> points = [SizePoint("equal", b, {}, 100 * b, 0.1 * b) for b in (2, 4)]
        >>> found = savings([*points, SizePoint("allocated", 3, {}, 240, 0.3)])
        >>> [(round(s.equal_bits), s.next_equal_bits, round(s.share, 3)) for s in found]
        [(300, 400, 0.2)]
    """
    fronts = {
        kind: pareto_front(
            [p for p in points if p.kind == kind], lambda p: p.size_bits, lambda p: p.accuracy
        )
        for kind in KINDS
    }
    if not all(fronts.values()):
        raise ConfigError("savings: got points of one kind only; expected allocated and equal.")
    result = []
    for point in fronts["allocated"]:
        equal = fronts["equal"]
        above = next((i for i, p in enumerate(equal) if p.accuracy >= point.accuracy), None)
        if above is None or (above == 0 and equal[0].accuracy > point.accuracy):
            continue
        high, low = equal[above], equal[max(above - 1, 0)]
        size = high.size_bits
        if high.accuracy > point.accuracy:
            share = (point.accuracy - low.accuracy) / (high.accuracy - low.accuracy)
            size = low.size_bits + share * (high.size_bits - low.size_bits)
        result.append(Saving(point.accuracy, point.size_bits, size, high.size_bits))
    return result


def best_saving(
    points: Sequence[SizePoint], baseline: float, saturated: float = 0.01, worst: float = 0.1
) -> Saving | None:
    """The largest saving below saturation, where sizes still buy accuracy.

    Args:
        points: both kinds.
        baseline: score of the float network.
        saturated: relative loss below which scores of different sizes differ by chance only.
        worst: relative loss beyond which nobody would use the network.
    """
    found = savings(points)
    useful = [s for s in found if saturated <= 1 - s.accuracy / baseline <= worst]
    return max(useful, key=lambda saving: saving.share, default=None)


def smallest_within(
    points: Sequence[SizePoint], baseline: float, tolerance: float
) -> SizePoint | None:
    """The smallest allocated map whose score is at most a relative `tolerance` below float's.

    Args:
        points: of `size_curve`, equal maps among them.
        baseline: score of the float network.
        tolerance: share of it that may be lost.
    """
    return cheapest_within(
        [point for point in points if point.kind == "allocated"],
        lambda p: p.size_bits,
        lambda p: p.accuracy,
        baseline,
        tolerance,
    )
