"""Compiled depthwise convolutions: channels side by side in vector registers.

An activation meets one weight per tap here, so there is no row to skip: zeros are counted, but
listing them would cost more than the multiplications it saves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.counting import clear_sums, code_bytes
from tfxp.interpreter.compiled.lanes import LANES
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    call,
    copy_ints,
    inlined,
    ints_at,
    longs_at,
    shared,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel_depthwise import depthwise_block, depthwise_row


@shared
def _block_size(channels: int) -> Any:
    """Channels of the largest block that fits; 8 or more channels are left."""
    if channels >= 4 * LANES:
        return 4 * LANES
    return LANES if channels >= LANES else 8


@shared
def _taps_inside(first: int, step: int, taps: int, size: int) -> Any:
    """(first tap, number of taps) of those that fall on 0 <= first + tap * step < size."""
    low = 0 if first >= 0 else -(first // step)
    high = min(taps, (size - 1 - first) // step + 1)
    return low, max(0, high - low)


@shared
def _value(x_at: int, kind: int, index: int) -> Any:
    """One code."""
    if kind == R.WIDE:
        return np.int32(shorts_at(x_at + 2 * index)[0])
    code = bytes_at(x_at + index)[0]
    return np.int32(np.uint8(code)) if kind == R.UNSIGNED else np.int32(code)


@inlined
def _pixel(
    ox: int, rows: Any, x_at: int, record: Any, acc_at: int, eights: int
) -> None:  # fmt: skip
    """Accumulators of one output pixel, one filter per channel.

    Args:
        ox: output column.
        rows: (first row of the window inside the image, how many of them, the window's first row).
        x_at: codes of the image.
        record: of the layer.
        acc_at: int32 (OW * OC,).
        eights: channels up to here are done in vectors.
    """
    width, channels, size = record[R.WIDTH], record[R.CHANNELS], code_bytes(record)
    zero, kind = record[R.INPUT_ZERO], record[R.CODE_KIND]
    kw, sw, dw, pw = record[R.TAPS_X], record[R.STRIDE_X], record[R.DILATION_X], record[R.PAD_X]
    dh, weight_at, bias_at = record[R.DILATION_Y], record[R.WEIGHTS], record[R.BIAS]
    steps = size * dh * width * channels, size * dw * channels, 4 * kw * channels, 4 * channels
    ky, taps_y, first_y = rows
    first_x = ox * sw - pw
    kx, taps_x = np.int64(0), kw
    if first_x < 0 or first_x + (kw - 1) * dw >= width:
        kx, taps_x = _taps_inside(first_x, dw, kw, width)
    at = ((first_y + ky * dh) * width + first_x + kx * dw) * channels
    tap = ky * kw + kx
    if taps_y * taps_x == 0:
        at = tap = 0  # all taps are padding: nothing is read, the bias stays
    c = 0
    while c < eights:
        block = _block_size(eights - c)
        depthwise_block(
            kind, block, acc_at + 4 * (ox * channels + c), bias_at + 4 * c, x_at + size * (at + c),
            weight_at + 4 * (tap * channels + c), (taps_y, taps_x), steps, zero,
        )  # fmt: skip
        c += block
    weights, bias, acc = ints_at(weight_at), ints_at(bias_at), ints_at(acc_at)
    for j in range(eights, channels):
        total = bias[j]
        for y in range(taps_y):
            for x in range(taps_x):
                code = _value(x_at, kind, at + (y * dh * width + x * dw) * channels + j)
                weight = np.int16(weights[(tap + y * kw + x) * channels + j])
                total += (code - np.int32(zero)) * np.int32(weight)
        acc[ox * channels + j] = total


@inlined
def _columns_inside(record: Any) -> Any:
    """(first, end) of the output columns whose windows lie inside the image."""
    sw, pw = record[R.STRIDE_X], record[R.PAD_X]
    reach = (record[R.TAPS_X] - 1) * record[R.DILATION_X]
    first = (pw + sw - 1) // sw
    end = (record[R.WIDTH] - 1 - reach + pw) // sw + 1
    return first, max(first, min(end, record[R.OUT_WIDTH]))


@shared
def _row_of_window(
    k: int, ky: int, taps_y: int, origin_at: int, row_bytes: int, record: Any
) -> Any:
    """Addresses of codes and weights; a row outside the image reads another, with zero weights."""
    inside = min(max(k, ky), ky + taps_y - 1)
    weights_at = record[R.WEIGHTS] + 12 * k * record[R.CHANNELS]
    if inside != k:
        weights_at = record[R.NO_WEIGHTS]
    return origin_at + inside * record[R.DILATION_Y] * row_bytes, weights_at


@inlined
def _windows(
    first: int, end: int, rows: Any, x_at: int, record: Any, acc_at: int, eights: int
) -> None:
    """Accumulators of output columns `first` to `end` of a 3x3 layer; see `_pixel`."""
    width, channels, size = record[R.WIDTH], record[R.CHANNELS], code_bytes(record)
    kind, sw, dw = record[R.CODE_KIND], record[R.STRIDE_X], record[R.DILATION_X]
    ky, taps_y, first_y = rows
    steps = 4 * channels, size * sw * channels, size * dw * channels, 4 * channels
    row_bytes = size * width * channels
    column = size * (first * sw - record[R.PAD_X]) * channels
    origin_at = x_at + first_y * row_bytes + column
    at0, by0 = _row_of_window(0, ky, taps_y, origin_at, row_bytes, record)
    at1, by1 = _row_of_window(1, ky, taps_y, origin_at, row_bytes, record)
    at2, by2 = _row_of_window(2, ky, taps_y, origin_at, row_bytes, record)
    c = 0
    while c < eights:
        block = LANES if eights - c >= LANES else 8
        depthwise_row(
            kind, block, acc_at + 4 * (first * channels + c), record[R.BIAS] + 4 * c,
            (at0 + size * c, at1 + size * c, at2 + size * c),
            (by0 + 4 * c, by1 + 4 * c, by2 + 4 * c), end - first, steps,
            record[R.INPUT_ZERO],
        )  # fmt: skip
        c += block


@inlined
def _row_of_outputs(oy: int, x_at: int, record: Any, acc_at: int) -> None:
    """Accumulators of one output row, one filter per channel."""
    channels, kh, kw = record[R.CHANNELS], record[R.TAPS_Y], record[R.TAPS_X]
    first_y = oy * record[R.STRIDE_Y] - record[R.PAD_Y]
    ky, taps_y = _taps_inside(first_y, record[R.DILATION_Y], kh, record[R.HEIGHT])
    rows, eights = (ky, taps_y, first_y), channels // 8 * 8
    first = end = np.int64(0)
    if kh == 3 and kw == 3 and taps_y > 0 and eights == channels:
        first, end = _columns_inside(record)
    if end > first:
        _windows(first, end, rows, x_at, record, acc_at, eights)
    for ox in range(record[R.OUT_WIDTH]):
        if ox < first or ox >= end:
            _pixel(ox, rows, x_at, record, acc_at, eights)


@inlined
def _row_of_multiples(oy: int, x_at: int, record: Any, acc_at: int) -> None:
    """Accumulators of one output row, several filters per channel; see `_row_of_outputs`."""
    height, width, channels = record[R.HEIGHT], record[R.WIDTH], record[R.CHANNELS]
    zero, kind = record[R.INPUT_ZERO], record[R.CODE_KIND]
    ow, oc = record[R.OUT_WIDTH], record[R.OUT_CHANNELS]
    kh, sh, dh, ph = record[R.TAPS_Y], record[R.STRIDE_Y], record[R.DILATION_Y], record[R.PAD_Y]
    kw, sw, dw, pw = record[R.TAPS_X], record[R.STRIDE_X], record[R.DILATION_X], record[R.PAD_X]
    weights = ints_at(record[R.WEIGHTS])
    multiples = oc // channels
    first_y = oy * sh - ph
    ky, rows = _taps_inside(first_y, dh, kh, height)
    for ox in range(ow):
        part = ints_at(acc_at + 4 * ox * oc)
        copy_ints(acc_at + 4 * ox * oc, record[R.BIAS], oc)
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


@inlined
def _image(x_at: int, out_at: int, record_at: int, scratch_at: int, counts_at: int) -> None:
    """One image."""
    record = longs_at(record_at)
    ow, oc, size = record[R.OUT_WIDTH], record[R.OUT_CHANNELS], code_bytes(record)
    acc_at = scratch_at + record[R.ACCUMULATORS_PART]
    for oy in range(record[R.OUT_HEIGHT]):
        if oc == record[R.CHANNELS]:
            _row_of_outputs(oy, x_at, record, acc_at)
        else:
            _row_of_multiples(oy, x_at, record, acc_at)
        call(record[R.STORE_KERNEL], acc_at, acc_at, out_at + size * oy * ow * oc, ow, record_at,
             scratch_at, counts_at)  # fmt: skip


def depthwise(
    x_at: int, y_at: int, out_at: int, images: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """A depthwise convolution.

    Args: as `scatter.scatter`.
    """
    record = longs_at(record_at)
    size = code_bytes(record)
    codes = size * record[R.HEIGHT] * record[R.WIDTH] * record[R.CHANNELS]
    written = size * record[R.OUT_HEIGHT] * record[R.OUT_WIDTH] * record[R.OUT_CHANNELS]
    clear_sums(record, scratch_at)
    for n in range(images):
        _image(x_at + n * codes, out_at + n * written, record_at, scratch_at, counts_at)
    call(record[R.COUNT_KERNEL], x_at, 0, 0, images, record_at, scratch_at, counts_at)
