"""Compiled counting of non-zero codes and of the MACs they stand for; see packing.visit_table."""

from __future__ import annotations

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    fill_ints,
    ints_at,
    longs_at,
    shared,
    shorts_at,
)
from tfxp.interpreter.compiled.record import Record


@shared
def code_bytes(record: Record) -> int:
    """Bytes of a code."""
    return 2 if record[R.CODE_KIND] == R.WIDE else 1


@shared
def clear_visits(record: Record, seen_at: int) -> None:
    """Nothing seen yet, in any class of rows."""
    fill_ints(seen_at, record[R.ROW_CLASSES] * record[R.WIDTH] * record[R.CHANNELS], 0)


@shared
def count_row(y: int, row_at: int, record: Record, seen_at: int) -> None:
    """Adds 1 to `seen` wherever a code of an input row is not zero.

    Args:
        y: which row.
        row_at: its codes.
        record: of the layer.
        seen_at: int32 (row classes, columns * channels), added to.
    """
    size = record[R.WIDTH] * record[R.CHANNELS]
    zero, kind = record[R.INPUT_ZERO], record[R.CODE_KIND]
    seen = ints_at(seen_at + 4 * longs_at(record[R.ROW_CLASS], record[R.HEIGHT])[y] * size, size)
    if kind == R.WIDE:
        wide, wanted_wide = shorts_at(row_at, size), np.int16(zero)
        for i in range(size):
            seen[i] = np.int32(seen[i] + (wide[i] != wanted_wide))
    else:
        codes, wanted = bytes_at(row_at, size), np.int8(zero)  # of uint8 the same bits
        for i in range(size):
            seen[i] = np.int32(seen[i] + (codes[i] != wanted))


@shared
def count_image(image_at: int, record: Record, seen_at: int) -> None:
    """`count_row` for every row of an image."""
    row_size = code_bytes(record) * record[R.WIDTH] * record[R.CHANNELS]
    for y in range(record[R.HEIGHT]):
        count_row(y, image_at + y * row_size, record, seen_at)


@shared
def book_visits(seen_at: int, record: Record, elements: int, counts: Record) -> None:
    """Executed MACs and zeros from the rows counted by `count_row`.

    Args:
        seen_at: int32 (row classes, columns * channels).
        record: of the layer.
        elements: codes that were looked at.
        counts: (executed, input zeros, ...), added to.
    """
    columns, channels = record[R.WIDTH], record[R.CHANNELS]
    row_classes, classes = record[R.ROW_CLASSES], record[R.COLUMN_CLASSES]
    seen = ints_at(seen_at, row_classes * columns * channels)
    column_class = longs_at(record[R.COLUMN_CLASS], columns)
    macs = longs_at(record[R.VISIT_MACS], row_classes * classes * channels)
    executed = nonzero = np.int64(0)
    for a in range(row_classes):
        for x in range(columns):
            at = (a * columns + x) * channels
            first = (a * classes + column_class[x]) * channels
            for c in range(channels):
                visits = np.int64(seen[at + c])
                executed += visits * macs[first + c]
                nonzero += visits
    counts[R.EXECUTED] += executed
    counts[R.INPUT_ZEROS] += elements - nonzero
