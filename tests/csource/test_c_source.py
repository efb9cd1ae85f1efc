"""C programs compute the integers of the file: on this machine, under sanitizers, on a Cortex-M4.

The oracle is LiteRT's default engine or the interpreter; the C kernels share no code with either.
"""

import dataclasses
import functools
import json
import shutil
import subprocess

import numpy as np
import pytest

import tfxp
from tests.cases import CASES, built, inputs_of
from tests.csource.building import needs_cc, run_graph
from tfxp.comparison.compare import compare_traces
from tfxp.comparison.trace import trace_interpreter, trace_runtime
from tfxp.csource import run_c_program, write_c_source
from tfxp.csource.code_ranges import code_ranges
from tfxp.csource.lowering import lower
from tfxp.csource.packing import pack_codes
from tfxp.errors import (
    DataError,
    DependencyError,
    ModelError,
    OutputError,
    UnsupportedOpError,
)
from tfxp.export import integer_graph_of
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, layers
from tfxp.runtimes import RUNTIMES

STRICT = "CFLAGS=-std=c99 -O2 -Wall -Wextra -Wconversion -pedantic -Werror"
SLOW = [name for name in CASES if name not in ("everything", "several_inputs_and_outputs")]


@functools.cache
def quantized(name):
    model = built(name)
    return tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, inputs_of(model, 16)))


def graph_and_codes(name, precision, count=64):
    """A case's integer graph, and random codes for its inputs: extremes as often as the middle."""
    tfxp.set_precision(quantized(name), precision)
    graph = integer_graph_of(quantized(name))
    draws = np.random.default_rng(3)
    shapes = [graph.tensors[index].shape[1:] for index in graph.inputs]
    return graph, [draws.integers(-128, 128, (count, *shape)).astype(np.int8) for shape in shapes]


def make(folder, target):
    command = ["make", "-s", target, STRICT]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compare(graph, codes, folder):
    """Every output of the program is the interpreter's."""
    want = Interpreter(graph).predict_codes(codes)
    want = want if isinstance(want, list) else [want]
    for ours, theirs in zip(run_graph(graph, codes, folder), want, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@needs_cc
@pytest.mark.parametrize("name", ["everything", "several_inputs_and_outputs"])
@pytest.mark.parametrize("precision", ["w4a4c", "w3a8"])
def test_same_codes_as_the_interpreter(name, precision, tmp_path):
    compare(*graph_and_codes(name, precision), tmp_path / "c")


@needs_cc
@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("precision", ["w8a8", "w2a2c"])
def test_every_case(name, precision, tmp_path):
    compare(*graph_and_codes(name, precision), tmp_path / "c")


@needs_cc
def test_the_targets_of_the_makefile(tmp_path):
    graph, codes = graph_and_codes("several_inputs_and_outputs", "w4a4", 8)
    assert write_c_source(graph, tmp_path / "c", codes).samples == 8
    for target in ("test", "test_dense", "sanitize"):
        assert "8 samples, 0 of" in make(tmp_path / "c", target)


needs_arm = pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


@needs_arm
def test_on_an_emulated_cortex_m4(tmp_path):
    graph, codes = graph_and_codes("everything", "w4a4", 8)
    write_c_source(graph, tmp_path / "c", codes)
    assert "8 samples, 0 of" in make(tmp_path / "c", "test_cortex_m4")


@needs_cc
def test_the_test_program_sees_a_wrong_code(tmp_path):
    graph, codes = graph_and_codes("dense", "w4a4", 4)
    write_c_source(graph, tmp_path / "c", codes)
    vectors = bytearray((tmp_path / "c/vectors.bin").read_bytes())
    vectors[-1] ^= 1
    (tmp_path / "c/vectors.bin").write_bytes(vectors)
    done = subprocess.run(
        ["make", "-s", "test"], cwd=tmp_path / "c", capture_output=True, text=True
    )
    assert done.returncode != 0 and "4 samples, 1 of" in done.stdout


@pytest.mark.parametrize("bits", range(2, 9))
def test_packed_codes_are_as_small_as_their_range(bits):
    """Every code of every width, unpacked by Python's integers."""
    codes = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    packed = pack_codes(codes)
    assert (packed.bits, packed.factor, packed.count) == (bits, 1, codes.size)
    assert packed.data.size == -(-bits * codes.size // 8) + 1
    whole = int.from_bytes(packed.data.tobytes(), "little")
    fields = [(whole >> (bits * i)) % (1 << bits) for i in range(codes.size)]
    assert [f - (f >> (bits - 1) << bits) for f in fields] == codes.tolist()


def test_a_common_power_of_two_costs_no_bits():
    packed = pack_codes(np.array([-32, 28, 0, 4]))
    assert (packed.bits, packed.factor) == (4, 4)


def one_operator(name, type_="INT8"):
    graph = IntegerGraph()
    for letter in "xy":
        graph.add_tensor(Tensor(letter, (1, 4), type_, Quantization([0.5], [0])))
    graph.add_operator(Operator(name, [0], [1]))
    graph.inputs, graph.outputs = [0], [1]
    return graph


def test_refusals_name_every_layer(tmp_path):
    graph = one_operator("LOG_SOFTMAX")
    graph.tensors[1].quantization = Quantization([1 / 16], [127])
    graph.add_tensor(Tensor("z", (1, 4), "INT8", Quantization([2.0**-12], [0])))
    graph.add_operator(Operator("ADD", [0, 1], [2]))
    with pytest.raises(UnsupportedOpError) as caught:
        write_c_source(graph, tmp_path / "c")
    assert "y (LOG_SOFTMAX): no such kernel" in str(caught.value)
    assert "z (ADD): input scales" in str(caught.value)
    with pytest.raises(UnsupportedOpError, match="type INT16"):
        write_c_source(one_operator("RELU", type_="INT16"), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_codes_keep_to_what_a_maximum_leaves_them():
    graph = one_operator("MAXIMUM")
    least = Tensor("least", (1,), "INT8", Quantization([0.5], [0]), np.array([-3], np.int8))
    graph.operators[0].inputs.append(graph.add_tensor(least))
    view, pool, other = (
        graph.add_tensor(Tensor(name, (1, 4), "INT8", Quantization([scale], [0])))
        for name, scale in (("view", 0.5), ("pool", 0.5), ("other", 1.0))
    )
    graph.add_operator(Operator("RESHAPE", [1], [view]))
    relu = {"fused_activation_function": "RELU"}  # its zeros may lie outside of its input's codes
    graph.add_operator(Operator("MAX_POOL_2D", [view], [pool], relu))
    graph.add_operator(Operator("RESHAPE", [view], [other]))
    assert code_ranges(graph) == {
        0: (-128, 127), 1: (-3, 127), 2: (-3, -3), view: (-3, 127),
        pool: (-128, 127), other: (-128, 127),
    }  # fmt: skip


def test_samples_of_another_shape(tmp_path):
    graph, codes = graph_and_codes("dense", "w4a4", 2)
    with pytest.raises(DataError, match="rows for input"):
        write_c_source(graph, tmp_path / "c", [codes[0][:, :-1]])
    assert not (tmp_path / "c").exists()


def test_samples_may_be_real(tmp_path):
    graph, codes = graph_and_codes("dense", "w4a4", 4)
    tensor = graph.tensors[graph.inputs[0]]
    real = tensor.scale * (codes[0].astype(np.float32) - tensor.zero_point)
    write_c_source(graph, tmp_path / "codes", codes)
    write_c_source(graph, tmp_path / "real", real)
    vectors = [(tmp_path / name / "vectors.bin").read_bytes() for name in ("codes", "real")]
    assert vectors[0] == vectors[1]


def test_only_own_folders_are_replaced(tmp_path):
    graph, codes = graph_and_codes("dense", "w4a4", 2)
    (tmp_path / "c").mkdir()
    first = write_c_source(graph, tmp_path / "c", codes)
    assert write_c_source(graph, tmp_path / "c", codes) == first
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("words")
    with pytest.raises(OutputError, match="other files in it"):
        write_c_source(graph, tmp_path / "other", codes)
    assert (tmp_path / "other/thesis.tex").read_text() == "words"


@needs_cc
@pytest.mark.parametrize("skip_zeros", [True, False])
def test_the_program_runs_on_arrays(skip_zeros, tmp_path):
    graph, codes = graph_and_codes("several_inputs_and_outputs", "w4a4", 8)
    write_c_source(graph, tmp_path / "c")
    got = run_c_program(tmp_path / "c", codes, skip_zeros=skip_zeros)
    for ours, theirs in zip(got, Interpreter(graph).predict_codes(codes), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@needs_cc
def test_outputs_that_are_inputs_constants_or_the_same_tensor(tmp_path):
    """Each output of the file is one of the program, whatever lies behind it."""
    graph = one_operator("RELU")
    view = graph.add_tensor(Tensor("x", (1, 2, 2), "INT8", Quantization([0.5], [0])))
    shape = graph.add_tensor(Tensor("shape", (3,), "INT32", data=np.array([1, 2, 2], np.int32)))
    graph.add_operator(Operator("RESHAPE", [1, shape], [view]))
    five = np.array([[5, 6]], np.int8)
    constant = graph.add_tensor(Tensor("x_table", (1, 2), "INT8", Quantization([1], [0]), five))
    graph.outputs = [1, view, 0, constant, 1]
    write_c_source(graph, tmp_path / "c")
    codes = np.array([[-7, 1, -128, 127], [1, 2, 3, 4]], np.int8)
    relu = np.maximum(codes, 0)
    wanted = [relu, relu.reshape(2, 2, 2), codes, np.repeat(five, 2, 0), relu]
    for ours, theirs in zip(run_c_program(tmp_path / "c", codes), wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@needs_cc
def test_any_name_of_a_layer(tmp_path):
    graph = one_operator("RELU")
    graph.tensors[0].name, graph.tensors[1].name = "größe/*", "int */ \n#error"
    write_c_source(graph, tmp_path / "c")
    (got,) = run_c_program(tmp_path / "c", np.array([[-1, 1, 2, 3]], np.int8))
    assert got.tolist() == [[0, 1, 2, 3]]


@needs_cc
def test_what_run_c_program_refuses(tmp_path, monkeypatch):
    write_c_source(one_operator("RELU"), tmp_path / "c")
    codes = np.zeros((2, 4), np.int8)
    with pytest.raises(DataError, match=r"int64 \(2, 4\); expected int8 \(N, 4\)"):
        run_c_program(tmp_path / "c", codes.astype(np.int64))
    with pytest.raises(DataError, match="got 2; expected 1"):
        run_c_program(tmp_path / "c", [codes, codes])
    with pytest.raises(ModelError, match="expected one from write_c_source"):
        run_c_program(tmp_path, codes)
    (tmp_path / "c/requantize.c").write_text("no C")
    with pytest.raises(ModelError, match="got exit code 1 of"):
        run_c_program(tmp_path / "c", codes)
    monkeypatch.setenv("CC", "no_such_compiler")
    with pytest.raises(DependencyError, match="none named 'no_such_compiler'"):
        run_c_program(tmp_path / "c", codes)


@needs_cc
def test_real_inputs_and_outputs_become_codes(tmp_path):
    """QUANTIZE, DEQUANTIZE and a float SOFTMAX at the ends are the caller's."""
    codes = Quantization([0.5], [3])
    graph = IntegerGraph()
    names = [("x", None), ("x_codes", codes), ("y_codes", codes), ("y", None), ("p", None)]
    for name, quantization in names:
        kind = "INT8" if quantization else "FLOAT32"
        graph.add_tensor(Tensor(name, (1, 4), kind, quantization))
    for i, name in enumerate(["QUANTIZE", "RELU", "DEQUANTIZE", "SOFTMAX"]):
        graph.add_operator(Operator(name, [i], [i + 1], {"beta": 1.0} if i == 3 else {}))
    graph.inputs, graph.outputs = [0], [4]
    real = np.array([[-2.0, 0.0, 1.5, 70.0]], np.float32)
    done = write_c_source(graph, tmp_path / "c", real)
    assert [port.tensor for port in (*done.inputs, *done.outputs)] == ["x_codes", "y_codes"]
    assert "real = 0.5 * (code - 3)" in (tmp_path / "c/model.h").read_text()
    (got,) = run_c_program(tmp_path / "c", np.array([[-1, 3, 6, 127]], np.int8))
    assert got.tolist() == [[3, 3, 6, 127]]
    assert "1 samples, 0 of 4" in make(tmp_path / "c", "test")


@needs_cc
@pytest.mark.slow
def test_the_bench_tool(tmp_path, capsys):
    from tools import bench_c_source

    (tmp_path / "net.tflite").write_bytes(write_tflite(one_operator("RELU")))
    np.savez(tmp_path / "x.npz", x=np.arange(12, dtype=np.int8).reshape(3, 4))
    flags = {"model": tmp_path / "net.tflite", "data": tmp_path / "x.npz", "rounds": 3,
             "json": tmp_path / "f.json"}  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        bench_c_source.run(["bench", *(f"--{key}={value}" for key, value in flags.items())])
    assert not ended.value.code
    assert "0 of 12" in capsys.readouterr().out
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["constant_bytes"] == 256 and len(figures["seconds"]) == 3
    assert figures["host"] == {"samples": 3, "outputs": 12, "differing": 0}


@needs_cc
@needs_arm
@pytest.mark.slow
def test_reported_bytes_are_those_of_the_compiler(tmp_path):
    """Constants and RAM of the report, and what the Arm linker says of the network alone."""
    graph, _ = graph_and_codes("everything", "w4a4c", 1)
    done = write_c_source(graph, tmp_path / "c")
    text, data, bss = map(int, make(tmp_path / "c", "size").splitlines()[1].split()[:3])
    assert data == 0 and done.ram_bytes <= bss <= done.ram_bytes + 16
    code = text - done.flash_bytes
    assert 2000 < code < 6000


@needs_cc
def test_indices_of_tables_are_computed_nowhere():
    """Neither an output of the program nor a tensor that runs are compared by."""
    x, i = Tensor("x", (1, 4), "INT8", Quantization([0.5], [0])), Tensor("i", (1, 4), "INT32")
    indices = dataclasses.replace(i, name="j")
    for tensors, name in (([x, i], "CAST"), ([i, indices], "RESHAPE")):
        graph = IntegerGraph(tensors, [Operator(name, [0], [1])], [0], [1])
        with pytest.raises(UnsupportedOpError, match="output '[ij]' of type INT32; expected INT8"):
            lower(graph)
    network = keras.Sequential([layers.Dense(3, activation="softplus", input_shape=(4,))])
    rows = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    quantized = tfxp.quantize_model(network, "w8a8", tfxp.measure_model(network, rows))
    graph = integer_graph_of(quantized)
    feeds = [np.random.default_rng(0).integers(-128, 128, (9, 4)).astype(np.int8)]
    ours, theirs = trace_interpreter(graph, feeds), trace_runtime(graph, feeds, RUNTIMES["c"])
    assert any(codes.type == "INT32" for codes in graph.tensors)
    assert len(theirs.tensors) >= 3 and compare_traces(ours, theirs).first() is None
