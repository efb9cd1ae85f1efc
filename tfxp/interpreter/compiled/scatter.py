"""Compiled convolutions that list non-zero activations and add weight rows.

Per input row: its non-zero codes become a list of (channel, value), once. An input pixel then adds,
for every listed value, one weight row to the accumulators of all output pixels that it meets, so
the list is walked once for all taps of a group, and padding costs nothing. Output rows whose last
input row has passed are requantized and their accumulators used again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.counting import clear_sums, code_bytes
from tfxp.interpreter.compiled.lanes import USE_AVX2
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    call,
    copy_ints,
    inlined,
    ints_at,
    longs_at,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel import compress8, scatter_pixels

_VECTOR = USE_AVX2


@inlined
def _list_row(
    row_at: int, kind: int, blocks: int, block: int, zero: int, take_all: int, positions_at: int,
    values_at: int, starts_at: int, tables: tuple[int, int]
) -> None:  # fmt: skip
    """Lists the non-zero codes of one input row, block by block, an even number of each.

    Args:
        row_at: codes.
        kind: one of `record.KINDS`.
        blocks, block: how many blocks (pixels times groups), and codes of each.
        zero, take_all: zero point; 255 to list zeros as well.
        positions_at, values_at: int32 and int16 lists; eight more than can be listed.
        starts_at: int64, where each block's entries begin.
        tables: addresses of PLACES and SHUFFLES.
    """
    count = np.int64(0)
    size = 2 if kind == R.WIDE else 1
    eights = (block // 8) * 8 if _VECTOR else 0
    positions, values = ints_at(positions_at), shorts_at(values_at)
    starts = longs_at(starts_at)
    codes, wide = bytes_at(row_at), shorts_at(row_at)
    for i in range(blocks):
        starts[i] = count
        first = i * block
        for k in range(0, eights, 8):
            at = row_at + (first + k) * size
            to_p, to_v = positions_at + 4 * count, values_at + 2 * count
            count += compress8(kind, at, zero, take_all, to_p, to_v, k, tables[0], tables[1])
        for k in range(eights, block):
            if kind == R.WIDE:
                value = np.int64(wide[first + k]) - zero
            elif kind == R.UNSIGNED:
                value = np.int64(np.uint8(codes[first + k])) - zero
            else:
                value = np.int64(codes[first + k]) - zero
            positions[count] = k
            values[count] = value
            count += (value != 0) | (take_all != 0)
        # a zero of row 0 makes the number even and adds nothing
        positions[count] = 0
        values[count] = 0
        count += (count - starts[i]) & 1
    starts[blocks] = count


@inlined
def _add_row(
    iy: int, record: Any, acc_at: int, row_bytes: int, positions_at: int, values_at: int,
    starts_at: int, offsets_at: int
) -> None:  # fmt: skip
    """Adds the listed activations of input row `iy` to the accumulators they meet."""
    groups, oh, ring = record[R.GROUPS], record[R.OUT_HEIGHT], record[R.RING]
    rows = longs_at(record[R.ROW_SCHEDULE] + 16 * iy)  # phase, first output row
    offsets = longs_at(offsets_at)
    for p in range(record[R.PASS_COUNT]):
        one = longs_at(record[R.PASSES] + 64 * p)
        phase, first, pixels, base, group, vectors = one[0], one[1], one[2], one[3], one[4], one[5]
        if phase != rows[0] or pixels == 0:
            continue
        weights_at, table_at = one[6], one[7]
        table = longs_at(table_at)
        for v in range(vectors):
            oy = rows[1] + table[2 * v]
            slot = oy % ring if 0 <= oy < oh else ring  # the last slot takes what nobody reads
            offsets[v] = slot * row_bytes + table[2 * v + 1]
        scatter_pixels(
            vectors, acc_at + base, offsets_at, weights_at, positions_at, values_at,
            starts_at + 8 * (first * groups + group), pixels, record[R.PIXEL_STEP],
            record[R.START_STEP] * groups,
        )  # fmt: skip


@inlined
def _join_groups(row_at: int, pixels: int, padded: int, group_padded: int, groups: int,
                 each: int) -> None:  # fmt: skip
    """Moves the channels of all groups together, over the padding between them."""
    acc = ints_at(row_at)
    for p in range(pixels):
        for g in range(groups):
            for j in range(each):
                acc[p * padded + g * each + j] = acc[p * padded + g * group_padded + j]


@inlined
def _store_rows(
    done: int, until: int, record_at: int, acc_at: int, scratch_at: int, image_at: int,
    counts_at: int
) -> None:  # fmt: skip
    """Requantizes output rows `done` to `until`, which no later input row meets."""
    record = longs_at(record_at)
    groups, ow, oc = record[R.GROUPS], record[R.OUT_WIDTH], record[R.OUT_CHANNELS]
    padded, ring, size = record[R.PADDED], record[R.RING], code_bytes(record)
    row_size, shift = record[R.ROW_PIXELS] * padded, 4 * record[R.MARGIN] * padded
    for row in range(done, until):
        first = acc_at + 4 * (row % ring) * row_size
        if groups > 1:
            _join_groups(first + shift, ow, padded, record[R.GROUP_PADDED], groups, oc // groups)
        call(record[R.STORE_KERNEL], first + shift, record[R.START_VALUES],
             image_at + size * row * ow * oc, ow, record_at, scratch_at, counts_at)  # fmt: skip
        if groups > 1:
            copy_ints(first, record[R.START_VALUES], row_size)


@inlined
def _start_accumulators(record: Any, acc_at: int) -> None:
    """Sets all accumulators to what they start from, which each stored row is set to again."""
    row_size = record[R.ROW_PIXELS] * record[R.PADDED]
    for slot in range(record[R.RING]):
        copy_ints(acc_at + 4 * slot * row_size, record[R.START_VALUES], row_size)


@inlined
def _image(x_at: int, out_at: int, record_at: int, scratch_at: int, counts_at: int) -> None:
    """One image."""
    record = longs_at(record_at)
    height, width, groups = record[R.HEIGHT], record[R.WIDTH], record[R.GROUPS]
    row_bytes = code_bytes(record) * width * record[R.CHANNELS]
    positions_at, values_at, starts_at = (
        scratch_at + record[R.POSITIONS_PART], scratch_at + record[R.VALUES_PART],
        scratch_at + record[R.STARTS_PART],
    )  # fmt: skip
    offsets_at = scratch_at + record[R.OFFSETS_PART]
    acc_at = scratch_at + record[R.ACCUMULATORS_PART]
    rows, until = longs_at(record[R.ROW_SCHEDULE]), longs_at(record[R.COMPLETE_ROWS])
    done = np.int64(0)
    for iy in range(height):
        if rows[2 * iy] >= 0:
            _list_row(x_at + iy * row_bytes, record[R.CODE_KIND], width * groups,
                      record[R.CHANNELS] // groups, record[R.INPUT_ZERO], record[R.TAKE_ALL],
                      positions_at, values_at, starts_at,
                      (record[R.PLACES_TABLE], record[R.SHUFFLES_TABLE]))  # fmt: skip
            _add_row(iy, record, acc_at, 4 * record[R.ROW_PIXELS] * record[R.PADDED], positions_at,
                     values_at, starts_at, offsets_at)  # fmt: skip
        _store_rows(done, until[iy], record_at, acc_at, scratch_at, out_at, counts_at)
        done = until[iy]


def scatter(
    x_at: int, y_at: int, out_at: int, images: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """A grouped convolution, plain or transposed; see `native.KERNELS`.

    Args:
        x_at: codes (N, H, W, C).
        y_at: not used.
        out_at: codes (N, OH, OW, OC), written.
        images: N.
        record_at: of the layer.
        scratch_at: memory of the size that the record asks for, on a cache line.
        counts_at: six int64, see `record.EXECUTED` and those behind it; added to.
    """
    record = longs_at(record_at)
    size = code_bytes(record)
    codes = size * record[R.HEIGHT] * record[R.WIDTH] * record[R.CHANNELS]
    written = size * record[R.OUT_HEIGHT] * record[R.OUT_WIDTH] * record[R.OUT_CHANNELS]
    clear_sums(record, scratch_at)
    _start_accumulators(record, scratch_at + record[R.ACCUMULATORS_PART])
    for n in range(images):
        _image(x_at + n * codes, out_at + n * written, record_at, scratch_at, counts_at)
    call(record[R.COUNT_KERNEL], x_at, 0, 0, images, record_at, scratch_at, counts_at)
