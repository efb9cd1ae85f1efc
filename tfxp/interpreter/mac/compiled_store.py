"""Compiled requantization of a row of accumulators, for every rounding; see requantizer.py."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tfxp.interpreter.mac.microkernel import store8

_FLOAT32, _DOUBLE_ROUNDING, _REDUCED, _DOUBLE, _DOUBLE_HALF_UP = range(5)
_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves no fractional bits, ties to even
_store_byte, _store_short = store8("int8"), store8("int16")


@numba.njit(cache=True, nogil=True)
def float32_limits(numbers: Any) -> Any:
    """The seven limits that `store8` wants, relative to the zero point."""
    limits = np.empty(7, np.float32)
    # one beyond the type's limits is enough to see a saturation, and keeps the magic sum exact
    limits[0], limits[1] = numbers[4] - numbers[1] - 1, numbers[5] - numbers[1] + 1
    limits[2], limits[3] = numbers[4] - numbers[1], numbers[5] - numbers[1]
    limits[4], limits[5] = numbers[2] - numbers[1], numbers[3] - numbers[1]
    limits[6] = numbers[1]
    return limits


@numba.njit(cache=True, nogil=True)
def store_float32(
    acc: Any,
    pixels: Any,
    padded: Any,
    channels: Any,
    scale: Any,
    limits: Any,
    sums: Any,
    out: Any,
    first: Any,
) -> None:
    """Codes of some pixels: half_even(float32(acc) * scale), clamped.

    Args:
        acc: int32 (pixels * padded,); channels beyond `channels` are padding.
        pixels, padded, channels: how `acc` and `out` are laid out.
        scale: float32 (pixels * channels,) if padded equals channels, else (channels,).
        limits: of `float32_limits`.
        sums: int32 (5, 8), see `store8`; booked later by `book_sums`.
        out: codes, flat; written from `first` on.
        first: index of the first code.
    """
    size = out.itemsize
    acc_at, out_at = np.int64(acc.ctypes.data), np.int64(out.ctypes.data) + size * first
    scale_at = np.int64(scale.ctypes.data)
    limits_at, sums_at = np.int64(limits.ctypes.data), np.int64(sums.ctypes.data)
    rows, length = (1, pixels * channels) if padded == channels else (pixels, channels)
    eights = length // 8
    for p in range(rows):
        from_at, to_at = acc_at + 4 * p * padded, out_at + size * p * channels
        if size == 1:
            _store_byte(from_at, scale_at, to_at, eights, limits_at, sums_at)
        else:
            _store_short(from_at, scale_at, to_at, eights, limits_at, sums_at)
        for j in range(8 * eights, length):
            a = acc[p * padded + j]
            sums[3, 0], sums[4, 0] = min(sums[3, 0], a), max(sums[4, 0], a)
            v = min(max(np.float32(a) * scale[j], limits[0]), limits[1])
            v = (v + _MAGIC) - _MAGIC
            sums[0, 0] += v < limits[2]
            sums[1, 0] += v > limits[3]
            v = min(max(v, limits[4]), limits[5])
            sums[2, 0] += v == np.float32(0)
            out[first + p * channels + j] = np.int64(v + limits[6])


@numba.njit(cache=True, nogil=True)
def book_sums(sums: Any, numbers: Any, counts: Any) -> None:
    """Adds what `store_float32` saw to the counts of `convolve_gather`."""
    for lane in range(8):
        counts[2] += sums[2, lane]
        counts[3] += numbers[6] * sums[0, lane] + numbers[7] * sums[1, lane]
        counts[4] = min(counts[4], sums[3, lane])
        counts[5] = max(counts[5], sums[4, lane])
        sums[:, lane] = 0


@numba.njit(cache=True, nogil=True)
def _round(value: Any, mode: Any, scale: Any, multiplier: Any, shift: Any) -> Any:
    """One accumulator in one of the other roundings."""
    if mode == _DOUBLE:
        product = np.float64(value) * scale
        product = min(max(product, -2147483648.0), 2147483648.0)
        whole = np.trunc(product)
        if abs(product - whole) >= 0.5:
            whole += np.copysign(1.0, product)
        return np.int64(whole)
    if mode == _REDUCED:
        return (value * multiplier + (np.int64(1) << (14 - shift))) >> (15 - shift)
    if shift > 0:
        value = np.int64(np.int32(value << shift))
    high = (value * multiplier + (np.int64(1) << 30)) >> 31
    high = min(high, np.int64(2147483647))
    if shift >= 0:
        return high
    if mode == _DOUBLE_HALF_UP:
        return (high + ((np.int64(1) << -shift) >> 1)) >> -shift
    magnitude = (abs(high) + ((np.int64(1) << -shift) >> 1)) >> -shift
    return -magnitude if high < 0 else magnitude


@numba.njit(cache=True, nogil=True)
def store_fixed(
    acc: Any,
    pixels: Any,
    padded: Any,
    channels: Any,
    numbers: Any,
    scale: Any,
    multiplier: Any,
    shift: Any,
    late: Any,
    out: Any,
    first: Any,
    counts: Any,
) -> None:
    """Codes of some pixels in the other roundings; `late` is a bias in 64 bits."""
    mode, zero = numbers[0], numbers[1]
    for p in range(pixels):
        for j in range(channels):
            value = np.int64(acc[p * padded + j]) + late[j]
            counts[4] = min(counts[4], value)
            counts[5] = max(counts[5], value)
            code = _round(value, mode, scale[j], multiplier[j], shift[j]) + zero
            if code < numbers[4]:
                counts[3] += numbers[6]
            elif code > numbers[5]:
                counts[3] += numbers[7]
            code = min(max(code, numbers[2]), numbers[3])
            counts[2] += code == zero
            out[first + p * channels + j] = code
