"""Five hundred damaged files: the typed error or a prepared model, nothing else."""

import json

import pytest

from tests.test_tools import exit_of
from tools import fuzz_tflite


def test_five_hundred_damaged_files(tmp_path, shared, capsys):
    report = tmp_path / "fuzz.json"
    flags = [f"--models={shared / 'models'}", "--max_bytes=60000", f"--json={report}"]
    assert exit_of("fuzz_tflite", "--count=250", *flags) in (0, None)
    assert exit_of("fuzz_tflite", "--count=250", f"--json={report}") in (0, None)
    figures = json.loads(report.read_text())
    assert sum(figures["outcomes"].values()) == 250 and not figures["failures"]
    assert figures["outcomes"]["TfliteFormatError"] > 50


def test_damage_is_seeded():
    models = fuzz_tflite.small_models()
    first = list(fuzz_tflite.cases(models, 7, 0, 20))
    assert list(fuzz_tflite.cases(models, 7, 10, 20)) == first[10:]
    assert len(set(first)) > 15 and any(len(c) < len(models[0]) for c in first)


@pytest.mark.parametrize("how", ["crash", "hang"])
def test_the_watch_sees_failures(how, tmp_path, monkeypatch):
    """The failing direction: a worker that dies or stops is booked, and the rest still runs."""
    script = tmp_path / "worker.py"
    end = "os._exit(9)" if how == "crash" else "time.sleep(60)"
    script.write_text(
        "import os, sys, time\n"
        "first = int(sys.argv[-1].split('=')[1])\n"
        "print('ready', flush=True)\n"
        "for number in range(first, 5):\n"
        f"    if number == 2: {end}\n"
        "    print('prepared', flush=True)\n"
    )
    monkeypatch.setattr(fuzz_tflite, "__file__", str(script))
    fuzz_tflite._FLAGS.parse(["fuzz", "--count=5", "--seconds=3"])
    watch = fuzz_tflite.Watch()
    watch.run()
    assert watch.outcomes == {"prepared": 4, "failure": 1}
    assert [failure["number"] for failure in watch.failures] == [2]
