"""The recorded session of docs/first_ten_minutes.md says the same again, but for numbers."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/first_ten_minutes.md").read_text(encoding="utf-8")


def recorder():
    spec = importlib.util.spec_from_file_location("record", ROOT / "docs/_record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outline(text):
    """What does not depend on the machine, the hour, or how long a step took."""
    lines = []
    for line in text.splitlines():
        # progress is told every few seconds, kernels are compiled once
        if re.search(r"/s, |tfxp compiles | s so far\b", line):
            continue
        if re.match(r"[\w.-]+  +\S", line):  # a row of a table: columns are as wide as numbers
            line = line.split("  ")[0]
        lines.append(" ".join(re.sub(r"\d[\d,.:e-]*", "#", line).split()))
    return lines


@pytest.mark.slow
def test_the_recording_can_be_made_again(tmp_path):
    assert outline(recorder().record(PAGE, tmp_path)) == outline(PAGE)


def test_every_command_of_the_recording_has_an_answer():
    answers = re.findall(r"```text\n\[[\d:]+\] \$ (.*?)\n(.*?)```", PAGE, re.S)
    assert len(answers) >= 12
    assert [command for command, answer in answers if not answer.strip()] == []
    assert sum("(exit status" in answer for _, answer in answers) == 1  # the slip


def test_outline_and_recorder(tmp_path):
    text = "a\n```text\n[9:59] $ echo 12 s; exit 3\nold\n```\nb\n"
    made = recorder().record(text, tmp_path)
    assert re.fullmatch(
        r"a\n```text\n\[0:0\d\] \$ echo 12 s; exit 3\n12 s\n\(exit status 3\)\n```\nb\n", made
    )
    told = "train  3 epochs, 0.1/s, 3 s left\nt: 3/9 steps, 12 s so far  loss 0.4\nt: 5 s so far\n"
    assert outline(told + "acc. 0.98 x") == ["acc. # x"]
