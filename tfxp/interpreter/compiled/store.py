"""Compiled requantization of a row of accumulators, for every rounding; see requantizer.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.arithmetic import MODES
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

_FLOAT32, _FLOAT64, _REDUCED = (MODES.index(m) for m in ("float32", "float64", "reduced"))
_DOUBLE_ROUNDING = MODES.index("double_rounding")
_DOUBLE_HALF_UP, _DOUBLE_EIGHTS = MODES.index("double_half_up"), MODES.index("double_eights")
_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves no fractional bits, ties to even
_bytes8, _bytes16 = store_vectors("int8", 8), store_vectors("int8", 16)
_shorts8, _shorts16 = store_vectors("int16", 8), store_vectors("int16", 16)
#: int32 elements of `sums`: five of 16 lanes, then five of 8; see `store_vectors`.
SUMS = 5 * 16 + 5 * 8


@shared
def _store_vectors(
    size: Any, from_at: Any, scale_at: Any, restart_at: Any, to_at: Any, length: Any,
    limits_at: Any, sums_at: Any
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
    acc_at: Any, restart_at: Any, pixels: Any, padded: Any, channels: Any, requantization: Any,
    sums_at: Any, size: Any, out_at: Any
) -> None:  # fmt: skip
    """Codes of some pixels: half_even(float32(acc) * scale), clamped."""
    scale_at, limits_at = requantization[8], requantization[13]
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
            sums[48], sums[64] = min(sums[48], a), max(sums[64], a)
            v = min(max(np.float32(a) * scale[j], limits[0]), limits[1])
            v = (v + _MAGIC) - _MAGIC
            sums[0] += v < limits[2]
            sums[16] += v > limits[3]
            v = min(max(v, limits[4]), limits[5])
            sums[32] += v == np.float32(0)
            code = np.int64(v + limits[6])
            if size == 1:
                codes[j] = code
            else:
                wide[j] = code


@shared
def book_sums(sums_at: Any, requantization: Any, counts: Any) -> None:
    """Adds what `_store_float32` saw to the counts of a run, and starts again from zero."""
    sums = ints_at(sums_at, SUMS)
    for lanes, first in ((16, 0), (8, 80)):
        for lane in range(first, first + lanes):
            counts[2] += sums[lane + 2 * lanes]
            counts[3] += requantization[6] * sums[lane] + requantization[7] * sums[lane + lanes]
            counts[4] = min(counts[4], sums[lane + 3 * lanes])
            counts[5] = max(counts[5], sums[lane + 4 * lanes])
    fill_ints(sums_at, SUMS, 0)


@shared
def _round(value: Any, mode: Any, scale: Any, multiplier: Any, shift: Any) -> Any:
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
    acc_at: Any, restart_at: Any, pixels: Any, padded: Any, channels: Any, requantization: Any,
    size: Any, out_at: Any, counts: Any
) -> None:  # fmt: skip
    """Codes of some pixels in the other roundings, with a bias in 64 bits."""
    mode, zero, low, high, type_low, type_high, count_low, count_high = (
        requantization[0], requantization[1], requantization[2], requantization[3],
        requantization[4], requantization[5], requantization[6], requantization[7],
    )  # fmt: skip
    scale = doubles_at(requantization[9], channels)
    multiplier = longs_at(requantization[10], channels)
    shift = longs_at(requantization[11], channels)
    late = longs_at(requantization[12], channels)
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
            counts[4] = min(counts[4], value)
            counts[5] = max(counts[5], value)
            code = _round(value, rounding, scale[j], multiplier[j], shift[j]) + zero
            if code < type_low:
                counts[3] += count_low
            elif code > type_high:
                counts[3] += count_high
            code = min(max(code, low), high)
            counts[2] += code == zero
            if size == 1:
                codes[p * channels + j] = code
            else:
                wide[p * channels + j] = code


@shared
def store_row(
    acc_at: Any, restart_at: Any, pixels: Any, padded: Any, channels: Any, requantization: Any,
    sums_at: Any, size: Any, out_at: Any, counts: Any
) -> None:  # fmt: skip
    """Requantizes some pixels and writes their codes.

    Args:
        acc_at: int32 accumulators, `padded` per pixel; those beyond `channels` are not read.
        restart_at: int32, laid out like them: what accumulators are set to once read.
        pixels, padded, channels: how accumulators and codes are laid out.
        requantization: int64 record, see `packing.pack_requantizer`.
        sums_at: int32 (SUMS,), booked later by `book_sums`.
        size: bytes of a code.
        out_at: codes, written.
        counts: (executed, input zeros, output zeros, saturations, lowest, highest), added to.
    """
    if requantization[0] == _FLOAT32:
        _store_float32(
            acc_at, restart_at, pixels, padded, channels, requantization, sums_at, size, out_at
        )
    else:
        _store_fixed(
            acc_at, restart_at, pixels, padded, channels, requantization, size, out_at, counts
        )
