"""`tfxp COMMAND` and `python -m tfxp`."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfxp.cli.one_command import COMMANDS, help_text, run
from tfxp.commands.doctor import inspect_machine, processor
from tfxp.version import __version__

ROOT = Path(__file__).resolve().parents[2]


def exit_of(*arguments):
    with pytest.raises(SystemExit) as caught:
        run(["tfxp", *arguments])
    return caught.value.code


def test_every_command_has_a_line_and_a_script():
    text, setup = help_text(), (ROOT / "setup.py").read_text()
    for name, module in COMMANDS.items():
        doc = importlib.import_module(f"tfxp.tools.{module}").__doc__
        assert f"{name} " in text and doc.splitlines()[0] in text
        assert f'"tfxp-{name}": "{module}"' in setup
    assert len(re.findall(r'"tfxp-[\w-]+":', setup)) == len(COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help(arguments, capsys):
    assert exit_of(*arguments) == 0
    assert capsys.readouterr().out == help_text()


def test_version(capsys):
    assert exit_of("--version") == 0
    assert capsys.readouterr().out == f"tfxp {__version__}\n"


def test_a_command_gets_its_flags_and_its_exit_code(capsys):
    assert exit_of("view", "--help") == 0
    assert "--weights" in capsys.readouterr().out
    assert exit_of("view", "--no_such_flag") == 2
    assert capsys.readouterr().err.startswith("tfxp view: ")
    assert exit_of("view", "--model=absent.tflite") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_command_is_one_sentence(capsys):
    assert exit_of("quantise") == 2
    err = capsys.readouterr().err
    assert err.startswith("tfxp: command: got 'quantise'; expected one of measure")
    assert err.endswith("Did you mean 'quantize'?\n") and err.count("\n") == 1


def test_completion_is_valid_bash(capsys):
    assert exit_of("completion") == 0
    script = capsys.readouterr().out
    probe = f"{script}\nCOMP_WORDS=(tfxp qu) COMP_CWORD=1\n_tfxp\necho ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["quantize"] and done.stderr == ""


def test_python_m():
    done = subprocess.run(
        [sys.executable, "-m", "tfxp", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == f"tfxp {__version__}\n" and done.returncode == 0


def test_the_machine_is_described():
    found = {row.subject: row for row in inspect_machine()}
    assert found["Python"].found.startswith("3.")
    assert found["tensorflow"].found and not found["tensorflow"].wrong
    assert found["processor"].found == processor()
    assert all(row.found or row.note for row in found.values())


def test_what_is_missing_is_named_with_what_mends_it(monkeypatch):
    monkeypatch.setattr("tfxp.commands.doctor.version_of", lambda package: None)
    monkeypatch.setattr("tfxp.commands.doctor.shutil.which", lambda program: None)
    found = {row.subject: row for row in inspect_machine()}
    assert found["keras-tuner"].wrong and 'pip install "keras-tuner"' in found["keras-tuner"].note
    assert not found["tflite-micro"].wrong and "tfxp[tflm]" in found["tflite-micro"].note
    assert "apt-get install" in found["cc"].note


@pytest.mark.slow
def test_the_self_test_passes(capsys):
    assert exit_of("doctor") == 0
    assert "0 of 192 values differ" in capsys.readouterr().out
