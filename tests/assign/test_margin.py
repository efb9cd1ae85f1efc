"""Judd's choice with a margin: what keeps a tolerance on other samples, and is cheapest."""

import pytest

from tests.assign.test_descent import BASELINE, evaluator, network
from tfxp.assign import BitSpace, JuddAssigner
from tfxp.assign.pareto import tolerance_with_margin
from tfxp.errors import ConfigError


@pytest.mark.parametrize("samples", [100, 5000])
@pytest.mark.parametrize("margin", [0.0, 1.0, 1.645])
def test_a_margin_keeps_the_tolerance_on_other_samples(samples, margin):
    """The cheapest whose loss d keeps d + margin * sqrt(d / n) within the tolerance is taken."""
    assigner = JuddAssigner(
        evaluator(BitSpace(network())), BASELINE, 0.05, margin=margin, samples=samples
    )
    figures = assigner.assign(network()).figures
    for tolerance, entry in figures["selected"].items():
        allowed = float(tolerance) * BASELINE
        kept = []
        for visited in figures["visited"]:
            lost = max(BASELINE - visited["accuracy"], 0.0)
            if lost + margin * (lost / samples) ** 0.5 <= allowed + 1e-12:
                kept.append(visited["traffic_bits"])
        assert (entry and entry["traffic_bits"]) == (min(kept) if kept else None)


def test_impossible_margins():
    with pytest.raises(ConfigError, match="samples: got None beside a margin of 1"):
        JuddAssigner(evaluator(BitSpace(network())), BASELINE, margin=1.0)
    with pytest.raises(ConfigError, match="margin: got -1"):
        tolerance_with_margin(0.01, BASELINE, 9, -1.0)
