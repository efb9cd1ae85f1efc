"""Every tool: --help works, and bad input gives one sentence and a non-zero exit."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = sorted(p.stem for p in (ROOT / "tools").glob("*.py") if not p.stem.startswith("_"))


def exit_of(name, *arguments):
    """The exit code of a tool run in this process."""
    module = importlib.import_module(f"tools.{name}")
    with pytest.raises(SystemExit) as caught:
        module.run([name, *arguments])
    return caught.value.code


@pytest.mark.parametrize("name", TOOLS)
def test_help_names_every_flag(name, capsys):
    assert exit_of(name, "--help") == 0
    out, err = capsys.readouterr()
    assert err == ""
    module = importlib.import_module(f"tools.{name}")
    for flag in module._FLAGS.values:
        assert flag in out
    assert f"{name}.py" in out, "the docstring shows a real command"


@pytest.mark.parametrize("name", TOOLS)
def test_unknown_flag(name, capsys):
    assert exit_of(name, "--no_such_flag=1") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "no_such_flag" in err


@pytest.mark.parametrize("name", TOOLS)
def test_absent_files(name, tmp_path, capsys):
    """Every input that a tool cannot do without is named when it is missing."""
    required = sorted(importlib.import_module(f"tools.{name}")._FLAGS._required)
    if not required:
        pytest.skip("needs no input")
    arguments = [f"--{flag}={tmp_path / 'absent'}" for flag in required]
    assert exit_of(name, *arguments) not in (0, None)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and str(tmp_path) in err


@pytest.mark.parametrize("name", TOOLS)
def test_tools_can_be_typed_as_the_docs_write_them(name):
    path = ROOT / "tools" / f"{name}.py"
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n")


SCRIPTS = """
import runpy, sys
for path in sys.argv[1:]:
    sys.path[0], sys.argv = path.rsplit("/", 1)[0], [path, "--help"]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as done:
        assert done.code == 0, path
"""


def test_tools_run_from_a_checkout(tmp_path):
    """As scripts, from another folder; one Python for all, since starting it takes longest."""
    paths = [str(ROOT / "tools" / f"{name}.py") for name in TOOLS]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPTS, *paths], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert all(f"{name}.py" in done.stdout for name in TOOLS)


def test_console_commands_lead_to_tools():
    table = re.findall(r'"(tfxp-\w+)": "(\w+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert table
    for command, module in table:
        assert callable(importlib.import_module(f"tools.{module}").run), command
