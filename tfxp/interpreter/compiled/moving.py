"""Compiled forms that many operators share: tables of one or two codes, and elements that move.

What they do is in their tables, which `forms.py` reads off the operators' NumPy definitions.
"""

from __future__ import annotations

from typing import Any

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    inlined,
    ints_at,
    longs_at,
    shorts_at,
    unsigned_bytes_at,
)


def table(
    x_at: int, y_at: int, out_at: int, size: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """out = table[x], by the byte of x; see `native.KERNELS`.

    Args:
        x_at: bytes.
        out_at: elements of 1, 2 or 4 bytes, written.
        size: how many.
        record_at: of the operator.
        y_at, scratch_at, counts_at: not used.
    """
    record, x = longs_at(record_at), unsigned_bytes_at(x_at)
    item, table_at = record[R.ITEM_BYTES], record[R.MOVE_TABLE]
    if item == 1:
        narrow, codes = bytes_at(table_at), bytes_at(out_at)
        for i in range(size):
            codes[i] = narrow[x[i]]
    elif item == 2:
        middle, shorts = shorts_at(table_at), shorts_at(out_at)
        for i in range(size):
            shorts[i] = middle[x[i]]
    else:
        wide, ints = ints_at(table_at), ints_at(out_at)
        for i in range(size):
            ints[i] = wide[x[i]]


def pairs(
    x_at: int, y_at: int, out_at: int, size: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """out = table[x, y], by the bytes of x and y, which begins anew after its last element.

    Args:
        x_at, y_at: bytes.
        out_at: bytes, written.
        size: elements of x.
        record_at: of the operator.
        scratch_at, counts_at: not used.
    """
    record, out = longs_at(record_at), bytes_at(out_at)
    both, period = bytes_at(record[R.MOVE_TABLE]), record[R.PERIOD]
    x, y = unsigned_bytes_at(x_at), unsigned_bytes_at(y_at)
    for first in range(0, size, period):
        for i in range(period):
            out[first + i] = both[256 * x[first + i] + y[i]]


@inlined
def _gather(x: Any, out: Any, places: Any, size: int) -> None:
    for i in range(size):
        out[i] = x[places[i]]


def permute(
    x_at: int, y_at: int, out_at: int, size: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """out[i] = x[places[i]].

    Args:
        x_at, out_at: elements of 1, 2, 4 or 8 bytes.
        size: how many are written.
        record_at: of the operator.
        y_at, scratch_at, counts_at: not used.
    """
    record = longs_at(record_at)
    places, item = ints_at(record[R.MOVE_TABLE]), record[R.ITEM_BYTES]
    if item == 1:
        _gather(bytes_at(x_at), bytes_at(out_at), places, size)
    elif item == 2:
        _gather(shorts_at(x_at), shorts_at(out_at), places, size)
    elif item == 4:
        _gather(ints_at(x_at), ints_at(out_at), places, size)
    else:
        _gather(longs_at(x_at), longs_at(out_at), places, size)


def copy(
    x_at: int, y_at: int, out_at: int, runs: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Copies runs of bytes.

    Args:
        x_at, out_at: where places count from.
        runs: how many; three int32 each: place in out, place in x, bytes.
        record_at: of the operator.
        y_at, scratch_at, counts_at: not used.
    """
    record = longs_at(record_at)
    for run in range(runs):
        places = ints_at(record[R.MOVE_TABLE] + 12 * run)
        to, source = bytes_at(out_at + places[0]), bytes_at(x_at + places[1])
        for i in range(places[2]):
            to[i] = source[i]
