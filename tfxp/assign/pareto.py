"""Which of many (cost, score) points nothing beats, and which is cheapest within a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from tfxp.errors import ConfigError

Point = TypeVar("Point")


def pareto_front(
    points: Iterable[Point], cost: Callable[[Point], float], score: Callable[[Point], float]
) -> list[Point]:
    """The points that no other beats: none is at least as cheap and as good, and better in one.

    Of points that are equal in both, the first is kept. Sorted by cost.

    Example:
        >>> pareto_front([(3, 0.9), (2, 0.8), (3, 0.7), (4, 0.9)], lambda p: p[0], lambda p: p[1])
        [(2, 0.8), (3, 0.9)]
    """
    best = float("-inf")
    front = []
    for point in sorted(points, key=lambda p: (cost(p), -score(p))):
        if score(point) > best:
            best = score(point)
            front.append(point)
    return front


def cheapest_within(
    points: Iterable[Point],
    cost: Callable[[Point], float],
    score: Callable[[Point], float],
    baseline: float,
    tolerance: float,
) -> Point | None:
    """The cheapest point whose score is at most a relative `tolerance` below `baseline`.

    Ties in cost go to the better score, then to the first. None if no point is good enough.

    Raises:
        ConfigError: `tolerance` is not a share.

    Example:
        >>> cheapest_within([(3, 0.9), (2, 0.89)], lambda p: p[0], lambda p: p[1], 0.9, 0.02)
        (2, 0.89)
    """
    if not 0 <= tolerance <= 1:
        raise ConfigError(f"tolerance: got {tolerance}; expected a share from 0 to 1.")
    good = [point for point in points if relative_error(score(point), baseline) <= tolerance]
    return min(good, key=lambda p: (cost(p), -score(p)), default=None)


def relative_error(score: float, baseline: float) -> float:
    """How far a score lies below the baseline, as a share of it; negative if above.

    Raises:
        ConfigError: the baseline is not positive.
    """
    if baseline <= 0:
        raise ConfigError(f"baseline score: got {baseline}; expected a positive number.")
    # Scores are counts over a number of samples; the last bits of their quotients mean nothing.
    return round((baseline - score) / baseline, 12)
