"""Paired tests of a table of trainings."""

import numpy as np

from tfxp.data.paired_test import mcnemar, pack_hits
from tfxp.report.paired_tests import paired_tests


def run(*hits):
    return {"hits": pack_hits(np.array(hits, bool)), "samples": {"evaluation": len(hits)}}


def test_rows_against_the_first_with_the_same_seed():
    results = {
        "float_seed0": run(1, 1, 1, 0, 0), "float_seed1": run(0, 1, 1, 1, 1),
        "co_seed0": run(0, 0, 1, 1, 0), "co_seed1": run(1, 0, 0, 0, 0),
        "co_seed2": run(1, 1, 1, 1, 1),  # no partner
        "other_seed1": run(1, 1, 1, 1, 1), "old_seed0": {"accuracy": 0.5},
    }  # fmt: skip
    found = paired_tests(results)
    assert list(found) == ["co", "other"]
    co, other = found["co"], found["other"]
    assert (co.lost, co.won) == (2 + 4, 1 + 1) and (other.lost, other.won) == (0, 1)
    assert co.p == mcnemar(6, 2) and co.adjusted_p == min(1, 2 * co.p)
    assert other.adjusted_p == 1.0
    both = {name: result for name, result in results.items() if name.startswith(("co", "other"))}
    assert list(paired_tests(both, "other")) == ["co"]
    turned = paired_tests(both, "other")["co"]
    assert (turned.lost, turned.won) == (4, 0) and turned.low <= -0.8 <= turned.high
    assert co.low < (co.won - co.lost) / 10 < co.high
    assert paired_tests({}) == {} and paired_tests({"old_seed0": {"accuracy": 0.5}}) == {}
