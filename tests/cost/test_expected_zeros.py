"""Zeros read off distributions against zeros counted in runs."""

import numpy as np
import pytest

import tfxp
from tests.search.networks import classifier, labelled
from tfxp.cost import CostSettings, EnergyTable, ExpectedZeros
from tfxp.errors import ConfigError
from tfxp.export import KerasTracer
from tfxp.models import count_network
from tfxp.precision import PrecisionMap
from tfxp.search.search_goal import make_pricer


@pytest.fixture(scope="module")
def setting():
    model = classifier()
    x, y = labelled(model, 64)
    return model, x, y, tfxp.measure_model(model, x)


def executed_in_a_run(qmodel, x):
    tracer = KerasTracer(qmodel)
    runner = tfxp.Interpreter(tracer.graph)
    runner.allocate_tensors()
    runner.predict_codes(tracer.codes([x])[0])
    return runner.report().macs_executed / len(x)


@pytest.mark.parametrize("precision", ["w8a8", "w4a4", "w3a3"])
def test_expected_zeros_are_near_those_of_a_run(setting, precision):
    model, x, _, stats = setting
    qmodel = tfxp.quantize_model(model, precision, stats)
    counted = executed_in_a_run(qmodel, x)
    # padding taps are zeros too, which distributions do not know: 36 of 324 taps of a 6x6 map
    expected = sum(ExpectedZeros(stats).executed_macs(tfxp.precision_of(qmodel)).values())
    assert 0.75 * expected < counted < 1.05 * expected


def test_pruned_weights_count(setting):
    model, x, _, stats = setting
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    tfxp.prune_model(qmodel, 0.75)
    plain = tfxp.strip(qmodel)
    pruned = ExpectedZeros(tfxp.measure_model(plain, x)).executed_macs(PrecisionMap.uniform(8, 8))
    dense = ExpectedZeros(stats).executed_macs(PrecisionMap.uniform(8, 8))
    for name in pruned:
        assert pruned[name] < 0.35 * stats[name].macs and pruned[name] < dense[name]


def test_coarser_formats_cost_less_and_energy_follows(setting):
    stats = setting[3]
    energy = EnergyTable.load("configs/energy/horowitz_2014_45nm.json")
    price = make_pricer(stats, CostSettings(), energy, skip_zeros=True)
    plain = make_pricer(stats, CostSettings(), energy)
    fine, coarse = price(PrecisionMap.uniform(8, 8)), price(PrecisionMap.uniform(8, 3))
    assert coarse["macs_executed"] < fine["macs_executed"] < fine["macs"]
    all_done = plain(PrecisionMap.uniform(8, 8))
    assert "macs_executed" not in all_done
    share = fine["macs_executed"] / fine["macs"]
    assert share < 1 and fine["arithmetic_pj"] < all_done["arithmetic_pj"]
    assert fine["memory_pj"] == all_done["memory_pj"]


def test_a_search_for_fewer_executed_macs(setting, tmp_path):
    model, x, y, stats = setting
    search = tfxp.PrecisionSearch(
        model, (x, y), stats=stats, directory=tmp_path, progress=False, max_trials=6,
        cost="macs_executed", tolerance=0.5, weights=(4, 8), activations=(3, 8), method="random",
    )  # fmt: skip
    result = search.run()
    zeros = ExpectedZeros(stats)
    for trial in result.trials:
        wanted = sum(zeros.executed_macs(result.space.to_map(trial.configuration)).values())
        assert trial.costs["macs_executed"] == pytest.approx(wanted)
    accepted = [
        t for t in result.trials if result.goal.accepts(t.accuracy, t.costs["macs_executed"])
    ]
    assert result.best.costs["macs_executed"] == min(t.costs["macs_executed"] for t in accepted)


def test_sizes_alone_are_refused():
    with pytest.raises(ConfigError, match="statistics of measure_model"):
        ExpectedZeros(count_network("sakr_convnet"))
    assert np.isfinite(count_network("sakr_convnet").layers["dense1"].macs)
