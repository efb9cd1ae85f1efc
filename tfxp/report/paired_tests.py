"""Paired tests of trainings that were evaluated on the same samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfxp.data.paired_test import holm, mcnemar, unpack_hits
from tfxp.report.training_plots import row_of


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """A row of a table of trainings against its first row.

    Args:
        lost: samples that only the first row decides right, all common seeds together.
        won: samples that only this row decides right.
        p: how likely so unequal a split is if both rows are equally good (McNemar, exact,
            two-sided).
        adjusted_p: the same after Holm's correction for as many tests as the table has.
    """

    lost: int
    won: int
    p: float
    adjusted_p: float


def paired_tests(results: Mapping[str, Any]) -> dict[str, PairedTest]:
    """Row -> its test against the first row, pooled over the seeds that both have.

    Args:
        results: run -> what `train_recipe` returned; runs of older versions, which do not say
            which samples were decided right, are left out.

    Example:
        >>> runs = {"a_seed0": "f0", "b_seed0": "8f", "a_seed1": "f0", "b_seed1": "f0"}
        >>> both = {n: {"hits": h, "samples": {"evaluation": 8}} for n, h in runs.items()}
        >>> paired_tests(both)["b"]
        PairedTest(lost=3, won=4, p=1.0, adjusted_p=1.0)
    """
    hits = {
        name: unpack_hits(result["hits"], result["samples"]["evaluation"])
        for name, result in results.items()
        if result.get("hits")
    }
    first = row_of(next(iter(results), ""))
    counts: dict[str, tuple[int, int]] = {}
    for name, own in hits.items():
        row = row_of(name)
        reference = hits.get(first + name.removeprefix(row))
        if row == first or reference is None or len(reference) != len(own):
            continue
        lost, won = counts.get(row, (0, 0))
        counts[row] = (lost + int((reference & ~own).sum()), won + int((own & ~reference).sum()))
    values = [mcnemar(*pair) for pair in counts.values()]
    return {
        row: PairedTest(*pair, p, adjusted)
        for (row, pair), p, adjusted in zip(counts.items(), values, holm(values), strict=True)
    }
