"""Sakr's training costs from network definitions, against its tables and hand arithmetic."""

from pathlib import Path

import pytest

from tfxp.cost import training_cost, training_precision
from tfxp.errors import ConfigError
from tfxp.models import count_network
from tfxp.precision import LayerPrecision, PrecisionMap

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "configs/precision/resnet20_cifar10_sakr_training.json"
UNITS = {"C_W": 1e6, "C_A": 1e6, "C_M": 1e9, "C_C": 1e6}

# Sakr and Shanbhag, the tables of complexity; BinaryNet's C_A of the ConvNet is printed as 4.7
TABLES = [
    ("sakr_convnet", "float", (148, 9.3, 94.4, 49)),
    ("sakr_convnet", "binarynet", (100, 4.8, 2.8, 49)),
    ("sakr_convnet", "terngrad", (102, 9.3, 94.4, 3.1)),
    ("sakr_resnet20", "float", (1784, 96, 4319, 596)),
    ("sakr_resnet20", "binarynet", (1211, 50, 128, 596)),
    ("sakr_resnet20", "terngrad", (1227, 96, 4319, 37.3)),
]


@pytest.mark.parametrize(("network", "baseline", "printed"), TABLES)
def test_tables(network, baseline, printed):
    report = training_cost(count_network(network), training_precision(baseline))
    for (name, unit), value in zip(UNITS.items(), printed, strict=True):
        assert report.total(name) / unit == pytest.approx(value, rel=0.01), name


def test_published_fixed_point_configuration():
    configuration = PrecisionMap.load(PUBLISHED)
    report = training_cost(count_network("sakr_resnet20"), configuration)
    got = [round(report.total(name) / unit) for name, unit in UNITS.items()]
    assert got == [726, 25, 805, 217]  # 216.6: printed as 216
    stochastic = training_cost(
        count_network("sakr_resnet20"), training_precision("stochastic", configuration)
    )
    assert round(stochastic.total("C_W") / 1e6) == 1062
    assert stochastic.total("C_M") == report.total("C_M")


@pytest.mark.parametrize(("network", "baseline", "printed"), TABLES)
def test_tables_hold_with_the_gradient_s_width_at_the_input(network, baseline, printed):
    report = training_cost(count_network(network), training_precision(baseline), "input")
    assert report.total("C_M") / 1e9 == pytest.approx(printed[2], rel=0.01)


def test_the_published_c_m_takes_the_gradient_s_width_at_the_input():
    """785 as printed: every layer by G_A of what it reads; the first one, without any, forward."""
    configuration = PrecisionMap.load(PUBLISHED)
    network = count_network("sakr_resnet20")
    report = training_cost(network, configuration, "input")
    assert report.total("C_M") == 785_420_094_464
    by_output = training_cost(network, configuration)
    assert [report.total(name) for name in ("C_W", "C_A", "C_C")] == [
        by_output.total(name) for name in ("C_W", "C_A", "C_C")
    ]
    first = report.rows[0]
    assert first["C_M"] == first["macs"] * 8 * 14
    # with its own output's 7 bits, the first layer makes it 785.97
    both_ways = report.total("C_M") + first["macs"] * (14 * 7 + 8 * 7)
    assert round(both_ways / 1e9, 2) == 785.97
    with pytest.raises(ConfigError, match="gradient_width: got 'both'; expected one of"):
        training_cost(network, configuration, "both")


# The authors' lists, layers with weights in order: a block's shortcut after its two convolutions.
B_W = [14, 13, 13, 13, 13, 14, 13, 14, 14, 14, 14, 14, 15, 14, 14, 14, 14, 14, 13, 13, 12, 10]
B_A = [8, 8, 7, 7, 6, 6, 6, 6, 6, 7, 7, 7, 7, 6, 6, 7, 6, 5, 4, 3]
B_GW = [11, 12, 12] + [11] * 15 + [12, 12, 14, 14]
B_GA = [7, 10, 10, 11, 11, 11, 11, 10, 11, 11, 10, 9, 9, 10, 10, 11, 11, 11, 13, 15]
B_ACC = [9, 13, 13, 13, 13, 12, 13, 12, 12, 12, 12, 12, 11, 12, 13, 13, 13, 13, 15, 15, 18, 16]


def test_published_configuration_transcribed():
    """The same sums from the bare lists: no network definition, no precision map."""
    weights = [3 * 128 * 9] + [128 * 128 * 9] * 6
    weights += [128 * 256 * 9, 256 * 256 * 9, 128 * 256 * 9] + [256 * 256 * 9] * 4
    weights += [256 * 512 * 9, 512 * 512 * 9, 256 * 512 * 9] + [512 * 512 * 9] * 4 + [5120]
    maps = [1024] * 7 + [256] * 7 + [64] * 7 + [1]
    macs = [w * m for w, m in zip(weights, maps, strict=True)]
    reads = [*range(7), 7, 8, 7, *range(9, 13), 13, 14, 13, *range(15, 19), 19]
    feeds = [*range(7), 7, 8, 8, *range(9, 13), 13, 14, 14, *range(15, 19), 19]
    stored = [3072] + [131072] * 7 + [65536] * 6 + [32768] * 6
    c_w = sum(w * (a + b + c) for w, a, b, c in zip(weights, B_W, B_GW, B_ACC, strict=True))
    c_a = sum(n * b for n, b in zip(stored, B_A, strict=True))
    c_a += sum(n * b for n, b in zip([*stored[1:], 10], B_GA, strict=True))
    c_m = 0
    for count, w, read, feed in zip(macs, B_W, reads, feeds, strict=True):
        a, g = B_A[read], B_GA[feed]
        c_m += count * (a * w + w * g + a * g)
    c_c = sum(w * b for w, b in zip(weights, B_GW, strict=True))
    report = training_cost(count_network("sakr_resnet20"), PrecisionMap.load(PUBLISHED))
    assert [report.total(name) for name in UNITS] == [c_w, c_a, c_m, c_c]


def test_convnet_by_hand():
    """All tensors at their own number of bits; the pools lie between A and its reader."""
    layer = LayerPrecision(
        weights=5, activations=7, weight_gradients=11, activation_gradients=13, accumulators=17
    )
    model = count_network("sakr_convnet")
    report = training_cost(model, dict.fromkeys(model.layers, layer))
    stored = 32 * 32 * 3 + 64 * (30**2 + 28**2) + 128 * (12**2 + 10**2) + 256 * (3**2 + 1) + 1024
    assert report.total("C_W") == 1542848 * (5 + 11 + 17)
    assert report.total("C_A") == stored * (7 + 13) + 10 * 13
    assert report.total("C_M") == model.macs * (7 * 5 + 5 * 13 + 7 * 13)
    assert report.total("C_C") == 1542848 * 11


def test_unknown_baseline_and_missing_configuration():
    with pytest.raises(ConfigError, match="baseline: got 'ternggrad'.*Did you mean 'terngrad'"):
        training_precision("ternggrad")
    with pytest.raises(ConfigError, match="got no configuration"):
        training_precision("stochastic")
