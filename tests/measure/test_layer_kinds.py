"""One vocabulary of layer kinds: every table names its members, old spellings are read as them."""

import re

import pytest

import tfxp
from tfxp.cost import stages
from tfxp.cost.graph_stats import _KINDS as OPERATORS
from tfxp.export.operators import WRITERS
from tfxp.measure import any_layer
from tfxp.precision import LayerKind, LayerStats, ModelStats
from tfxp.quantization.layer_table import LAYERS

TABLES = {
    "layers": [role.kind for role in LAYERS.values()],
    "any class": [*any_layer._KINDS.values(), *any_layer._ADD_UP_NOTHING],
    "operators": list(OPERATORS.values()),
    "stages": [*stages.VIEWS, *stages.FUSED, *stages.POOLS],
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_name_members(table):
    assert all(type(kind) is LayerKind for kind in TABLES[table])
    assert LayerKind.OTHER not in TABLES[table]


def test_every_member_is_named_by_a_table():
    named = {kind for kinds in TABLES.values() for kind in kinds}
    assert named == set(LayerKind) - {LayerKind.OTHER}


@pytest.mark.parametrize(
    ("old", "kind"),
    [("flatten", "reshape"), ("max_pool", "pool"), ("global_average_pool", "mean"),
     ("relu", "activation"), ("mul", "multiply"), ("sub", "subtract"), ("lrn", "normalization"),
     ("identity", "dropout"), ("squeeze", "reshape"), ("conv", "conv"), ("my_own", "other")],
)  # fmt: skip
def test_spellings_of_saved_files(old, kind):
    saved = {"schema": 1, "samples": 0, "outputs": ["a"], "aliases": {},
             "layers": [{"name": "a", "kind": old}]}  # fmt: skip
    stats = ModelStats.from_dict(saved)
    assert stats["a"].kind is LayerKind(kind)
    assert stats.to_dict()["layers"][0]["kind"] == kind
    assert ModelStats.from_dict(stats.to_dict()) == stats


def test_every_operator_that_is_written_has_a_kind():
    text = " ".join(writer.operators for writer in WRITERS.values())
    assert set(re.findall(r"[A-Z0-9_]{3,}", text)) <= set(OPERATORS)


def test_users_write_strings():
    assert tfxp.LayerRole("keep", "reshape").kind is LayerKind.RESHAPE
    assert LayerStats("a", "conv").kind is LayerKind.CONV
