"""The C array compiles as C and C++, holds the file, and registers what the file needs."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of
from tfxp.errors import EngineError, UnsupportedOpError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.tflm import c_array, write_c_array

C_PROGRAM = """
#include <stdio.h>
#include <stdint.h>
#include "net_4.h"
#include "net_4.h"
int main(void) {
  fwrite(net_4, 1, net_4_length, stdout);
  return (int)((uintptr_t)net_4 % 16);
}
"""
CPP_PROGRAM = """
#include <cstdio>
#include "net_4.h"
struct Resolver {
  int AddRelu() { std::puts("relu"); return 0; }
  int AddBatchMatMul() { std::puts("matmul"); return 0; }
};
int main() {
  Resolver resolver;
  static_assert(NET_4_OPERATORS == 2, "operators");
  return net_4_add_operators(resolver) ? 0 : 1;
}
"""


def file_of(*operators):
    codes = Quantization([0.5], [0])
    graph = IntegerGraph(inputs=[0], outputs=[len(operators)])
    for i in range(len(operators) + 1):
        graph.add_tensor(Tensor(f"t{i}", (1, 4, 4), "INT8", codes))
    for i, name in enumerate(operators):
        inputs = [i, i] if name == "BATCH_MATMUL" else [i]
        graph.add_operator(Operator(name, inputs, [i + 1]))
    return write_tflite(graph)


@pytest.mark.parametrize(
    "suffix, text, flags",
    [
        (".c", C_PROGRAM, ["cc", "-std=c99", "-pedantic"]),
        (".c", C_PROGRAM, ["cc", "-std=c11", "-pedantic"]),
        (".cc", CPP_PROGRAM, ["c++", "-std=c++17"]),
    ],
)
def test_it_compiles(suffix, text, flags, tmp_path, monkeypatch):
    if shutil.which(flags[0]) is None:
        pytest.skip(f"needs the compiler {flags[0]}")
    monkeypatch.setattr(c_array, "arena_bytes", lambda content: 1000)
    content = file_of("RELU", "BATCH_MATMUL")
    done = write_c_array(tmp_path / "net-4.h", content)
    (tmp_path / "net-4.h").rename(tmp_path / "net_4.h")
    assert done.name == "net_4" and done.operators == ("AddBatchMatMul", "AddRelu")
    (tmp_path / f"main{suffix}").write_text(text)
    command = [*flags, "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", f"main{suffix}"]
    subprocess.run([*command, "-o", "main"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "main"], check=True, capture_output=True).stdout
    assert said == (content if suffix == ".c" else b"matmul\nrelu\n")


def test_the_arena_is_the_smallest_that_tflm_accepts(tmp_path):
    runtime = pytest.importorskip("tflite_micro").runtime
    content = file_of("RELU", "BATCH_MATMUL")
    done = write_c_array(tmp_path / "net.h", content)
    runtime.Interpreter.from_bytes(content, arena_size=done.arena_bytes).invoke()
    code = (
        "import sys; from tflite_micro import runtime; "
        "runtime.Interpreter.from_bytes(open(sys.argv[1], 'rb').read(), "
        f"arena_size={done.arena_bytes - 16})"
    )
    (tmp_path / "net.tflite").write_bytes(content)
    command = [sys.executable, "-c", code, str(tmp_path / "net.tflite")]
    assert subprocess.run(command, capture_output=True).returncode != 0
    header = (tmp_path / "net.h").read_text()
    assert f"#define NET_ARENA_BYTES {done.arena_bytes}\n" in header


def test_operators_that_tflm_lacks_are_named(tmp_path):
    with pytest.raises(UnsupportedOpError, match="got GELU, TILE; expected some that"):
        write_c_array(tmp_path / "net.h", file_of("TILE", "RELU", "GELU"))
    assert not (tmp_path / "net.h").exists()


def test_without_tflite_micro_the_arena_is_unknown(tmp_path, monkeypatch):
    def missing(content):
        raise EngineError("runtime 'tflm': package tflite-micro is not installed", "missing")

    monkeypatch.setattr(c_array, "arena_bytes", missing)
    done = write_c_array(tmp_path / "net.h", file_of("RELU"))
    assert "unknown arena (runtime 'tflm': package" in done.sentence()
    assert "NET_ARENA_BYTES " not in (tmp_path / "net.h").read_text().split("#ifndef")[1]
    refused = EngineError("model the file: TFLM refuses it", "refused")
    monkeypatch.setattr(c_array, "arena_bytes", lambda content: (_ for _ in ()).throw(refused))
    with pytest.raises(EngineError):
        write_c_array(tmp_path / "other.h", file_of("RELU"))
    assert not (tmp_path / "other.h").exists()


def test_the_tool_writes_all_for_firmware(tmp_path, capsys):
    pytest.importorskip("tflite_micro")
    from tools import export_tflite

    model = built("sequential")
    x = inputs_of(model, 16)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    qmodel.save(tmp_path / "q.keras")
    np.savez(tmp_path / "data.npz", x=x)

    def run(**flags):
        given = {"model": "q.keras", "output": "net.tflite", "verify_data": "data.npz",
                 "tflm_compression": "small.tflite", "c_array": "net.h", "c_source": "c",
                 "json": "figures.json"}  # fmt: skip
        words = [f"--{k}={tmp_path / v}" for k, v in given.items()]
        words += [f"--{k}={v}" for k, v in flags.items()]
        with pytest.raises(SystemExit) as ended:
            export_tflite.run(["export_tflite", *words])
        return ended.value.code

    assert run(runtime="tfxp") == 1
    assert "tflm_compression: got it beside --runtime=tfxp" in capsys.readouterr().err
    assert run() == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    small = (tmp_path / "small.tflite").read_bytes()
    assert figures["tflm_compression"]["compressed_bytes"] == figures["c_array"]["bytes"]
    assert figures["tflm_compression"]["samples"] == 16
    assert len(small) == figures["c_array"]["bytes"]
    assert figures["c_source"]["samples"] == 16 and figures["c_source"]["flash_bytes"] > 0
    said = capsys.readouterr().out
    assert "the same outputs in TFLM on 16 samples" in said and "of constants" in said
