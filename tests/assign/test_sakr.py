"""Sakr's criteria against their formulas, the published configuration and its known answers."""

import dataclasses
import math
from pathlib import Path

import pytest

from tfxp.assign import (
    LayerTrainingStats,
    SakrAssigner,
    TrainingStats,
    mismatch_bound,
    perturbed,
)
from tfxp.assign.sakr import accumulator, feedforward_bits
from tfxp.errors import ConfigError, DataError, PrecisionError
from tfxp.precision import PrecisionMap

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "configs/precision/resnet20_cifar10_sakr_training.json"

# Noise gains that the authors measured (precision_offset.py): 19 activations, then 22 weights.
E_A = [5.14728904e-01, 1.28971756e-01, 1.12113886e-01, 7.31080845e-02, 8.97526741e-02,
       7.69944191e-02, 8.39371309e-02, 6.37812391e-02, 1.92214891e-01, 1.54414907e-01,
       1.32652089e-01, 1.12686194e-01, 8.50616097e-02, 6.56613559e-02, 1.28648296e-01,
       6.50851801e-02, 2.15582941e-02, 4.79985727e-03, 7.82166724e-04]  # fmt: skip
E_W = [2.40889087e03, 9.80265381e02, 1.22257690e03, 1.62437598e03, 1.51966980e03, 3.04983301e03,
       1.46590723e03, 2.14751270e03, 2.74122632e03, 4.96135645e03, 4.23212891e03, 4.20190332e03,
       7.25191992e03, 2.98789404e03, 2.85957227e03, 2.99552051e03, 5.01816895e03, 4.33823926e03,
       1.40675171e03, 1.29727185e03, 1.07979958e02, 8.30818844e00]  # fmt: skip
B_A = [8, 7, 7, 6, 6, 6, 6, 6, 7, 7, 7, 7, 6, 6, 7, 6, 5, 4, 3]
B_W = [14, 13, 13, 13, 13, 14, 13, 14, 14, 14, 14, 14, 15, 14, 14, 14, 14, 14, 13, 13, 12, 10]


def published_gains():
    layers = {}
    for index, gain in enumerate(E_A):
        layers[f"a{index}"] = LayerTrainingStats(f"a{index}", activation_gain=gain)
    for index, gain in enumerate(E_W):
        layers[f"w{index}"] = LayerTrainingStats(f"w{index}", weight_gain=gain)
    return TrainingStats(layers, 1e-3)


def test_efqn_gives_the_published_bits():
    bits = feedforward_bits(published_gains(), 3)
    assert [bits[f"a{index}", "activations"] for index in range(19)] == B_A
    assert [bits[f"w{index}", "weights"] for index in range(22)] == B_W


@pytest.mark.parametrize("b_min", [1, 3, 6, 12])
def test_mismatch_bound_by_the_formula(b_min):
    stats = published_gains()
    bits = feedforward_bits(stats, b_min)
    total = 0.0
    for index, gain in enumerate(E_A):  # r = 2, unsigned
        total += gain * (2 * 2.0 ** -bits[f"a{index}", "activations"]) ** 2
    for index, gain in enumerate(E_W):  # r = 1, signed
        total += gain * (2.0 ** -(bits[f"w{index}", "weights"] - 1)) ** 2
    assert mismatch_bound(stats, b_min) == pytest.approx(total)


def test_b_min_is_the_smallest_below_the_target():
    stats = published_gains()
    for target in (0.05, 0.01, 1e-4):
        b_min = SakrAssigner(mismatch_target=target).assign(stats).figures["b_min"]
        assert mismatch_bound(stats, b_min) <= target < mismatch_bound(stats, b_min - 1)


def test_ranges_other_than_the_published_ones_count():
    """A range twice as wide has twice the step at equal bits, so it gets one bit more."""
    one = LayerTrainingStats("a", weight_gain=1.0, weight_range=1.0)
    two = LayerTrainingStats("b", weight_gain=1.0, weight_range=2.0)
    signed = LayerTrainingStats("c", activation_gain=1.0, activation_signed=True)
    stats = TrainingStats({"a": one, "b": two, "c": signed}, 1e-2)
    bits = feedforward_bits(stats, 4)
    assert bits == {("a", "weights"): 4, ("b", "weights"): 5, ("c", "activations"): 5}
    pmap = SakrAssigner(b_min=4).assign(stats).map
    assert str(pmap.layers["a"].weights) == "Q0.3"
    assert str(pmap.layers["b"].weights) == "Q1.3"
    assert str(pmap.layers["c"].activations) == "Q1.3"


def small_run(high=0.03, low=0.001):
    """conv -> conv -> add with a shortcut from the first; then a dense layer."""
    return TrainingStats(
        {
            "input": LayerTrainingStats("input", activation_gain=0.3, activation_range=1.0),
            "conv0": LayerTrainingStats(
                "conv0", 900.0, 1.0, (high, low), 7.0, None, 0.2, 2.0, False, 1e-4
            ),
            "conv1": LayerTrainingStats("conv1", 300.0, 1.0, (0.02, 0.002), 11.0, "add"),
            "add": LayerTrainingStats("add", activation_gain=0.1, activation_gradient_sigma=3e-4),
            "dense": LayerTrainingStats(
                "dense", 5.0, 1.0, (0.2, 0.01), 3.0, activation_gradient_sigma=0.02
            ),
        },
        min_learning_rate=1e-3,
    )


def floor2(x):
    return 2.0 ** math.floor(math.log2(x))


def ceil2(x):
    return 2.0 ** math.ceil(math.log2(x))


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_gradients_by_the_formulas(variant):
    stats = small_run()
    pmap = SakrAssigner(b_min=4, variant=variant).assign(stats).map
    smooth = math.sqrt(0.1) if variant == "code" else 1.0
    factor = 8 if variant == "code" else 4
    step_of, source = {}, {"conv0": "conv0", "conv1": "add", "dense": "dense"}
    for name in source:
        layer, rule = stats.layers[name], pmap.layers[name]
        high, low = layer.weight_gradient_sigma
        r, step_of[name] = ceil2(2 * high / smooth), floor2(low / 4)
        fmt = rule.weight_gradients
        assert (fmt.scale, -fmt.min) == (step_of[name], r)
        acc = rule.accumulators
        assert acc.scale == floor2(1e-3 * step_of[name])
        assert -acc.min == 2.0**-rule.weights.bits
    for name, tensor in source.items():
        fmt = pmap.layers[tensor].activation_gradients
        sigma = stats.layers[tensor].activation_gradient_sigma
        jacobian = stats.layers[name].jacobian_singular_value
        assert fmt.scale == floor2(step_of[name] / math.sqrt(jacobian))
        assert -fmt.min == ceil2(factor * sigma / smooth)
        assert fmt.bits == math.log2(-fmt.min / fmt.scale) + 1


def test_a_step_as_large_as_the_range_is_said():
    """Such a tensor has codes for -2, -1, 0 and 1 steps, of which gradients reach only zero."""
    stats = small_run()
    assert SakrAssigner(b_min=4).assign(stats).figures["warnings"] == []
    first = dataclasses.replace(stats.layers["conv0"], jacobian_singular_value=1e-6)
    broken = dataclasses.replace(stats, layers={**stats.layers, "conv0": first})
    result = SakrAssigner(b_min=4).assign(broken)
    fmt = result.map.layers["conv0"].activation_gradients
    (warning,) = result.figures["warnings"]
    assert fmt.bits == 2 and warning.startswith("activation_gradients of 'conv0'")
    assert f"below {fmt.scale / 2:g} become 0" in warning


def test_known_answers_of_layer_0():
    """r_GW = 0.25, B_GW = 11, gamma = 1e-3, B_W = 14: D_acc = 2^-22, r_acc = 2^-14, B_acc = 9."""
    r, step = accumulator(14, 1.0, 0.25 * 2.0 ** (1 - 11), 1e-3)
    assert (r, step) == (2.0**-14, 2.0**-22)
    assert math.log2(r / step) + 1 == 9
    rule = PrecisionMap.load(PUBLISHED).layers["conv0"]
    assert (rule.weights.bits, rule.weight_gradients.bits, rule.accumulators.bits) == (14, 11, 9)
    assert rule.weight_gradients.min == -0.25
    assert (rule.accumulators.scale, rule.accumulators.min) == (2.0**-22, -(2.0**-14))


def test_every_published_accumulator_follows_from_the_criterion():
    for rule in PrecisionMap.load(PUBLISHED).layers.values():
        if rule.accumulators is None:
            continue
        r, step = accumulator(rule.weights.bits, 1.0, rule.weight_gradients.scale, 1e-3)
        assert (rule.accumulators.scale, -rule.accumulators.min) == (step, r)


def test_map_covers_the_network_and_says_why():
    result = SakrAssigner().assign(small_run())
    assert result.map.rounding == "half_away"
    assert result.map.default.weights == "float"
    assert result.map.layers["conv1"].activations is None
    assert {decision.reason for decision in result.trace[1:]} == {
        "EFQN", "GC and RQB", "GC and BQN", "AS",
    }  # fmt: skip
    again = PrecisionMap.from_dict(result.map.to_dict())
    assert again == result.map


@pytest.mark.parametrize("bits", [1, -1, 3])
def test_perturbation_keeps_ranges(bits):
    pmap = PrecisionMap.load(PUBLISHED)
    moved = perturbed(pmap, bits)
    for name, rule in pmap.layers.items():
        for tensor in ("weights", "weight_gradients", "activation_gradients", "accumulators"):
            before, after = getattr(rule, tensor), getattr(moved.layers[name], tensor)
            if before is not None:
                assert after.bits == before.bits + bits
                assert after.min == before.min
                assert after.scale == before.scale * 2.0**-bits
    weights = perturbed(pmap, bits, ["weights"])
    assert weights.layers["conv0"].weights == moved.layers["conv0"].weights
    assert weights.layers["conv0"].accumulators == pmap.layers["conv0"].accumulators
    assert moved.default == pmap.default


def test_perturbation_to_nothing():
    pmap = PrecisionMap.load(PUBLISHED)
    with pytest.raises(PrecisionError, match="activations of 'group2_block2_add' with -3 bits"):
        perturbed(pmap, -3, ["activations"])
    with pytest.raises(PrecisionError, match="tensor: got 'bias'"):
        perturbed(pmap, 1, ["bias"])


def test_statistics_round_trip(tmp_path):
    stats = small_run()
    stats.save(tmp_path / "run.json")
    assert TrainingStats.load(tmp_path / "run.json") == stats
    with pytest.raises(DataError, match="training statistics"):
        TrainingStats.from_dict({"schema": 1})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SakrAssigner(variant="both"), ConfigError, "variant of gradient clipping"),
        (lambda: SakrAssigner(mismatch_target=0), ConfigError, "mismatch_target"),
        (lambda: LayerTrainingStats("a", weight_gain=0.0), DataError, "weight_gain of 'a'"),
        (
            lambda: LayerTrainingStats("a", weight_gradient_sigma=(0.1, 0.2)),
            DataError,
            "the largest and the smallest",
        ),
        (lambda: TrainingStats({}, 0), DataError, "min_learning_rate"),
        (lambda: SakrAssigner().assign(TrainingStats({}, 0.1)), DataError, "no noise gain"),
        (
            lambda: SakrAssigner().assign(small_run(high=0.03, low=1e-10)),
            ConfigError,
            "at most 32",
        ),
        (
            lambda: SakrAssigner(b_min=3).assign(
                TrainingStats(
                    {"a": LayerTrainingStats("a", 1.0, activation_gradient_sigma=0.1)}, 0.1
                )
            ),
            DataError,
            "gradient of the output of 'a'",
        ),
    ],
)
def test_what_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()
