"""Counting networks: by hand, and against published sizes."""

import pytest

from tfxp.cost import CostSettings, cost_report
from tfxp.errors import ConfigError
from tfxp.models import PAPER_NETWORKS, NetworkCounter, count_network, googlenet, nin, vgg16
from tfxp.models.paper_networks import caffe_alexnet, wrpn_resnet34
from tfxp.precision import PrecisionMap


def test_by_hand():
    net = NetworkCounter((9, 9, 4))
    net.conv("a", 8, 3, stride=2)
    net.conv("b", 8, 3, padding="valid", groups=2)
    net.pool("p", 2, 1)
    net.conv("c", 8, 1, source="a")
    net.dense("d", 3, source="p")
    stats = net.stats()
    assert stats["a"].output_shape == (5, 5, 8)
    assert stats["a"].macs == 25 * 9 * 4 * 8
    assert stats["b"].output_shape == (3, 3, 8)
    assert stats["b"].weight_shape == (3, 3, 4, 8)
    assert stats["b"].macs == 9 * 9 * 4 * 8
    assert stats["p"].output_shape == (2, 2, 8)
    assert stats["c"].inputs == ("a",)
    assert stats["d"].weight_shape == (32, 3) and stats["d"].bias_count == 3
    assert stats.outputs == ("d",)


@pytest.mark.parametrize(
    ("network", "parameters", "macs"),
    [
        (vgg16, 138_357_544, 15_470_264_320),
        (caffe_alexnet, 60_965_224, 724_406_816),
        (nin, 7_595_176, 1_100_188_800),
        (googlenet, 6_998_552, 1_582_671_872),
    ],
)
def test_published_sizes(network, parameters, macs):
    """Parameters as the frameworks that ship these networks report them; MACs by their layers."""
    model = network()
    assert sum(x.weight_count + x.bias_count for x in model.layers.values()) == parameters
    assert model.macs == macs


def test_resnet34_has_the_published_weights():
    """21.80 million parameters with batch normalization, of which 21.78 million are weights."""
    assert wrpn_resnet34().weight_count == 21_779_648
    assert round(wrpn_resnet34().macs / 1e9, 1) == 3.7


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_layers_come_in_order(name):
    model, seen = count_network(name), set()
    for layer in model.layers.values():
        assert set(layer.inputs) <= seen
        seen.add(layer.name)
    assert set(model.outputs) <= seen


def test_branches_come_together():
    """Inception: the module's output has the channels of all four branches, pooled nowhere."""
    model = googlenet()
    assert model["inception3a"].output_shape == (28, 28, 256)
    assert model["inception4e"].output_shape == (14, 14, 832)
    assert model["inception5b"].output_shape == (7, 7, 1024)
    assert nin()["conv1"].output_shape == (54, 54, 96)
    assert nin()["cccp8"].output_shape == (6, 6, 1000)
    for network in (model, nin()):
        report = cost_report(network, PrecisionMap.parse("w8a8"), CostSettings(batch_size=64))
        assert report.total("traffic_batch_ratio") == pytest.approx(0.25, abs=0.01)


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="Did you mean 'caffe_alexnet'"):
        count_network("caffe_alexnett")
    net = NetworkCounter((8, 8, 3))
    with pytest.raises(ConfigError, match="groups of 'a': got 2"):
        net.conv("a", 8, 3, groups=2)
    with pytest.raises(ConfigError, match="padding: got 'full'"):
        net.conv("a", 8, 3, padding="full")
    net.conv("a", 8, 3)
    with pytest.raises(ConfigError, match="'a' twice"):
        net.conv("a", 8, 3)
