"""A file held by a runtime, and the sentences about all that can go wrong with one."""

from __future__ import annotations

import abc
import signal
import textwrap
from collections.abc import Sequence
from types import TracebackType
from typing import Literal

from tfxp.errors import EngineError
from tfxp.interpreter.registry import Array
from tfxp.runtimes.runtime import Runtime

_LONGEST_REASON = 400

Step = Literal["open", "run", "measure"]


class Engine(abc.ABC):
    """A `.tflite` file in a runtime, which runs outside this process.

    Args:
        runtime: what runs it.
        patience: longest time for one call in seconds; None waits for ever.
        name: what errors call the file.
    """

    def __init__(self, runtime: Runtime, patience: float | None, name: str) -> None:
        self.runtime, self.patience, self.name = runtime, patience, name

    @abc.abstractmethod
    def run(
        self, feeds: Sequence[Array], *, singly: bool = False, whole: bool = False
    ) -> list[Array]:
        """Outputs for a batch, each run from fresh state.

        Args:
            feeds: an array per input of the file, samples first, in the input's type.
            singly: run the samples one by one; a file that fixes its batch, and a runtime that
                takes no batches, do so anyway.
            whole: one run of exactly these arrays, whatever their leading sizes mean.

        Raises:
            EngineError: the runtime refuses the arrays, ends its process, or takes too long.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """End it."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _refused(self, reason: str) -> EngineError:
        text = textwrap.shorten(reason, _LONGEST_REASON, placeholder=" …").rstrip(".")
        return self._error(f"{self.runtime.title} refuses it ({text}).", "refused")

    def _late(self, step: Step) -> EngineError:
        text = f"has not answered for {self.patience:g} s while it {step}s it."
        return self._error(f"{self.runtime.title} {text}", "timeout")

    def _ended(self, step: Step, code: int, said: str) -> EngineError:
        """The process is gone: by a signal (negative code), or with its last words."""
        lines = said.strip().splitlines()
        last = f" ({lines[-1].strip()})" if code > 0 and lines else ""
        cause = f"code {code}" if code > 0 else signal.Signals(-code).name if code else "no error"
        text = f"ends its process with {cause} while it {step}s it{last}."
        return self._error(f"{self.runtime.title} {text}", "crashed")

    def _missing(self, reason: str) -> EngineError:
        return EngineError(f"runtime {self.runtime.name!r}: {reason}", "missing")

    def _error(self, text: str, outcome: str) -> EngineError:
        return EngineError(f"model {self.name}: {text}", outcome)
