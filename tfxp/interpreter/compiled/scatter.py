"""Compiled convolutions that list non-zero activations and add weight rows.

Per input row: its non-zero codes become a list of (channel, value), once. An input pixel then adds,
for every listed value, one weight row to the accumulators of all output pixels that it meets, so
the list is walked once for all taps of a group, and padding costs nothing. Output rows whose last
input row has passed are requantized and their accumulators used again.
"""

from __future__ import annotations

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.counting import code_bytes, count_row
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    cached,
    copy_ints,
    inlined,
    ints_at,
    longs_at,
    shared,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel import USE_AVX2, compress8, scatter_pixels
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.compiled.store import store_row

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
    room = blocks * (block + 1) + 8
    positions, values = ints_at(positions_at, room), shorts_at(values_at, room)
    starts = longs_at(starts_at, blocks + 1)
    codes, wide = bytes_at(row_at, blocks * block), shorts_at(row_at, blocks * block)
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
    iy: int, record: Record, acc_at: int, row_bytes: int, positions_at: int, values_at: int,
    starts_at: int, offsets_at: int
) -> None:  # fmt: skip
    """Adds the listed activations of input row `iy` to the accumulators they meet."""
    groups, oh, ring = record[R.GROUPS], record[R.OUT_HEIGHT], record[R.RING]
    rows = longs_at(record[R.ROW_SCHEDULE] + 16 * iy, 2)  # phase, first output row
    passes = longs_at(record[R.PASSES], record[R.PASS_COUNT] * 8)
    offsets = longs_at(offsets_at, 64)
    for p in range(record[R.PASS_COUNT]):
        one = passes[8 * p : 8 * p + 8]
        phase, first, pixels, base, group, vectors, weights_at, table_at = one
        if phase != rows[0] or pixels == 0:
            continue
        table = longs_at(table_at, 2 * vectors)
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
    acc = ints_at(row_at, pixels * padded)
    for p in range(pixels):
        for g in range(groups):
            for j in range(each):
                acc[p * padded + g * each + j] = acc[p * padded + g * group_padded + j]


@inlined
def _store_rows(
    done: int, until: int, record: Record, acc_at: int, sums_at: int, image_at: int, counts: Record
) -> None:  # fmt: skip
    """Requantizes output rows `done` to `until`, which no later input row meets."""
    groups, ow, oc = record[R.GROUPS], record[R.OUT_WIDTH], record[R.OUT_CHANNELS]
    padded, ring, size = record[R.PADDED], record[R.RING], code_bytes(record)
    row_size, shift = record[R.ROW_PIXELS] * padded, 4 * record[R.MARGIN] * padded
    for row in range(done, until):
        first = acc_at + 4 * (row % ring) * row_size
        if groups > 1:
            _join_groups(first + shift, ow, padded, record[R.GROUP_PADDED], groups, oc // groups)
        store_row(first + shift, record[R.START_VALUES], ow, padded, oc, record, sums_at, size,
                  image_at + size * row * ow * oc, counts)  # fmt: skip
        if groups > 1:
            copy_ints(first, record[R.START_VALUES], row_size)


@shared
def start_accumulators(record: Record, scratch_at: int) -> None:
    """Sets all accumulators to what they start from, which each stored row is set to again."""
    row_size = record[R.ROW_PIXELS] * record[R.PADDED]
    for slot in range(record[R.RING]):
        to = scratch_at + record[R.ACCUMULATORS_PART] + 4 * slot * row_size
        copy_ints(to, record[R.START_VALUES], row_size)


@cached
def scatter_image(x_at: int, out_at: int, record: Record, scratch_at: int, counts: Record) -> None:
    """A grouped convolution, plain or transposed, of an image; see `program.convolve`."""
    height, width, groups = record[R.HEIGHT], record[R.WIDTH], record[R.GROUPS]
    row_bytes = code_bytes(record) * width * record[R.CHANNELS]
    positions_at, values_at, starts_at = (
        scratch_at + record[R.POSITIONS_PART], scratch_at + record[R.VALUES_PART],
        scratch_at + record[R.STARTS_PART],
    )  # fmt: skip
    offsets_at = scratch_at + record[R.OFFSETS_PART]
    acc_at, sums_at = scratch_at + record[R.ACCUMULATORS_PART], scratch_at + record[R.SUMS_PART]
    rows = longs_at(record[R.ROW_SCHEDULE], 2 * height)
    until = longs_at(record[R.COMPLETE_ROWS], height)
    done = np.int64(0)
    for iy in range(height):
        row_at = x_at + iy * row_bytes
        count_row(iy, row_at, record, scratch_at + record[R.VISITS_PART])
        if rows[2 * iy] >= 0:
            _list_row(row_at, record[R.CODE_KIND], width * groups, record[R.CHANNELS] // groups,
                      record[R.INPUT_ZERO], record[R.TAKE_ALL], positions_at, values_at, starts_at,
                      (record[R.PLACES_TABLE], record[R.SHUFFLES_TABLE]))  # fmt: skip
            _add_row(iy, record, acc_at, 4 * record[R.ROW_PIXELS] * record[R.PADDED], positions_at,
                     values_at, starts_at, offsets_at)  # fmt: skip
        _store_rows(done, until[iy], record, acc_at, sums_at, out_at, counts)
        done = until[iy]
