"""Two deciders on the same samples: which of them is right where they differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided test of McNemar: `lost` of lost + won tosses of a fair coin.

    Args:
        lost, won: samples on which two deciders differ, by who is right.

    Example:
        >>> mcnemar(1, 5)
        0.21875

    References:
        McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages", Psychometrika 12, 1947.
    """
    tosses, least = lost + won, min(lost, won)
    term = total = 1
    for count in range(1, least + 1):
        term = term * (tosses - count + 1) // count
        total += term
    return min(1.0, 2 * total / 2**tosses)


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests, such that all that are below a level may be believed together.

    Args:
        values: p of each test.

    Example:
        >>> holm([0.25, 0.01, 0.02])
        [0.25, 0.03, 0.04]

    References:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6, 1979.
    """
    adjusted, largest = [1.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def bootstrap_interval(
    differences: NDArray[np.integer], draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Where the mean difference of two deciders lies, for other samples and other seeds.

    Seeds and samples are drawn anew, with replacement and independently of each other.

    Args:
        differences: (seeds, samples); 1 where only the second is right, -1 where only the first.
        draws: how often.
        level: share of the draws within the interval.

    Example:
        >>> low, high = bootstrap_interval(np.array([[1, 0, 0, 0] * 250]))
        >>> 0.22 < low < 0.25 < high < 0.28
        True

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
    """
    seeds, samples = differences.shape
    random = np.random.default_rng(0)
    means = np.empty(draws)
    for draw in range(draws):
        rows = differences[random.integers(0, seeds, seeds)].mean(axis=0)
        means[draw] = rows[random.integers(0, samples, samples)].mean()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pack_hits(hits: NDArray[np.bool_]) -> str:
    """Which samples were decided right, eight to a byte, as hexadecimal digits.

    Example:
        >>> pack_hits(np.array([True, False, True]))
        'a0'
    """
    return np.packbits(hits).tobytes().hex()


def unpack_hits(digits: str, samples: int) -> NDArray[np.bool_]:
    """The inverse of `pack_hits`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8), count=samples) == 1
