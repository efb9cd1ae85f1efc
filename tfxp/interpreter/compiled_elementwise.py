"""Compiled twins of ADD, AVERAGE_POOL_2D and SOFTMAX for 8-bit codes.

These operators are short next to convolutions, but a dozen NumPy passes over small arrays cost
more than their arithmetic. Each function writes what the NumPy definition in `kernels/` returns;
the same tests hold both.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def add_codes(
    x: Any,
    y: Any,
    out: Any,
    factors: tuple[int, int],
    bias: int,
    shift: int,
    zero: int,
    low: int,
    high: int,
) -> None:
    """out = clip(((x * ma + y * mb + bias) >> shift) + zero, low, high), flat arrays."""
    m_x, m_y = np.int32(factors[0]), np.int32(factors[1])
    b, s, z = np.int32(bias), np.int32(shift), np.int32(zero)
    least, most = np.int32(low), np.int32(high)
    for i in range(x.size):
        total = np.int32(np.int32(x[i]) * m_x + np.int32(y[i]) * m_y + b)
        code = np.int32((total >> s) + z)
        out[i] = min(max(code, least), most)


@numba.njit(cache=True, nogil=True)
def average_windows(
    x: Any,
    out: Any,
    window: tuple[int, int],
    stride: tuple[int, int],
    before: tuple[int, int],
    low: int,
    high: int,
) -> None:
    """Mean of each window of NHWC codes over the elements inside the image, halves away from 0."""
    images, height, width, channels = x.shape
    total = np.zeros(channels, np.int32)
    for n in range(images):
        for row in range(out.shape[1]):
            top = row * stride[0] - before[0]
            first_y, last_y = max(top, 0), min(top + window[0], height)
            for column in range(out.shape[2]):
                left = column * stride[1] - before[1]
                first_x, last_x = max(left, 0), min(left + window[1], width)
                total[:] = 0
                for y in range(first_y, last_y):
                    for z in range(first_x, last_x):
                        for c in range(channels):
                            total[c] += x[n, y, z, c]
                count = (last_y - first_y) * (last_x - first_x)
                half = count // 2
                for c in range(channels):
                    value = total[c]
                    if value > 0:
                        mean = (value + half) // count
                    else:
                        mean = -((half - value) // count)
                    out[n, row, column, c] = min(max(mean, low), high)


@numba.njit(cache=True, nogil=True)
def softmax_rows(
    x: Any, out: Any, table: Any, scale: Any, zero: int, cut: bool, low: int, high: int
) -> None:
    """Rows of codes to rows of probabilities, by a float32 table of exponentials.

    Args:
        x, out: codes (rows, classes).
        table: float32 exp(-step * d) for d = 0 ... 255.
        scale, zero: float32 scale and zero point of the output.
        cut: add 1/2 and cut off instead of rounding (UINT8).
        low, high: code limits.
    """
    half = np.float32(0.5)
    for r in range(x.shape[0]):
        largest = np.int32(x[r, 0])
        for c in range(x.shape[1]):
            largest = max(largest, np.int32(x[r, c]))
        total = np.float32(0.0)
        for c in range(x.shape[1]):
            total += table[largest - np.int32(x[r, c])]
        inverse = np.float32(1.0) / np.float32(total * scale)
        for c in range(x.shape[1]):
            probability = np.float32(table[largest - np.int32(x[r, c])] * inverse)
            if cut:
                code = np.int64(np.float32(probability + half))
            else:
                whole = np.int64(probability)
                if probability - np.float32(whole) >= half:
                    whole += 1
                code = whole + zero
            out[r, c] = min(max(code, low), high)
