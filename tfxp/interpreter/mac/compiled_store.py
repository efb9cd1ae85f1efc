"""Compiled requantization of a row of accumulators, for every rounding; see requantizer.py."""

from __future__ import annotations

import numba
import numpy as np

_FLOAT32, _DOUBLE_ROUNDING, _REDUCED, _DOUBLE, _DOUBLE_HALF_UP = range(5)
_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves no fractional bits, ties to even


@numba.njit(cache=True, nogil=True)
def store_float32(acc, padded, numbers, scale, count, channels, out, counts):
    """Codes of `count` pixels: half_even(float32(acc) * scale), clamped."""
    zero, low, high = np.int32(numbers[1]), np.int32(numbers[2]), np.int32(numbers[3])
    type_low, type_high = np.int32(numbers[4]), np.int32(numbers[5])
    # one beyond the type's limits is enough to see a saturation, and keeps the magic sum exact
    least = np.float32(type_low - zero - 1)
    most = np.float32(type_high - zero + 1)
    smallest, largest = np.int32(0), np.int32(0)
    below = above = zeros = np.int32(0)
    for p in range(count):
        first, target = p * padded, p * channels
        for j in range(channels):
            a = acc[first + j]
            smallest = min(smallest, a)
            largest = max(largest, a)
            v = np.float32(a) * scale[j]
            v = least if v < least else v
            v = most if v > most else v
            code = np.int32((v + _MAGIC) - _MAGIC) + zero
            below += np.int32(code < type_low)
            above += np.int32(code > type_high)
            code = low if code < low else code
            code = high if code > high else code
            zeros += np.int32(code == zero)
            out[target + j] = code
    counts[2] += zeros
    counts[3] += numbers[6] * below + numbers[7] * above
    counts[4] = min(counts[4], smallest)
    counts[5] = max(counts[5], largest)


@numba.njit(cache=True, nogil=True)
def _round(value, mode, scale, multiplier, shift):
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
    acc, padded, numbers, scale, multiplier, shift, late, count, channels, out, counts
):
    """Codes of `count` pixels in the other roundings; `late` is a bias in 64 bits."""
    mode, zero = numbers[0], numbers[1]
    for p in range(count):
        first, target = p * padded, p * channels
        for j in range(channels):
            value = np.int64(acc[first + j]) + late[j]
            counts[4] = min(counts[4], value)
            counts[5] = max(counts[5], value)
            code = _round(value, mode, scale[j], multiplier[j], shift[j]) + zero
            if code < numbers[4]:
                counts[3] += numbers[6]
            elif code > numbers[5]:
                counts[3] += numbers[7]
            code = min(max(code, numbers[2]), numbers[3])
            counts[2] += code == zero
            out[target + j] = code
