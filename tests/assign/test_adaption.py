"""ADaPTION's formats against a brute-force search over the values themselves."""

import json

import numpy as np
import pytest

from tfxp.assign import AdaptionAssigner
from tfxp.cost import ZeroSkipMachine, zero_skip
from tfxp.errors import ConfigError, DataError
from tfxp.formats import TensorStats
from tfxp.precision import LayerPrecision, LayerStats, ModelStats, PrecisionMap

GRID = 2.0**-7  # values on a grid, so that shares from the histogram are exact


def stats_of(values):
    stats = TensorStats()
    stats.update(values)
    return stats


@pytest.fixture
def net(rng):
    """(statistics, arrays): input, a convolution with a ReLU, a dense layer."""
    arrays = {
        "x": np.round(rng.normal(0, 1, 4000) / GRID) * GRID,
        "conv/pre": np.round(rng.normal(0.3, 2, 4000) / GRID) * GRID,
        "conv/w": np.round(rng.laplace(0, 0.4, 900) / GRID) * GRID,
        "fc": np.round(rng.normal(0, 5, 500) / GRID) * GRID,
        "fc/w": np.round(rng.normal(0, 0.1, 640) / GRID) * GRID,
    }
    arrays["conv"] = np.maximum(arrays["conv/pre"], 0)
    s = {name: stats_of(values) for name, values in arrays.items()}
    layers = [
        LayerStats("x", "input", (), (8, 8, 3), activations=s["x"]),
        LayerStats("conv", "conv", ("x",), (8, 8, 16), (3, 3, 3, 16), 27 * 16 * 64, 16, s["conv/w"],
                   activations=s["conv"], pre_activations=s["conv/pre"]),
        LayerStats("fc", "dense", ("conv",), (10,), (1024, 10), 10240, 10, s["fc/w"],
                   activations=s["fc"]),
    ]  # fmt: skip
    return ModelStats({layer.name: layer for layer in layers}, ("fc",), 10), arrays


def brute_force(values, bits, budget, signed=True):
    """The finest symmetric format that clips at most the budget, by trying them all."""
    limit = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low = -limit if signed else 0
    for f in range(40, -40, -1):
        codes = np.rint(values * 2.0**f)
        if ((codes > limit) | (codes < low)).mean() <= budget:
            return f
    raise AssertionError("no format")


@pytest.mark.parametrize("bits", [4, 6, 8, 16])
@pytest.mark.parametrize("budget", [0.0, 0.01, 0.1])
def test_formats_are_the_finest_within_the_budget(net, bits, budget):
    stats, arrays = net
    found = AdaptionAssigner(bits, bits, budget, budget).assign(stats).map.layers
    for name, tensor, values in (
        ("conv", "weights", arrays["conv/w"]),
        ("fc", "weights", arrays["fc/w"]),
        ("conv", "activations", arrays["conv/pre"]),
        ("fc", "activations", arrays["fc"]),
        ("x", "activations", arrays["x"]),
    ):
        fmt = getattr(found[name], tensor)
        assert fmt.bits == bits and fmt.min == -fmt.max
        assert fmt.fractional_bits == brute_force(values, bits, budget), (name, tensor)
    assert found["conv"].placement == "pre_activation" and found["fc"].placement is None


def test_behind_the_relu_no_sign_is_spent(net):
    stats, arrays = net
    found = AdaptionAssigner(8, 6, placement="post_activation").assign(stats).map.layers
    fmt = found["conv"].activations
    assert not fmt.signed and fmt.fractional_bits == brute_force(arrays["conv"], 6, 0.01, False)
    assert found["conv"].placement is None
    wide = AdaptionAssigner(8, 16, placement="post_activation").assign(stats).map.layers
    assert wide["conv"].activations.signed


@pytest.mark.parametrize("placement", ["pre_activation", "post_activation"])
def test_zeros_before_and_after(net, placement):
    stats, arrays = net
    result = AdaptionAssigner(4, 4, placement=placement).assign(stats)
    for name in ("conv", "fc"):
        zeros, rule = result.figures["zeros"][name], result.map.layers[name]
        kernel = arrays[f"{name}/w"]
        assert zeros["weights_before"] == pytest.approx((kernel == 0).mean())
        codes = np.rint(kernel / rule.weights.scale)
        assert zeros["weights"] == pytest.approx((codes == 0).mean())
    fmt = result.map.layers["conv"].activations
    after = np.maximum(np.rint(arrays["conv/pre"] / fmt.scale), 0)
    assert result.figures["zeros"]["conv"]["activations"] == pytest.approx((after == 0).mean())
    assert result.figures["zeros"]["conv"]["activations_before"] == (arrays["conv"] == 0).mean()


def test_what_skipping_saves_by_hand(net):
    stats, _ = net
    rules = {name: LayerPrecision(activations=16) for name in stats.layers}
    conv, fc = zero_skip(stats, rules, {"x": 0.25, "conv": 0.5}, ZeroSkipMachine(12))
    assert conv.macs_executed == 0.75 * 27 * 16 * 64
    assert conv.cycles_dense == 27 * 64 * 2 and conv.cycles == 0.75 * 27 * 64 * 2
    assert conv.input_bits == 192 * 16 and conv.compressed_bits == 192 * (1 + 12)
    assert (fc.cycles_dense, fc.cycles, fc.zeros) == (1024, 512, 0.5)


def test_heads_edges_and_biases_stay_float_where_asked(net):
    stats, _ = net
    options = {"float_layers": ["f.*"], "float_edges": True, "round_bias": False}
    found = AdaptionAssigner(8, 8, rounding="half_away", **options).assign(stats).map
    assert found.layers["fc"].weights == found.layers["fc"].activations == "float"
    assert found.layers["x"].activations == "float" and found.layers["conv"].bias == "float"
    assert found.rounding == "half_away"
    with pytest.raises(DataError, match="got head, which match none"):
        AdaptionAssigner(float_layers=["head"]).assign(stats)


@pytest.mark.parametrize(
    "options",
    [{"placement": "before"}, {"weight_bits": 1}, {"activation_budget": 1.0}],
    ids=lambda o: next(iter(o)),
)
def test_bad_arguments(options):
    with pytest.raises(ConfigError, match="got .*; expected"):
        AdaptionAssigner(**options)


def test_nothing_measured():
    with pytest.raises(DataError, match="no measured tensor"):
        AdaptionAssigner().assign(ModelStats({"c": LayerStats("c", "conv")}))


def test_the_tool_writes_the_map_and_the_table_of_zeros(net, tmp_path, capsys):
    from tools import assign_precision

    stats, _ = net
    stats.save(tmp_path / "stats.json")
    flags = ["--method=adaption", f"--model={tmp_path}/stats.json", f"--output={tmp_path}/map.json",
             "--weight_bits=8", "--activation_bits=6", "--placement=post_activation",
             f"--json={tmp_path}/figures.json", f"--report={tmp_path}/page.html"]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        assign_precision.run(["assign_precision", *flags])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "zero weights" in printed and "cycles" in printed
    wanted = AdaptionAssigner(8, 6, placement="post_activation").assign(stats)
    assert PrecisionMap.load(tmp_path / "map.json").layers == wanted.map.layers
    skipped = json.loads((tmp_path / "figures.json").read_text())["figures"]["zero_skip"]
    assert [row["name"] for row in skipped] == ["conv", "fc"]
    assert skipped[1]["zeros"] == pytest.approx(wanted.figures["zeros"]["conv"]["activations"])
    page = (tmp_path / "page.html").read_text()
    assert ">Formats<" in page and "zeros read" in page and "in float<" not in page
