"""Compiled convolutions that go through the weights that are not zero, many pixels at a time.

The counterpart of `scatter.py`, for layers with more zeros among the weights than among the
activations: what is skipped there at run time is not even in a list here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.by_cost import by_cost
from tfxp.interpreter.compiled.counting import clear_sums, code_bytes
from tfxp.interpreter.compiled.lanes import PIXELS
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    call,
    fill_ints,
    inlined,
    ints_at,
    longs_at,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel_planes import add_weights
from tfxp.interpreter.compiled.microkernel_turn import (
    CODE_CHANNELS,
    CODE_PIXELS,
    SUMS,
    turn_codes,
    turn_sums,
)


@inlined
def _lay_out(image_at: int, record: Any, planes_at: int) -> None:
    """Codes of an image minus their zero, channel by channel, between zeros."""
    height, width, channels = record[R.HEIGHT], record[R.WIDTH], record[R.CHANNELS]
    zero, kind = record[R.INPUT_ZERO], record[R.CODE_KIND]
    plane, row = record[R.PLANE], record[R.PLANE_ROW]
    top, left = record[R.PAD_ABOVE], record[R.PAD_LEFT]
    planes = shorts_at(planes_at)
    fill_ints(planes_at, (channels * plane + PIXELS) // 2, 0)
    codes, wide = bytes_at(image_at), shorts_at(image_at)
    in_blocks = kind != R.WIDE and width >= CODE_PIXELS and channels >= CODE_CHANNELS
    flip = -128 if kind == R.UNSIGNED else 0
    for y in range(height if in_blocks else 0):
        # Blocks at the end of a row or of a pixel reach back over what is done.
        for c in range(0, channels, CODE_CHANNELS):
            channel = min(c, channels - CODE_CHANNELS)
            for x in range(0, width, CODE_PIXELS):
                pixel = min(x, width - CODE_PIXELS)
                turn_codes(
                    image_at + (y * width + pixel) * channels + channel, channels,
                    planes_at + 2 * (channel * plane + (y + top) * row + left + pixel), 2 * plane,
                    flip, zero + flip,
                )  # fmt: skip
    for y in range(0 if in_blocks else height):
        for c in range(channels):
            to, source = c * plane + (y + top) * row + left, y * width * channels + c
            for x in range(width):
                at = source + x * channels
                if kind == R.WIDE:
                    planes[to + x] = wide[at] - zero
                elif kind == R.UNSIGNED:
                    planes[to + x] = np.int64(np.uint8(codes[at])) - zero
                else:
                    planes[to + x] = np.int64(codes[at]) - zero


@inlined
def _turn_back(tile_at: int, acc_at: int, oc: int) -> None:
    """Sums (pixels, OC) of a block of pixels, from a row of pixels for each channel."""
    in_blocks = oc // SUMS * SUMS
    for pixel in range(0, PIXELS, SUMS):
        for channel in range(0, in_blocks, SUMS):
            turn_sums(
                tile_at + 4 * (channel * PIXELS + pixel), 4 * PIXELS,
                acc_at + 4 * (pixel * oc + channel), 4 * oc,
            )  # fmt: skip
    tile, acc = ints_at(tile_at), ints_at(acc_at)
    for pixel in range(PIXELS):
        for channel in range(in_blocks, oc):
            acc[pixel * oc + channel] = tile[channel * PIXELS + pixel]


@inlined
def _multiply(record: Any, planes_at: int, tile_at: int, acc_at: int) -> None:
    """Accumulators (pixels, OC) of an image, a block of pixels at a time."""
    oc, span = record[R.OUT_CHANNELS], record[R.SPAN]
    starts, bias = longs_at(record[R.LIST_STARTS]), ints_at(record[R.LIST_BIAS])
    for first in range(0, span, PIXELS):
        for channel in range(oc):
            add_weights(
                tile_at + 4 * channel * PIXELS, np.int64(bias[channel]), planes_at + 2 * first,
                record[R.DISTANCES], record[R.LISTED_WEIGHTS], starts[channel], starts[channel + 1],
            )  # fmt: skip
        _turn_back(tile_at, acc_at + 4 * first * oc, oc)


@inlined
def _image(x_at: int, out_at: int, record_at: int, scratch_at: int, counts_at: int) -> None:
    """One image, weight by weight."""
    record = longs_at(record_at)
    ow, oc, size = record[R.OUT_WIDTH], record[R.OUT_CHANNELS], code_bytes(record)
    planes_at, acc_at = scratch_at + record[R.PLANES_PART], scratch_at + record[R.ACCUMULATORS_PART]
    clear_sums(record, scratch_at)
    _lay_out(x_at, record, planes_at)
    _multiply(record, planes_at, scratch_at + record[R.TILE_PART], acc_at)
    for oy in range(record[R.OUT_HEIGHT]):
        row_at = acc_at + 4 * oy * record[R.PLANE_ROW] * oc
        call(record[R.STORE_KERNEL], row_at, row_at, out_at + size * oy * ow * oc, ow, record_at,
             scratch_at, counts_at)  # fmt: skip
    call(record[R.COUNT_KERNEL], x_at, 0, 0, 1, record_at, scratch_at, counts_at)


planes = by_cost(_image)
