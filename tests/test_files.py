"""Files are whole or absent, whatever happens while they are written."""

import json
import os

import numpy as np
import pytest

from tfxp import files
from tfxp.errors import ConfigError, OutputError


def test_folders_are_created_and_nothing_else_is_left(tmp_path):
    files.write_text(tmp_path / "a" / "b.txt", "text")
    assert (tmp_path / "a" / "b.txt").read_text() == "text"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "model.h5"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.h5"]


def test_folders_are_replaced_whole(tmp_path):
    for content in ("one", "two"):
        with files.atomic_path(tmp_path / "saved") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert os.listdir(tmp_path) == ["saved"]
    assert os.listdir(tmp_path / "saved") == ["two"]


def test_temporary_name_has_the_suffix_and_usual_permissions(tmp_path):
    with files.atomic_path(tmp_path / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("x")
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert (tmp_path / "model.keras").stat().st_mode == plain.stat().st_mode


def test_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    files.write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"


def test_devices_are_written_to(capfd):
    files.check_writable("/dev/stdout")
    files.write_text("/dev/null", "gone")


@pytest.mark.parametrize("path", ["/proc/none/x.json", "/dev/null/x.json", "/proc/x.json"])
def test_unwritable_is_one_sentence(path):
    for attempt in (files.check_writable, lambda p: files.write_text(p, "x")):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            attempt(path)
        assert "\n" not in str(caught.value) and repr(path) in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OutputError, match="got a folder"):
        files.check_writable(tmp_path)


def test_check_leaves_nothing(tmp_path):
    files.check_writable(tmp_path / "new" / "x.json", tmp_path / "y.json", None)
    assert os.listdir(tmp_path) == []


def test_json_is_plain(tmp_path):
    value = {1: np.float32(0.5), "a": np.arange(3), "b": (np.int64(7), float("nan"), np.inf, True)}
    files.write_json(tmp_path / "x.json", value)
    expected = {"1": 0.5, "a": [0, 1, 2], "b": [7, None, None, True]}
    assert json.loads((tmp_path / "x.json").read_text()) == expected


def test_configs_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.find_config("configs/README.md").samefile(files.find_config("README.md"))
    with pytest.raises(ConfigError, match="not there"):
        files.find_config("no/such.json", "precision")
