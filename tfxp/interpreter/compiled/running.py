"""From Python into compiled kernels: one call for a table of steps."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled.native import address_of, function_of
from tfxp.interpreter.step import Step, cache_line

_run_program = cache(function_of)


def table_of(steps: list[Step], scratch_at: int) -> NDArray[np.int64]:
    """The table of `program.program`: compiles what is missing."""
    return np.array([(address_of(s.kernel), *s.row(scratch_at)) for s in steps], np.int64)


def run_table(table: NDArray[np.int64], counts: NDArray[Any]) -> None:
    """Runs the steps of a table.

    Args:
        table: of `table_of`.
        counts: int64 (steps, 6), added to.
    """
    run = _run_program("program")
    run(0, 0, 0, len(table), table.ctypes.data, 0, counts.ctypes.data)


def run_step(step: Step) -> NDArray[np.int64]:
    """Runs one step; returns its six counts."""
    scratch, counts = np.empty(step.scratch_bytes + 64, np.uint8), np.zeros((1, 6), np.int64)
    run_table(table_of([step], cache_line(scratch)), counts)
    return counts[0]
