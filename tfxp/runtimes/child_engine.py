"""Runtimes with a Python package in a process of their own: its end is a sentence here."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tfxp.errors import EngineError
from tfxp.interpreter.registry import Array
from tfxp.runtimes.engine import Engine, Step
from tfxp.runtimes.runtime import Runtime

_START = (
    "import sys; sys.path[:] = sys.argv[2].split(chr(10)); "
    "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
)
#: Lines about accelerators that are not there, and the like.
_NOISE = ("INFO:", "WARNING:", "shared library")
_CHILD = Path(__file__).with_name("child.py")


class ChildEngine(Engine):
    """A file in a child process from the first to the last batch.

    Args:
        runtime: what runs it.
        content: the file.
        threads: threads of LiteRT.
        patience: longest time for one call in seconds; None waits for ever.
        name: what errors call the file.

    Raises:
        EngineError: the runtime is missing, refuses the file, ends its process, or takes too long.
    """

    def __init__(
        self, runtime: Runtime, content: bytes, threads: int, patience: float | None, name: str
    ) -> None:
        super().__init__(runtime, patience, name)
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(_CHILD), "\n".join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self._end = weakref.finalize(self, _end, self._process, self._said)
        options = {**dict(runtime.options), "threads": threads}
        self._ask("open", runtime.family, content, options)

    def run(
        self, feeds: Sequence[Array], *, singly: bool = False, whole: bool = False
    ) -> list[Array]:
        """As `Engine.run`."""
        how = "whole" if whole else "singly" if singly or not self.runtime.stacks else "any"
        return list(self._ask("run", list(feeds), how))

    def measure(self) -> str:
        """What the runtime prints of the memory that it has taken."""
        spoken = self._said.seek(0, 2)
        self._ask("measure")
        return self._heard(spoken)

    def close(self) -> None:
        """End the process."""
        self._end()

    def _ask(self, request: Step, *arguments: Any) -> Any:
        """The child's answer to a request."""
        late = threading.Event()
        watch = threading.Timer(self.patience or 0.0, _give_up, [self._process, late])
        if self.patience is not None:
            watch.start()
        spoken = self._said.seek(0, 2)
        try:
            kind, answer = self._exchange((request, *arguments))
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._no_answer(request, late.is_set()) from None
        finally:
            watch.cancel()
        if kind == "refused":
            raise self._refused(answer + self._details(answer, spoken))
        if kind == "missing":
            raise self._missing(f"{answer}. Run: {self.runtime.install}")
        return answer

    def _exchange(self, message: tuple[Any, ...]) -> tuple[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the answer's end says why
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        kind, answer = pickle.load(self._process.stdout)
        return kind, answer

    def _no_answer(self, request: Step, late: bool) -> EngineError:
        if late:
            return self._late(request)
        code = self._process.wait()  # standard output has ended, so the process does
        return self._ended(request, code, self._heard(0))

    def _details(self, answer: str, since: int) -> str:
        """What the runtime said of a refusal beside its exception: TFLM says all of it so."""
        said = [line.strip(" └") for line in self._heard(since).splitlines()]
        told = [x for x in said if x and x not in answer and not any(map(x.__contains__, _NOISE))]
        return ": " + "; ".join(dict.fromkeys(told)) if told else ""

    def _heard(self, since: int) -> str:
        self._said.seek(since)
        return self._said.read().decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    process.kill()
    process.communicate()
    said.close()


def _give_up(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()
