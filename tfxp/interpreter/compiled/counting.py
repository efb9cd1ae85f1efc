"""Compiled counting of non-zero codes and of the MACs they stand for; see packing.visit_table."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled.memory import (
    bytes_at,
    fill_ints,
    ints_at,
    longs_at,
    shared,
    shorts_at,
)


@shared
def clear_visits(record: Any, seen_at: Any) -> None:
    """Nothing seen yet, in any class of rows."""
    fill_ints(seen_at, record[26] * record[1] * record[2], 0)


@shared
def count_row(y: Any, row_at: Any, record: Any, seen_at: Any) -> None:
    """Adds 1 to `seen` wherever a code of an input row is not zero.

    Args:
        y: which row.
        row_at: its codes.
        record: of the layer; see `packing.visit_fields`.
        seen_at: int32 (row classes, columns * channels), added to.
    """
    size, zero, kind = record[1] * record[2], record[7], record[9]
    seen = ints_at(seen_at + 4 * longs_at(record[24], record[0])[y] * size, size)
    if kind == 2:
        wide, wanted_wide = shorts_at(row_at, size), np.int16(zero)
        for i in range(size):
            seen[i] = np.int32(seen[i] + (wide[i] != wanted_wide))
    else:
        codes, wanted = bytes_at(row_at, size), np.int8(zero)  # of uint8 the same bits
        for i in range(size):
            seen[i] = np.int32(seen[i] + (codes[i] != wanted))


@shared
def count_image(image_at: Any, record: Any, seen_at: Any) -> None:
    """`count_row` for every row of an image."""
    row_size = (2 if record[9] == 2 else 1) * record[1] * record[2]
    for y in range(record[0]):
        count_row(y, image_at + y * row_size, record, seen_at)


@shared
def book_visits(seen_at: Any, record: Any, elements: Any, counts: Any) -> None:
    """Executed MACs and zeros from the rows counted by `count_row`.

    Args:
        seen_at: int32 (row classes, columns * channels).
        record: of the layer; see `packing.visit_fields`.
        elements: codes that were looked at.
        counts: (executed, input zeros, ...), added to.
    """
    columns, channels, row_classes, classes = record[1], record[2], record[26], record[27]
    seen = ints_at(seen_at, row_classes * columns * channels)
    column_class = longs_at(record[25], columns)
    macs = longs_at(record[28], row_classes * classes * channels)
    executed = nonzero = np.int64(0)
    for a in range(row_classes):
        for x in range(columns):
            at = (a * columns + x) * channels
            first = (a * classes + column_class[x]) * channels
            for c in range(channels):
                visits = np.int64(seen[at + c])
                executed += visits * macs[first + c]
                nonzero += visits
    counts[0] += executed
    counts[1] += elements - nonzero
