"""The precision of one layer: values, JSON, and what is refused."""

import dataclasses
import json
import re

import numpy as np
import pytest

from tfxp.errors import PrecisionError
from tfxp.formats import FixedPointFormat, Rounding, WrpnFormat
from tfxp.precision import FLOAT, LayerPrecision

TENSORS = [
    "weights", "activations", "bias", "weight_gradients", "activation_gradients", "accumulators",
]  # fmt: skip


@pytest.mark.parametrize("tensor", TENSORS)
def test_what_a_tensor_may_be(tensor):
    def precision(value):
        return getattr(LayerPrecision(**{tensor: value}), tensor)

    role = "activations" if tensor == "activations" else "weights"
    assert precision(None) is None
    assert precision("float") == FLOAT
    for bits in (1, 8, 32, np.int64(5), np.uint8(4)):
        assert precision(bits) == int(bits) and type(precision(bits)) is int
    assert precision("Q2.5") == FixedPointFormat(2, 5)
    assert precision("UQ2.4") == FixedPointFormat(2, 4, signed=False)
    assert precision(FixedPointFormat(0, 3, symmetric=True)) == FixedPointFormat.parse("Q0.3s")
    assert precision("wrpn:2") == WrpnFormat(2, role)
    assert precision(WrpnFormat(3, role)) == WrpnFormat(3, role)


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "bits of {}: got 0; expected 1 to 32"),
        (40, "bits of {}: got 40; expected 1 to 32"),
        (-1, "bits of {}: got -1"),
        (8.0, "precision of {}: got 8.0; expected bits, a format name or 'float'"),
        (True, "precision of {}: got True"),
        (float("nan"), "precision of {}: got nan"),
        ([8], "precision of {}: got \\[8\\]"),
        ({}, "precision of {}: got {{}}"),
        ("8", "precision of {}: fixed-point format: got '8'; expected Qm.f"),
        ("Q20.19", "precision of {}: word length of Q20.19: got 40 bits; expected 1 to 32"),
        ("UQ1.3s", "precision of {}: symmetric range of UQ1.3s: got unsigned"),
        ("wrpn:0", "precision of {}: bits of WRPN format: got 0; expected 1 to 16"),
        ("Float", "precision of {}: fixed-point format: got 'Float'"),
    ],
)
def test_what_a_tensor_may_not_be(tensor, value, text):
    with pytest.raises(PrecisionError, match=text.format(tensor)):
        LayerPrecision(**{tensor: value})


def test_a_wrpn_grid_of_the_other_role():
    # It would be saved as "wrpn:4" and read back as another format.
    with pytest.raises(PrecisionError, match="precision of weights: got WrpnFormat\\(4, 'activ"):
        LayerPrecision(weights=WrpnFormat(4, "activations"))
    with pytest.raises(PrecisionError, match="expected a grid of activations"):
        LayerPrecision(activations=WrpnFormat(4, "weights"))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"per_channel": 1}, "per_channel: got 1; expected true or false"),
        ({"per_channel": "yes"}, "per_channel: got 'yes'"),
        ({"placement": "after"}, "placement: got 'after'; expected .*post_activation"),
        ({"placement": []}, "placement: got"),
        ({"rounding": "nearest"}, "rounding mode: got 'nearest'; .* Or 'portable' or 'engine'"),
        ({"rounding": 5}, "rounding mode: got 5"),
    ],
)
def test_other_fields_that_make_no_sense(fields, text):
    with pytest.raises(PrecisionError, match=text):
        LayerPrecision(**fields)


@pytest.mark.parametrize("mode", ["engine", *[mode.value for mode in Rounding]])
def test_rounding_names(mode):
    assert LayerPrecision(rounding=mode).rounding == mode
    if mode != "engine":
        precision = LayerPrecision(rounding=Rounding(mode))
        assert precision.rounding == mode and type(precision.rounding) is str


FULL = LayerPrecision(
    weights="Q0.3s", activations="UQ2.4", bias=16, per_channel=True, placement="pre_activation",
    rounding="half_away", weight_gradients="Q-2.9", activation_gradients="float",
    accumulators="wrpn:4",
)  # fmt: skip


@pytest.mark.parametrize(
    "precision",
    [
        LayerPrecision(),
        FULL,
        LayerPrecision(per_channel=False),
        LayerPrecision(activations="wrpn:2"),
    ],
)
def test_json_round_trip(precision):
    text = json.dumps(precision.to_dict())
    assert LayerPrecision.from_dict(json.loads(text)) == precision
    assert hash(LayerPrecision.from_dict(json.loads(text))) == hash(precision)


def test_json_says_only_what_is_said():
    assert LayerPrecision().to_dict() == {}
    assert LayerPrecision(weights=4, per_channel=False).to_dict() == {
        "weights": 4,
        "per_channel": False,
    }
    assert set(FULL.to_dict()) == {field.name for field in dataclasses.fields(LayerPrecision)}


def test_unknown_fields_are_all_named():
    data = {"weihgts": 4, "activations": 8, "colour": 1}
    with pytest.raises(PrecisionError) as caught:
        LayerPrecision.from_dict(data, "layer 'conv'")
    text = str(caught.value)
    assert text.startswith(
        "fields of layer 'conv': got 'weihgts', 'colour'; expected some of weights"
    )
    assert text.endswith("Did you mean 'weights'?")


@pytest.mark.parametrize("data", [None, 8, "w8", [], [1]])
def test_json_that_is_no_object(data):
    with pytest.raises(PrecisionError, match=re.escape(f"layer: got {data!r}; expected an object")):
        LayerPrecision.from_dict(data)


def test_errors_say_where():
    with pytest.raises(PrecisionError, match="^layer 'a' of m.json: bits of weights: got 0"):
        LayerPrecision.from_dict({"weights": 0}, "layer 'a' of m.json")


def test_updated_overrides_only_what_is_said():
    base = LayerPrecision(weights=8, activations=8, per_channel=True, rounding="floor")
    over = LayerPrecision(weights="Q0.3", per_channel=False)
    assert base.updated(over) == LayerPrecision("Q0.3", 8, per_channel=False, rounding="floor")
    assert base.updated(LayerPrecision()) == base
    assert LayerPrecision().updated(FULL) == FULL
    assert base.weights == 8  # and nothing is edited in place
