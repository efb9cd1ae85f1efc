"""Compiled counting of non-zero codes and of the MACs they stand for; see packing.visit_table."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tfxp.interpreter.mac.memory import bytes_at, ints_at, longs_at, shorts_at


@numba.njit(cache=True, nogil=True)
def count_row(row_at: Any, kind: Any, size: Any, zero: Any, seen_at: Any) -> None:
    """Adds 1 to `seen` wherever a code of the row is not zero.

    Args:
        row_at: codes.
        kind: 0 int8, 1 uint8, 2 int16.
        size: codes in the row.
        zero: zero point.
        seen_at: int32 (size,), added to.
    """
    seen = ints_at(seen_at, size)
    if kind == 2:
        wide, wanted_wide = shorts_at(row_at, size), np.int16(zero)
        for i in range(size):
            seen[i] = np.int32(seen[i] + (wide[i] != wanted_wide))
    else:
        codes, wanted = bytes_at(row_at, size), np.int8(zero)  # of uint8 the same bits
        for i in range(size):
            seen[i] = np.int32(seen[i] + (codes[i] != wanted))


@numba.njit(cache=True, nogil=True)
def book_visits(
    seen: Any, columns: Any, channels: Any, column_class_at: Any, macs_at: Any, classes: Any,
    elements: Any, counts: Any
) -> None:  # fmt: skip
    """Executed MACs and zeros from the rows counted by `count_row`.

    Args:
        seen: int32 (row classes, columns * channels).
        columns, channels: of the input.
        column_class_at: int64 (columns,).
        macs_at: int64 (row classes, column classes, channels).
        classes: of columns.
        elements: codes that were looked at.
        counts: (executed, input zeros, ...), added to.
    """
    column_class = longs_at(column_class_at, columns)
    macs = longs_at(macs_at, seen.shape[0] * classes * channels)
    executed = nonzero = np.int64(0)
    for a in range(seen.shape[0]):
        for x in range(columns):
            first = (a * classes + column_class[x]) * channels
            for c in range(channels):
                visits = np.int64(seen[a, x * channels + c])
                executed += visits * macs[first + c]
                nonzero += visits
    counts[0] += executed
    counts[1] += elements - nonzero
