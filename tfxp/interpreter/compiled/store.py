"""Compiled requantization of a row of accumulators, for every rounding; see requantizer.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    doubles_at,
    fill_ints,
    floats_at,
    ints_at,
    longs_at,
    shared,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel_store import store_vectors
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.numerics.arithmetic import MODES

_FLOAT32, _FLOAT64, _REDUCED = (MODES.index(m) for m in ("float32", "float64", "reduced"))
_DOUBLE_ROUNDING = MODES.index("double_rounding")
_DOUBLE_HALF_UP, _DOUBLE_EIGHTS = MODES.index("double_half_up"), MODES.index("double_eights")
_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves no fractional bits, ties to even
_bytes8, _bytes16 = store_vectors("int8", 8), store_vectors("int8", 16)
_shorts8, _shorts16 = store_vectors("int16", 8), store_vectors("int16", 16)
#: int32 elements of `sums`: five of 16 lanes, then five of 8; see `store_vectors`.
SUMS = 5 * 16 + 5 * 8
#: Which five, in lanes.
_BELOW, _ABOVE, _ZEROS, _SMALLEST, _LARGEST = range(5)


@shared
def _store_vectors(
    size: int, from_at: int, scale_at: int, restart_at: int, to_at: int, length: int,
    limits_at: int, sums_at: int
) -> Any:  # fmt: skip
    """Stores whole vectors of `length` codes; returns how many codes that were."""
    sixteens = length // 16
    done = 16 * sixteens
    eights = (length - done) // 8
    tail = from_at + 4 * done, scale_at + 4 * done, restart_at + 4 * done, to_at + size * done
    tail_sums = sums_at + 4 * 5 * 16
    if size == 1:
        _bytes16(from_at, scale_at, restart_at, to_at, sixteens, limits_at, sums_at)
        if eights:
            _bytes8(tail[0], tail[1], tail[2], tail[3], eights, limits_at, tail_sums)
    else:
        _shorts16(from_at, scale_at, restart_at, to_at, sixteens, limits_at, sums_at)
        if eights:
            _shorts8(tail[0], tail[1], tail[2], tail[3], eights, limits_at, tail_sums)
    return done + 8 * eights


@shared
def _store_float32(
    acc_at: int, restart_at: int, pixels: int, padded: int, channels: int, record: Record,
    sums_at: int, size: int, out_at: int
) -> None:  # fmt: skip
    """Codes of some pixels: half_even(float32(acc) * scale), clamped."""
    scale_at, limits_at = record[R.SCALES32], record[R.FLOAT_LIMITS]
    limits, sums = floats_at(limits_at, 7), ints_at(sums_at, SUMS)
    rows, length = (1, pixels * channels) if padded == channels else (pixels, channels)
    scale = floats_at(scale_at, length)
    for p in range(rows):
        from_at, again_at = acc_at + 4 * p * padded, restart_at + 4 * p * padded
        to_at = out_at + size * p * channels
        done = _store_vectors(size, from_at, scale_at, again_at, to_at, length, limits_at, sums_at)
        if done == length:
            continue
        acc, restart = ints_at(from_at, length), ints_at(again_at, length)
        codes, wide = bytes_at(to_at, length), shorts_at(to_at, length)
        for j in range(done, length):
            a = acc[j]
            acc[j] = restart[j]
            sums[16 * _SMALLEST] = min(sums[16 * _SMALLEST], a)
            sums[16 * _LARGEST] = max(sums[16 * _LARGEST], a)
            v = min(max(np.float32(a) * scale[j], limits[0]), limits[1])
            v = (v + _MAGIC) - _MAGIC
            sums[16 * _BELOW] += v < limits[2]
            sums[16 * _ABOVE] += v > limits[3]
            v = min(max(v, limits[4]), limits[5])
            sums[16 * _ZEROS] += v == np.float32(0)
            code = np.int64(v + limits[6])
            if size == 1:
                codes[j] = code
            else:
                wide[j] = code


@shared
def book_sums(sums_at: int, record: Record, counts: Record) -> None:
    """Adds what `_store_float32` saw to the counts of a run, and starts again from zero."""
    sums = ints_at(sums_at, SUMS)
    for lanes, first in ((16, 0), (8, 5 * 16)):
        for lane in range(first, first + lanes):
            counts[R.OUTPUT_ZEROS] += sums[lane + _ZEROS * lanes]
            counts[R.SATURATIONS] += record[R.COUNT_LOW] * sums[lane + _BELOW * lanes]
            counts[R.SATURATIONS] += record[R.COUNT_HIGH] * sums[lane + _ABOVE * lanes]
            counts[R.LOWEST] = min(counts[R.LOWEST], sums[lane + _SMALLEST * lanes])
            counts[R.HIGHEST] = max(counts[R.HIGHEST], sums[lane + _LARGEST * lanes])
    fill_ints(sums_at, SUMS, 0)


@shared
def _round(value: int, mode: int, scale: int, multiplier: int, shift: int) -> Any:
    """One accumulator in one of the other roundings."""
    if mode == _FLOAT64:
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


@shared
def _store_fixed(
    acc_at: int, restart_at: int, pixels: int, padded: int, channels: int, record: Record,
    size: int, out_at: int, counts: Record
) -> None:  # fmt: skip
    """Codes of some pixels in the other roundings, with a bias in 64 bits."""
    mode, zero, low, high = record[R.MODE], record[R.ZERO], record[R.LOW], record[R.HIGH]
    type_low, type_high = record[R.TYPE_LOW], record[R.TYPE_HIGH]
    count_low, count_high = record[R.COUNT_LOW], record[R.COUNT_HIGH]
    scale = doubles_at(record[R.SCALES64], channels)
    multiplier = longs_at(record[R.MULTIPLIERS], channels)
    shift = longs_at(record[R.SHIFTS], channels)
    late = longs_at(record[R.LATE_BIAS], channels)
    acc, restart = ints_at(acc_at, pixels * padded), ints_at(restart_at, pixels * padded)
    codes, wide = bytes_at(out_at, pixels * channels), shorts_at(out_at, pixels * channels)
    # in this mode the channels behind the last whole eight round otherwise
    turn = channels // 8 * 8 if mode == _DOUBLE_EIGHTS else channels
    main = _DOUBLE_HALF_UP if mode == _DOUBLE_EIGHTS else mode
    for p in range(pixels):
        for j in range(channels):
            rounding = main if j < turn else _DOUBLE_ROUNDING
            value = np.int64(acc[p * padded + j]) + late[j]
            acc[p * padded + j] = restart[p * padded + j]
            counts[R.LOWEST] = min(counts[R.LOWEST], value)
            counts[R.HIGHEST] = max(counts[R.HIGHEST], value)
            code = _round(value, rounding, scale[j], multiplier[j], shift[j]) + zero
            if code < type_low:
                counts[R.SATURATIONS] += count_low
            elif code > type_high:
                counts[R.SATURATIONS] += count_high
            code = min(max(code, low), high)
            counts[R.OUTPUT_ZEROS] += code == zero
            if size == 1:
                codes[p * channels + j] = code
            else:
                wide[p * channels + j] = code


@shared
def store_row(
    acc_at: int, restart_at: int, pixels: int, padded: int, channels: int, record: Record,
    sums_at: int, size: int, out_at: int, counts: Record
) -> None:  # fmt: skip
    """Requantizes some pixels and writes their codes.

    Args:
        acc_at: int32 accumulators, `padded` per pixel; those beyond `channels` are not read.
        restart_at: int32, laid out like them: what accumulators are set to once read.
        pixels, padded, channels: how accumulators and codes are laid out.
        record: of the layer.
        sums_at: int32 (SUMS,), booked later by `book_sums`.
        size: bytes of a code.
        out_at: codes, written.
        counts: (executed, input zeros, output zeros, saturations, lowest, highest), added to.
    """
    if record[R.MODE] == _FLOAT32:
        _store_float32(acc_at, restart_at, pixels, padded, channels, record, sums_at, size, out_at)
    else:
        _store_fixed(acc_at, restart_at, pixels, padded, channels, record, size, out_at, counts)
