"""Five hundred damaged files: the typed error or a result, nothing else."""

import json

import numpy as np
import pytest

from tests.test_tools import exit_of
from tfxp.commands import fuzz_models
from tfxp.errors import DataError
from tfxp.graph import read_tflite
from tfxp.interpreter.registry import known_operators
from tools import fuzz_tflite


def test_five_hundred_damaged_files(tmp_path, shared, capsys):
    report = tmp_path / "fuzz.json"
    flags = [f"--models={shared / 'models'}", "--max_bytes=60000", f"--json={report}"]
    assert exit_of("fuzz_tflite", "--count=250", *flags) in (0, None)
    assert exit_of("fuzz_tflite", "--count=250", f"--json={report}") in (0, None)
    figures = json.loads(report.read_text())
    assert sum(figures["outcomes"].values()) == 250 and not figures["failures"]
    assert figures["outcomes"]["TfliteFormatError"] > 50
    assert figures["outcomes"]["ran"] > 25 and len(figures["operators"]) > 20


def test_a_run_goes_on_where_it_was(tmp_path, capsys):
    state, report = tmp_path / "state.json", tmp_path / "fuzz.json"
    assert exit_of("fuzz_tflite", "--count=20", f"--state={state}") in (0, None)
    assert exit_of("fuzz_tflite", "--count=50", f"--state={state}") in (0, None)
    assert exit_of("fuzz_tflite", "--count=50", f"--json={report}") in (0, None)
    apart, whole = (json.loads(path.read_text()) for path in (state, report))
    assert apart["outcomes"] == whole["outcomes"] and apart["done"] == 50
    assert exit_of("fuzz_tflite", "--count=60", "--seed=3", f"--state={state}") == 1
    assert "--seed=3" in capsys.readouterr().err


def test_models_hold_every_operator():
    """Each form is taken as it is, and runs."""
    names = set()
    for content in fuzz_models.operator_models():
        (operator,) = read_tflite(content).operators
        names.add(operator.custom_code or operator.name)
        outcome = fuzz_tflite.attempt(content, np.random.default_rng(0))
        sizes_are_drawn = operator.name in ("RANGE", "RESHAPE")
        assert outcome.startswith("ran") or sizes_are_drawn, (operator.name, outcome)
    assert names == set(known_operators())


def test_damage_is_seeded():
    models = fuzz_tflite.made_models()
    first = [content for content, _ in fuzz_tflite.cases(models, 7, 0, 20)]
    assert [content for content, _ in fuzz_tflite.cases(models, 7, 10, 20)] == first[10:]
    assert len(set(first)) > 15


def test_an_error_that_hides_a_lack_of_memory_is_a_failure(monkeypatch):
    def refuse(runner, rng):
        try:
            raise MemoryError
        except MemoryError as error:
            raise DataError("too large") from error

    monkeypatch.setattr(fuzz_tflite, "_run", refuse)
    with pytest.raises(MemoryError):
        fuzz_tflite.attempt(fuzz_tflite.small_models()[0], np.random.default_rng(0))


@pytest.mark.parametrize("how", ["crash", "hang", "loop"])
def test_the_watch_sees_failures(how, tmp_path, monkeypatch):
    """The failing direction: a worker that dies or stops is booked, and the rest still runs."""
    script = tmp_path / "worker.py"
    end = {"crash": "os._exit(9)", "hang": "time.sleep(60)", "loop": "exec('while 1: pass')"}[how]
    script.write_text(
        "import os, sys, time\n"
        "first = int(sys.argv[-1].split('=')[1])\n"
        "print('ready', flush=True)\n"
        "for number in range(first, 5):\n"
        f"    if number == 2: {end}\n"
        "    print('ran RELU', flush=True)\n"
    )
    monkeypatch.setattr(fuzz_tflite, "__file__", str(script))
    fuzz_tflite._FLAGS.parse(["fuzz", "--count=5", "--seconds=0.3", "--state="])
    watch = fuzz_tflite.Watch()
    watch.run()
    assert watch.outcomes == {"ran": 4, "failure": 1} and watch.operators == {"RELU": 4}
    assert [failure["number"] for failure in watch.failures] == [2]
