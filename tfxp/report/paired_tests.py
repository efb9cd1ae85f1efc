"""Paired tests of trainings that were evaluated on the same samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfxp.data.paired_test import bootstrap_interval, holm, mcnemar, unpack_hits
from tfxp.report.training_plots import row_of, runs_beside


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """A row of a table of trainings against another row.

    Args:
        lost: samples that only the other row decides right, all common seeds together.
        won: samples that only this row decides right.
        p: how likely so unequal a split is if both rows are equally good (McNemar, exact,
            two-sided).
        adjusted_p: the same after Holm's correction for as many tests as the table has.
        low, high: 95 % interval of the difference in accuracy, over samples and seeds.
    """

    lost: int
    won: int
    p: float
    adjusted_p: float
    low: float
    high: float


def paired_tests(results: Mapping[str, Any], against: str | None = None) -> dict[str, PairedTest]:
    """Row -> its test against another row, pooled over the seeds that both have.

    Args:
        results: run -> what `train_recipe` returned; runs of older versions, which do not say
            which samples were decided right, are left out.
        against: the other row; the first one by default.

    Example:
        >>> runs = {"a_seed0": "f0", "b_seed0": "8f", "a_seed1": "f0", "b_seed1": "f0"}
        >>> both = {n: {"hits": h, "samples": {"evaluation": 8}} for n, h in runs.items()}
        >>> found = paired_tests(both)["b"]
        >>> found.lost, found.won, found.p
        (3, 4, 1.0)
    """
    hits = {
        name: unpack_hits(result["hits"], result["samples"]["evaluation"])
        for name, result in results.items()
        if result.get("hits")
    }
    against = against or row_of(next(iter(results), ""))
    pairs: dict[str, list[np.ndarray]] = {}
    for name, beside in runs_beside(hits, against).items():
        if row_of(name) != against and len(hits[name]) == len(hits[beside]):
            difference = hits[name].astype(np.int8) - hits[beside].astype(np.int8)
            pairs.setdefault(row_of(name), []).append(difference)
    tables = {row: np.stack(differences) for row, differences in pairs.items()}
    counts = [(int((table < 0).sum()), int((table > 0).sum())) for table in tables.values()]
    values = [mcnemar(*pair) for pair in counts]
    return {
        row: PairedTest(*pair, p, adjusted, *bootstrap_interval(table))
        for (row, table), pair, p, adjusted in zip(
            tables.items(), counts, values, holm(values), strict=True
        )
    }
