"""LiteRT in a process of its own: refusals, deaths and silence are sentences, batches are exact."""

import subprocess
import sys

import numpy as np
import pytest

from tfxp.comparison.litert import LiteRt
from tfxp.errors import LiteRtError, ModelError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite


def relu(free=True):
    scheme = Quantization([0.5], [-3])
    sizes = {"shape_signature": (-1, 4)} if free else {}
    x, y = (Tensor(name, (1, 4), "INT8", scheme, **sizes) for name in "xy")
    return write_tflite(IntegerGraph([x, y], [Operator("RELU", [0], [1], version=2)], [0], [1]))


@pytest.fixture
def codes(rng):
    return rng.integers(-128, 128, (5, 4)).astype(np.int8)


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("engine", ["default", "reference"])
def test_batches_of_any_size(codes, free, engine):
    with LiteRt(relu(free), engine) as runner:
        for count in (5, 1, 3):
            for singly in (False, True):
                (got,) = runner.run([codes[:count]], singly=singly)
                assert np.array_equal(got, np.maximum(codes[:count], -3)) and got.dtype == np.int8


def test_a_refusal_is_a_sentence(codes):
    with pytest.raises(LiteRtError, match="model 'odd': LiteRT refuses it") as error:
        LiteRt(b"no model at all", name="'odd'")
    assert error.value.outcome == "refused" and isinstance(error.value, ModelError)
    with LiteRt(relu()) as runner:
        with pytest.raises(LiteRtError, match="refuses it") as error:
            runner.run([codes.astype(np.int16)])
        assert np.array_equal(runner.run([codes])[0], np.maximum(codes, -3))  # it still runs


def program(tmp_path, monkeypatch, body):
    """A child that does something else than answer."""
    import tfxp.comparison.litert as module

    path = tmp_path / "child.py"
    path.write_text(body)
    monkeypatch.setattr(module, "_CHILD", path)


@pytest.mark.parametrize(
    ("body", "outcome", "sentence"),
    [
        ("import os; os.abort()", "crashed", "ends its process with SIGABRT while it opens it"),
        ("import os; os.kill(os.getpid(), 11)", "crashed", "ends its process with SIGSEGV"),
        ("import time; time.sleep(60)", "timeout", "has not answered for 0.5 s while it opens it"),
        ("raise SystemExit('no such package')", "crashed", "ended with 1 .no such package."),
        ("print('noise', flush=True)", "crashed", "LiteRT ends its process with no error"),
    ],
)
def test_what_ends_the_child_is_a_sentence(tmp_path, monkeypatch, body, outcome, sentence):
    program(tmp_path, monkeypatch, body)
    with pytest.raises(LiteRtError, match=sentence) as error:
        LiteRt(relu(), patience=0.5 if outcome == "timeout" else 60)
    assert error.value.outcome == outcome


def test_the_child_imports_no_tensorflow_and_says_nothing(capfd, codes):
    """LiteRT's INFO line about its delegate stays in the child."""
    with LiteRt(relu()) as runner:
        runner.run([codes])
    assert capfd.readouterr() == ("", "")
    code = (
        "import sys, runpy; from tfxp.comparison.litert import _CHILD; had = set(sys.modules);"
        "runpy.run_path(str(_CHILD), run_name='other');"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'tf_keras', 'keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_child_that_nobody_closes_ends(codes):
    runner = LiteRt(relu())
    process = runner._process
    del runner
    assert process.poll() is not None
