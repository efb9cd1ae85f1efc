"""Lin's allocation: the paper's offsets, optimality by brute force, and the dense sweep."""

import itertools
import math

import numpy as np
import pytest

from tfxp.assign import LinAssigner, bit_offsets, dense_sweep
from tfxp.cost import CostSettings, cost_report
from tfxp.errors import ConfigError
from tfxp.formats import TensorStats
from tfxp.models import lin_alexnet_like, lin_cifar10, wrpn_alexnet
from tfxp.precision import LayerPrecision, LayerStats, ModelStats, PrecisionMap

# million parameters, as printed
PRINTED = {
    lin_cifar10: {"conv0": 0.007, "conv1": 0.295, "conv2": 0.295, "conv3": 0.590, "conv4": 0.590,
                  "conv5": 1.606, "fc0": 0.005},
    lin_alexnet_like: {"conv1": 0.014, "conv2": 0.384, "conv3": 0.277, "conv4": 0.332,
                       "conv5": 0.277, "fc1": 16.056, "fc2": 4.194},
}  # fmt: skip


@pytest.mark.parametrize("network", PRINTED)
def test_definitions_have_the_printed_parameters(network):
    model = network()
    for name, millions in PRINTED[network].items():
        assert model[name].weight_count / 1e6 == pytest.approx(millions, abs=6e-4)


@pytest.mark.parametrize(
    ("network", "anchor", "lower"),
    [
        (lin_cifar10, "conv0", {"conv1": 5, "conv2": 5, "conv3": 6, "conv4": 6, "conv5": 8}),
        (lin_alexnet_like, "conv1", {"conv2": 5, "conv3": 4, "conv4": 5, "conv5": 4}),
    ],
)
def test_offsets_of_the_paper(network, anchor, lower):
    """From the printed counts by the formula, and from the definitions by the assigner."""
    printed = PRINTED[network]
    for name, offset in lower.items():
        formula = 10 * math.log10(printed[anchor] / printed[name]) / 3
        assert round(formula) == -offset
    result = LinAssigner(anchor_bits=12, kappa=3.0).assign(network())
    assert result.figures["bits"][anchor] == 12
    assert {name: 12 - result.figures["bits"][name] for name in lower} == lower
    dense = [name for name, layer in network().layers.items() if layer.kind == "dense"]
    assert all(result.figures["bits"][name] == 16 for name in dense)
    assert result.map.layers[anchor].weights == 12


def test_offsets_are_the_closed_form():
    rho = {"a": 100.0, "b": 1.0, "c": 5000.0}
    offsets = bit_offsets(rho, "a", 2.5)
    for name, cost in rho.items():
        assert offsets[name] == pytest.approx(10 * math.log10(100.0 / cost) / 2.5)
    with pytest.raises(ConfigError, match="cost of a bit in 'b'"):
        bit_offsets({"a": 1.0, "b": 0.0}, "a")


def dense_model(sizes):
    layers = {
        f"c{i}": LayerStats(f"c{i}", "conv", (), (), (size,), size * (i + 1))
        for i, size in enumerate(sizes)
    }
    return ModelStats(layers, (list(layers)[-1],))


@pytest.mark.parametrize("sizes", [(10, 100, 1000), (7, 7, 500), (1000, 30, 2)])
@pytest.mark.parametrize("target", [12.0, 15.5])
def test_target_is_met_and_no_integer_map_is_smaller_by_much(sizes, target):
    """Against every combination of word lengths: real-valued optimum below, rounding cost above."""
    model, kappa = dense_model(sizes), 3.0
    result = LinAssigner(target_db=target, kappa=kappa, min_bits=1).assign(model)
    bits = list(result.figures["bits"].values())
    budget = 10 ** (-target / 10)

    def noise(values):
        return sum(10 ** (-kappa * b / 10) for b in values)

    def size(values):
        return sum(s * b for s, b in zip(sizes, values, strict=True))

    assert noise(bits) <= budget
    exact = list(result.figures["exact_bits"].values())
    assert noise(exact) == pytest.approx(budget)
    best = min(size(v) for v in itertools.product(range(1, 17), repeat=3) if noise(v) <= budget)
    assert size(exact) <= best <= size(bits) <= best + sum(sizes)


def test_unlike_kappas_minimise_the_lagrangian(rng):
    """No step along the constraint lowers the cost."""
    model = dense_model((10, 100, 1000))
    kappa = {"c0": 2.0, "c1": 3.5, "c2": 5.0}
    exact = LinAssigner(target_db=14.0, kappa=kappa, min_bits=1).assign(model).figures["exact_bits"]
    rho = {"c0": 10, "c1": 100, "c2": 1000}
    noise = {n: 10 ** (-kappa[n] * b / 10) for n, b in exact.items()}
    assert sum(noise.values()) == pytest.approx(10**-1.4)
    cost = sum(rho[n] * b for n, b in exact.items())
    for _ in range(200):
        shares = np.array(list(noise.values())) * np.exp(rng.normal(0, 0.2, 3))
        shares *= 10**-1.4 / shares.sum()
        other = sum(
            rho[n] * -10 * math.log10(share) / kappa[n]
            for n, share in zip(rho, shares, strict=True)
        )
        assert other >= cost - 1e-9


def test_fixed_layers_use_up_noise():
    model = dense_model((10, 100, 1000))
    free = LinAssigner(target_db=15, min_bits=1).assign(model).figures["exact_bits"]
    held = LinAssigner(target_db=15, min_bits=1, fixed={"c0": 6}).assign(model)
    assert held.figures["bits"]["c0"] == 6
    assert held.figures["exact_bits"]["c1"] > free["c1"]
    with pytest.raises(ConfigError, match="layers with fixed bits .c0. leave"):
        LinAssigner(target_db=15, fixed={"c0": 4}).assign(model)


def test_choices():
    model = wrpn_alexnet()
    by_size = LinAssigner(anchor_bits=10).assign(model).figures["bits"]
    by_macs = LinAssigner(anchor_bits=10, rho="macs").assign(model).figures["bits"]
    assert by_size != by_macs
    user = {name: layer.macs for name, layer in model.layers.items() if layer.weight_count}
    assert LinAssigner(anchor_bits=10, rho=user).assign(model).figures["bits"] == by_macs
    call = LinAssigner(anchor_bits=10, rho=lambda layer: layer.macs).assign(model)
    assert call.figures["bits"] == by_macs
    whole = LinAssigner(anchor_bits=10, dense_bits=None, anchor="conv1").assign(model)
    assert whole.figures["bits"]["conv1"] == 10 and whole.figures["bits"]["fc0"] < 10
    wide = LinAssigner(anchor_bits=10, widths=(4, 8, 16)).assign(model).figures["bits"]
    assert set(wide.values()) <= {4, 8, 16}
    assert all(wide[name] >= bits or wide[name] == 16 for name, bits in by_size.items())
    out = LinAssigner(anchor_bits=10, excluded=("conv0",)).assign(model)
    assert out.map.layers["conv0"].weights == "float"
    assert [d.layer for d in out.trace] == [n for n, x in model.layers.items() if x.weight_count]


@pytest.mark.parametrize("target", [4.0, 10.0, 20.0])
def test_allocation_is_smaller_than_equal_bits_at_the_same_predicted_noise(target):
    """The saving in bits is the same at every target, so it counts most where bits are few."""
    model = lin_cifar10()
    result = LinAssigner(target_db=target, min_bits=1, excluded=("fc0",))
    figures = result.assign(model).figures
    conv = [name for name in figures["bits"] if name.startswith("conv")]
    equal = (target + 10 * math.log10(len(conv))) / 3
    size = {name: model[name].weight_count for name in conv}
    saved = sum((equal - figures["exact_bits"][name]) * size[name] for name in conv)
    shares = [count / sum(size.values()) for count in size.values()]
    entropy = -sum(share * math.log10(share) for share in shares)
    expected = 10 * (math.log10(len(conv)) - entropy) / 3
    assert saved / sum(size.values()) == pytest.approx(expected)
    assert sum(figures["bits"][n] * size[n] for n in conv) < math.ceil(equal) * sum(size.values())
    price = cost_report(model, result.assign(model).map, CostSettings(count_bias=False))
    assert price.total("model_size_bits") == figures["size_bits"] + 32 * 5120


def test_formats_from_measured_statistics(rng):
    stats = TensorStats()
    stats.update(rng.normal(0, 0.1, 500))
    layer = LayerStats("c", "conv", (), (), (500,), 500, weights=stats, activations=stats)
    model = ModelStats({"c": layer}, ("c",))
    pmap = LinAssigner(anchor_bits=6, activation_bits=8, fraction="ceil").assign(model).map
    assert pmap.layers["c"].weights.bits == 6
    assert pmap.layers["c"].activations.bits == 8
    measured = LinAssigner(target_db=20, kappa="measured").assign(model)
    assert 4 < measured.figures["kappa"]["c"] < 6.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected exactly one"),
        ({"anchor_bits": 8, "target_db": 20}, "expected exactly one"),
        ({"anchor_bits": 8, "min_bits": 9, "max_bits": 8}, "limits of bits"),
        ({"anchor_bits": 8, "rho": "parmeters"}, "Did you mean 'parameters'"),
        ({"anchor_bits": 8, "anchor": "conv9"}, "anchor layer: got 'conv9'"),
        ({"anchor_bits": 8, "fixed": {"conv": 4}}, "layer: got 'conv'"),
        ({"anchor_bits": 8, "kappa": 0.0}, "kappa of 'conv0'"),
        ({"anchor_bits": 8, "kappa": "measured"}, "got no measured weights"),
        ({"anchor_bits": 8, "rho": "macs"}, "cost of a bit in 'conv0'"),
        ({"anchor_bits": 8, "widths": ()}, "supported widths"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        LinAssigner(**settings).assign(lin_cifar10())


def test_dense_sweep_stops_where_accuracy_drops():
    """As for the AlexNet-like network: 6 bits are enough, 5 are not."""
    model, asked = lin_alexnet_like(), []

    def evaluate(pmap):
        precision = pmap.resolve(model.layers)
        assert precision["conv1"].weights == "float"
        bits = {precision[name].weights for name in ("fc1", "fc2")}
        asked.append(bits.pop())
        return 0.57 if asked[-1] >= 6 else 0.55

    base = PrecisionMap(LayerPrecision("float", "float"))
    result = dense_sweep(evaluate, base, model)
    assert asked == list(range(16, 4, -1))
    assert result.map.layers["fc1"].weights == result.map.layers["fc2"].weights == 6
    assert "5 bits" in result.stop_reason
    tolerant = dense_sweep(evaluate, base, model, tolerance=0.05)
    assert tolerant.map.layers["fc1"].weights == 2
