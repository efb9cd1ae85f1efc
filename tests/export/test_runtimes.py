"""An export counts what differs on every runtime that is asked for, and hides nothing."""

import json

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.runtimes.test_runtime_results import KEYS
from tests.runtimes.test_runtimes import SKIPS
from tfxp.comparison import RuntimeResult, operator_differences
from tfxp.comparison.compare import compare_traces
from tfxp.comparison.trace import trace_interpreter, trace_runtime
from tfxp.errors import ConfigError
from tfxp.export import KerasTracer
from tfxp.export.verify import Verification
from tfxp.keras import keras, layers
from tfxp.runtimes import RUNTIMES
from tools import compare_runtimes, export_tflite


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """(folder with float.keras, q.keras and data.npz, 8-bit model, samples)."""
    folder = tmp_path_factory.mktemp("net")
    image = keras.Input((6, 5, 3), name="image")
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image))
    model = randomize(keras.Model(image, layers.Dense(5, activation="softmax")(x)))
    x = np.random.default_rng(4).normal(size=(300, 6, 5, 3)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    model.save(folder / "float.keras")
    qmodel.save(folder / "q.keras")
    np.savez(folder / "data.npz", x=x)
    return folder, qmodel, x


def test_the_report_has_every_runtime(net, tmp_path):
    _, qmodel, x = net
    asked = ("reference", "builtin", "c")
    report = tfxp.export_tflite(qmodel, tmp_path / "q.tflite", verify=x, runtimes=asked)
    found = report.to_dict()["runtimes"]
    assert [row["runtime"] for row in found] == ["litert", *asked]
    assert all(set(row) == KEYS and row["samples"] == 300 for row in found)
    assert all(row["elements"] == 1500 and row["decisions"] == 300 for row in found)
    assert [row["differing"] > 0 for row in found] == [False, True, True, False]
    assert not report.verification.exact and report.verification.mismatches_litert == 0
    json.dumps(found)


def test_a_softmax_is_compared_too(net, tmp_path):
    """Keras has no codes behind the softmax; the runtimes run the file as it is written."""
    _, qmodel, x = net
    path = tmp_path / "q.tflite"
    report = tfxp.export_tflite(qmodel, path, verify=x[:50], softmax=True, runtimes=["reference"])
    assert report.verification.mismatches_litert == report.verification.mismatches_interpreter == 0
    litert, reference = report.verification.runtimes
    assert tfxp.read_tflite(path).operators[-1].name == "SOFTMAX"
    assert litert.exact and reference.differing > 0 and reference.elements == 250


def test_a_way_through_16_bits_is_the_same_everywhere(tmp_path):
    """The C program goes it in one kernel; CompiledModel's buffers take no 16 bits."""
    x = keras.Input((5, 5, 2))
    y = layers.Add()([layers.Conv2D(2, 3, padding="same")(x), layers.Conv2D(2, 1)(x)])
    model = randomize(keras.Model(x, layers.Dense(3)(layers.Flatten()(y))))
    samples = np.random.default_rng(2).normal(size=(40, 5, 5, 2)).astype(np.float32)
    tracer = KerasTracer(
        tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, samples), fit="max")
    )
    assert any(tensor.type == "INT16" for tensor in tracer.graph.tensors)
    codes, shown = tracer.codes([samples]), {}
    for name in (name for name, marks in SKIPS.items() if not marks[0].args[0]):
        runtime = RUNTIMES[name]
        rows = operator_differences(tracer.graph, codes, runtime)
        run = trace_runtime(tracer.graph, codes, runtime)
        assert [row for row in rows if row.differing] == [], name
        assert compare_traces(trace_interpreter(tracer.graph, codes), run).first() is None, name
        shown[name] = len(rows)
    assert shown["compiled_model"] < shown["litert"]


def test_runtimes_need_data_and_names(net, tmp_path):
    _, qmodel, x = net
    with pytest.raises(ConfigError, match="got litert, tflm, but no data"):
        tfxp.export_tflite(qmodel, tmp_path / "q.tflite", runtimes=("litert", "tflm"))
    with pytest.raises(ConfigError, match="got 'cpu'; expected some of litert, "):
        tfxp.export_tflite(qmodel, tmp_path / "q.tflite", verify=x, runtimes=("cpu",))
    assert not (tmp_path / "q.tflite").exists()


def run(tool, *flags):
    with pytest.raises(SystemExit) as ended:
        tool.run([tool.__name__, *flags])
    return ended.value.code


def test_the_tool_prints_what_differs(net, tmp_path, capsys, monkeypatch):
    folder = net[0]
    monkeypatch.setenv("CC", "no-such-compiler")
    flags = [f"--model={folder}/q.keras", f"--output={tmp_path}/q.tflite"]
    assert run(export_tflite, *flags, "--runtimes=litert,tflm") == 1
    assert "runtimes: got no --verify_data" in capsys.readouterr().err
    flags += [f"--verify_data={folder}/data.npz", f"--json={tmp_path}/report.json"]
    assert run(export_tflite, *flags) == 0
    assert "against every runtime" not in capsys.readouterr().out
    assert run(export_tflite, *flags, "--runtimes=reference,c") == 1
    out = capsys.readouterr().out
    rows = json.loads((tmp_path / "report.json").read_text())["runtimes"]
    assert f"{rows[1]['differing']:,}" in out and "runtime 'c': " in out and "(CONV_2D)" in out
    assert run(export_tflite, *flags, "--runtimes=reference", "--tolerance=9") == 0


@pytest.mark.parametrize(
    ("lsb", "error", "runtime", "wanted"),
    [(2, "", "litert", True), (3, "", "litert", False), (0, "gone", "litert", False)],
)
def test_the_tolerance_holds_for_every_runtime(lsb, error, runtime, wanted):
    litert = RuntimeResult("litert", "LiteRT", "1")
    other = RuntimeResult("tflm", "TFLM", "1", differing=lsb, max_lsb=lsb, error=error)
    found = Verification(10, 100, 0, 0, 0, 0, "", (litert, other))
    assert export_tflite.agrees(found, 2, runtime) is wanted


@pytest.mark.parametrize("name", ["tflm"])
def test_the_table_goes_on_where_it_stopped(net, tmp_path, capsys, monkeypatch, name):
    if SKIPS[name][0].args[0]:
        pytest.skip("needs tflite-micro")
    folder = net[0]
    flags = [f"--model={folder}/float.keras", f"--data={folder}/data.npz", "--limit=40",
             f"--runtimes=litert,{name}", f"--json={tmp_path}/rows.json", "--name=net"]  # fmt: skip
    assert run(compare_runtimes, *flags, "--precisions=w8a8") == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == f"| network | precision | outputs | Keras | litert | {name} |"
    assert lines[2].startswith("| net | w8a8 | 200 | 0 | 0 | ") and " LSB, `conv" in lines[2]
    calls = []
    monkeypatch.setattr(
        tfxp, "quantize_model", lambda model, precision, stats: calls.append(precision)
    )
    assert run(compare_runtimes, *flags, "--precisions=w8a8") == 1 and not calls
    assert capsys.readouterr().out.strip().splitlines() == lines
    (tmp_path / "rows.json").write_text("[]")
    assert run(compare_runtimes, *flags) == 1
    assert "holds no rows of this tool" in capsys.readouterr().err
