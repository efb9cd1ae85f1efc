"""Compiled convolutions that gather non-zero activations and add weight rows.

Per image: every input row becomes a list of (position, value) of its non-zero codes, once. An
output pixel's taps in one kernel row are neighbours in memory, so they are one slice of that list,
and padding costs nothing because it is not in it. Weights of one kernel row stay in the first-level
cache while all output pixels of a row use them.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tfxp.interpreter.mac.compiled_store import (
    book_sums,
    float32_limits,
    store_fixed,
    store_float32,
)
from tfxp.interpreter.mac.microkernel import USE_AVX2, compress8, gather_block

_gather16, _gather32, _gather64 = gather_block(1), gather_block(2), gather_block(4)
_compress_int8, _compress_uint8 = compress8("int8"), compress8("uint8")
_compress_int16 = compress8("int16")
_VECTOR = USE_AVX2
_TILE = 16  # output pixels that share weights in the first-level cache


@numba.njit(cache=True, nogil=True, inline="always")
def _accumulate(
    vectors: Any, accumulators: Any, weights: Any, positions: Any, values: Any, count: Any
) -> None:
    if vectors == 4:
        _gather64(accumulators, weights, positions, values, count)
    elif vectors == 2:
        _gather32(accumulators, weights, positions, values, count)
    else:
        _gather16(accumulators, weights, positions, values, count)


@numba.njit(cache=True, nogil=True)
def _compress_row(
    flat: Any,
    offset: Any,
    shape: Any,
    zero: Any,
    take_all: Any,
    lists: Any,
    at_list: Any,
    at_start: Any,
    tables: Any,
) -> None:
    """Lists the non-zero codes of one input row.

    Args:
        flat: codes of the whole batch.
        offset: where the row begins.
        shape: (kind of code, blocks in the row, codes per block); kinds are int8, uint8, int16.
        zero, take_all: zero point; 255 to list zeros as well.
        lists: (positions, values, starts); starts say where each block's entries begin.
        at_list, at_start: where this row's part of the lists, and of starts, begins.
        tables: addresses of PLACES and SHUFFLES.
    """
    kind, width, block = shape
    positions, values, starts = lists
    count = np.int64(0)
    source = np.int64(flat.ctypes.data) + offset * flat.itemsize
    position_base = np.int64(positions.ctypes.data) + 4 * at_list
    value_base = np.int64(values.ctypes.data) + 2 * at_list
    eights = (block // 8) * 8 if _VECTOR else 0
    for i in range(width):
        starts[at_start + i] = count
        first = i * block
        for k in range(first, first + eights, 8):
            at = source + k * flat.itemsize
            to_p, to_v = position_base + 4 * count, value_base + 2 * count
            if kind == 0:
                count += _compress_int8(at, zero, take_all, to_p, to_v, k, tables[0], tables[1])
            elif kind == 1:
                count += _compress_uint8(at, zero, take_all, to_p, to_v, k, tables[0], tables[1])
            else:
                count += _compress_int16(at, zero, take_all, to_p, to_v, k, tables[0], tables[1])
        for k in range(first + eights, first + block):
            value = np.int64(flat[offset + k]) - zero
            positions[at_list + count] = k
            values[at_list + count] = value
            count += (value != 0) | (take_all != 0)
    starts[at_start + width] = count


@numba.njit(cache=True, nogil=True)
def count_nonzeros(
    flat: Any, offset: Any, size: Any, zero: Any, row_class: Any, column_class: Any, visits: Any
) -> None:
    """Non-zero codes of one image by class of position and channel.

    Args:
        flat, offset: codes of the batch, and where the image begins.
        size: (H, W, C).
        zero: zero point.
        row_class, column_class: class of every row and column.
        visits: int64 counts (row classes, column classes, C), added to.
    """
    height, width, channels = size
    # first per column, over all rows of a class, which vectorises whatever C is
    seen = np.zeros((visits.shape[0], width * channels), np.int32)
    wanted = flat.dtype.type(zero)
    for y in range(height):
        first = offset + y * width * channels
        row, counted = flat[first : first + width * channels], seen[row_class[y]]
        for i in range(row.size):
            counted[i] = np.int32(counted[i] + (row[i] != wanted))
    for a in range(visits.shape[0]):
        for x in range(width):
            for c in range(channels):
                visits[a, column_class[x], c] += seen[a, x * channels + c]


@numba.njit(cache=True, nogil=True)
def book_visits(visits: Any, macs: Any, elements: Any, counts: Any) -> None:
    """Executed MACs and zeros from the counts of `count_nonzeros`."""
    executed = nonzero = np.int64(0)
    for a in range(visits.shape[0]):
        for b in range(visits.shape[1]):
            for c in range(visits.shape[2]):
                executed += visits[a, b, c] * macs[a, b, c]
                nonzero += visits[a, b, c]
    counts[0] += executed
    counts[1] += elements - nonzero


@numba.njit(cache=True, nogil=True)
def _row_of_outputs(
    oy: Any, geometry: Any, acc: Any, weights: Any, blocks: Any, padded: Any, lists: Any, caps: Any
) -> None:
    """Adds all taps of output row `oy` to its accumulators.

    A tile of output pixels shares the weights of one kernel row before the next row is loaded, so
    that weights, accumulators and lists stay in the first-level cache together.
    """
    height, kh, sh, dh, _, ph, width, kw, sw, dw, ow, pw = geometry[:12]
    channels, groups = geometry[12], geometry[14]
    positions, values, starts = lists
    block_codes = channels // groups
    joined = groups == 1 and dw == 1
    acc_base, weight_base = np.int64(acc.ctypes.data), np.int64(weights.ctypes.data)
    position_base, value_base = np.int64(positions.ctypes.data), np.int64(values.ctypes.data)
    for tile in range(0, ow, _TILE):
        for b in range(blocks.shape[0]):
            group, vectors, acc_offset, weight_offset = blocks[b]
            lanes = 16 * vectors
            for ky in range(kh):
                iy = oy * sh - ph + ky * dh
                if iy < 0 or iy >= height:
                    continue
                first = iy * caps[1]
                listed_p = position_base + 4 * iy * caps[0]
                listed_v = value_base + 2 * iy * caps[0]
                for ox in range(tile, min(tile + _TILE, ow)):
                    target = acc_base + 4 * (ox * padded + acc_offset)
                    ix = ox * sw - pw
                    if joined:
                        low, high = max(ix, 0), min(ix + kw, width)
                        if low >= high:
                            continue
                        s, e = starts[first + low], starts[first + high]
                        row = (ky * kw - ix) * channels
                        at = weight_base + 2 * (weight_offset + row * lanes)
                        _accumulate(vectors, target, at, listed_p + 4 * s, listed_v + 2 * s, e - s)
                        continue
                    for kx in range(kw):
                        column = ix + kx * dw
                        if column < 0 or column >= width:
                            continue
                        i = first + column * groups + group
                        s, e = starts[i], starts[i + 1]
                        row = (ky * kw + kx - column * groups - group) * block_codes
                        at = weight_base + 2 * (weight_offset + row * lanes)
                        _accumulate(vectors, target, at, listed_p + 4 * s, listed_v + 2 * s, e - s)


@numba.njit(cache=True, nogil=True)
def repeat(row: Any, times: Any) -> Any:
    """`times` copies of a row, one after the other."""
    result = np.empty((times, row.size), row.dtype)
    for i in range(times):
        result[i] = row
    return result.reshape(times * row.size)


@numba.njit(cache=True, nogil=True)
def _scatter_image(
    geometry: Any, acc: Any, weights: Any, blocks: Any, padded: Any, lists: Any, caps: Any
) -> None:
    """Adds the products of every input pixel to the accumulators of a whole output image."""
    height, kh, sh, _, oh, ph, width, kw, sw, _, ow, pw = geometry[:12]
    channels = geometry[12]
    positions, values, starts = lists
    acc_base, weight_base = np.int64(acc.ctypes.data), np.int64(weights.ctypes.data)
    position_base, value_base = np.int64(positions.ctypes.data), np.int64(values.ctypes.data)
    for b in range(blocks.shape[0]):
        _, vectors, acc_offset, weight_offset = blocks[b]
        lanes = 16 * vectors
        for iy in range(height):
            for ix in range(width):
                s, e = starts[iy * caps[1] + ix], starts[iy * caps[1] + ix + 1]
                to_p = position_base + 4 * (iy * caps[0] + s)
                to_v = value_base + 2 * (iy * caps[0] + s)
                for ky in range(kh):
                    oy = iy * sh - ph + ky
                    if oy < 0 or oy >= oh:
                        continue
                    for kx in range(kw):
                        ox = ix * sw - pw + kx
                        if ox < 0 or ox >= ow:
                            continue
                        row = (ky * kw + kx - ix) * channels
                        target = acc_base + 4 * ((oy * ow + ox) * padded + acc_offset)
                        at = weight_base + 2 * (weight_offset + row * lanes)
                        _accumulate(vectors, target, at, to_p, to_v, e - s)


@numba.njit(cache=True, nogil=True)
def join_groups(
    acc: Any, pixels: Any, padded: Any, group_padded: Any, groups: Any, each: Any
) -> None:
    """Moves the channels of all groups together, over the padding between them."""
    for p in range(pixels):
        for g in range(groups):
            for j in range(each):
                acc[p * padded + g * each + j] = acc[p * padded + g * group_padded + j]


@numba.njit(cache=True, nogil=True)
def convolve_gather(
    x: Any,
    geometry: Any,
    weights: Any,
    blocks: Any,
    bias: Any,
    late: Any,
    padded: Any,
    group_padded: Any,
    places: Any,
    shuffles: Any,
    numbers: Any,
    scale32: Any,
    scale64: Any,
    multiplier: Any,
    shift: Any,
    row_class: Any,
    column_class: Any,
    macs: Any,
    out: Any,
    counts: Any,
) -> None:
    """A grouped convolution, plain or transposed, of a batch of images.

    Args:
        x: codes (N, H, W, C).
        geometry: see `compiled.Plan`.
        weights, blocks, bias, late, padded, group_padded: see `packing.PackedLayer`.
        places, shuffles: tables of `microkernel`.
        numbers, scale32, scale64, multiplier, shift: see `packing.Requantization`.
        row_class, column_class, macs: see `packing.VisitTable`.
        out: codes (N, OH, OW, OC), written.
        counts: int64 (executed, input zeros, output zeros, saturations, lowest, highest), added to.
    """
    height, width, channels, groups = geometry[0], geometry[6], geometry[12], geometry[14]
    oh, ow, oc = geometry[4], geometry[10], geometry[13]
    zero, take_all, transposed = geometry[15], geometry[16], geometry[17]
    flat, flat_out = x.reshape(x.size), out.reshape(out.size)
    kind = geometry[18]
    caps = (width * channels + 16, width * groups + 1)
    positions, values = np.empty(height * caps[0], np.int32), np.empty(height * caps[0], np.int16)
    starts = np.empty(height * caps[1], np.int64)
    lists = (positions, values, starts)
    rows = oh if transposed else 1
    acc, start = np.empty(rows * ow * padded, np.int32), repeat(bias, rows * ow)
    scales = repeat(scale32, rows * ow) if padded == oc else scale32
    limits, sums = float32_limits(numbers), np.zeros((5, 8), np.int32)
    visits = np.zeros(macs.shape, np.int64)
    tables = (np.int64(places.ctypes.data), np.int64(shuffles.ctypes.data))
    shape = (kind, width * groups, channels // groups)
    for n in range(x.shape[0]):
        offset = n * height * width * channels
        count_nonzeros(
            flat, offset, (height, width, channels), zero, row_class, column_class, visits
        )
        for y in range(height):
            _compress_row(
                flat,
                offset + y * width * channels,
                shape,
                zero,
                take_all,
                lists,
                y * caps[0],
                y * caps[1],
                tables,
            )
        for oy in range(0, oh, rows):
            for j in range(start.size):
                acc[j] = start[j]
            if transposed:
                _scatter_image(geometry, acc, weights, blocks, padded, lists, caps)
            else:
                _row_of_outputs(oy, geometry, acc, weights, blocks, padded, lists, caps)
            if groups > 1:
                join_groups(acc, rows * ow, padded, group_padded, groups, oc // groups)
            first = (n * oh + oy) * ow * oc
            if numbers[0] == 0:
                store_float32(acc, rows * ow, padded, oc, scales, limits, sums, flat_out, first)
            else:
                store_fixed(
                    acc,
                    rows * ow,
                    padded,
                    oc,
                    numbers,
                    scale64,
                    multiplier,
                    shift,
                    late,
                    flat_out,
                    first,
                    counts,
                )
        book_sums(sums, numbers, counts)
    book_visits(visits, macs, x.size, counts)
