#!/usr/bin/env python3
"""Feed damaged .tflite files to the interpreter, and run those that it still takes.

    tools/fuzz_tflite.py --count=20000 --models=models/
    tools/fuzz_tflite.py --count=100000 --state=fuzz_state.json

Every file is a model with flipped bits, cut off, with swapped or overwritten words, or with changed
fields of its graph, by a seed that the report names. The models are small ones made here, which
hold every operator that the interpreter knows, and with --models those of a folder. A file that can
be prepared runs twice on drawn inputs, and some run as a batch. A separate process with a memory
cap does that; a file that crashes it, takes more processor time than the limit, wants more memory,
or ends in anything but tfxp's own errors or a result is a failure. Kernels are compiled before time
is taken. With --state a run that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfxp import cli
from tfxp.commands.fuzz_damage import damage
from tfxp.commands.fuzz_models import operator_models
from tfxp.errors import ConfigError, TfxpError
from tfxp.files import write_json
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, read_tflite, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.interpreter.compiled.native import KERNELS, address_of
from tfxp.interpreter.registry import known_operators
from tfxp.progress import Progress

_FLAGS = cli.ToolFlags(__doc__)
_COUNT = _FLAGS.DEFINE_integer("count", 20000, "How many damaged files.", lower_bound=1)
_MODELS = _FLAGS.DEFINE_string("models", None, "Folder with .tflite files to damage.")
_MAX_BYTES = _FLAGS.DEFINE_integer(
    "max_bytes", 400_000, "Leave out models larger than this.", lower_bound=1
)
_SECONDS = _FLAGS.DEFINE_float("seconds", 5.0, "Longest time for one file.", lower_bound=0.1)
_MEMORY = _FLAGS.DEFINE_integer(
    "memory_mib", 1024, "Memory that reading may take on top of Python's own.", lower_bound=64
)
_STATE = _FLAGS.DEFINE_string("state", None, "File to keep what is done in, and to go on from.")
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()
_WORKER = _FLAGS.DEFINE_integer("worker_from", None, "Used by the tool itself: first file to read.")
#: Seconds until a worker is ready, kernels compiled; how often longer than its limit it may sleep;
#: files from one saving of the state to the next.
_PREPARING, _IDLE, _SAVED_EVERY = 900.0, 12, 500


def small_models() -> list[bytes]:
    """Three models that together have every part of the schema that readers follow."""
    models = []
    for kind in ("INT8", "INT16"):
        graph = IntegerGraph(name="main", metadata={"note": b"made to be damaged"})
        rng = np.random.default_rng(0)
        scheme = Quantization([0.05], [0])
        channels = Quantization(np.full(4, 0.01), np.zeros(4), 0)
        bias = "INT64" if kind == "INT16" else "INT32"
        x = graph.add_tensor(Tensor("x", (1, 8, 8, 3), kind, scheme, shape_signature=(-1, 8, 8, 3)))
        w = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
        weights = graph.add_tensor(Tensor("w", w.shape, "INT8", channels, w))
        b = graph.add_tensor(Tensor("b", (4,), bias, channels, np.arange(4)))
        y = graph.add_tensor(Tensor("y", (1, 4, 4, 4), kind, Quantization([0.2], [0])))
        size = graph.add_tensor(Tensor("shape", (2,), "INT32", None, np.array([1, 64], np.int32)))
        flat = graph.add_tensor(Tensor("flat", (1, 64), kind, Quantization([0.2], [0])))
        options = {"padding": "SAME", "stride_h": 2, "stride_w": 2}
        graph.add_operator(Operator("CONV_2D", [x, weights, b], [y], options, version=3))
        graph.add_operator(Operator("RESHAPE", [y, size], [flat], {"new_shape": np.array([1, 64])}))
        graph.inputs, graph.outputs = [x], [flat]
        models.append(write_tflite(graph))
    return models


def attempt(content: bytes, rng: np.random.Generator) -> str:
    """What becomes of a damaged file: "ran", or the name of tfxp's error; then its operators.

    Raises:
        Exception: anything that is not tfxp's own is what this tool looks for.
    """
    kinds = ""
    try:
        arithmetic = "litert" if rng.random() < 0.5 else "builtin"
        runner = Interpreter(read_tflite(content), arithmetic=arithmetic)
        runner.allocate_tensors()
        kinds = " " + ",".join({op.custom_code or op.name for op in runner.graph.operators})
        _run(runner, rng)
    except TfxpError as error:
        _look_for_memory(error)
        return type(error).__name__ + ("" if not kinds else f"-in-a-run{kinds}")
    return f"ran{kinds}"


def _look_for_memory(error: BaseException | None) -> None:
    """Raises the MemoryError that stands behind an error."""
    while error is not None:
        if isinstance(error, MemoryError):
            raise error
        error = error.__cause__ or error.__context__


def _run(runner: Interpreter, rng: np.random.Generator) -> None:
    """Twice image by image (the second run repeats the first), and sometimes as a batch."""
    graph, indices = runner.graph, runner.graph.inputs
    shapes = [runner.input_shape(index) for index in indices]
    wide = rng.random() < 0.1
    for _ in range(2):
        for index, shape in zip(indices, shapes, strict=True):
            runner.set_tensor(index, _drawn(graph.tensors[index], shape, rng, wide))
        runner.invoke()
    for index in graph.outputs:
        runner.get_tensor(index)
    stacks = bool(shapes) and all(shape[:1] == (1,) for shape in shapes)
    if stacks and rng.random() < 0.25:
        named = [(graph.tensors[i], (3, *s[1:])) for i, s in zip(indices, shapes, strict=True)]
        rows = [_drawn(tensor, shape, rng, wide) for tensor, shape in named]
        for _ in range(2):
            runner.predict_codes(rows if len(rows) > 1 else rows[0])


def _drawn(tensor: Tensor, shape: tuple[int, ...], rng: np.random.Generator, wide: bool) -> Any:
    """Codes of the whole range, small numbers where there is no scale, or (`wide`) any number."""
    size = min(int(np.prod(shape, dtype=object)), 4096)  # repeated: a damaged size may be large
    if tensor.dtype.kind in "fc":
        with np.errstate(over="ignore"):
            some = (rng.normal(size=size) * (1e30 if wide else 3)).astype(tensor.dtype)
    elif tensor.dtype.kind in "iu" and (wide or tensor.dtype.itemsize < 4):
        limits = np.iinfo(tensor.dtype)
        some = rng.integers(limits.min, limits.max, size, tensor.dtype, endpoint=True)
    else:
        some = rng.integers(0, 2 if tensor.dtype.kind == "b" else 5, size).astype(tensor.dtype)
    return np.resize(some, shape) if size else np.zeros(shape, tensor.dtype)


def cases(
    models: list[bytes], seed: int, first: int, count: int
) -> Iterator[tuple[bytes, np.random.Generator]]:
    """The damaged files number `first` to `count` - 1, with draws for their runs.

    Each depends on its number alone.
    """
    for number in range(first, count):
        rng = np.random.default_rng([seed, number])
        yield damage(models[int(rng.integers(len(models)))], rng), rng


def made_models() -> list[bytes]:
    """Small models with every part of the schema and every operator."""
    return [*small_models(), *operator_models()]


def load_models() -> list[bytes]:
    """The files to damage: those made here, and those of a folder."""
    if _MODELS.value is None:
        return made_models()
    folder = Path(_MODELS.value)
    if not folder.is_dir():
        raise ConfigError(f"models: got {str(folder)!r}; expected a folder with .tflite files")
    files = sorted(p for p in folder.rglob("*.tflite") if p.stat().st_size <= _MAX_BYTES.value)
    if not files:
        raise ConfigError(f"models: got no .tflite file below {folder}; expected at least one")
    return made_models() + [file.read_bytes() for file in files]


def work(first: int) -> None:
    """Runs damaged files from number `first` on, one line of outcome each, under a memory cap."""
    models = load_models()
    with contextlib.suppress(ImportError):
        import resource

        # everything is compiled and loaded before memory is capped and time is taken
        for kernel in KERNELS:
            address_of(kernel)
        for model in made_models():
            attempt(model, np.random.default_rng(0))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = used + _MEMORY.value * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", flush=True)
    for content, rng in cases(models, _SEED.value, first, _COUNT.value):
        try:
            outcome = attempt(content, rng)
        except Exception as error:  # the very thing that is looked for
            outcome = f"FAILED {type(error).__name__}: {' '.join(str(error).split())}"
        print(outcome, flush=True)


class Watch:
    """Starts workers, follows their lines, and starts again behind a file that broke one.

    Args:
        state: what an earlier run had done, as `figures` gives it.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        state = state or {}
        self.done = int(state.get("done", 0))
        self.outcomes: Counter[str] = Counter(state.get("outcomes", {}))
        self.operators: Counter[str] = Counter(state.get("operators", {}))
        self.failures: list[dict[str, Any]] = list(state.get("failures", []))
        self.slowest = float(state.get("slowest_seconds", 0.0))

    def figures(self) -> dict[str, Any]:
        """Everything counted so far."""
        return {
            "seed": _SEED.value, "done": self.done, "outcomes": dict(self.outcomes),
            "operators": dict(self.operators), "failures": self.failures,
            "slowest_seconds": self.slowest,
        }  # fmt: skip

    def run(self) -> None:
        """All files that are not done yet."""
        left = max(0, _COUNT.value - self.done)
        with Progress(left, "damaged files", "file", _PROGRESS.value) as bar:
            while self.done < _COUNT.value:
                self._worker(bar)
        self._save()

    def _save(self) -> None:
        if _STATE.value:
            write_json(_STATE.value, self.figures())

    def _worker(self, bar: Progress) -> None:
        """Runs one worker until a file ends it or all are done."""
        flags = [
            f"--{flag.name}={flag.value}"
            for flag in (_COUNT, _MAX_BYTES, _SECONDS, _MEMORY, _SEED, _MODELS)
            if flag.value is not None
        ]
        command = [sys.executable, __file__, *flags, f"--worker_from={self.done}"]
        root = str(Path(__file__).resolve().parent.parent)
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": paths}
        pipe = subprocess.PIPE  # unbuffered: select must see every line that was not read yet
        with subprocess.Popen(command, stdout=pipe, env=environment, bufsize=0) as worker:
            # the first line says that everything is compiled and loaded
            ready = self._answer(worker, _PREPARING)[0] == "ready"
            while self.done < _COUNT.value:
                line, seconds = self._answer(worker, _SECONDS.value) if ready else ("", 0.0)
                self.slowest = max(self.slowest, seconds)
                if line == "":
                    self._fail(f"the process ended with {worker.wait()}")
                elif line is None:
                    worker.kill()
                    self._fail(f"no answer in {seconds:.1f} s of processor time")
                else:
                    self._book(line)
                self.done += 1
                bar.step()
                if self.done % _SAVED_EVERY == 0:
                    self._save()
                if not line:
                    return

    def _answer(self, worker: Any, seconds: float) -> tuple[str | None, float]:
        """The next line, and the processor time it took; the line as `_line` gives it."""
        began, first, line = time.monotonic(), _processor_time(worker.pid), None
        while line is None:
            line = _line(worker.stdout, min(1.0, seconds))
            spent = _processor_time(worker.pid) - first if first is not None else None
            waited = time.monotonic() - began
            # another process may have had the processor; one that sleeps forever hangs too
            if line is None and ((spent or waited) > seconds or waited > _IDLE * seconds):
                return None, spent or waited
        return line, spent or 0.0

    def _book(self, line: str) -> None:
        if line.startswith("FAILED"):
            self._fail(line)
            return
        outcome, _, kinds = line.partition(" ")
        self.outcomes[outcome] += 1
        self.operators.update(kinds.split(",") if outcome == "ran" and kinds else [])

    def _fail(self, what: str) -> None:
        self.outcomes["failure"] += 1
        self.failures.append({"number": self.done, "seed": _SEED.value, "what": what})


def _line(stream: Any, seconds: float) -> str | None:
    """The next line; None when it does not come in time, "" when there is no more."""
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline().decode().strip() or "" if ready else None


def _processor_time(process: int) -> float | None:
    """Seconds that a process has worked, or None where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _earlier() -> dict[str, Any] | None:
    """What --state holds of an earlier run."""
    if not _STATE.value or not Path(_STATE.value).exists():
        return None
    try:
        state: dict[str, Any] = json.loads(Path(_STATE.value).read_text())
        seed = state["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"state: got {_STATE.value!r}, which is none of this tool's ({error}); expected a file "
            "that an earlier run has written, or one that is not there yet"
        ) from None
    if seed != _SEED.value:
        raise ConfigError(f"state: got a run of seed {seed}; expected --seed={_SEED.value}")
    return state


def main() -> int:
    """Damage, run, report; 1 if anything failed."""
    if _WORKER.value is not None:
        work(_WORKER.value)
        return 0
    load_models()
    watch = Watch(_earlier())
    watch.run()
    print(cli.format_table(["outcome", "files"], sorted(watch.outcomes.items())))
    print(f"slowest answer {watch.slowest:.2f} s of processor time")
    missing = sorted(set(known_operators()) - set(watch.operators))
    print(f"operators run: {len(known_operators()) - len(missing)} of {len(known_operators())}")
    for name in missing:
        print(f"never run: {name}")
    for failure in watch.failures[:20]:
        print(f"file {failure['number']} of seed {failure['seed']}: {failure['what']}")
    if _JSON.value:
        write_json(_JSON.value, watch.figures())
    return 1 if watch.failures else 0


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
