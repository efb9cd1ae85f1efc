"""Machine code on disk: made once, noticed when damaged or out of date, and done without."""

import subprocess
import sys

import pytest

from tfxp.interpreter.compiled import native

RUN = """
import sys
from tfxp.interpreter.compiled.native import address_of
address_of("program")
assert ("numba" in sys.modules) == {compiles}
"""


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, and nothing loaded."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native, "_LOADED", {})
    return tmp_path / "tfxp"


def add_nothing():
    """Runs the loaded kernel on no steps."""
    native.function_of("program")(0, 0, 0, 0, 0, 0, 0)


def test_compiles_once_and_says_so(cache, capfd, monkeypatch):
    add_nothing()
    assert "compiles program for this processor, once" in capfd.readouterr().err
    (stored,) = cache.iterdir()
    monkeypatch.setattr(native, "_LOADED", {})
    add_nothing()
    assert capfd.readouterr().err == ""
    stored.write_bytes(stored.read_bytes()[:-1])
    monkeypatch.setattr(native, "_LOADED", {})
    add_nothing()
    assert "compiles program" in capfd.readouterr().err


def test_a_warm_start_does_not_load_numba(cache):
    for compiles in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", RUN.format(compiles=compiles)], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()


def test_runs_where_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(native, "_LOADED", {})
    add_nothing()


def test_file_names_tell_every_source(monkeypatch, tmp_path):
    sources = {path.name for path in native.sources()}
    assert {"scatter.py", "microkernel.py", "record.py", "arithmetic.py"} <= sources
    changed = tmp_path / "scatter.py"
    changed.write_text("other")
    before = native.stamp(native.sources())
    others = [p for p in native.sources() if p.name != changed.name]
    assert before != native.stamp([*others, changed])
    assert before == native.stamp(native.sources())
