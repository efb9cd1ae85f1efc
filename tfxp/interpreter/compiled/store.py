"""Compiled requantization of rows of accumulators, vectors of 16 and 8; see requantizer.py."""

from __future__ import annotations

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.counting import code_bytes
from tfxp.interpreter.compiled.memory import (
    bytes_at,
    floats_at,
    inlined,
    ints_at,
    longs_at,
    shorts_at,
)
from tfxp.interpreter.compiled.microkernel_store import store_vectors

_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves no fractional bits, ties to even
_float_bytes = store_vectors(fixed=False, code_bits=8)
_float_shorts = store_vectors(fixed=False, code_bits=16)
_fixed_bytes = store_vectors(fixed=True, code_bits=8)
_fixed_shorts = store_vectors(fixed=True, code_bits=16)
#: Which of the sums, in lanes; see `store_vectors`.
_BELOW, _ABOVE, _ZEROS, _SMALLEST, _LARGEST = (16 * k for k in range(5))


@inlined
def _store_code(out_at: int, index: int, size: int, code: int) -> None:
    if size == 1:
        bytes_at(out_at)[index] = code
    else:
        shorts_at(out_at)[index] = code


def store_float32(
    acc_at: int, restart_at: int, out_at: int, pixels: int, record_at: int, scratch_at: int,
    counts_at: int
) -> None:  # fmt: skip
    """Codes of some pixels: half_even(float32(acc) * scale), clamped; see `native.KERNELS`.

    Args:
        acc_at: int32 accumulators, `record.PADDED` per pixel; those beyond the channels stay.
        restart_at: int32, laid out like them: what accumulators are set to once read.
        out_at: codes, written.
        pixels: how many.
        record_at: of the layer.
        scratch_at: holds the sums that `counting.count` books later.
        counts_at: not used.
    """
    record = longs_at(record_at)
    scale_at, limits_at, size = record[R.SCALES32], record[R.FLOAT_LIMITS], code_bytes(record)
    sums_at = scratch_at + record[R.SUMS_PART]
    limits, sums, scale = floats_at(limits_at), ints_at(sums_at), floats_at(scale_at)
    channels, together = record[R.OUT_CHANNELS], record[R.RUN_PIXELS]
    for p in range(0, pixels, together):
        step = 4 * p * record[R.PADDED]
        length = min(together, pixels - p) * channels
        vectors = length // 8 * 8
        acc, restart = ints_at(acc_at + step), ints_at(restart_at + step)
        to_at = out_at + size * p * channels
        if size == 1:
            _float_bytes(acc_at + step, restart_at + step, to_at, length, limits_at, sums_at,
                         scale_at, 0, 0, 0)  # fmt: skip
        else:
            _float_shorts(acc_at + step, restart_at + step, to_at, length, limits_at, sums_at,
                          scale_at, 0, 0, 0)  # fmt: skip
        for j in range(vectors, length):
            a = acc[j]
            acc[j] = restart[j]
            sums[_SMALLEST] = min(sums[_SMALLEST], a)
            sums[_LARGEST] = max(sums[_LARGEST], a)
            v = min(max(np.float32(a) * scale[j], limits[0]), limits[1])
            v = (v + _MAGIC) - _MAGIC
            sums[_BELOW] += v < limits[2]
            sums[_ABOVE] += v > limits[3]
            v = min(max(v, limits[4]), limits[5])
            sums[_ZEROS] += v == np.float32(0)
            _store_code(to_at, j, size, np.int64(v + limits[6]))


def store_fixed(
    acc_at: int, restart_at: int, out_at: int, pixels: int, record_at: int, scratch_at: int,
    counts_at: int
) -> None:  # fmt: skip
    """Codes of some pixels in the roundings that round twice in fixed point.

    Args: as `store_float32`.
    """
    record = longs_at(record_at)
    limits_at, size, sums_at = (
        record[R.INT_LIMITS], code_bytes(record), scratch_at + record[R.SUMS_PART]
    )  # fmt: skip
    limits, sums = ints_at(limits_at), ints_at(sums_at)
    factors_at, lefts_at, rights_at, aways_at = (
        record[R.MULTIPLIERS32], record[R.LEFT32], record[R.RIGHT32], record[R.AWAY32]
    )  # fmt: skip
    factor, left, right, away = (
        ints_at(factors_at), ints_at(lefts_at), ints_at(rights_at), ints_at(aways_at)
    )  # fmt: skip
    channels, together = record[R.OUT_CHANNELS], record[R.RUN_PIXELS]
    for p in range(0, pixels, together):
        step = 4 * p * record[R.PADDED]
        length = min(together, pixels - p) * channels
        vectors = length // 8 * 8
        acc, restart = ints_at(acc_at + step), ints_at(restart_at + step)
        to_at = out_at + size * p * channels
        if size == 1:
            _fixed_bytes(acc_at + step, restart_at + step, to_at, length, limits_at, sums_at,
                         factors_at, lefts_at, rights_at, aways_at)  # fmt: skip
        else:
            _fixed_shorts(acc_at + step, restart_at + step, to_at, length, limits_at, sums_at,
                          factors_at, lefts_at, rights_at, aways_at)  # fmt: skip
        for j in range(vectors, length):
            a = acc[j]
            acc[j] = restart[j]
            sums[_SMALLEST] = min(sums[_SMALLEST], a)
            sums[_LARGEST] = max(sums[_LARGEST], a)
            wrapped = np.int64(np.int32(np.int64(a) << left[j]))
            high = (wrapped * factor[j] + (np.int64(1) << 30)) >> 31
            mask = (np.int64(1) << right[j]) - 1
            v = high >> right[j]
            v += (high & mask) > (mask >> 1) + (np.int64(high < 0) & -np.int64(away[j]))
            sums[_BELOW] += v < limits[2]
            sums[_ABOVE] += v > limits[3]
            v = min(max(v, np.int64(limits[4])), np.int64(limits[5]))
            sums[_ZEROS] += v == 0
            _store_code(to_at, j, size, v + limits[6])
