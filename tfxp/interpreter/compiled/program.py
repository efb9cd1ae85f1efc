"""Runs a list of steps as one compiled call: the one way from Python into compiled kernels.

One entry keeps the start short: whatever else Python called would be compiled once more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.counting import book_visits, clear_visits, code_bytes
from tfxp.interpreter.compiled.depthwise import depthwise_image
from tfxp.interpreter.compiled.elementwise import add_codes, average_windows, softmax_rows
from tfxp.interpreter.compiled.memory import cached, fill_ints, longs_at
from tfxp.interpreter.compiled.planes import planes_image, prefers_scatter
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.compiled.scatter import scatter_image, start_accumulators
from tfxp.interpreter.compiled.store import SUMS, book_sums
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


@cached
def convolve(
    opcode: int, x_at: int, out_at: int, images: int, record: Record, scratch_at: int,
    counts: Record
) -> None:  # fmt: skip
    """A convolution of a batch of images, by one of the kernels.

    Args:
        opcode: SCATTER, PLANES or DEPTHWISE.
        x_at: codes (N, H, W, C).
        out_at: codes (N, OH, OW, OC), written.
        images: N.
        record: of the layer.
        scratch_at: memory of the size that the record asks for, on a cache line.
        counts: int64, see `record.EXECUTED` and those behind it; added to.
    """
    size = code_bytes(record)
    codes = record[R.HEIGHT] * record[R.WIDTH] * record[R.CHANNELS]
    written = record[R.OUT_HEIGHT] * record[R.OUT_WIDTH] * record[R.OUT_CHANNELS]
    sums_at, seen_at = scratch_at + record[R.SUMS_PART], scratch_at + record[R.VISITS_PART]
    fill_ints(sums_at, SUMS, 0)
    clear_visits(record, seen_at)
    if opcode == SCATTER:
        start_accumulators(record, scratch_at)
    for n in range(images):
        image_at, to_at = x_at + size * n * codes, out_at + size * n * written
        if opcode == SCATTER:
            scatter_image(image_at, to_at, record, scratch_at, counts)
        elif opcode == DEPTHWISE:
            depthwise_image(image_at, to_at, record, scratch_at, counts)
        else:
            planes_image(image_at, to_at, record, scratch_at, counts)
        book_sums(sums_at, record, counts)
    book_visits(seen_at, record, images * codes, counts)


@cached
def run_program(program: Any, counts: Record) -> None:
    """Runs steps in order.

    Args:
        program: int64 (steps, 8), rows of `Step.row`: opcode; addresses of both inputs and of the
            output; count; addresses of record and scratch memory; 0.
        counts: int64 (steps, 6), added to.
    """
    for i in range(program.shape[0]):
        opcode, x_at, y_at, out_at, count, record_at, scratch_at, _ = program[i]
        record = longs_at(record_at, R.LENGTH)
        if opcode == SCATTER or opcode == DEPTHWISE:
            convolve(opcode, x_at, out_at, count, record, scratch_at, counts[i])
        elif opcode == PLANES:
            size = code_bytes(record)
            read = size * record[R.HEIGHT] * record[R.WIDTH] * record[R.CHANNELS]
            written = size * record[R.OUT_HEIGHT] * record[R.OUT_WIDTH] * record[R.OUT_CHANNELS]
            for n in range(count):
                kernel, constants = opcode, record
                if prefers_scatter(x_at + n * read, record):
                    kernel = np.int64(SCATTER)
                    constants = longs_at(record[R.SCATTER_RECORD], R.LENGTH)
                convolve(kernel, x_at + n * read, out_at + n * written, np.int64(1), constants,
                         scratch_at, counts[i])  # fmt: skip
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
