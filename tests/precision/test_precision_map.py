"""Precision maps: the order of rules, what keys match, JSON, shorthand, and bad input."""

import json

import pytest

from tfxp.errors import PrecisionError, TfxpError
from tfxp.formats import FixedPointFormat, WrpnFormat
from tfxp.precision import FLOAT, LayerPrecision, PrecisionMap

NAMES = ["input_1", "conv2d", "conv2d_1", "conv2d_10", "dense", "head.out"]
ALIASES = {"bn": "conv2d", "bn_1": "conv2d_1", "relu": "conv2d"}
SELECTED = {
    "@inputs": ["input_1"], "@outputs": ["head.out"], "@first": ["conv2d", "input_1"],
    "@last": ["head.out"],
}  # fmt: skip


def bits(pmap, tensor="weights"):
    resolved = pmap.resolve(NAMES, ALIASES, SELECTED)
    assert list(resolved) == NAMES
    return [getattr(precision, tensor) for precision in resolved.values()]


def rules(**weights):
    return {key: LayerPrecision(weights=value) for key, value in weights.items()}


def test_default_and_uniform():
    assert bits(PrecisionMap()) == [8] * 6 == bits(PrecisionMap(), "activations")
    assert bits(PrecisionMap.uniform(4, 6)) == [4] * 6
    # inputs and outputs of the network keep 8 bits
    assert bits(PrecisionMap.uniform(4, 6), "activations") == [8, 6, 6, 6, 6, 8]
    assert bits(PrecisionMap.uniform(4, 12), "activations") == [12] * 6
    strict = {"@inputs": LayerPrecision(activations=6), ".*": LayerPrecision(activations=5)}
    assert bits(PrecisionMap.uniform(4, 6).updated(strict), "activations") == [5] * 6
    assert bits(PrecisionMap.uniform("float", "Q2.5")) == [FLOAT] * 6
    assert bits(PrecisionMap(LayerPrecision(activations=4))) == [8] * 6  # not said: 8


def test_nothing_is_left_open_but_the_bias():
    precision = PrecisionMap(rounding="half_up").resolve(["a"])["a"]
    assert precision == LayerPrecision(
        weights=8, activations=8, per_channel=False, placement="post_activation", rounding="half_up"
    )
    own = PrecisionMap(LayerPrecision(rounding="floor"), {"b": LayerPrecision(rounding="half_up")})
    resolved = own.resolve(["a", "b"])
    assert (resolved["a"].rounding, resolved["b"].rounding) == ("floor", "half_up")


def test_names_patterns_and_order():
    assert bits(PrecisionMap(layers=rules(conv2d=4))) == [8, 4, 8, 8, 8, 8]
    assert bits(PrecisionMap(layers={"conv2d.*": LayerPrecision(4)})) == [8, 4, 4, 4, 8, 8]
    # a pattern must match the whole name
    assert bits(PrecisionMap(layers={"conv2d_.": LayerPrecision(4)})) == [8, 8, 4, 8, 8, 8]
    last_wins = {"conv2d_1": LayerPrecision(2), "conv2d.*": LayerPrecision(4)}
    assert bits(PrecisionMap(layers=last_wins)) == [8, 4, 4, 4, 8, 8]
    reverse = dict(reversed(last_wins.items()))
    assert bits(PrecisionMap(layers=reverse)) == [8, 4, 2, 4, 8, 8]
    # a name that is also a pattern is the name
    assert bits(PrecisionMap(layers={"head.out": LayerPrecision(4)})) == [8] * 5 + [4]


def test_last_match_wins_field_by_field():
    pmap = PrecisionMap(
        layers={
            ".*": LayerPrecision(weights=6, per_channel=True),
            "dense": LayerPrecision(activations=5),
            "d.*": LayerPrecision(per_channel=False),
        }
    )
    dense = pmap.resolve(NAMES)["dense"]
    assert (dense.weights, dense.activations, dense.per_channel) == (6, 5, False)


def test_selectors():
    assert bits(PrecisionMap(layers={"@first": LayerPrecision(4)})) == [4, 4, 8, 8, 8, 8]
    edges = PrecisionMap.uniform(4, 4, edge_bits=8)
    assert bits(edges) == [8, 8, 4, 4, 4, 8]
    assert bits(edges, "activations") == [8, 4, 4, 4, 4, 8]
    before = PrecisionMap(layers={"conv2d": LayerPrecision(2), "@first": LayerPrecision(4)})
    after = PrecisionMap(layers={"@first": LayerPrecision(4), "conv2d": LayerPrecision(2)})
    assert (bits(before)[1], bits(after)[1]) == (4, 2)
    with pytest.raises(PrecisionError, match="selector: got '@fist'; .*Did you mean '@first'"):
        PrecisionMap(layers={"@fist": LayerPrecision(4)})


def test_folded_layers_stand_for_where_they_went():
    assert bits(PrecisionMap(layers={"bn_1": LayerPrecision(4)})) == [8, 8, 4, 8, 8, 8]
    assert bits(PrecisionMap(layers={"bn.*": LayerPrecision(4)})) == [8, 4, 4, 8, 8, 8]
    assert bits(PrecisionMap(layers={"relu": LayerPrecision(4)})) == [8, 4, 8, 8, 8, 8]
    # a pattern that meets a layer and what was folded into it
    assert bits(PrecisionMap(layers={"conv2d|relu": LayerPrecision(4)})) == [8, 4, 8, 8, 8, 8]
    with pytest.raises(PrecisionError, match="got 'gone'"):
        PrecisionMap(layers={"gone": LayerPrecision(4)}).resolve(["a"], {"gone": "not_there"})


def test_unknown_keys_are_all_named():
    pmap = PrecisionMap(layers=rules(conv2f=4, conv2d=4, missing=2, **{"x.*": 3}))
    with pytest.raises(PrecisionError) as caught:
        pmap.resolve(NAMES, ALIASES, SELECTED)
    text = str(caught.value)
    assert "got 'conv2f', 'missing', 'x.*', which match no layer" in text
    assert "expected names or patterns of input_1, conv2d" in text
    assert "bn_1" in text and text.endswith("Did you mean 'conv2d'?")
    with pytest.raises(PrecisionError, match="got '@last'"):  # a network without such layers
        PrecisionMap(layers={"@last": LayerPrecision(4)}).resolve(NAMES)


def test_bad_patterns():
    with pytest.raises(PrecisionError, match="pattern 'conv\\[': "):
        PrecisionMap(layers={"conv[": LayerPrecision(4)})


def test_updated_puts_rules_last():
    pmap = PrecisionMap(layers=rules(conv2d=4, dense=2))
    more = pmap.updated({"conv2d": LayerPrecision(3), ".*": LayerPrecision(activations=5)})
    assert list(more.layers) == ["dense", "conv2d", ".*"]
    assert bits(more) == [8, 3, 8, 8, 2, 8] and bits(more, "activations") == [5] * 6
    assert bits(pmap) == [8, 4, 8, 8, 2, 8]


@pytest.mark.parametrize(
    ("text", "weights", "activations", "edge", "per_channel"),
    [
        ("w8a8", 8, 8, None, None),
        ("w4a6", 4, 6, None, None),
        ("w4a6e8", 4, 6, 8, None),
        ("w4a6e8c", 4, 6, 8, True),
        ("w6a6c", 6, 6, None, True),
        ("wfa8", "float", 8, None, None),
        ("wfaf", "float", "float", None, None),
        ("w16a32", 16, 32, None, None),
    ],
)
def test_shorthand(text, weights, activations, edge, per_channel):
    pmap = PrecisionMap.parse(text)
    assert pmap == PrecisionMap.uniform(weights, activations, edge, per_channel)
    inner = pmap.resolve(NAMES, ALIASES, SELECTED)["conv2d_1"]
    assert (inner.weights, inner.activations) == (weights, activations)
    assert inner.per_channel is bool(per_channel)
    last = pmap.resolve(NAMES, ALIASES, SELECTED)["head.out"]
    # what leaves the network keeps 8 bits unless a rule says otherwise
    outputs = activations if activations == "float" else max(activations, 8)
    assert (last.weights, last.activations) == ((edge, edge) if edge else (weights, outputs))


@pytest.mark.parametrize(("text", "addends", "edge"), [("w4a4s8c", 8, None), ("w4a4e8s6c", 6, 8)])
def test_shorthand_of_addends(text, addends, edge):
    pmap = PrecisionMap.parse(text)
    assert pmap == PrecisionMap.uniform(4, 4, edge, True, addends)
    selected = {**dict.fromkeys(SELECTED, ()), "@addends": ["a"]}
    found = pmap.resolve(["a", "b"], {}, selected)
    assert [found[name].activations for name in "ab"] == [addends, 4]


def test_means_keep_8_bits_unless_a_rule_says_otherwise():
    kept, ruled = (
        PrecisionMap(LayerPrecision(4, 4), rules).resolve(["m", "c"], {}, {"@means": ["m"]})
        for rules in ({}, {"@means": LayerPrecision(activations=4)})
    )
    assert [kept[name].activations for name in "mc"] == [8, 4]
    assert ruled["m"].activations == 4


@pytest.mark.parametrize(
    "text", ["", "w4", "a4", "w4a", "4a4", "w4a4x", "w-4a4", "W4A4", "w4a4ce8"]
)
def test_what_is_no_shorthand(text):
    with pytest.raises(PrecisionError, match="expected a shorthand such as w8a8, w4a4e8 or w6a6c"):
        PrecisionMap.parse(text)


@pytest.mark.parametrize("text", ["w0a4", "w4a0", "w40a8", "w8a33", "w4a4e0", "w4a4e40"])
def test_shorthand_with_impossible_bits(text):
    with pytest.raises(PrecisionError, match="bits of (weights|activations): got (0|40|33); exp"):
        PrecisionMap.parse(text)


FULL = {
    "schema": 1,
    "description": "a map",
    "reference": "a paper, table 3",
    "command": "tfxp-quantize --model=m.h5",
    "expected": {"accuracy": 0.9},
    "rounding": "half_away",
    "default": {"weights": 8, "activations": 8},
    "layers": {
        "@first": {"weights": 8},
        "conv2d_1": {"weights": "Q0.3s", "activations": "UQ2.4", "bias": 16},
        "dense.*": {"weights": 6, "per_channel": True, "placement": "pre_activation"},
        "conv2d": {"weights": "float", "activations": "wrpn:2"},
        "head": {"weights": "wrpn:1", "weight_gradients": "Q-2.9", "accumulators": 24},
    },
}


def test_json_round_trip(tmp_path):
    pmap = PrecisionMap.from_dict(FULL)
    assert pmap.to_dict() == FULL and list(pmap.to_dict()["layers"]) == list(FULL["layers"])
    path = tmp_path / "map.json"
    pmap.save(path)
    assert json.loads(path.read_text()) == FULL
    assert PrecisionMap.load(path) == pmap == PrecisionMap.parse(str(path))
    assert pmap.layers["conv2d"].activations == WrpnFormat(2, "activations")
    assert pmap.layers["conv2d_1"].weights == FixedPointFormat.parse("Q0.3s")
    assert PrecisionMap.from_dict({"schema": 1}) == PrecisionMap()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schema": 2}, "schema of precision map: got 2; expected 1"),
        ({"schema": None}, "schema of precision map: got None; expected 1"),
        ({"laeyrs": {}, "bits": 4}, "fields of .*: got 'laeyrs', 'bits'; .*Did you mean 'layers'"),
        ({"layers": []}, "layers of precision map: got \\[\\]; expected an object"),
        ({"layers": {"a": 8}}, "layer 'a' of precision map: got 8; expected an object"),
        ({"layers": {"a": {"weights": 0}}}, "layer 'a' of precision map: bits of weights: got 0"),
        ({"layers": {"a": {"weights": 40}}}, "bits of weights: got 40; expected 1 to 32"),
        ({"layers": {"a": {"weights": "Q20.19"}}}, "got 40 bits; expected 1 to 32"),
        ({"layers": {"a": {"wieghts": 4}}}, "fields of layer 'a' of .*Did you mean 'weights'"),
        (
            {"default": {"activations": "none"}},
            "default of precision map: precision of activations",
        ),
        ({"default": 8}, "default of precision map: got 8"),
        ({"rounding": "nearest"}, "rounding mode: got 'nearest'"),
        ({"rounding": 5}, "rounding: got 5; expected a rounding mode"),
        ({"layers": {"(": {"weights": 4}}}, "pattern '\\('"),
        ({"layers": {"@all": {"weights": 4}}}, "selector: got '@all'; expected one of @inputs"),
    ],
)
def test_bad_maps(change, text):
    with pytest.raises(PrecisionError, match=text):
        PrecisionMap.from_dict({**FULL, **change})


@pytest.mark.parametrize("data", [[], 8, None, "w8a8"])
def test_json_that_is_no_object(data):
    with pytest.raises(PrecisionError, match="precision map: got .*; expected an object"):
        PrecisionMap.from_dict(data)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "Expecting value"),
        (b'{"schema": 1', "delimiter"),
        (b"\xff\xfe\x00", "decode"),
        (b"[1, 2]", "got list; expected an object"),
        (b'{"schema": 1, "default": {"weights": 0}}', "bits of weights: got 0"),
    ],
)
def test_bad_files(tmp_path, content, text):
    path = tmp_path / "map.json"
    path.write_bytes(content)
    with pytest.raises(PrecisionError, match=text) as caught:
        PrecisionMap.parse(str(path))
    assert "map.json" in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PrecisionError, match="No such file"):
        PrecisionMap.load(tmp_path / "absent.json")
    with pytest.raises(PrecisionError, match="precision map .*directory"):
        PrecisionMap.load(tmp_path)


def test_save_is_whole_or_nothing(tmp_path):
    folder = tmp_path / "map.json"
    folder.mkdir()
    with pytest.raises(TfxpError):
        PrecisionMap().save(folder)
    assert list(tmp_path.iterdir()) == [folder] and not list(folder.iterdir())
