"""Compiled twins of ADD, AVERAGE_POOL_2D and SOFTMAX for 8-bit codes.

These operators are short next to convolutions, but a dozen NumPy passes over small arrays cost
more than their arithmetic. Each function writes what the NumPy definition in `kernels/` returns;
the same tests hold both. Memory is given by addresses; see `memory.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    fill_ints,
    floats_at,
    inlined,
    ints_at,
    longs_at,
    unsigned_bytes_at,
)


@inlined
def _add(x: Any, y: Any, out: Any, size: int, record: Any) -> None:
    m_x, m_y = np.int32(record[R.MULTIPLIER_A]), np.int32(record[R.MULTIPLIER_B])
    b, s = np.int32(record[R.ADD_BIAS]), np.int32(record[R.ADD_SHIFT])
    z = np.int32(record[R.ADD_ZERO])
    least, most = np.int32(record[R.ADD_LOW]), np.int32(record[R.ADD_HIGH])
    for i in range(size):
        total = np.int32(np.int32(x[i]) * m_x + np.int32(y[i]) * m_y + b)
        code = np.int32((total >> s) + z)
        out[i] = min(max(code, least), most)


def add(
    x_at: int, y_at: int, out_at: int, size: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """out = clip(((x * ma + y * mb + bias) >> shift) + zero, low, high); see `native.KERNELS`.

    Args:
        x_at, y_at, out_at: `size` codes each.
        size: how many.
        record_at: of the operator.
        scratch_at, counts_at: not used.
    """
    record = longs_at(record_at)
    if record[R.ADD_UNSIGNED]:
        _add(unsigned_bytes_at(x_at), unsigned_bytes_at(y_at), unsigned_bytes_at(out_at), size,
             record)  # fmt: skip
    else:
        _add(bytes_at(x_at), bytes_at(y_at), bytes_at(out_at), size, record)


@inlined
def _average(x: Any, out: Any, scratch_at: int, images: int, record: Any) -> None:
    height, width, channels = record[R.POOL_HEIGHT], record[R.POOL_WIDTH], record[R.POOL_CHANNELS]
    oh, ow, low, high = (
        record[R.POOL_OUT_HEIGHT], record[R.POOL_OUT_WIDTH], record[R.POOL_LOW], record[R.POOL_HIGH]
    )  # fmt: skip
    kh, sh, ph = record[R.WINDOW_Y], record[R.POOL_STRIDE_Y], record[R.POOL_PAD_Y]
    kw, sw, pw = record[R.WINDOW_X], record[R.POOL_STRIDE_X], record[R.POOL_PAD_X]
    total = ints_at(scratch_at)
    at = 0
    for n in range(images):
        for row in range(oh):
            top = row * sh - ph
            first_y, last_y = max(top, 0), min(top + kh, height)
            for column in range(ow):
                left = column * sw - pw
                first_x, last_x = max(left, 0), min(left + kw, width)
                fill_ints(scratch_at, channels, 0)
                for y in range(first_y, last_y):
                    for z in range(first_x, last_x):
                        pixel = ((n * height + y) * width + z) * channels
                        for c in range(channels):
                            total[c] = np.int32(total[c] + np.int32(x[pixel + c]))
                count = np.int32((last_y - first_y) * (last_x - first_x))
                half = np.int32(count // 2)
                for c in range(channels):
                    value = total[c]
                    if value > 0:
                        mean = (value + half) // count
                    else:
                        mean = -((half - value) // count)
                    out[at + c] = min(max(np.int64(mean), low), high)
                at += channels


def average_pool(
    x_at: int, y_at: int, out_at: int, images: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Mean of each window of NHWC codes over the elements inside the image, halves away from 0.

    Args:
        x_at, out_at: codes.
        images: N.
        record_at: of the operator.
        scratch_at: int32 (C,).
        y_at, counts_at: not used.
    """
    record = longs_at(record_at)
    if record[R.POOL_UNSIGNED]:
        _average(unsigned_bytes_at(x_at), unsigned_bytes_at(out_at), scratch_at, images, record)
    else:
        _average(bytes_at(x_at), bytes_at(out_at), scratch_at, images, record)


@inlined
def _maximum(x_at: int, out_at: int, images: int, record: Any, unsigned: bool) -> None:
    height, width, channels = record[R.POOL_HEIGHT], record[R.POOL_WIDTH], record[R.POOL_CHANNELS]
    oh, ow, low, high = (
        record[R.POOL_OUT_HEIGHT], record[R.POOL_OUT_WIDTH], record[R.POOL_LOW], record[R.POOL_HIGH]
    )  # fmt: skip
    at = out_at
    for n in range(images):
        for row in range(oh):
            top = row * record[R.POOL_STRIDE_Y] - record[R.POOL_PAD_Y]
            first_y, last_y = max(top, 0), min(top + record[R.WINDOW_Y], height)
            for column in range(ow):
                left = column * record[R.POOL_STRIDE_X] - record[R.POOL_PAD_X]
                first_x, last_x = max(left, 0), min(left + record[R.WINDOW_X], width)
                out = bytes_at(at)
                for c in range(channels):
                    out[c] = low
                for y in range(first_y, last_y):
                    for z in range(first_x, last_x):
                        pixel_at = x_at + ((n * height + y) * width + z) * channels
                        _larger(pixel_at, at, channels, unsigned)
                if high < (255 if unsigned else 127):
                    _limit(at, channels, high, unsigned)
                at += channels


@inlined
def _larger(x_at: int, out_at: int, size: int, unsigned: bool) -> None:
    """out = max(out, x)."""
    if unsigned:
        u, most = unsigned_bytes_at(x_at), unsigned_bytes_at(out_at)
        for c in range(size):
            most[c] = max(most[c], u[c])
    else:
        x, out = bytes_at(x_at), bytes_at(out_at)
        for c in range(size):
            out[c] = max(out[c], x[c])


@inlined
def _limit(out_at: int, size: int, high: int, unsigned: bool) -> None:
    """out = min(out, high)."""
    codes, plain = bytes_at(out_at), unsigned_bytes_at(out_at)
    for c in range(size):
        if unsigned:
            plain[c] = min(np.int64(plain[c]), high)
        else:
            codes[c] = min(np.int64(codes[c]), high)


def max_pool(
    x_at: int, y_at: int, out_at: int, images: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Largest code of each window of NHWC codes, limited.

    Args:
        x_at, out_at: codes.
        images: N.
        record_at: of the operator, as that of `average_pool`.
        y_at, scratch_at, counts_at: not used.
    """
    record = longs_at(record_at)
    if record[R.POOL_UNSIGNED]:
        _maximum(x_at, out_at, images, record, True)
    else:
        _maximum(x_at, out_at, images, record, False)


@inlined
def _softmax(x: Any, out: Any, rows: int, record: Any) -> None:
    classes, zero, cut = record[R.CLASSES], record[R.SOFTMAX_ZERO], record[R.CUTS]
    low, high = record[R.SOFTMAX_LOW], record[R.SOFTMAX_HIGH]
    table, scale = floats_at(record[R.EXPONENTIALS]), floats_at(record[R.SOFTMAX_SCALE])[0]
    half = np.float32(0.5)
    for r in range(rows):
        first = r * classes
        largest = np.int32(x[first])
        for c in range(classes):
            largest = max(largest, np.int32(x[first + c]))
        total = np.float32(0.0)
        for c in range(classes):
            total += table[largest - np.int32(x[first + c])]
        inverse = np.float32(1.0) / np.float32(total * scale)
        for c in range(classes):
            probability = np.float32(table[largest - np.int32(x[first + c])] * inverse)
            if cut:
                code = np.int64(np.float32(probability + half))
            else:
                whole = np.int64(probability)
                if probability - np.float32(whole) >= half:
                    whole += 1
                code = whole + zero
            out[first + c] = min(max(code, low), high)


def softmax(
    x_at: int, y_at: int, out_at: int, rows: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Rows of codes to rows of probabilities, by a float32 table of exponentials.

    Args:
        x_at, out_at: codes (rows, classes).
        rows: how many.
        record_at: of the operator.
        y_at, scratch_at, counts_at: not used.
    """
    record = longs_at(record_at)
    if record[R.SOFTMAX_UNSIGNED]:
        _softmax(unsigned_bytes_at(x_at), unsigned_bytes_at(out_at), rows, record)
    else:
        _softmax(bytes_at(x_at), bytes_at(out_at), rows, record)
