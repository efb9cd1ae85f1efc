"""Runs a list of steps as one compiled call: the one way from Python into compiled kernels.

One entry keeps the start short: whatever else Python called would be compiled once more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled.depthwise import convolve_depthwise
from tfxp.interpreter.compiled.elementwise import add_codes, average_windows, softmax_rows
from tfxp.interpreter.compiled.memory import cached, longs_at
from tfxp.interpreter.compiled.planes import convolve_planes, prefers_scatter
from tfxp.interpreter.compiled.scatter import convolve_scatter
from tfxp.interpreter.step import (
    ADD,
    AVERAGE_POOL,
    DEPTHWISE,
    PLANES,
    SCATTER,
    SOFTMAX,
    Step,
    cache_line,
)

#: Fields of the longest record.
_LONGEST = 56


@cached
def run_program(program: Any, counts: Any) -> None:
    """Runs steps in order.

    Args:
        program: int64 (steps, 8), rows of `Step.row`: opcode; addresses of both inputs and of the
            output; count; addresses of record and scratch memory; 0.
        counts: int64 (steps, 6), added to.
    """
    for i in range(program.shape[0]):
        opcode, x_at, y_at, out_at, count, record_at, scratch_at, _ = program[i]
        record = longs_at(record_at, _LONGEST)
        if opcode == SCATTER:
            convolve_scatter(x_at, out_at, count, record, scratch_at, counts[i])
        elif opcode == PLANES:
            size = 2 if record[9] == 2 else 1
            read = size * record[0] * record[1] * record[2]
            written = size * record[4] * record[5] * record[6]
            for n in range(count):
                image_at, to_at = x_at + n * read, out_at + n * written
                if prefers_scatter(image_at, record):
                    listed = longs_at(record[19], _LONGEST)
                    convolve_scatter(image_at, to_at, 1, listed, scratch_at, counts[i])
                else:
                    convolve_planes(image_at, to_at, 1, record, scratch_at, counts[i])
        elif opcode == DEPTHWISE:
            convolve_depthwise(x_at, out_at, count, record, scratch_at, counts[i])
        elif opcode == ADD:
            add_codes(x_at, y_at, out_at, count, record)
        elif opcode == AVERAGE_POOL:
            average_windows(x_at, out_at, count, record, scratch_at)
        elif opcode == SOFTMAX:
            softmax_rows(x_at, out_at, count, record)


def run_step(step: Step) -> NDArray[np.int64]:
    """Runs one step; returns its six counts."""
    scratch, counts = np.empty(step.scratch_bytes + 64, np.uint8), np.zeros((1, 6), np.int64)
    run_program(np.array([step.row(cache_line(scratch))], np.int64), counts)
    return counts[0]
