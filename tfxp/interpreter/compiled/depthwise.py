"""Compiled depthwise convolutions: channels side by side in vector registers.

An activation meets one weight per tap here, so there is no row to skip: zeros are counted, but
listing them would cost more than the multiplications it saves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled.counting import book_visits, clear_visits, count_image
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    cached,
    copy_ints,
    fill_ints,
    inlined,
    ints_at,
    shared,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel import LANES
from tfxp.interpreter.compiled.microkernel_depthwise import depthwise_block
from tfxp.interpreter.compiled.store import SUMS, book_sums, store_row

_byte1, _byte4 = depthwise_block("int8", LANES, 1), depthwise_block("int8", LANES, 4)
_unsigned1, _unsigned4 = depthwise_block("uint8", LANES, 1), depthwise_block("uint8", LANES, 4)
_short1, _short4 = depthwise_block("int16", LANES, 1), depthwise_block("int16", LANES, 4)
_byte_half, _unsigned_half = depthwise_block("int8", 8, 1), depthwise_block("uint8", 8, 1)
_short_half = depthwise_block("int16", 8, 1)


@shared
def _block(kind: Any, channels: Any, acc: Any, bias: Any, at: Any, w: Any, taps: Any, steps: Any,
           zero: Any) -> Any:  # fmt: skip
    """The largest block that fits in `channels`; returns how many channels it took."""
    if channels >= 4 * LANES:
        if kind == 0:
            _byte4(acc, bias, at, w, taps, steps, zero)
        elif kind == 1:
            _unsigned4(acc, bias, at, w, taps, steps, zero)
        else:
            _short4(acc, bias, at, w, taps, steps, zero)
        return 4 * LANES
    if channels >= LANES:
        if kind == 0:
            _byte1(acc, bias, at, w, taps, steps, zero)
        elif kind == 1:
            _unsigned1(acc, bias, at, w, taps, steps, zero)
        else:
            _short1(acc, bias, at, w, taps, steps, zero)
        return LANES
    if kind == 0:
        _byte_half(acc, bias, at, w, taps, steps, zero)
    elif kind == 1:
        _unsigned_half(acc, bias, at, w, taps, steps, zero)
    else:
        _short_half(acc, bias, at, w, taps, steps, zero)
    return 8


@shared
def _taps_inside(first: Any, step: Any, taps: Any, size: Any) -> Any:
    """(first tap, number of taps) of those that fall on 0 <= first + tap * step < size."""
    low = 0 if first >= 0 else -(first // step)
    high = min(taps, (size - 1 - first) // step + 1)
    return low, max(0, high - low)


@shared
def _value(x_at: Any, kind: Any, index: Any) -> Any:
    """One code."""
    if kind == 2:
        return np.int32(shorts_at(x_at + 2 * index, 1)[0])
    code = bytes_at(x_at + index, 1)[0]
    return np.int32(np.uint8(code)) if kind == 1 else np.int32(code)


@inlined
def _row_of_outputs(oy: Any, x_at: Any, record: Any, acc_at: Any) -> None:
    """Accumulators of one output row, one filter per channel.

    Args:
        oy: output row.
        x_at: codes of the image.
        record: see `depthwise_record`.
        acc_at: int32 (OW * OC,).
    """
    height, width, channels, zero, kind, ow = (
        record[0], record[1], record[2], record[7], record[9], record[5]
    )  # fmt: skip
    kh, sh, dh, ph, kw, sw, dw, pw = record[10:18]
    weight_at, bias_at, size = record[18], record[19], 2 if kind == 2 else 1
    weights, bias = ints_at(weight_at, kh * kw * channels), ints_at(bias_at, channels)
    acc = ints_at(acc_at, ow * channels)
    first_y = oy * sh - ph
    ky, rows = _taps_inside(first_y, dh, kh, height)
    steps = (
        size * dh * width * channels,
        size * dw * channels,
        4 * kw * channels,
        4 * channels,
    )
    eights = channels // 8 * 8
    for ox in range(ow):
        first_x = ox * sw - pw
        kx, columns = _taps_inside(first_x, dw, kw, width)
        at = ((first_y + ky * dh) * width + first_x + kx * dw) * channels
        tap = ky * kw + kx
        if rows * columns == 0:
            at = tap = 0  # all taps are padding: nothing is read, the bias stays
        c = 0
        while c < eights:
            c += _block(
                kind, eights - c, acc_at + 4 * (ox * channels + c), bias_at + 4 * c,
                x_at + size * (at + c), weight_at + 4 * (tap * channels + c),
                (rows, columns), steps, zero,
            )  # fmt: skip
        for j in range(eights, channels):
            total = bias[j]
            for y in range(rows):
                for x in range(columns):
                    code = _value(x_at, kind, at + (y * dh * width + x * dw) * channels + j)
                    weight = np.int16(weights[(tap + y * kw + x) * channels + j])
                    total += (code - np.int32(zero)) * np.int32(weight)
            acc[ox * channels + j] = total


@inlined
def _row_of_multiples(oy: Any, x_at: Any, record: Any, acc_at: Any) -> None:
    """Accumulators of one output row, several filters per channel; see `_row_of_outputs`."""
    height, width, channels, zero, kind, ow, oc = (
        record[0], record[1], record[2], record[7], record[9], record[5], record[6]
    )  # fmt: skip
    kh, sh, dh, ph, kw, sw, dw, pw = record[10:18]
    weights = ints_at(record[18], kh * kw * oc)
    multiples = oc // channels
    first_y = oy * sh - ph
    ky, rows = _taps_inside(first_y, dh, kh, height)
    for ox in range(ow):
        part = ints_at(acc_at + 4 * ox * oc, oc)
        copy_ints(acc_at + 4 * ox * oc, record[19], oc)
        first_x = ox * sw - pw
        kx, columns = _taps_inside(first_x, dw, kw, width)
        for y in range(ky, ky + rows):
            for x in range(kx, kx + columns):
                at = ((first_y + y * dh) * width + first_x + x * dw) * channels
                row = (y * kw + x) * oc
                for c in range(channels):
                    value = _value(x_at, kind, at + c) - np.int32(zero)
                    for j in range(c * multiples, (c + 1) * multiples):
                        part[j] += value * np.int32(np.int16(weights[row + j]))


@cached
def convolve_depthwise(
    x_at: Any, out_at: Any, images: Any, record: Any, scratch_at: Any, counts: Any
) -> None:
    """A depthwise convolution of a batch of images.

    Args:
        x_at: codes (N, H, W, C).
        out_at: codes (N, OH, OW, OC), written.
        images: N.
        record: int64, see `compiled.depthwise_record`.
        scratch_at: memory of the size that the record asks for, on a cache line.
        counts: as in `convolve_scatter`, added to.
    """
    height, width, channels, _, oh, ow, oc, _, _, kind = record[:10]
    size = 2 if kind == 2 else 1
    acc_at, sums_at = scratch_at + record[48], scratch_at + record[49]
    seen_at = scratch_at + record[50]
    fill_ints(sums_at, SUMS, 0)
    clear_visits(record, seen_at)
    for n in range(images):
        image_at = x_at + size * n * height * width * channels
        count_image(image_at, record, seen_at)
        for oy in range(oh):
            if oc == channels:
                _row_of_outputs(oy, image_at, record, acc_at)
            else:
                _row_of_multiples(oy, image_at, record, acc_at)
            store_row(acc_at, acc_at, ow, oc, oc, record[32:48], sums_at, size,
                      out_at + size * (n * oh + oy) * ow * oc, counts)  # fmt: skip
        book_sums(sums_at, record[32:48], counts)
    book_visits(seen_at, record, images * height * width * channels, counts)
