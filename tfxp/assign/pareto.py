"""Which of many (cost, score) points nothing beats, and which is cheapest within a tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from tfxp.errors import ConfigError

Point = TypeVar("Point")


def pareto_front(
    points: Iterable[Point], cost: Callable[[Point], float], score: Callable[[Point], float]
) -> list[Point]:
    """The points that no other beats: none is at least as cheap and as good, and better in one.

    Of points that are equal in both, the first is kept. Sorted by cost.

    Args:
        points: any values.
        cost: point -> what it costs.
        score: point -> how good it is.

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

    Args:
        points: any values.
        cost: point -> what it costs.
        score: point -> how good it is.
        baseline: the score that the tolerance is a share of.
        tolerance: from 0 to 1.

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


def tolerance_with_margin(tolerance: float, baseline: float, samples: int, margin: float) -> float:
    """A stricter tolerance, so that one that was met by chance on some samples holds on others.

    The share d of samples that a map loses varies, from one set of n samples to another, with a
    standard error of at least sqrt(d / n): decisions are paired, and a map that wins some where it
    loses others varies more. What is asked for is

        d + margin * sqrt(d / n) <= tolerance * baseline

    Args:
        tolerance: relative error that is allowed.
        baseline: accuracy of the float network.
        samples: n, how many the choice is made on.
        margin: in standard errors; 0 leaves the tolerance as it is, 1.645 is one-sided 95 %.

    Raises:
        ConfigError: a negative margin.

    Example:
        >>> round(tolerance_with_margin(0.01, 1.0, 10_000, 1.0), 4)
        0.009
    """
    if margin < 0:
        raise ConfigError(f"margin: got {margin}; expected 0 or more standard errors.")
    if margin == 0:
        return tolerance
    step = margin / math.sqrt(samples)
    root = (math.sqrt(step**2 + 4 * tolerance * baseline) - step) / 2
    return root**2 / baseline


def relative_error(score: float, baseline: float) -> float:
    """How far a score lies below the baseline, as a share of it; negative if above.

    Raises:
        ConfigError: the baseline is not positive.
    """
    if baseline <= 0:
        raise ConfigError(f"baseline score: got {baseline}; expected a positive number.")
    # Scores are counts over a number of samples; the last bits of their quotients mean nothing.
    return round((baseline - score) / baseline, 12)
