"""Compiled requantization of accumulators one by one: every rounding, bias in 64 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.counting import code_bytes
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    doubles_at,
    inlined,
    ints_at,
    longs_at,
    shorts_at,
)
from tfxp.interpreter.numerics.arithmetic import MODES

_FLOAT64, _REDUCED = MODES.index("float64"), MODES.index("reduced")
_DOUBLE_ROUNDING = MODES.index("double_rounding")
_DOUBLE_HALF_UP, _DOUBLE_EIGHTS = MODES.index("double_half_up"), MODES.index("double_eights")


@inlined
def round_scalar(value: int, mode: int, scale: Any, multiplier: int, shift: int) -> Any:
    """One accumulator in one of the roundings that are not `float32`."""
    if mode == _FLOAT64:
        product = np.float64(value) * scale
        product = min(max(product, -2147483648.0), 2147483648.0)
        whole = np.trunc(product)
        if abs(product - whole) >= 0.5:
            whole += np.copysign(1.0, product)
        result = np.int64(whole)
    elif mode == _REDUCED:
        result = (value * multiplier + (np.int64(1) << (14 - shift))) >> (15 - shift)
    else:
        left = max(shift, 0)
        right = max(-shift, 0)
        wrapped = np.int64(np.int32(value << left))
        high = (wrapped * multiplier + (np.int64(1) << 30)) >> 31
        high = min(high, np.int64(2147483647))
        half = (np.int64(1) << right) >> 1
        if mode == _DOUBLE_HALF_UP:
            result = (high + half) >> right
        else:
            magnitude = (abs(high) + half) >> right
            result = -magnitude if high < 0 else magnitude
    return result


def store_scalar(
    acc_at: int, restart_at: int, out_at: int, pixels: int, record_at: int, scratch_at: int,
    counts_at: int
) -> None:  # fmt: skip
    """Codes of some pixels, for every rounding but `float32`.

    Args: as `store.store_float32`; `scratch_at` is not used.
    """
    record, counts = longs_at(record_at), longs_at(counts_at)
    padded, channels, size = record[R.PADDED], record[R.OUT_CHANNELS], code_bytes(record)
    mode, zero, low, high = record[R.MODE], record[R.ZERO], record[R.LOW], record[R.HIGH]
    type_low, type_high = record[R.TYPE_LOW], record[R.TYPE_HIGH]
    scale, late = doubles_at(record[R.SCALES64]), longs_at(record[R.LATE_BIAS])
    multiplier, shift = longs_at(record[R.MULTIPLIERS]), longs_at(record[R.SHIFTS])
    # in this mode the channels behind the last whole eight round otherwise
    turn = channels // 8 * 8 if mode == _DOUBLE_EIGHTS else channels
    main = _DOUBLE_HALF_UP if mode == _DOUBLE_EIGHTS else mode
    lowest, highest = counts[R.LOWEST], counts[R.HIGHEST]
    below = above = zeros = np.int64(0)
    for p in range(pixels):
        acc, restart = ints_at(acc_at + 4 * p * padded), ints_at(restart_at + 4 * p * padded)
        codes, wide = bytes_at(out_at + p * channels), shorts_at(out_at + 2 * p * channels)
        for j in range(channels):
            rounding = main if j < turn else _DOUBLE_ROUNDING
            value = np.int64(acc[j]) + late[j]
            acc[j] = restart[j]
            lowest, highest = min(lowest, value), max(highest, value)
            code = round_scalar(value, rounding, scale[j], multiplier[j], shift[j]) + zero
            below += code < type_low
            above += code > type_high
            code = min(max(code, low), high)
            zeros += code == zero
            if size == 1:
                codes[j] = code
            else:
                wide[j] = code
    counts[R.LOWEST], counts[R.HIGHEST] = lowest, highest
    counts[R.SATURATIONS] += record[R.COUNT_LOW] * below + record[R.COUNT_HIGH] * above
    counts[R.OUTPUT_ZEROS] += zeros
