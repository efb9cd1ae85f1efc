"""LiteRT in a process of its own: what ends that process is a sentence here."""

from __future__ import annotations

import contextlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from tfxp.errors import LiteRtError
from tfxp.interpreter.registry import Array

# The operators of each engine, in LiteRT's words.
_RESOLVERS = {"default": "AUTO", "reference": "BUILTIN_REF"}
_START = (
    "import sys; sys.path[:] = sys.argv[2].split(chr(10)); "
    "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
)
_CHILD = Path(__file__).with_name("litert_child.py")


class LiteRt:
    """A `.tflite` file in LiteRT, which runs in a child process from the first to the last batch.

    Args:
        content: the file.
        engine: "default" (XNNPACK and its fallbacks) or "reference" (the BUILTIN_REF kernels).
        threads: threads of LiteRT.
        patience: longest time for one call in seconds; None waits for ever.
        name: what errors call the file.

    Raises:
        LiteRtError: LiteRT refuses the file, ends its process, or takes too long. `run` raises the
            same.

    Example:
        >>> from tfxp.graph import IntegerGraph, Operator, Tensor, write_tflite
        >>> x, y = Tensor("x", (1, 3), "FLOAT32"), Tensor("y", (1, 3), "FLOAT32")
        >>> relu = IntegerGraph([x, y], [Operator("RELU", [0], [1])], [0], [1])
        >>> with LiteRt(write_tflite(relu)) as engine:
        ...     engine.run([np.array([[1, -2, 3]], np.float32)])[0].tolist()
        [[1.0, 0.0, 3.0]]
    """

    def __init__(
        self,
        content: bytes,
        engine: Literal["default", "reference"] = "default",
        *,
        threads: int = 1,
        patience: float | None = 300.0,
        name: str = "the file",
    ) -> None:
        self._patience, self._name = patience, name
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(_CHILD), "\n".join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self._end = weakref.finalize(self, _end, self._process, self._said)
        self._ask("open", content, _RESOLVERS[engine], threads)

    def run(
        self, feeds: Sequence[Array], *, singly: bool = False, whole: bool = False
    ) -> list[Array]:
        """Outputs for a batch, each run from fresh state.

        Args:
            feeds: an array per input of the file, samples first, in the input's type.
            singly: run the samples one by one; a file that fixes its batch is run so anyway.
            whole: one run of exactly these arrays, whatever their leading sizes mean.
        """
        how = "whole" if whole else "singly" if singly else "any"
        return list(self._ask("run", list(feeds), how))

    def close(self) -> None:
        """End the process."""
        self._end()

    def __enter__(self) -> LiteRt:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: str, *arguments: Any) -> Any:
        """The child's answer to a request."""
        late = threading.Event()
        watch = threading.Timer(self._patience or 0.0, _give_up, [self._process, late])
        if self._patience is not None:
            watch.start()
        try:
            kind, answer = self._exchange((request, *arguments))
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._ended(request, late.is_set()) from None
        finally:
            watch.cancel()
        if kind == "refused":
            raise LiteRtError(f"model {self._name}: LiteRT refuses it ({answer}).", "refused")
        return answer

    def _exchange(self, message: tuple[Any, ...]) -> tuple[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the answer's end says why
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        kind, answer = pickle.load(self._process.stdout)
        return kind, answer

    def _ended(self, request: str, late: bool) -> LiteRtError:
        """Why there is no answer."""
        step = "opens" if request == "open" else "runs"
        if late:
            return LiteRtError(
                f"model {self._name}: LiteRT has not answered for {self._patience:g} s while it "
                f"{step} it.",
                "timeout",
            )
        code = self._process.wait()  # standard output has ended, so the process does
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        if code > 0:
            last = lines[-1] if lines else "no reason given"
            return LiteRtError(f"LiteRT: its process ended with {code} ({last}).", "crashed")
        cause = signal.Signals(-code).name if code else "no error"
        return LiteRtError(
            f"model {self._name}: LiteRT ends its process with {cause} while it {step} it.",
            "crashed",
        )


def _end(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    process.kill()
    process.communicate()
    said.close()


def _give_up(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()
