"""Runtimes outside this process: refusals, deaths and silence are sentences, batches are exact."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from tfxp.errors import ConfigError, EngineError, LiteRtError, ModelError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.runtimes import RUNTIMES, c_engine, child_engine, open_runtime, runtimes_of

SKIPS = {
    name: [pytest.mark.skipif(not runtime.version(), reason=f"needs {runtime.install}")]
    for name, runtime in RUNTIMES.items()
}
EVERY = [pytest.param(name, marks=marks) for name, marks in SKIPS.items()]
NAMES = {runtime.name: runtime.title for runtime in RUNTIMES.values()}


def relu(free=True, type_="INT8"):
    scheme = Quantization([0.5], [-3])
    sizes = {"shape_signature": (-1, 4)} if free else {}
    x, y = (Tensor(name, (1, 4), type_, scheme, **sizes) for name in "xy")
    return write_tflite(IntegerGraph([x, y], [Operator("RELU", [0], [1], version=2)], [0], [1]))


@pytest.fixture
def codes(rng):
    return rng.integers(-128, 128, (5, 4)).astype(np.int8)


@pytest.mark.parametrize("name", EVERY)
def test_batches_of_any_size(codes, name):
    with open_runtime(name, relu()) as runner:
        for count in (5, 1, 3):
            for singly in (False, True):
                (got,) = runner.run([codes[:count]], singly=singly)
                assert np.array_equal(got, np.maximum(codes[:count], -3)) and got.dtype == np.int8


def test_a_file_that_fixes_its_batch(codes):
    with open_runtime("litert", relu(free=False)) as runner:
        assert np.array_equal(runner.run([codes])[0], np.maximum(codes, -3))


@pytest.mark.parametrize("name", EVERY)
def test_a_refusal_is_a_sentence(codes, name):
    with pytest.raises(EngineError, match=f"model 'odd': {NAMES[name]} refuses it") as error:
        open_runtime(name, b"no model at all", name="'odd'")
    assert error.value.outcome == "refused" and isinstance(error.value, ModelError)
    assert "\n" not in str(error.value) and str(error.value).endswith(").")
    with open_runtime(name, relu()) as runner:
        with pytest.raises(EngineError, match="refuses it") as error:
            runner.run([codes[:1].astype(np.int32)])
        assert "\n" not in str(error.value)
        assert np.array_equal(runner.run([codes])[0], np.maximum(codes, -3))  # it still runs


@pytest.mark.parametrize("name", EVERY)
def test_an_operator_that_no_runtime_has(name):
    x, y = (Tensor(letter, (1, 4), "INT8", Quantization([0.5], [0])) for letter in "xy")
    unknown = Operator("CUSTOM", [0], [1], custom_code="Mystery")
    content = write_tflite(IntegerGraph([x, y], [unknown], [0], [1]))
    with pytest.raises(EngineError, match="refuses it.*(Mystery|CUSTOM)") as error:
        with open_runtime(name, content) as runner:
            runner.run([np.zeros((1, 4), np.int8)])
    assert "\n" not in str(error.value)


def test_unknown_runtimes_are_refused():
    with pytest.raises(ConfigError, match="got 'tflmm'; expected some of .*Did you mean 'tflm'"):
        open_runtime("tflmm", relu())
    with pytest.raises(ConfigError, match="got ''"):
        runtimes_of("litert,")
    assert [r.name for r in runtimes_of("c,all")] == ["c", *(n for n in RUNTIMES if n != "c")]
    assert LiteRtError is EngineError  # the name of 0.1


def child_that(tmp_path, monkeypatch, body):
    """A child process that does something else than answer."""
    path = tmp_path / "child.py"
    path.write_text(body)
    monkeypatch.setattr(child_engine, "_CHILD", path)


ENDS = [
    ("import os; os.abort()", "crashed", "ends its process with SIGABRT while it opens it"),
    ("import os; os.kill(os.getpid(), 11)", "crashed", "ends its process with SIGSEGV"),
    ("import time; time.sleep(60)", "timeout", "has not answered for 0.5 s while it opens it"),
    (
        "raise SystemExit('out of luck')",
        "crashed",
        "ends its process with code 1 while it opens it .out of luck.",
    ),
    ("print('noise', flush=True)", "crashed", "ends its process with no error"),
]


@pytest.mark.parametrize(("body", "outcome", "sentence"), ENDS)
def test_what_ends_the_child_is_a_sentence(tmp_path, monkeypatch, body, outcome, sentence):
    child_that(tmp_path, monkeypatch, body)
    with pytest.raises(EngineError, match=f"LiteRT for Microcontrollers {sentence}") as error:
        open_runtime("tflm", relu(), patience=0.5 if outcome == "timeout" else 60)
    assert error.value.outcome == outcome and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("script", "outcome", "sentence"),
    [
        ("kill -ABRT $$", "crashed", "the C program ends its process with SIGABRT while it runs"),
        ("echo no luck >&2; exit 3", "crashed", "with code 3 while it runs it .no luck."),
        ("exec sleep 60", "timeout", "the C program has not answered for 0.5 s while it runs it"),
    ],
)
def test_what_ends_the_c_program_is_a_sentence(monkeypatch, codes, script, outcome, sentence):
    def compiled(folder, program):
        with open(program, "w") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        shutil.copymode("/bin/sh", program)
        return program

    monkeypatch.setattr(c_engine, "compile_c_program", compiled)
    with open_runtime("c", relu(), patience=0.5 if outcome == "timeout" else 60) as runner:
        with pytest.raises(EngineError, match=sentence) as error:
            runner.run([codes])
    assert error.value.outcome == outcome


def test_a_missing_runtime_is_a_sentence_with_the_command(tmp_path, monkeypatch):
    body = (
        f"import runpy; child = runpy.run_path({str(child_engine._CHILD)!r})\n"
        "def absent(name): raise child['Missing'](f'package {name} is not installed')\n"
        "child['main'].__globals__['with_package'] = absent\n"
        "child['main']()\n"
    )
    child_that(tmp_path, monkeypatch, body)
    wanted = "runtime 'tflm': package tflite-micro is not installed. Run: pip install .tfxp.tflm"
    with pytest.raises(EngineError, match=wanted) as error:
        open_runtime("tflm", relu())
    assert error.value.outcome == "missing"
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(EngineError, match="runtime 'c': .*'no-such-compiler'.*gcc") as error:
        open_runtime("c", relu())
    assert error.value.outcome == "missing" and RUNTIMES["c"].version() == ""


def test_types_that_the_c_program_lacks_are_refused():
    with pytest.raises(EngineError, match="the C program refuses it .*INT16"):
        open_runtime("c", relu(type_="INT16"))


def test_the_child_imports_no_tensorflow_and_says_nothing(capfd, codes):
    """LiteRT's INFO line about its delegate stays in the child."""
    with open_runtime("litert", relu()) as runner:
        runner.run([codes])
    assert capfd.readouterr() == ("", "")
    code = (
        "import sys, runpy; from tfxp.runtimes.child_engine import _CHILD; had = set(sys.modules);"
        "runpy.run_path(str(_CHILD), run_name='other');"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'tf_keras', 'keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_child_that_nobody_closes_ends(codes):
    runner = open_runtime("litert", relu())
    process = runner._process
    del runner
    assert process.poll() is not None
