"""Feed damaged .tflite files to the reader and the interpreter's allocate_tensors.

    tools/fuzz_tflite.py --count=20000 --models=models/
    tools/fuzz_tflite.py --count=500

Every file is a model with flipped bits, cut off, with swapped or overwritten words, by a seed that
the report names. A separate process with a memory cap reads them; a file that crashes it, takes
longer than the limit, or ends in anything but tfxp's own errors or a prepared model is a failure.
Without --models, small models made here are damaged.
"""

from __future__ import annotations

import contextlib
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
from tfxp.errors import ConfigError, TfxpError
from tfxp.files import write_json
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, read_tflite, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.interpreter.compiled.native import KERNELS, address_of
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
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()
_WORKER = _FLAGS.DEFINE_integer("worker_from", None, "Used by the tool itself: first file to read.")
_WORDS = np.array([0, 1, 2, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0x100], np.uint32)


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


def damage(model: bytes, rng: np.random.Generator) -> bytes:
    """One seeded damage: flipped bits, a cut, swapped words or overwritten words."""
    data = np.frombuffer(model, np.uint8).copy()
    # tables and offsets stand mostly at the end of the file, weights before them
    reach = len(data) if rng.random() < 0.5 else min(len(data), 4096)
    start = len(data) - reach
    kind = rng.integers(4)
    if kind == 0:
        places = start + rng.integers(0, reach, rng.integers(1, 9))
        np.bitwise_xor.at(data, places, np.uint8(1) << rng.integers(0, 8, len(places), np.uint8))
    elif kind == 1:
        return data[: int(rng.integers(0, len(data)))].tobytes()
    else:
        words = data[: len(data) // 4 * 4].view(np.uint32)
        first = start // 4
        for _ in range(int(rng.integers(1, 5))):
            a, b = rng.integers(first, len(words), 2)
            if kind == 2:
                words[[a, b]] = words[[b, a]]
            else:
                words[a] = rng.choice(_WORDS) if rng.random() < 0.7 else rng.integers(0, 2**32)
    return data.tobytes()


def attempt(content: bytes) -> str:
    """What becomes of a damaged file: "prepared", or the name of tfxp's error.

    Raises:
        Exception: anything that is not tfxp's own is what this tool looks for.
    """
    try:
        Interpreter(read_tflite(content)).allocate_tensors()
    except TfxpError as error:
        return type(error).__name__
    return "prepared"


def cases(models: list[bytes], seed: int, first: int, count: int) -> Iterator[bytes]:
    """The damaged files number `first` to `count` - 1; each depends on its number alone."""
    for number in range(first, count):
        rng = np.random.default_rng([seed, number])
        yield damage(models[int(rng.integers(len(models)))], rng)


def load_models() -> list[bytes]:
    """The files to damage."""
    if _MODELS.value is None:
        return small_models()
    folder = Path(_MODELS.value)
    if not folder.is_dir():
        raise ConfigError(f"models: got {str(folder)!r}; expected a folder with .tflite files")
    files = sorted(p for p in folder.rglob("*.tflite") if p.stat().st_size <= _MAX_BYTES.value)
    if not files:
        raise ConfigError(f"models: got no .tflite file below {folder}; expected at least one")
    return [file.read_bytes() for file in files]


def work(first: int) -> None:
    """Reads damaged files from number `first` on, one line of outcome each, under a memory cap."""
    with contextlib.suppress(ImportError):
        import resource

        # everything is compiled and loaded before memory is capped and time is taken
        attempt(small_models()[0])
        for kernel in KERNELS:
            address_of(kernel)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = used + _MEMORY.value * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", flush=True)
    for content in cases(load_models(), _SEED.value, first, _COUNT.value):
        try:
            outcome = attempt(content)
        except Exception as error:  # the very thing that is looked for
            outcome = f"FAILED {type(error).__name__}: {' '.join(str(error).split())}"
        print(outcome, flush=True)


class Watch:
    """Starts workers, follows their lines, and starts again behind a file that broke one."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: list[dict[str, Any]] = []
        self.slowest = 0.0

    def run(self) -> None:
        """All files."""
        done = 0
        with Progress(_COUNT.value, "damaged files", "file", _PROGRESS.value) as bar:
            while done < _COUNT.value:
                reached = self._worker(done, bar)
                if reached < _COUNT.value:
                    reached += 1  # the file that ended the worker is booked
                    bar.step()
                done = reached

    def _worker(self, first: int, bar: Progress) -> int:
        """Runs one worker; returns the number of the file that ended it, or the count."""
        flags = [
            f"--{flag.name}={flag.value}"
            for flag in (_COUNT, _MAX_BYTES, _SECONDS, _MEMORY, _SEED, _MODELS)
            if flag.value is not None
        ]
        command = [sys.executable, __file__, *flags, f"--worker_from={first}"]
        root = str(Path(__file__).resolve().parent.parent)
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": paths}
        number, limit = first - 1, 600.0  # the first line says that everything is loaded
        pipe = subprocess.PIPE  # unbuffered: select must see every line that was not read yet
        with subprocess.Popen(command, stdout=pipe, env=environment, bufsize=0) as worker:
            assert worker.stdout is not None
            while number < _COUNT.value:
                began = time.monotonic()
                line = _line(worker.stdout, limit)
                if line is None:
                    worker.kill()
                    self._fail(max(number, first), f"no answer for {limit} s")
                    return max(number, first)
                if line == "":
                    if number < _COUNT.value:
                        self._fail(max(number, first), f"the process ended with {worker.wait()}")
                    return max(number, first)
                if number >= first:
                    self._book(number, line, time.monotonic() - began)
                    bar.step()
                number, limit = number + 1, _SECONDS.value
        return _COUNT.value

    def _book(self, number: int, line: str, seconds: float) -> None:
        self.slowest = max(self.slowest, seconds)
        if line.startswith("FAILED"):
            self._fail(number, line)
        else:
            self.outcomes[line] += 1

    def _fail(self, number: int, what: str) -> None:
        self.outcomes["failure"] += 1
        self.failures.append({"number": number, "seed": _SEED.value, "what": what})


def _line(stream: Any, seconds: float) -> str | None:
    """The next line; None when it does not come in time, "" when there is no more."""
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline().decode().strip() or "" if ready else None


def main() -> int:
    """Damage, read, report; 1 if anything failed."""
    if _WORKER.value is not None:
        work(_WORKER.value)
        return 0
    load_models()
    watch = Watch()
    watch.run()
    print(cli.format_table(["outcome", "files"], sorted(watch.outcomes.items())))
    print(f"slowest answer {watch.slowest:.2f} s")
    for failure in watch.failures[:20]:
        print(f"file {failure['number']} of seed {failure['seed']}: {failure['what']}")
    if _JSON.value:
        figures = {"outcomes": dict(watch.outcomes), "failures": watch.failures}
        write_json(_JSON.value, {**figures, "slowest_seconds": watch.slowest})
    return 1 if watch.failures else 0


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
