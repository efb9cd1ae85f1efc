"""Compiled convolutions that multiply everything: for images with too few zeros to look for them.

Codes are laid out once, padding included, so that a row of a window is one run of memory. Weights
stand ready for groups of neighbouring codes, and a tile of pixels shares each load of weights. A
group is two codes of 16 bits, minus their zero: twice the speed of `scatter.py` at no zeros. Where
the processor multiplies bytes (USE_BYTES) and the weights are such, it is four, twice as fast; what
their zero adds is taken off the start values. An image with more zeros is scattered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.by_cost import by_cost
from tfxp.interpreter.compiled.counting import clear_sums, code_bytes
from tfxp.interpreter.compiled.lanes import DENSE_SHORT, DENSE_SUMS, DENSE_VECTORS, LANES
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    call,
    fill_ints,
    inlined,
    longs_at,
    shorts_at,
    unsigned_bytes_at,
)
from tfxp.interpreter.compiled.microkernel_dense import dense_tile

_WIDEST, _MIDDLE = DENSE_VECTORS[0], DENSE_VECTORS[1]


@inlined
def _lay_out_shorts(image_at: int, record: Any, buffer_at: int) -> None:
    """Codes of an image minus their zero in rows of 16 bits, between zeros."""
    height, row = record[R.HEIGHT], record[R.DENSE_ROW]
    channels, zero, kind = record[R.CHANNELS], record[R.INPUT_ZERO], record[R.CODE_KIND]
    line = record[R.WIDTH] * channels
    left = record[R.PAD_LEFT] * channels
    taken = min(line, row - left)
    for y in range(record[R.DENSE_ROWS]):
        to_at, iy = buffer_at + 2 * y * row, y - record[R.PAD_ABOVE]
        if iy < 0 or iy >= height:
            fill_ints(to_at, row // 2, 0)
            continue
        to = shorts_at(to_at)
        for i in range(left):
            to[i] = 0
        if kind == R.WIDE:
            wide = shorts_at(image_at + 2 * iy * line)
            for i in range(taken):
                to[left + i] = wide[i] - zero
        elif kind == R.UNSIGNED:
            unsigned = unsigned_bytes_at(image_at + iy * line)
            for i in range(taken):
                to[left + i] = unsigned[i] - zero
        else:
            codes = bytes_at(image_at + iy * line)
            for i in range(taken):
                to[left + i] = codes[i] - zero
        for i in range(left + taken, row):
            to[i] = 0


@inlined
def _lay_out_bytes(image_at: int, record: Any, buffer_at: int) -> None:
    """Codes of an image in rows of bytes without a sign, between the byte that stands for zero."""
    height, row = record[R.HEIGHT], record[R.DENSE_ROW]
    channels = record[R.CHANNELS]
    sign = np.uint8(128 if record[R.CODE_KIND] == R.SIGNED else 0)  # 128 more, as exclusive or
    line = record[R.WIDTH] * channels
    left = record[R.PAD_LEFT] * channels
    taken = min(line, row - left)
    zero = np.uint8(record[R.INPUT_ZERO]) ^ sign
    for y in range(record[R.DENSE_ROWS]):
        to, iy = unsigned_bytes_at(buffer_at + y * row), y - record[R.PAD_ABOVE]
        if iy < 0 or iy >= height:
            for i in range(row):
                to[i] = zero
            continue
        codes = unsigned_bytes_at(image_at + iy * line)
        for i in range(left):
            to[i] = zero
        for i in range(taken):
            to[left + i] = codes[i] ^ sign
        for i in range(left + taken, row):
            to[i] = zero


def _row_by(tile: Any) -> Any:
    """The function that computes a row of accumulators with a tile."""

    @inlined
    def row_of_sums(row_at: int, record: Any, acc_at: int) -> None:
        """Accumulators of one output row."""
        ow, padded, groups = record[R.OUT_WIDTH], record[R.PADDED], record[R.DENSE_GROUPS]
        rows, step = record[R.DENSE_TAP_ROWS], record[R.DENSE_STEP_X]
        steps = 4 * padded, step, record[R.DENSE_TAP_STEP]
        vectors = padded // LANES
        first = vectors * 0
        while first < vectors:
            width = vectors - first
            if width >= _WIDEST:
                width = vectors * 0 + _WIDEST
            elif width >= _MIDDLE:
                width = vectors * 0 + _MIDDLE
            weights_at = record[R.DENSE_WEIGHTS] + 4 * LANES * first * groups * rows
            bias_at = record[R.DENSE_BIAS] + 4 * LANES * first
            ox = vectors * 0
            while ox < ow:
                pixels = DENSE_SUMS // width
                if ow < pixels:
                    pixels = vectors * 0 + (DENSE_SHORT if ow >= DENSE_SHORT else 1)
                ox = min(ox, ow - pixels)  # the last tile repeats pixels of the one before
                tile(pixels, width, acc_at + 4 * (ox * padded + LANES * first), bias_at,
                     row_at + step * ox, weights_at, (rows, groups), steps)  # fmt: skip
                ox += pixels
            first += width

    return row_of_sums


def _image_by(lay_out: Any, row_of_sums: Any) -> Any:
    """The function that computes an image as another lays it out."""

    @inlined
    def image(x_at: int, out_at: int, record_at: int, scratch_at: int, counts_at: int) -> None:
        """One image."""
        record = longs_at(record_at)
        written = code_bytes(record) * record[R.OUT_WIDTH] * record[R.OUT_CHANNELS]
        buffer_at = scratch_at + record[R.PLANES_PART]
        acc_at = scratch_at + record[R.ACCUMULATORS_PART]
        clear_sums(record, scratch_at)
        lay_out(x_at, record, buffer_at)
        for oy in range(record[R.OUT_HEIGHT]):
            row_of_sums(buffer_at + oy * record[R.DENSE_STEP_Y], record, acc_at)
            call(record[R.STORE_KERNEL], acc_at, acc_at, out_at + oy * written, record[R.OUT_WIDTH],
                 record_at, scratch_at, counts_at)  # fmt: skip
        call(record[R.COUNT_KERNEL], x_at, 0, 0, 1, record_at, scratch_at, counts_at)

    return image


dense = by_cost(_image_by(_lay_out_shorts, _row_by(dense_tile(in_bytes=False))))
dense_bytes = by_cost(_image_by(_lay_out_bytes, _row_by(dense_tile(in_bytes=True))))
