"""The integer program: equal to enumeration, and refused where it would not be exact."""

import itertools
import math

import numpy as np
import pytest

from tfxp.assign import IlpAssigner
from tfxp.cost import CostSettings, cost_report
from tfxp.errors import ConfigError
from tfxp.models import count_network
from tfxp.precision import LayerPrecision, PrecisionMap

NETWORK = count_network("sakr_convnet")
BITS = (2, 3, 4, 8)


def drawn(seed, tensors, bits=BITS):
    """Losses that fall with the word length, each tensor's by its own factor."""
    rng = np.random.default_rng(seed)
    return {
        tensor: {b: float(rng.uniform(0.5, 1.5) * factor * 4.0**-b) for b in bits}
        for tensor, factor in zip(tensors, 10 ** rng.uniform(0, 3, len(tensors)), strict=True)
    }


def mapped(choice):
    rules = {}
    for (layer, tensor), bits in choice.items():
        rules.setdefault(layer, {})[tensor] = bits
    layers = {name: LayerPrecision(**rule) for name, rule in rules.items()}
    return PrecisionMap.uniform(8, 8).updated(layers)


def enumerated(losses, total, bound, settings=CostSettings()):  # noqa: B008
    best = math.inf
    for bits in itertools.product(*(choices for choices in losses.values())):
        choice = dict(zip(losses, bits, strict=True))
        loss = sum(losses[tensor][b] for tensor, b in choice.items())
        if loss < best:
            cost = cost_report(NETWORK, mapped(choice), settings).total(total)
            best = loss if cost <= bound else best
    return best


def weighted():
    return [(name, "weights") for name, layer in NETWORK.layers.items() if layer.weight_count]


def owners():
    return [(name, "activations") for name, layer in NETWORK.layers.items() if layer.owns_format]


CASES = {
    "size": (weighted()[:4], "model_size_bits", CostSettings()),
    "traffic": (weighted()[:2] + owners()[1:4], "traffic_batch_bits", CostSettings(batch_size=8)),
    "ratio": (owners()[1:5], "traffic_ratio", CostSettings()),
    "bit_operations": (weighted()[:4], "bit_operations", CostSettings()),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_equal_to_enumeration(case, share):
    tensors, total, settings = CASES[case]
    losses = drawn(len(case), tensors, BITS[:3] if case == "traffic" else BITS)
    ends = [
        cost_report(NETWORK, mapped({t: pick(losses[t]) for t in tensors}), settings).total(total)
        for pick in (min, max)
    ]
    bound = ends[0] + share * (ends[1] - ends[0])
    result = IlpAssigner(losses, total, bound, settings=settings).assign(NETWORK)
    assert result.figures["loss"] == pytest.approx(enumerated(losses, total, bound, settings))
    cost = cost_report(NETWORK, result.map, settings).total(total)
    assert cost == pytest.approx(result.figures["cost"]) and cost <= bound * (1 + 1e-9)


def test_all_room_takes_the_least_loss_and_none_the_least_bits():
    losses = drawn(3, weighted())
    free = IlpAssigner(losses, "model_size_bits", math.inf).assign(NETWORK)
    assert {d.value for d in free.trace} == {8}
    least = cost_report(NETWORK, mapped(dict.fromkeys(weighted(), 2))).total("model_size_bits")
    tight = IlpAssigner(losses, "model_size_bits", least).assign(NETWORK)
    assert {d.value for d in tight.trace} == {2}
    with pytest.raises(ConfigError, match=f"expected at least {least:.12g},"):
        IlpAssigner(losses, "model_size_bits", least - 1).assign(NETWORK)


def test_what_is_no_sum_is_refused():
    losses = drawn(4, weighted()[:2] + owners()[1:3])
    for total in ("bit_operations", "activation_peak_bits"):
        bound = cost_report(NETWORK, PrecisionMap.uniform(8, 8)).total(total)
        losses = drawn(4, owners()) if "peak" in total else losses
        with pytest.raises(ConfigError, match="which is no sum over tensors"):
            IlpAssigner(losses, total, bound).assign(NETWORK)
    with pytest.raises(ConfigError, match="got 'model_size'; expected one of .*model_size_bits"):
        IlpAssigner(losses, "model_size", 1).assign(NETWORK)
    with pytest.raises(ConfigError, match="no word lengths"):
        IlpAssigner({}, "model_size_bits", 1)
