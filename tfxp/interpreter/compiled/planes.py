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
    for y in range(height):
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
        tile = ints_at(tile_at)
        acc = ints_at(acc_at + 4 * first * oc)
        for pixel in range(PIXELS):
            for channel in range(oc):
                acc[pixel * oc + channel] = tile[channel * PIXELS + pixel]


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
