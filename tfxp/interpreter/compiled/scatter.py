"""Compiled convolutions that list non-zero activations and add weight rows.

Per input row: its non-zero codes become a list of (channel, value), once. An input pixel then adds,
for every listed value, one weight row to the accumulators of all output pixels that it meets, so
the list is walked once for all taps of a group, and padding costs nothing. Output rows whose last
input row has passed are requantized and their accumulators used again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled.counting import book_visits, clear_visits, count_row
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    cached,
    copy_ints,
    fill_ints,
    inlined,
    ints_at,
    longs_at,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel import (
    SCATTER_SIZES,
    USE_AVX2,
    compress8,
    scatter_pixels,
)
from tfxp.interpreter.compiled.store import SUMS, book_sums, store_row

_compress_int8, _compress_uint8 = compress8("int8"), compress8("uint8")
_compress_int16 = compress8("int16")
_VECTOR = USE_AVX2
_WIDE = max(SCATTER_SIZES) > 6
_scatter1, _scatter2, _scatter3 = scatter_pixels(1), scatter_pixels(2), scatter_pixels(3)
_scatter4, _scatter6, _scatter8 = scatter_pixels(4), scatter_pixels(6), scatter_pixels(8)
_scatter9, _scatter12 = scatter_pixels(9), scatter_pixels(12)
_scatter16, _scatter18 = scatter_pixels(16), scatter_pixels(18)


@inlined
def _scatter_few(
    vectors: Any, acc: Any, offsets: Any, weights: Any, positions: Any, values: Any, starts: Any,
    pixels: Any, step: Any, start_step: Any
) -> None:  # fmt: skip
    if vectors == 1:
        _scatter1(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    elif vectors == 2:
        _scatter2(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    elif vectors == 3:
        _scatter3(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    elif vectors == 4:
        _scatter4(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    else:
        _scatter6(acc, offsets, weights, positions, values, starts, pixels, step, start_step)


@inlined
def _scatter(
    vectors: Any, acc: Any, offsets: Any, weights: Any, positions: Any, values: Any, starts: Any,
    pixels: Any, step: Any, start_step: Any
) -> None:  # fmt: skip
    """The loop over pixels for one of SCATTER_SIZES."""
    if not _WIDE or vectors <= 6:
        _scatter_few(
            vectors, acc, offsets, weights, positions, values, starts, pixels, step, start_step
        )
    elif vectors == 8:
        _scatter8(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    elif vectors == 9:
        _scatter9(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    elif vectors == 12:
        _scatter12(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    elif vectors == 16:
        _scatter16(acc, offsets, weights, positions, values, starts, pixels, step, start_step)
    else:
        _scatter18(acc, offsets, weights, positions, values, starts, pixels, step, start_step)


@inlined
def _list_row(
    row_at: Any, kind: Any, blocks: Any, block: Any, zero: Any, take_all: Any, positions_at: Any,
    values_at: Any, starts_at: Any, tables: Any
) -> None:  # fmt: skip
    """Lists the non-zero codes of one input row, block by block, an even number of each.

    Args:
        row_at: codes.
        kind: 0 int8, 1 uint8, 2 int16.
        blocks, block: how many blocks (pixels times groups), and codes of each.
        zero, take_all: zero point; 255 to list zeros as well.
        positions_at, values_at: int32 and int16 lists; eight more than can be listed.
        starts_at: int64, where each block's entries begin.
        tables: addresses of PLACES and SHUFFLES.
    """
    count = np.int64(0)
    size = 2 if kind == 2 else 1
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
            if kind == 0:
                count += _compress_int8(at, zero, take_all, to_p, to_v, k, tables[0], tables[1])
            elif kind == 1:
                count += _compress_uint8(at, zero, take_all, to_p, to_v, k, tables[0], tables[1])
            else:
                count += _compress_int16(at, zero, take_all, to_p, to_v, k, tables[0], tables[1])
        for k in range(eights, block):
            if kind == 2:
                value = np.int64(wide[first + k]) - zero
            elif kind == 1:
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
    iy: Any, record: Any, acc_at: Any, row_bytes: Any, positions_at: Any, values_at: Any,
    starts_at: Any, offsets_at: Any
) -> None:  # fmt: skip
    """Adds the listed activations of input row `iy` to the accumulators they meet."""
    groups, oh, ring = record[3], record[4], record[12]
    rows = longs_at(record[17] + 16 * iy, 2)  # phase, first output row
    passes = longs_at(record[19], record[20] * 8)
    offsets = longs_at(offsets_at, 64)
    for p in range(record[20]):
        one = passes[8 * p : 8 * p + 8]
        phase, first, pixels, base, group, vectors, weights_at, table_at = one
        if phase != rows[0] or pixels == 0:
            continue
        table = longs_at(table_at, 2 * vectors)
        for v in range(vectors):
            oy = rows[1] + table[2 * v]
            slot = oy % ring if 0 <= oy < oh else ring  # the last slot takes what nobody reads
            offsets[v] = slot * row_bytes + table[2 * v + 1]
        _scatter(
            vectors, acc_at + base, offsets_at, weights_at, positions_at, values_at,
            starts_at + 8 * (first * groups + group), pixels, record[14],
            record[15] * groups,
        )  # fmt: skip


@inlined
def _join_groups(row_at: Any, pixels: Any, padded: Any, group_padded: Any, groups: Any,
                 each: Any) -> None:  # fmt: skip
    """Moves the channels of all groups together, over the padding between them."""
    acc = ints_at(row_at, pixels * padded)
    for p in range(pixels):
        for g in range(groups):
            for j in range(each):
                acc[p * padded + g * each + j] = acc[p * padded + g * group_padded + j]


@inlined
def _store_rows(
    done: Any, until: Any, record: Any, acc_at: Any, sums_at: Any, image_at: Any, counts: Any
) -> None:  # fmt: skip
    """Requantizes output rows `done` to `until`, which no later input row meets."""
    groups, ow, oc, padded, ring = record[3], record[5], record[6], record[10], record[12]
    size = 2 if record[9] == 2 else 1
    row_size, shift = record[13] * padded, 4 * record[16] * padded
    for row in range(done, until):
        first = acc_at + 4 * (row % ring) * row_size
        if groups > 1:
            _join_groups(first + shift, ow, padded, record[11], groups, oc // groups)
        store_row(first + shift, record[23], ow, padded, oc, record[32:48], sums_at, size,
                  image_at + size * row * ow * oc, counts)  # fmt: skip
        if groups > 1:
            copy_ints(first, record[23], row_size)


@cached
def convolve_scatter(
    x_at: Any, out_at: Any, images: Any, record: Any, scratch_at: Any, counts: Any
) -> None:
    """A grouped convolution, plain or transposed, of a batch of images.

    Args:
        x_at: codes (N, H, W, C).
        out_at: codes (N, OH, OW, OC), written.
        images: N.
        record: int64, see `scatter_layout.scatter_record`.
        scratch_at: memory of the size that the record asks for, on a cache line.
        counts: int64 (executed, input zeros, output zeros, saturations, lowest, highest), added to.
    """
    height, width, channels, groups, oh, ow, oc, zero, take_all, kind = record[:10]
    ring, row_size = record[12], record[13] * record[10]
    size = 2 if kind == 2 else 1
    positions_at, values_at, starts_at = (
        scratch_at + record[48], scratch_at + record[49], scratch_at + record[50]
    )  # fmt: skip
    offsets_at, acc_at = scratch_at + record[51], scratch_at + record[52]
    sums_at, seen_at = scratch_at + record[53], scratch_at + record[54]
    fill_ints(sums_at, SUMS, 0)
    clear_visits(record, seen_at)
    for slot in range(ring):
        copy_ints(acc_at + 4 * slot * row_size, record[23], row_size)
    rows, until = longs_at(record[17], 2 * height), longs_at(record[18], height)
    for n in range(images):
        done = np.int64(0)
        for iy in range(height):
            row_at = x_at + size * (n * height + iy) * width * channels
            count_row(iy, row_at, record, seen_at)
            if rows[2 * iy] >= 0:
                _list_row(row_at, kind, width * groups, channels // groups, zero, take_all,
                          positions_at, values_at, starts_at, (record[21], record[22]))  # fmt: skip
                _add_row(iy, record, acc_at, 4 * row_size, positions_at, values_at, starts_at,
                         offsets_at)  # fmt: skip
            _store_rows(done, until[iy], record, acc_at, sums_at, out_at + size * n * oh * ow * oc,
                        counts)  # fmt: skip
            done = until[iy]
        book_sums(sums_at, record[32:48], counts)
    book_visits(seen_at, record, images * height * width * channels, counts)
