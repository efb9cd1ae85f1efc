"""Elements that differ between runtimes are counted right: against integers worked out by hand."""

import json

import numpy as np
import pytest

from tests.runtimes.test_runtimes import EVERY
from tfxp.comparison.compare import steps_apart
from tfxp.comparison.operator_differences import operator_differences
from tfxp.comparison.runtime_results import RuntimeResult, compare_runtimes, runtime_rows
from tfxp.errors import EngineError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.runtimes import RUNTIMES
from tools import compare_models

#: How each runtime rounds the half of an odd sum in a dense layer.
ROUNDINGS = {
    "litert": np.rint,
    "compiled_model": np.rint,
    "c": np.rint,
    "reference": lambda real: np.sign(real) * np.floor(np.abs(real) + 0.5),
    "builtin": lambda real: np.floor(real + 0.5),
    "tflm": lambda real: np.floor(real + 0.5),
}


def dense(graph, source, name, kernel, scale):
    """A dense layer without bias; steps of its kernel are 1."""
    kernel = np.array(kernel, np.int8)
    weights = Tensor(f"{name}/kernel", kernel.shape, "INT8", Quantization([1.0], [0]), kernel)
    shape = (1, len(kernel))
    output = Tensor(name, shape, "INT8", Quantization([scale], [0]), shape_signature=(-1, shape[1]))
    index = graph.add_tensor(output)
    graph.add_operator(
        Operator("FULLY_CONNECTED", [source, graph.add_tensor(weights)], [index], version=4)
    )
    return index


def halving_network():
    """x -> same (exact) -> half (ties) -> ends (exact): three channels that tie and swap places."""
    graph = IntegerGraph(name="halving")
    shape = {"shape": (1, 3), "shape_signature": (-1, 3)}
    x = graph.add_tensor(Tensor("x", type="INT8", quantization=Quantization([1.0], [0]), **shape))
    eye = np.eye(3, dtype=int)
    same = dense(graph, x, "same", eye[[2, 0, 1]], 1.0)
    half = dense(graph, same, "half", eye, 2.0)
    ends = dense(graph, half, "ends", -eye, 2.0)
    graph.inputs, graph.outputs = [x], [ends, half]
    return graph


def expected(x, rounding=np.rint):
    """Outputs by exact arithmetic."""
    half = rounding(x[:, [2, 0, 1]].astype(float) / 2)
    return [-half, half]


@pytest.fixture
def codes(rng):
    return rng.integers(-9, 10, (64, 3)).astype(np.int8)


@pytest.mark.parametrize("name", EVERY)
def test_a_differing_file_is_counted_right(codes, name):
    (found,) = compare_runtimes(halving_network(), [codes], [name], batch_size=25)
    pairs = list(zip(expected(codes), expected(codes, ROUNDINGS[name]), strict=True))
    differing = sum(int((a != b).sum()) for a, b in pairs)
    moved = sum(int((a.argmax(1) != b.argmax(1)).sum()) for a, b in pairs)
    assert (found.samples, found.elements, found.floats, found.decisions) == (64, 384, 0, 128)
    assert (found.differing, found.differing_decisions) == (differing, moved), found.error
    if ROUNDINGS[name] is np.rint:
        assert found.exact and found.first == "" and found.max_lsb == 0
    else:
        assert differing > 50 and moved > 2  # or the test shows nothing
        assert (found.first, found.first_operator, found.max_lsb) == ("half", "FULLY_CONNECTED", 1)
        assert found.agrees(1) and not found.agrees() and not found.exact
        assert f"{differing} of 384 output values differ" in found.sentence()


def test_floats_are_compared_within_their_precision():
    a = np.array([1.0, -100.0, np.nan, np.inf, 3.0], np.float32)
    assert steps_apart(a, a).tolist() == [0] * 5
    b = np.array([1.0005, -100.0, 0.0, 1.0, np.nan], np.float32)
    assert steps_apart(a, b).tolist() == [0, 0, 1, 1, 1]
    assert steps_apart(np.array([-128, 3], np.int8), np.array([127, 3], np.int8)).tolist() == [
        255,
        0,
    ]
    assert steps_apart(np.array([10**6]), np.array([10**6 + 1])).tolist() == [1]


def test_float_outputs_are_called_floats(rng):
    x = Tensor("x", (1, 4), "INT8", Quantization([0.25], [3]))
    y = Tensor("y", (1, 4), "FLOAT32")
    graph = IntegerGraph([x, y], [Operator("DEQUANTIZE", [0], [1], version=2)], [0], [1])
    codes = rng.integers(-128, 128, (6, 4)).astype(np.int8)
    for found in compare_runtimes(graph, [codes], ["litert", "reference", "builtin"]):
        assert found.exact and found.floats == found.elements == 24
    (refused,) = compare_runtimes(graph, [codes], ["c"])
    assert "refuses it" in refused.error and not refused.exact and refused.elements == 0


def test_a_runtime_that_dies_half_way_is_one_sentence(codes, monkeypatch):
    from tfxp.runtimes.child_engine import ChildEngine

    calls = []

    def run(self, feeds, **_):
        calls.append(len(feeds[0]))
        if len(calls) > 1:
            raise EngineError("model 'halving': LiteRT ends its process with SIGABRT.", "crashed")
        return expected(feeds[0])

    monkeypatch.setattr(ChildEngine, "run", run)
    (found,) = compare_runtimes(halving_network(), [codes], ["litert"], batch_size=25)
    assert calls == [25, 25] and found.samples == 25
    assert found.sentence() == "model 'halving': LiteRT ends its process with SIGABRT."
    assert not found.exact and not found.agrees(99)


def test_the_table_shows_errors_and_figures():
    error = RuntimeResult("tflm", "TFLM", "", error="runtime 'tflm': missing.")
    good = RuntimeResult("c", "the C program", "gcc 12", 1, 2, 0, 1, 3, "y", "ADD", 1, 0)
    header, (first, second) = runtime_rows([error, good])
    assert len(header) == len(first) == len(second)
    assert first[0] == "tflm" and first[-1].endswith("missing.") and second[-1] == "y (ADD)"


KEYS = {"runtime", "title", "version", "samples", "elements", "floats", "differing", "max_lsb",
        "first", "first_operator", "decisions", "differing_decisions", "error"}  # fmt: skip


def run_tool(*flags):
    with pytest.raises(SystemExit) as ended:
        compare_models.run(["compare_models", *flags])
    return ended.value.code


def test_compare_models_lists_the_runtimes(tmp_path, capsys):
    path = tmp_path / "halving.tflite"
    path.write_bytes(write_tflite(halving_network()))
    flags = [f"--model={path}", f"--json={tmp_path}/found.json", "--limit=40"]
    assert run_tool(*flags) == 0
    assert run_tool(*flags, "--runtimes=litert,reference") == 1
    out = capsys.readouterr().out
    assert "part at 'half' (FULLY_CONNECTED)" in out and "against every runtime" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert [set(row) for row in found["runtimes"]] == [KEYS | {"model"}] * 2
    assert [row["runtime"] for row in found["runtimes"]] == ["litert", "reference"]
    assert found["runtimes"][1]["differing"] > 0 == found["runtimes"][0]["differing"]
    assert all(row["version"].startswith("ai-edge-litert ") for row in found["runtimes"])
    assert len(found["comparisons"]) == 2
    assert run_tool(*flags, "--runtimes=litert,reference", "--tolerance=1") == 0


def test_operators_are_compared_by_themselves(codes):
    """The last layer reads what differs, and is the same by itself."""
    for name in ("litert", "reference", "builtin"):
        rows = operator_differences(halving_network(), [codes], RUNTIMES[name])
        assert [row.name for row in rows] == ["same", "half", "ends"]
        wanted = int((expected(codes)[1] != expected(codes, ROUNDINGS[name])[1]).sum())
        assert [row.differing for row in rows] == [0, wanted, 0]


def test_compare_models_shows_operators(tmp_path, capsys):
    path = tmp_path / "halving.tflite"
    path.write_bytes(write_tflite(halving_network()))
    flags = ["--limit=40", "--runtimes=reference", "--operators", f"--json={tmp_path}/found.json"]
    assert run_tool(f"--model={path}", *flags) == 1
    assert "1 of 3 operators differ by themselves" in capsys.readouterr().out
    rows = json.loads((tmp_path / "found.json").read_text())["operators"]
    assert [row["name"] for row in rows if row["differing"]] == ["half"] and len(rows) == 3


def test_compare_models_fails_where_a_named_runtime_does(tmp_path, capsys, monkeypatch):
    path = tmp_path / "halving.tflite"
    path.write_bytes(write_tflite(halving_network()))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert run_tool(f"--model={path}", "--limit=4", "--runtimes=litert,c") == 1
    assert "runtime 'c': " in capsys.readouterr().out
    assert run_tool(f"--model={path}", "--runtimes=tlfm") == 1
    assert "Did you mean 'tflm'?" in capsys.readouterr().err
