"""Paired tests against their definitions."""

import itertools

import numpy as np
import pytest

from tfxp.data.paired_test import bootstrap_interval, holm, mcnemar, pack_hits, unpack_hits


@pytest.mark.parametrize("tosses", range(9))
def test_mcnemar_counts_all_outcomes(tosses):
    """How many of 2^n tosses are at least as unequal, both ways; nothing to tell is 1."""
    for lost in range(tosses + 1):
        least = min(lost, tosses - lost)
        outcomes = [sum(toss) for toss in itertools.product((0, 1), repeat=tosses)]
        extreme = sum(heads <= least or heads >= tosses - least for heads in outcomes)
        assert mcnemar(lost, tosses - lost) == pytest.approx(extreme / 2**tosses)


def test_many_differences():
    assert mcnemar(5000, 5000) == 1.0
    assert 0 < mcnemar(400, 600) < 1e-9 and mcnemar(600, 400) == mcnemar(400, 600)
    assert mcnemar(0, 4000) < 1e-300 or mcnemar(0, 4000) == 0.0


def test_holm_keeps_the_order_and_rejects_step_by_step():
    values = [0.04, 0.001, 0.03, 0.9]
    adjusted = holm(values)
    assert adjusted == pytest.approx([0.09, 0.004, 0.09, 0.9])
    assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 250])
def test_hits_survive(samples):
    hits = np.random.default_rng(samples).random(samples) < 0.5
    assert np.array_equal(unpack_hits(pack_hits(hits), samples), hits)


def test_the_interval_is_that_of_the_mean():
    """Wide as theory says for one seed; wider where seeds differ; a point where nothing does."""
    random = np.random.default_rng(0)
    one = random.choice([-1, 0, 1], p=[0.05, 0.85, 0.1], size=(1, 5000))
    low, high = bootstrap_interval(one)
    assert low < one.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * one.std() / 5000**0.5, rel=0.1)
    two = np.concatenate([one, np.zeros_like(one)])
    assert bootstrap_interval(two) == bootstrap_interval(two)
    assert np.ptp(bootstrap_interval(two)) > 2 * np.ptp(bootstrap_interval(np.tile(one, (2, 1))))
    assert bootstrap_interval(np.zeros((3, 10), int)) == (0.0, 0.0)
