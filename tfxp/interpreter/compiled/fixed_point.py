"""Compiled twins of BUILTIN_REF's ADD, SUB and SOFTMAX of 8-bit codes, in fixed point."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.lanes import LANES
from tfxp.interpreter.compiled.memory import bytes_at, inlined, ints_at, longs_at, unsigned_bytes_at
from tfxp.interpreter.compiled.microkernel_sum import add_vectors

_ONE = np.int64(1)
_MOST, _LEAST = np.int64(2147483647), np.int64(-2147483648)


@inlined
def _high_product(a: int, b: int) -> Any:
    """a * b / 2^31, halves up, saturating."""
    return min((a * b + (_ONE << 30)) >> 31, _MOST)


@inlined
def _half_away(x: int, exponent: int) -> Any:
    """x / 2^exponent, halves away from zero."""
    mask = (_ONE << exponent) - 1
    return (x >> exponent) + np.int64((x & mask) > (mask >> 1) + np.int64(x < 0))


@inlined
def _scaled(at: int, index: int, unsigned: int, by: Any) -> Any:
    """One code without its zero point, times 2^20 and the factor, rounded twice."""
    code = np.int64(bytes_at(at)[index])
    if unsigned != 0:
        code = np.int64(unsigned_bytes_at(at)[index])
    return _half_away(_high_product((code - by[0]) << 20, by[1]), by[2])


def add_fixed(
    x_at: int, y_at: int, out_at: int, size: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Sums of scaled codes, rounded twice; see `native.KERNELS`.

    Args:
        x_at, y_at, out_at: `size` codes each.
        size: how many.
        record_at: of the operator.
        scratch_at, counts_at: not used.
    """
    record = longs_at(record_at)
    unsigned = record[R.ADD_UNSIGNED]
    first = record[R.ZERO_A], record[R.FACTOR_A], record[R.RIGHT_A]
    second = record[R.ZERO_B], record[R.FACTOR_B], record[R.RIGHT_B]
    last = record[R.SUM_LEFT], record[R.SUM_FACTOR], record[R.SUM_RIGHT]
    zero, low, high = record[R.ADD_ZERO], record[R.ADD_LOW], record[R.ADD_HIGH]
    vectors = size // LANES
    add_vectors(x_at, y_at, out_at, vectors, unsigned, first, second, last, (zero, low, high))
    out = bytes_at(out_at)
    for i in range(vectors * LANES, size):
        total = _scaled(x_at, i, unsigned, first) + _scaled(y_at, i, unsigned, second)
        wrapped = np.int64(np.int32(total << last[0]))
        code = _half_away(_high_product(wrapped, last[1]), last[2]) + zero
        out[i] = min(max(code, low), high)


@inlined
def _reciprocal(total: int) -> Any:
    """(mantissa of 1 / total, leading zeros of total): three Newton-Raphson steps."""
    headroom = np.int64(0)
    while total << headroom < _ONE << 31:
        headroom += 1
    half = ((total << headroom) - (_ONE << 31) + _MOST + 1) >> 1
    x = np.int64(1515870810) + _high_product(half, np.int64(-1010580540))
    for _ in range(3):
        error = (_ONE << 29) - _high_product(half, x)
        step = min(max(_high_product(x, error) << 2, _LEAST), _MOST)
        x = np.int64(np.int32(x + step))
    return min(max(x << 1, _LEAST), _MOST), headroom


@inlined
def _softmax_rows(x: Any, out: Any, rows: int, record: Any) -> None:
    classes, low, high = record[R.CLASSES], record[R.SOFTMAX_LOW], record[R.SOFTMAX_HIGH]
    exponential, summand = ints_at(record[R.EXPONENTIALS]), ints_at(record[R.SUMMANDS])
    for r in range(rows):
        first = r * classes
        largest = np.int64(x[first])
        for c in range(classes):
            largest = max(largest, np.int64(x[first + c]))
        total = np.int64(0)
        for c in range(classes):
            total += summand[largest - np.int64(x[first + c])]
        scale, headroom = _reciprocal(total)
        shift = 12 - headroom + 31 - 8
        for c in range(classes):
            value = np.int64(exponential[largest - np.int64(x[first + c])])
            code = low
            if value >= 0:  # smaller ones are too far below the largest
                code = _half_away(_high_product(scale, value), shift) + low
            out[first + c] = min(max(code, low), high)


def softmax_fixed(
    x_at: int, y_at: int, out_at: int, rows: int, record_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Rows of codes to rows of probabilities, in fixed point.

    Args:
        x_at, out_at: codes (rows, classes).
        rows: how many.
        record_at: of the operator.
        y_at, scratch_at, counts_at: not used.
    """
    record = longs_at(record_at)
    if record[R.SOFTMAX_UNSIGNED]:
        _softmax_rows(unsigned_bytes_at(x_at), unsigned_bytes_at(out_at), rows, record)
    else:
        _softmax_rows(bytes_at(x_at), bytes_at(out_at), rows, record)
