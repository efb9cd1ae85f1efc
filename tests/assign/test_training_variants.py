"""Configurations beside C_o: steps, ranges, and the accumulators that follow the weights."""

from pathlib import Path

import pytest

from tfxp.assign.training_variants import READINGS, in_float, with_bits, with_more_bits
from tfxp.cost import training_cost
from tfxp.errors import PrecisionError
from tfxp.models import count_network
from tfxp.precision import PrecisionMap

PUBLISHED = Path(__file__).parents[2] / "configs/precision/resnet20_cifar10_sakr_training.json"
TENSORS = ("weights", "activations", "weight_gradients", "activation_gradients", "accumulators")


def pairs(before, after, tensor):
    """(format before, format after) of a tensor in every layer that has one; not of the input."""
    for name, rule in before.layers.items():
        old, new = getattr(rule, tensor), getattr(after.layers[name], tensor)
        if name != "input" and old is not None:
            yield old, new


@pytest.mark.parametrize("bits", [1, -1])
@pytest.mark.parametrize("reading", READINGS)
def test_one_bit_more_or_less(bits, reading):
    """Four tensors are alike in every reading; accumulators have the range, the step, the bits."""
    pmap = PrecisionMap.load(PUBLISHED)
    moved = with_more_bits(pmap, bits, accumulators=reading)
    for tensor in TENSORS[:-1]:
        for old, new in pairs(pmap, moved, tensor):
            assert (new.bits, new.min) == (old.bits + bits, old.min)
            assert new.scale == old.scale * 2.0**-bits
    for old, new in pairs(pmap, moved, "accumulators"):
        assert new.bits == old.bits + (0 if reading == "step" else bits)
        assert new.min == old.min * (1 if reading == "literal" else 2.0**-bits)
        assert new.scale == old.scale * 2.0 ** (-2 * bits if reading == "range" else -bits)
    for rule in moved.layers.values():
        if rule.accumulators is not None and reading != "literal":
            assert -rule.accumulators.min == 2.0**-rule.weights.bits  # criterion AS


def test_a_configuration_of_fewer_bits_costs_less():
    """C_W of the published ResNet: all five tensors one bit less, 670.0 Mbit, not 688.6."""
    pmap, network = PrecisionMap.load(PUBLISHED), count_network("sakr_resnet20")
    costs = {
        reading: training_cost(network, with_more_bits(pmap, -1, accumulators=reading)).total("C_W")
        for reading in READINGS
    }
    whole = training_cost(network, pmap).total("C_W")
    assert costs["range"] == costs["literal"] == whole - 3 * network.weight_count
    assert costs["step"] == whole - 2 * network.weight_count
    assert [round(costs[reading] / 1e6, 1) for reading in READINGS] == [670.0, 688.6, 670.0]
    with pytest.raises(PrecisionError, match="accumulators: got 'bits'; expected one of"):
        with_more_bits(pmap, -1, accumulators="bits")


def test_one_class_only():
    pmap = PrecisionMap.load(PUBLISHED)
    weights = with_more_bits(pmap, -1, ["weights"])
    for old, new in pairs(pmap, weights, "accumulators"):
        assert (new.scale, new.min) == (old.scale, 2 * old.min)
    for tensor in ("activations", "weight_gradients", "activation_gradients"):
        assert all(old == new for old, new in pairs(pmap, weights, tensor))
    gradients = with_more_bits(pmap, -1, ["weight_gradients"])
    assert all(old == new for old, new in pairs(pmap, gradients, "accumulators"))


def test_eight_bits_everywhere():
    pmap = PrecisionMap.load(PUBLISHED)
    eight = with_bits(pmap, 8)
    for tensor in TENSORS:
        for old, new in pairs(pmap, eight, tensor):
            assert new.bits == 8
            assert tensor == "accumulators" or new.min == old.min
    assert all(-new.min == 2.0**-8 for _, new in pairs(pmap, eight, "accumulators"))


def test_float_accumulators_and_unknown_tensors():
    pmap = PrecisionMap.load(PUBLISHED)
    shadow = in_float(pmap, ["accumulators"])
    assert all(new == "float" for _, new in pairs(pmap, shadow, "accumulators"))
    assert shadow.layers["conv0"].weights == pmap.layers["conv0"].weights
    with pytest.raises(PrecisionError, match="tensor: got 'bias'"):
        in_float(pmap, ["bias"])
