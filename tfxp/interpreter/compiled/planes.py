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
def _lay_out_row(from_at: int, record: Any, to_at: int, pixels: int) -> None:
    """Codes of every STEP_X-th pixel of a row minus their zero, channel by channel."""
    channels, plane = record[R.CHANNELS], record[R.PLANE]
    zero, kind, between = record[R.INPUT_ZERO], record[R.CODE_KIND], record[R.STEP_X] * channels
    if kind != R.WIDE and pixels >= CODE_PIXELS and channels >= CODE_CHANNELS:
        flip = -128 if kind == R.UNSIGNED else 0
        # Blocks at the end of a row or of a pixel reach back over what is done.
        for c in range(0, channels, CODE_CHANNELS):
            channel = min(c, channels - CODE_CHANNELS)
            for x in range(0, pixels, CODE_PIXELS):
                pixel = min(x, pixels - CODE_PIXELS)
                turn_codes(
                    from_at + pixel * between + channel, between,
                    to_at + 2 * (channel * plane + pixel), 2 * plane, flip, zero + flip,
                )  # fmt: skip
        return
    planes, codes, wide = shorts_at(to_at), bytes_at(from_at), shorts_at(from_at)
    for c in range(channels):
        for x in range(pixels):
            at, to = x * between + c, c * plane + x
            if kind == R.WIDE:
                planes[to] = wide[at] - zero
            elif kind == R.UNSIGNED:
                planes[to] = np.int64(np.uint8(codes[at])) - zero
            else:
                planes[to] = np.int64(codes[at]) - zero


@inlined
def _lay_out(image_at: int, record: Any, planes_at: int) -> None:
    """Codes of an image minus their zero, phase by phase of each channel, between zeros."""
    height, width, channels = record[R.HEIGHT], record[R.WIDTH], record[R.CHANNELS]
    phase_plane, row = record[R.PHASE_PLANE], record[R.PLANE_ROW]
    step_y, step_x, phases_x = record[R.STEP_Y], record[R.STEP_X], record[R.PHASES_X]
    top, left, size = record[R.PAD_ABOVE], record[R.PAD_LEFT], code_bytes(record)
    fill_ints(planes_at, (channels * record[R.PLANE] + PIXELS) // 2, 0)
    for y in range(height):
        phase_y, down = (y + top) % step_y, (y + top) // step_y
        if phase_y < record[R.PHASES_Y] and down < record[R.PLANE_ROWS]:
            for phase_x in range(phases_x):
                # The first pixel of this phase, and how many follow that a window reads.
                x = (phase_x - left) % step_x
                right = (x + left) // step_x
                pixels = min((width - x + step_x - 1) // step_x, row - right)
                to = (phase_y * phases_x + phase_x) * phase_plane + down * row + right
                from_at = image_at + size * (y * width + x) * channels
                _lay_out_row(from_at, record, planes_at + 2 * to, pixels)


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
