"""Configurations beside C_o: steps, ranges, and the accumulators that follow the weights."""

from pathlib import Path

import pytest

from tfxp.assign.training_variants import in_float, with_bits, with_more_bits
from tfxp.errors import PrecisionError
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
def test_one_bit_more_or_less(bits):
    pmap = PrecisionMap.load(PUBLISHED)
    moved = with_more_bits(pmap, bits)
    for tensor in TENSORS:
        for old, new in pairs(pmap, moved, tensor):
            assert new.scale == old.scale * 2.0**-bits
            if tensor != "accumulators":
                assert (new.bits, new.min) == (old.bits + bits, old.min)
    for rule in moved.layers.values():
        if rule.accumulators is not None:
            assert -rule.accumulators.min == 2.0**-rule.weights.bits  # criterion AS


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
