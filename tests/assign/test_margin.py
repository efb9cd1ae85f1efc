"""Judd's choice with a margin: what keeps a tolerance on other samples, and is cheapest."""

import pytest

from tests.assign.test_descent import BASELINE, evaluator, network
from tfxp.assign import BitSpace, JuddAssigner
from tfxp.assign.pareto import tolerance_with_margin
from tfxp.assign.search_space import Configuration
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


def test_a_margin_counts_what_a_map_changes():
    """Of an evaluator that knows it; the cheapest map on the front that keeps the tolerance."""
    space = BitSpace(network())

    class Evaluator:
        def __init__(self):
            self.plain = evaluator(space)

        def __call__(self, precision):
            return self.plain(precision)

        def spread(self, precision):
            return 0.004 * (1 + precision.layers["a"].activations.fractional_bits % 3)

    figures = (
        JuddAssigner(Evaluator(), BASELINE, 0.05, margin=1.5, samples=10**9)
        .assign(network())
        .figures
    )
    visited = {entry["configuration"]: entry for entry in figures["visited"]}
    front = [visited[key] for key in figures["front"]]
    for tolerance, chosen in figures["selected"].items():
        kept = [
            entry["traffic_bits"]
            for entry in front
            if BASELINE
            - entry["accuracy"]
            + 1.5 * Evaluator().spread(space.to_map(Configuration.from_key(entry["configuration"])))
            <= float(tolerance) * BASELINE
        ]
        assert (chosen and chosen["traffic_bits"]) == (min(kept) if kept else None)


def test_impossible_margins():
    with pytest.raises(ConfigError, match="samples: got None beside a margin of 1"):
        JuddAssigner(evaluator(BitSpace(network())), BASELINE, margin=1.0)
    with pytest.raises(ConfigError, match="margin: got -1"):
        tolerance_with_margin(0.01, BASELINE, 9, -1.0)
