"""Compiled counting of non-zero codes and of the MACs they stand for; see packing.visit_table."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    fill_ints,
    inlined,
    ints_at,
    longs_at,
    shared,
    shorts_at,
    unsigned_bytes_at,
)

#: Rows whose non-zero codes are counted in 8 bits.
_ROWS = 255


@shared
def code_bytes(record: Any) -> int:
    """Bytes of a code."""
    return 2 if record[R.CODE_KIND] == R.WIDE else 1


@inlined
def _count_rows(image_at: int, first: int, kind: int, record: Any, seen_at: int) -> Any:
    """How often each place of a row is not zero, over some rows of a class.

    Returns:
        The row to go on with.
    """
    height, size = record[R.HEIGHT], record[R.WIDTH] * record[R.CHANNELS]
    classes, zero = longs_at(record[R.ROW_CLASS]), record[R.INPUT_ZERO]
    wide = record[R.CODE_KIND] == R.WIDE
    seen = unsigned_bytes_at(seen_at)
    for i in range(size):
        seen[i] = np.uint8(0)
    y, taken = first, 0
    while y < height and taken < _ROWS:
        if classes[y] == kind:
            taken += 1
            if wide:
                longer, wanted_long = shorts_at(image_at + 2 * y * size), np.int16(zero)
                for i in range(size):
                    seen[i] += np.uint8(longer[i] != wanted_long)
            else:
                codes, wanted = bytes_at(image_at + y * size), np.int8(zero)  # uint8: same bits
                for i in range(size):
                    seen[i] += np.uint8(codes[i] != wanted)
        y += 1
    return y


@inlined
def _book_rows(kind: int, record: Any, seen_at: int, sums_at: int, counts: Any) -> Any:
    """Adds the MACs of counted codes; returns how many codes were not zero."""
    channels, classes = record[R.CHANNELS], record[R.COLUMN_CLASSES]
    order, starts = longs_at(record[R.COLUMN_ORDER]), longs_at(record[R.COLUMN_STARTS])
    sums = ints_at(sums_at)
    executed = nonzero = np.int64(0)
    for column_kind in range(classes):
        fill_ints(sums_at, channels, 0)
        for i in range(starts[column_kind], starts[column_kind + 1]):
            seen = unsigned_bytes_at(seen_at + order[i] * channels)
            for c in range(channels):
                sums[c] += np.int32(seen[c])
        macs = longs_at(record[R.VISIT_MACS] + 8 * (kind * classes + column_kind) * channels)
        for c in range(channels):
            executed += np.int64(sums[c]) * macs[c]
            nonzero += np.int64(sums[c])
    counts[R.EXECUTED] += executed
    return nonzero


@inlined
def _book_sums(sums_at: int, record: Any, counts: Any) -> None:
    """Adds what vectors of codes counted; see `microkernel_store`."""
    sums = ints_at(sums_at)
    for part in range(2):
        lanes, first = (16, 0) if part == 0 else (8, 5 * 16)
        for lane in range(first, first + lanes):
            counts[R.SATURATIONS] += record[R.COUNT_LOW] * sums[lane]
            counts[R.SATURATIONS] += record[R.COUNT_HIGH] * sums[lane + lanes]
            counts[R.OUTPUT_ZEROS] += sums[lane + 2 * lanes]
            counts[R.LOWEST] = min(counts[R.LOWEST], np.int64(sums[lane + 3 * lanes]))
            counts[R.HIGHEST] = max(counts[R.HIGHEST], np.int64(sums[lane + 4 * lanes]))


@shared
def clear_sums(record: Any, scratch_at: int) -> None:
    """Nothing counted yet."""
    fill_ints(scratch_at + record[R.SUMS_PART], R.SUMS, 0)


@shared
def prefers_scatter(image_at: int, record: Any) -> Any:
    """Whether an image has so few non-zero codes that listing these is cheaper."""
    size = record[R.HEIGHT] * record[R.WIDTH] * record[R.CHANNELS]
    zero, kind = record[R.INPUT_ZERO], record[R.CODE_KIND]
    count = np.int64(0)
    if record[R.SCATTER_SHARE] < 0:
        return False
    if kind == R.WIDE:
        wide, wanted_wide = shorts_at(image_at), np.int16(zero)
        for i in range(size):
            count += wide[i] != wanted_wide
    else:
        codes, wanted = bytes_at(image_at), np.int8(zero)
        for i in range(size):
            count += codes[i] != wanted
    return count * R.SHARE <= record[R.SCATTER_SHARE] * size


def count(
    x_at: int, y_at: int, out_at: int, images: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Executed MACs and zeros of the codes that a convolution read and wrote; see `native.KERNELS`.

    Args:
        x_at: codes (N, H, W, C).
        y_at, out_at: not used.
        images: N.
        record_at: of the layer.
        scratch_at: what the layer's kernel worked in.
        counts_at: six int64, see `record.EXECUTED` and those behind it; added to.
    """
    record, counts = longs_at(record_at), longs_at(counts_at)
    sums_at = scratch_at + record[R.VISITS_PART]
    seen_at = sums_at + 4 * record[R.CHANNELS]
    codes = record[R.HEIGHT] * record[R.WIDTH] * record[R.CHANNELS]
    nonzero = np.int64(0)
    for n in range(images):
        image_at = x_at + n * codes * code_bytes(record)
        for kind in range(record[R.ROW_CLASSES]):
            y = np.int64(0)
            while y < record[R.HEIGHT]:
                y = _count_rows(image_at, y, kind, record, seen_at)
                nonzero += _book_rows(kind, record, seen_at, sums_at, counts)
    counts[R.INPUT_ZEROS] += images * codes - nonzero
    _book_sums(scratch_at + record[R.SUMS_PART], record, counts)
