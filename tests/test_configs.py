"""Every settings file that ships loads, says where it came from, and survives a round trip."""

import json
from pathlib import Path

import pytest

from tfxp.files import configs_folder
from tfxp.precision import PrecisionMap

CONFIGS = configs_folder()
FILES = sorted(CONFIGS.rglob("*.json"))
IDS = [str(path.relative_to(CONFIGS)) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_file_says_what_it_is(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["schema"] == 1
    assert content["description"].strip()
    assert path.name == path.name.lower()


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "precision").glob("*.json")), ids=lambda p: p.name
)
def test_precision_maps_round_trip(path, tmp_path):
    pmap = PrecisionMap.load(path)
    pmap.save(tmp_path / "again.json")
    assert PrecisionMap.load(tmp_path / "again.json") == pmap
    assert pmap.provenance.get("reference") or pmap.provenance.get("command")


def test_the_readme_names_every_folder_and_file_prefix():
    readme = (CONFIGS / "README.md").read_text(encoding="utf-8")
    for folder in {path.parent.name for path in FILES}:
        assert f"`{folder}/`" in readme


def test_configs_lie_beside_the_checkout():
    assert Path(__file__).resolve().parent.parent / "configs" == CONFIGS
