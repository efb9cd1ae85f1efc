"""The main job, end to end, as a stranger would run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "quickstart.py"


def _run(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_quickstart_is_exact_and_accurate(tmp_path):
    done = _run(f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["mismatches_interpreter"] == summary["mismatches_litert"] == 0
    assert summary["elements"] == 1797 * 10
    for who in ("quantized", "interpreter", "litert"):
        assert summary[f"{who}_accuracy"] >= summary["float_accuracy"] - 0.03 > 0.93
    assert 0 < summary["macs_executed"] < summary["macs_total"]
    assert summary["tflite_bytes"] == (tmp_path / "model.tflite").stat().st_size
    assert summary["tflite_bytes"] < summary["float_bytes"] / 2
    page = (tmp_path / "report.html").read_text()
    assert "<figure>" in page and "Handwritten digits" in page
    for column in ("executed", "SQNR"):
        assert f">{column}</th>" in page
    # what users look at, and what the pipeline's steps hand on
    results = {"report.html", "summary.json", "model.tflite", "weights.h", "precision.json"}
    networks = {"digits.npz", "all_images.npz", "float.keras", "quantized.keras"}
    figures = {"stats.json", "quantize.json", "export.json", "run.json", "litert.json"}
    state = {"pipeline.json", ".tfxp_pipeline.json"}
    assert {path.name for path in tmp_path.iterdir()} == results | networks | figures | state
    again = [sys.executable, "-m", "tfxp", "run-all", str(tmp_path / "pipeline.json")]
    done = subprocess.run(again, capture_output=True, text=True, cwd=TOOL.parent.parent)
    assert done.returncode == 0 and "0 steps done, 6 kept" in done.stdout


def test_unwritable_folder_is_told_before_the_work():
    done = _run("--output=/dev/null/x")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "cannot be written" in done.stderr
