"""Roles are values: they know their consequences, users name them, and nothing compares names."""

import copy
import pickle
import re
from pathlib import Path

import pytest

import tfxp
from tfxp.errors import ConfigError
from tfxp.quantization.layer_table import LAYERS
from tfxp.quantization.role import ADD, KEEP, MAC, RELU, ROLES, Role

SOURCES = sorted((Path(__file__).resolve().parents[2] / "tfxp").rglob("*.py"))


def test_users_name_roles():
    role = tfxp.LayerRole("keep", "reshape")
    assert role.role is KEEP and role == tfxp.LayerRole(KEEP, "reshape")
    assert role.role == "keep" and not role.role.owns_format
    with pytest.raises(ConfigError, match="layer: got 'kep'; expected .* mean 'keep'"):
        tfxp.LayerRole("kep", "reshape")


def test_consequences():
    assert MAC.owns_format and MAC.adds_up and MAC.rounding == "half_even"
    assert ADD.sums and ADD.keeps_sign and ADD.rounding == "half_up"
    assert RELU.closes and not RELU.owns_format
    assert all(ROLES[name].name == name for name in ROLES)
    assert all(type(role.role) is Role for role in LAYERS.values())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda role: pickle.loads(pickle.dumps(role))])
def test_copies_are_equal_and_keep_their_traits(again):
    assert again(ADD) == ADD and again(ADD).rounding == "half_up"


def test_no_file_compares_names_of_roles():
    names = "|".join(ROLES)
    compared = re.compile(rf'role(_of\(.*\))?(\.role)? *(==|!=|in|not in) *\(?"({names})"')
    found = [path.name for path in SOURCES if compared.search(path.read_text(encoding="utf-8"))]
    assert found == []
