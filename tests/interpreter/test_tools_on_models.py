"""The tools that run and show models: on a small one, and on real data where that is present."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.interpreter.test_interpreter import litert_outputs, network
from tests.interpreter.test_open_sizes import pooled
from tests.test_tools import exit_of
from tfxp.graph import write_tflite
from tfxp.interpreter import Interpreter

MODELS = "models/mlcommons+tiny/benchmark/training"


@pytest.fixture
def files(tmp_path, rng):
    """A model, data that it is right on nine times of ten, and where to write figures."""
    images = rng.integers(-128, 128, (20, 6, 6, 3)).astype(np.int8)
    labels = litert_outputs(images).argmax(1)
    labels[:2] = (labels[:2] + 1) % 5
    (tmp_path / "m.tflite").write_bytes(write_tflite(network()))
    np.savez(tmp_path / "d.npz", x=images, y=labels)
    return f"--model={tmp_path / 'm.tflite'}", f"--data={tmp_path / 'd.npz'}", tmp_path / "j.json"


@pytest.mark.parametrize("engine", ["reference", "fast", "litert"])
def test_run_on_a_small_model(engine, files, tmp_path, capsys):
    model, data, report = files
    chart = tmp_path / "macs.png"
    plot = [] if engine == "litert" else [f"--plot={chart}"]
    flags = [f"--engine={engine}", f"--json={report}", *plot]
    assert exit_of("run_tflite", model, data, *flags) in (0, None)
    figures = json.loads(report.read_text())
    assert figures["accuracy"] == 0.9 and figures["samples"] == 20
    assert "accuracy" in capsys.readouterr().out
    if engine != "litert":
        assert figures["macs_total"] == 20 * (6 * 6 * 9 * 3 * 4 + 36 * 5)
        assert [row["type"] for row in figures["layers"]] == ["CONV_2D", "FULLY_CONNECTED"]
        assert chart.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("engine", ["fast", "litert"])
def test_run_takes_the_sizes_of_the_data(engine, tmp_path, rng):
    images = rng.integers(-128, 128, (6, 9, 8, 3)).astype(np.int8)
    (tmp_path / "m.tflite").write_bytes(write_tflite(pooled()))
    labels = Interpreter(pooled()).predict_codes(images).argmax(1)
    np.savez(tmp_path / "d.npz", x=images, y=labels)
    files = [f"--model={tmp_path / 'm.tflite'}", f"--data={tmp_path / 'd.npz'}"]
    report = tmp_path / "j.json"
    assert exit_of("run_tflite", *files, f"--engine={engine}", f"--json={report}") in (0, None)
    assert json.loads(report.read_text())["accuracy"] == 1.0


def test_run_refuses_what_makes_no_sense(files, capsys):
    model, data, _ = files
    flags = ["--engine=litert", "--accumulator_bits=12"]
    assert exit_of("run_tflite", model, data, *flags) not in (0, None)
    assert "expected fast or reference" in capsys.readouterr().err


def test_view_is_searchable(files, capsys):
    assert exit_of("view_tflite", files[0]) in (0, None)
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("operator")]
    assert len(lines) == 4 and lines[0].startswith("operator 0  CONV_2D v3")
    assert "padding=SAME" in lines[0] and "signature  'serve'" in text


def test_bench_prints_every_comparison(files, capsys):
    assert exit_of("bench_interpreter", *files[:2], "--rounds=3") in (0, None)
    out = capsys.readouterr().out
    for name in ("LiteRT default", "LiteRT builtin", "BUILTIN_REF", "no skipping"):
        assert name in out


@pytest.mark.parametrize(
    "model,data,right,of",
    [
        ("image_classification/trained_models/pretrainedResnet_quant", "cifar10_test_first5k",
         4339, 5000),
        ("keyword_spotting/trained_models/kws_ref_model", "kws01_mfcc_int8", 902, 1000),
    ],
)  # fmt: skip
def test_accuracy_on_real_data(model, data, right, of, shared, tmp_path):
    report = tmp_path / "figures.json"
    flags = [f"--model={shared / MODELS / model}.tflite", f"--data={shared / 'data' / data}.npz"]
    assert exit_of("run_tflite", *flags, f"--json={report}") in (0, None)
    figures = json.loads(report.read_text())
    assert figures["samples"] == of and round(figures["accuracy"] * of) == right


def test_suite_times_files_and_names_those_it_cannot(files, tmp_path, capsys):
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    report = tmp_path / "suite.json"
    flags = ["--rounds=3", "--nobatches", f"--json={report}", f"--suite_data={tmp_path}"]
    assert exit_of("bench_interpreter", f"--suite={tmp_path}", *flags) in (0, None)
    out = capsys.readouterr().out
    assert "not timed: broken.tflite" in out
    rows = {Path(r["model"]).name: r for r in json.loads(report.read_text())["suite"]}
    assert "error" in rows.pop("broken.tflite")
    (row,) = rows.values()
    assert row["seconds"]["tfxp builtin"] > 0 and 0 < row["executed_share"] <= 1


def test_a_suite_of_nothing_is_refused(tmp_path, capsys):
    assert exit_of("bench_interpreter", f"--suite={tmp_path}") not in (0, None)
    assert "expected some" in capsys.readouterr().err
