"""Programs that believe to be on an AVX2 machine, where the machine can make them believe so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interpreter.test_interpreter import network
from tfxp.commands.as_avx2 import run_as_avx2
from tfxp.errors import DependencyError
from tfxp.graph import write_tflite

TOOL = Path(__file__).parent.parent.parent / "tools/bench_interpreter.py"


def runs_as_avx2(*command):
    try:
        return run_as_avx2(command)
    except DependencyError as error:
        pytest.skip(str(error))


def test_libraries_see_avx2_and_nothing_newer(tmp_path):
    program = (
        "import sys, llvmlite.binding as llvm; from tfxp.interpreter.compiled import lanes;"
        "open(sys.argv[1], 'w').write(f'{llvm.get_host_cpu_features().flatten()} {lanes.LANES}')"
    )
    file = tmp_path / "seen"
    assert runs_as_avx2(sys.executable, "-c", program, str(file)) == 0
    features, lanes = file.read_text().split()
    assert "+avx2" in features and lanes == "8"
    newer = ("+avx512", "+amx", "+avxvnni", "+avx10")
    assert not [name for name in features.split(",") if name.startswith(newer)]


@pytest.mark.slow
def test_the_benchmark_says_so(tmp_path):
    runs_as_avx2("true")  # skips where no machine can be made to believe
    (tmp_path / "m.tflite").write_bytes(write_tflite(network()))
    flags = ["--isa=avx2", "--rounds=3", "--nobatches", f"--json={tmp_path / 'j.json'}"]
    command = [sys.executable, str(TOOL), f"--suite={tmp_path}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "as AVX2" in done.stdout.splitlines()[0]
    figures = json.loads((tmp_path / "j.json").read_text())
    assert figures["isa"] == "avx2" and figures["suite"][0]["seconds"]["LiteRT default"] > 0


def test_a_crash_is_still_a_crash():
    program = "import ctypes; ctypes.string_at(0)"
    assert runs_as_avx2(sys.executable, "-c", program) == -11


@pytest.mark.parametrize(
    ("compiler", "said"), [("no-such-compiler", "got no C compiler"), ("false", "does not compile")]
)
def test_without_a_compiler(compiler, said, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(DependencyError, match=said):
        run_as_avx2(["true"])
