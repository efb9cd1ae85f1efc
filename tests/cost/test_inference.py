"""Costs of inference against hand arithmetic on a tiny network and the papers' figures."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

from tfxp.cost import CostSettings, EnergyTable, cost_report, memory_bits, total_traffic
from tfxp.errors import ConfigError, PrecisionError
from tfxp.models import caffe_alexnet, count_network, wrpn_alexnet, wrpn_resnet34
from tfxp.precision import LayerPrecision, LayerStats, ModelStats, PrecisionMap

ROOT = Path(__file__).parents[2]
TABLE = EnergyTable.load(ROOT / "configs/energy/horowitz_2014_45nm.json")

# 6x6x2 -> conv 3x3, 4 filters, same -> pool to 3x3 -> dense 5
TINY = ModelStats(
    {
        layer.name: layer
        for layer in (
            LayerStats("x", "input", (), (6, 6, 2)),
            LayerStats("c", "conv", ("x",), (6, 6, 4), (3, 3, 2, 4), 36 * 72, 4),
            LayerStats("p", "pool", ("c",), (3, 3, 4)),
            LayerStats("d", "dense", ("p",), (5,), (36, 5), 180, 5),
        )
    },
    ("d",),
)
MAP = PrecisionMap(
    LayerPrecision(weights=8, activations=8),
    {
        "c": LayerPrecision(weights=4, activations=6, bias=16),
        "d": LayerPrecision(weights="float", activations="Q2.5"),
    },
)


def test_tiny_network_by_hand():
    report = cost_report(TINY, MAP, CostSettings(batch_size=4))
    conv, dense = report.layer("c"), report.layer("d")
    assert conv["model_size_bits"] == 72 * 4 + 4 * 16
    assert conv["read_bits"] == 72 * 8
    assert conv["write_bits"] == 36 * 6  # after pooling
    assert conv["compute_cost"] == 36 * 72 * (4 + 8)
    assert conv["bit_operations"] == 36 * 72 * 4 * 8
    assert dense["read_bits"] == 36 * 6
    assert dense["write_bits"] == 5 * 8
    assert dense["model_size_bits"] == 180 * 32 + 5 * 32
    assert dense["compute_cost"] == 180 * (32 + 6)
    data = 72 * 8 + 36 * 6 + 36 * 6 + 5 * 8
    size = 72 * 4 + 4 * 16 + 185 * 32
    assert report.total("traffic_bits") == data + size
    assert report.total("traffic_batch_bits") == data + size / 4
    elements, parameters = 72 + 36 + 36 + 5, 76 + 185
    assert report.total("traffic_ratio") == (data + size) / (32 * (elements + parameters))
    batch = 32 * (elements + parameters / 4)
    assert report.total("traffic_batch_ratio") == (data + size / 4) / batch
    assert report.total("model_size_ratio") == size / (32 * parameters)
    # alive together: input and the conv's output
    assert report.total("activation_peak_bits") == 72 * 8 + 36 * 6
    assert report.total("footprint_bits") == size + 72 * 8 + 36 * 6
    assert report.total("inference_memory_bits") == 72 * 8 + 36 * 6 + size
    assert total_traffic(TINY, MAP, CostSettings(batch_size=4)) == (
        report.total("traffic_batch_bits"),
        report.total("traffic_batch_ratio"),
    )


def test_pooling_that_is_not_fused_moves_data():
    report = cost_report(TINY, PrecisionMap.uniform(8, 8), CostSettings(fuse_pools=False))
    assert report.layer("c")["write_bits"] == 144 * 8
    assert report.layer("p")["read_bits"] == 144 * 8
    assert report.layer("p")["write_bits"] == 36 * 8


def test_biases_can_be_left_out_as_in_lin():
    report = cost_report(TINY, PrecisionMap.uniform(4, 8), CostSettings(count_bias=False))
    assert report.total("parameters") == 72 + 180
    assert report.total("model_size_bits") == 4 * (72 + 180)
    assert report.total("model_size_ratio") == 4 / 32


def everywhere(model, bits):
    """The same bits in every tensor, the network's input and output included."""
    return dict.fromkeys(model.layers, LayerPrecision(bits, bits, bias=bits))


@pytest.mark.parametrize("network", ["caffe_alexnet", "sakr_convnet", "wrpn_resnet34"])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_judd_normalisation(network, bits):
    """Uniform bits cost bits/32 of float and bits/16 of the 16-bit baseline, whatever the batch."""
    model = count_network(network)
    uniform = everywhere(model, bits)
    for batch in (1, 64):
        for baseline in (32, 16):
            report = cost_report(model, uniform, CostSettings(batch, baseline))
            assert report.total("traffic_ratio") == pytest.approx(bits / baseline, rel=1e-12)
            assert report.total("traffic_batch_ratio") == pytest.approx(bits / baseline, rel=1e-12)


def test_judd_alexnet_configuration():
    """The data bits that Judd gives for AlexNet at 1 %, with its uniform 10-bit weights.

    The published ratio is 0.28; the bits are of low confidence, so the bound is loose.
    """
    model = caffe_alexnet()
    names = [layer.name for layer in model.layers.values() if layer.weight_count]
    data = (10, 8, 8, 8, 8, 8, 6, 4)  # of what each layer reads
    rules = {"input": LayerPrecision(activations=data[0])}
    for name, bits in zip(names, (*data[1:], 4), strict=True):
        rules[name] = LayerPrecision(weights=10, activations=bits, bias=10)
    report = cost_report(model, PrecisionMap(layers=rules), CostSettings(batch_size=50))
    assert report.total("traffic_batch_ratio") == pytest.approx(0.28, abs=0.02)
    # data of one image, counted here once more
    elements = [227 * 227 * 3, 27 * 27 * 96, 13 * 13 * 256, 13 * 13 * 384, 13 * 13 * 384]
    elements += [6 * 6 * 256, 4096, 4096]
    moved = sum(count * bits for count, bits in zip(elements, data, strict=True))
    written = sum(c * b for c, b in zip(elements[1:], data[1:], strict=True)) + 1000 * 4
    assert report.total("read_bits") == moved
    assert report.total("write_bits") == written


def test_wrpn_alexnet_twice_as_wide():
    """3.9x the multiply-accumulates; at 4b/4b, 3.9 x 8/64 = 0.4875 of the cost."""
    base, wide = wrpn_alexnet(), wrpn_alexnet(2)
    assert round(wide.macs / base.macs, 1) == 3.9
    cost = cost_report(wide, everywhere(wide, 4)).total("compute_cost")
    ratio = cost / (64 * base.macs)
    assert ratio == pytest.approx(wide.macs / base.macs * 8 / 64, rel=1e-12)
    assert ratio == pytest.approx(0.4875, abs=0.005)


def resnet34_macs(k):
    """He et al., table 1, with k times the filters."""
    first = 112 * 112 * 49 * 3 * 64 * k
    total, channels = first, 64 * k
    for blocks, filters, size in ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)):
        filters *= k
        for block in range(blocks):
            total += size**2 * 9 * channels * filters + size**2 * 9 * filters**2
            if channels != filters:
                total += size**2 * channels * filters
            channels = filters
            del block
    last = channels * 1000
    return first, total - first, last


@pytest.mark.parametrize(
    ("width", "bits", "all_quantized", "float_edges"),
    [(2, 4, 0.49, 0.55), (2, 1, 0.12, 0.19), (3, 1, 0.28, 0.37)],
)
def test_wrpn_resnet34_edges_charged_either_way(width, bits, all_quantized, float_edges):
    base = sum(resnet34_macs(1)) * 64
    first, middle, last = resnet34_macs(width)
    expected = {
        "mapped": (first + middle + last) * 2 * bits / base,
        "float": ((first + last) * 64 + middle * 2 * bits) / base,
    }
    for edges, printed in (("mapped", all_quantized), ("float", float_edges)):
        wide = wrpn_resnet34(width)
        report = cost_report(wide, everywhere(wide, bits), CostSettings(edges=edges))
        ratio = report.total("compute_cost") / (wrpn_resnet34().macs * 64)
        assert ratio == pytest.approx(expected[edges], rel=1e-12)
        assert ratio == pytest.approx(printed, abs=0.006)


def test_wrpn_memory_by_hand():
    model = wrpn_alexnet()
    precision = PrecisionMap.uniform("float", "float").resolve(model.layers)
    memory = memory_bits(model, precision, 128, fuse_pools=False)
    maps = {name: layer.output_count for name, layer in model.layers.items()}
    weights = sum(layer.weight_count + layer.bias_count for layer in model.layers.values())
    largest = max(count for name, count in maps.items() if name != "input")
    # the largest input map is conv1's output, which pool1 reads
    expected = 32 * (128 * sum(maps.values()) + weights + 2 * 128 * largest)
    assert memory["training_memory_bits"] == expected
    assert memory["inference_memory_bits"] == 32 * (2 * largest + weights)
    assert memory["training_activation_share"] == 1 - 32 * weights / expected


def test_activations_dominate_training_memory_at_large_batches():
    """WRPN: over 98 % from 128 on, counting every map; here ReLU and BN belong to the layer."""
    model = wrpn_resnet34()
    precision = PrecisionMap.uniform("float", "float").resolve(model.layers)
    shares = [
        memory_bits(model, precision, batch)["training_activation_share"] for batch in (1, 16, 256)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 and shares[2] > 0.97


def test_energy_by_hand():
    report = cost_report(
        TINY, PrecisionMap.uniform(8, 8), CostSettings(batch_size=2), TABLE, {"c": 1000, "d": 0}
    )
    conv = report.layer("c")
    add = 0.1  # 32-bit accumulator
    assert conv["macs_executed"] == 1000
    assert conv["arithmetic_pj"] == pytest.approx(1000 * (0.2 + add))
    weights = (72 * 8 + 4 * 32) / 2 * 100 / 64
    assert conv["memory_pj"] == pytest.approx((72 + 36) * 8 * 20 / 64 + weights)
    assert report.layer("d")["arithmetic_pj"] == 0
    every = cost_report(TINY, PrecisionMap.uniform("float", 8), energy=TABLE)
    assert every.layer("c")["arithmetic_pj"] == pytest.approx(36 * 72 * (3.7 + 0.9))


def test_energy_between_the_cited_widths_follows_their_power_law():
    exponent = math.log(3.1 / 0.2) / math.log(32 / 8)
    for bits in (2, 4, 8, 13, 16, 32):
        expected = 0.2 * (bits / 8) ** exponent
        assert TABLE.operation_pj("integer_multiply", bits) == pytest.approx(expected)
    assert TABLE.mac_pj(4, 16, 32) == pytest.approx(TABLE.mac_pj(8, 8, 32))


def test_memory_of_the_energy_table_can_be_chosen():
    near = cost_report(TINY, MAP, CostSettings(weight_memory="sram_8kb"), TABLE)
    far = cost_report(TINY, MAP, CostSettings(weight_memory="dram"), TABLE)
    weights = near.total("weight_read_bits")
    expected = weights * (1300 - 10) / 64
    assert far.total("memory_pj") - near.total("memory_pj") == pytest.approx(expected)
    with pytest.raises(ConfigError, match="memory of weights: got 'tape'"):
        cost_report(TINY, MAP, CostSettings(weight_memory="tape"), TABLE)


@pytest.mark.parametrize("missing", ["unit", "source", "page", "integer_add", "memory"])
def test_an_energy_table_needs_its_provenance(missing):
    with open(ROOT / "configs/energy/horowitz_2014_45nm.json", encoding="utf-8") as file:
        data = json.load(file)
    del data[missing]
    with pytest.raises(ConfigError, match=f"no field '{missing}'"):
        EnergyTable.from_dict(data)


def test_text_csv_and_json_say_the_same():
    report = cost_report(TINY, MAP, energy=TABLE)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["totals"]["macs"] == 36 * 72 + 180
    assert set(data["figures"]["traffic_bits"]) == {"unit", "source"}
    assert all(figure["source"] for figure in data["figures"].values())
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [row["layer"] for row in rows] == ["x", "c", "d", "total"]
    assert float(rows[-1]["traffic_bits [bit]"]) == report.total("traffic_bits")
    text = str(report)
    assert "footprint:" in text and f"{report.total('macs'):,d}" in text
    assert "Judd" in report.legend()


@pytest.mark.parametrize(
    ("executed", "message"),
    [({"e": 1}, "measured layer: got 'e'"), ({"d": 181}, "executed MACs of 'd': got 181")],
)
def test_measured_macs_must_belong_to_the_network(executed, message):
    with pytest.raises(ConfigError, match=message):
        cost_report(TINY, MAP, macs_executed=executed)


def test_precision_must_cover_the_network():
    with pytest.raises(PrecisionError, match="got none for 'c'"):
        cost_report(
            TINY, {"x": LayerPrecision(8, 8), "p": LayerPrecision(8, 8), "d": LayerPrecision(8, 8)}
        )
    with pytest.raises(ConfigError, match="batch_size"):
        CostSettings(batch_size=0)
    with pytest.raises(ConfigError, match="edges"):
        CostSettings(edges="none")


def test_full_adders_of_dot_products():
    """N (D b_a b_w + (D - 1)(b_a + b_w + ceil(log2 D) - 1)), D products and the bias."""
    layers = {
        "x": LayerStats("x", "input", (), (10,)),
        "d": LayerStats("d", "dense", ("x",), (3,), (10, 3), 30, 3),
    }
    report = cost_report(ModelStats(layers, ("d",)), PrecisionMap.uniform(4, 6, edge_bits=6))
    assert report.total("full_adders") == 3 * (11 * 6 * 6 + 10 * (6 + 6 + 4 - 1))
    whole = PrecisionMap.uniform("float", "float")
    report = cost_report(ModelStats(layers, ("d",)), whole)
    assert report.total("full_adders") == 3 * (11 * 23 * 23 + 10 * (23 + 23 + 4 - 1))
