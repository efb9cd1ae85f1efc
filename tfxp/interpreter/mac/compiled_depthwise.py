"""Compiled depthwise convolutions: channels side by side in vector registers.

An activation meets one weight per tap here, so there is no row to skip: zeros are counted, but
gathering them would cost more than the multiplications it saves.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tfxp.interpreter.mac.compiled_gather import book_visits, count_nonzeros, repeat
from tfxp.interpreter.mac.compiled_store import (
    book_sums,
    float32_limits,
    store_fixed,
    store_float32,
)
from tfxp.interpreter.mac.microkernel_depthwise import depthwise_block

_byte8, _byte32 = depthwise_block("int8", 1), depthwise_block("int8", 4)
_unsigned8, _unsigned32 = depthwise_block("uint8", 1), depthwise_block("uint8", 4)
_short8, _short32 = depthwise_block("int16", 1), depthwise_block("int16", 4)


@numba.njit(cache=True, nogil=True, inline="always")
def _block(kind: Any, large: Any, acc: Any, bias: Any, at: Any, w: Any, taps: Any, steps: Any,
           zero: Any) -> None:  # fmt: skip
    if kind == 0:
        if large:
            _byte32(acc, bias, at, w, taps, steps, zero)
        else:
            _byte8(acc, bias, at, w, taps, steps, zero)
    elif kind == 1:
        if large:
            _unsigned32(acc, bias, at, w, taps, steps, zero)
        else:
            _unsigned8(acc, bias, at, w, taps, steps, zero)
    else:
        if large:
            _short32(acc, bias, at, w, taps, steps, zero)
        else:
            _short8(acc, bias, at, w, taps, steps, zero)


@numba.njit(cache=True, nogil=True)
def _taps_inside(first: Any, step: Any, taps: Any, size: Any) -> Any:
    """(first tap, number of taps) of those that fall on 0 <= first + tap * step < size."""
    low = 0 if first >= 0 else -(first // step)
    high = min(taps, (size - 1 - first) // step + 1)
    return low, max(0, high - low)


@numba.njit(cache=True, nogil=True)
def _row_of_outputs(
    oy: Any, offset: Any, geometry: Any, flat: Any, weights: Any, bias: Any, acc: Any
) -> None:
    """Accumulators of one output row, one filter per channel."""
    height, kh, sh, dh, _, ph, width, kw, sw, dw, ow, pw = geometry[:12]
    channels, zero, kind, size = geometry[12], geometry[15], geometry[18], flat.itemsize
    source = np.int64(flat.ctypes.data) + size * offset
    weight_base, bias_base = np.int64(weights.ctypes.data), np.int64(bias.ctypes.data)
    acc_base = np.int64(acc.ctypes.data)
    first_y = oy * sh - ph
    ky, rows = _taps_inside(first_y, dh, kh, height)
    steps = (
        size * dh * width * channels,
        size * dw * channels,
        4 * kw * channels,
        4 * channels,
    )
    eights = channels // 8 * 8
    for ox in range(ow):
        first_x = ox * sw - pw
        kx, columns = _taps_inside(first_x, dw, kw, width)
        at = ((first_y + ky * dh) * width + first_x + kx * dw) * channels
        tap = ky * kw + kx
        if rows * columns == 0:
            at = tap = 0  # all taps are padding: nothing is read, the bias stays
        c = 0
        while c < eights:
            large = c + 32 <= channels
            _block(
                kind, large, acc_base + 4 * (ox * channels + c), bias_base + 4 * c,
                source + size * (at + c), weight_base + 4 * (tap * channels + c),
                (rows, columns), steps, zero,
            )  # fmt: skip
            c += 32 if large else 8
        for j in range(eights, channels):
            total = bias[j]
            for y in range(rows):
                for x in range(columns):
                    code = flat[offset + at + (y * dh * width + x * dw) * channels + j]
                    total += (np.int32(code) - zero) * weights[tap + y * kw + x, j]
            acc[ox * channels + j] = total


@numba.njit(cache=True, nogil=True)
def _row_of_multiples(
    oy: Any, offset: Any, geometry: Any, flat: Any, weights: Any, bias: Any, acc: Any
) -> None:
    """Accumulators of one output row, several filters per channel."""
    height, kh, sh, dh, _, ph, width, kw, sw, dw, ow, pw = geometry[:12]
    channels, oc, zero = geometry[12], geometry[13], np.int32(geometry[15])
    multiples = oc // channels
    first_y = oy * sh - ph
    ky, rows = _taps_inside(first_y, dh, kh, height)
    for ox in range(ow):
        part = acc[ox * oc : (ox + 1) * oc]
        part[:] = bias
        first_x = ox * sw - pw
        kx, columns = _taps_inside(first_x, dw, kw, width)
        for y in range(ky, ky + rows):
            for x in range(kx, kx + columns):
                at = offset + ((first_y + y * dh) * width + first_x + x * dw) * channels
                row = weights[y * kw + x]
                for c in range(channels):
                    value = np.int32(flat[at + c]) - zero
                    for j in range(c * multiples, (c + 1) * multiples):
                        part[j] += value * row[j]


@numba.njit(cache=True, nogil=True)
def convolve_depthwise(
    x: Any,
    geometry: Any,
    weights: Any,
    bias: Any,
    late: Any,
    numbers: Any,
    scale32: Any,
    scale64: Any,
    multiplier: Any,
    shift: Any,
    row_class: Any,
    column_class: Any,
    macs: Any,
    out: Any,
    counts: Any,
) -> None:
    """A depthwise convolution of a batch of images.

    Args:
        x: codes (N, H, W, C).
        geometry: see `compiled.Plan`.
        weights: int32 (taps, OC).
        bias, late: int32 start values, int64 bias of wide layers (OC,).
        numbers, scale32, scale64, multiplier, shift: see `packing.Requantization`.
        row_class, column_class, macs: see `packing.VisitTable`.
        out: codes (N, OH, OW, OC), written.
        counts: as in `convolve_gather`, added to.
    """
    height, oh, width, ow = geometry[0], geometry[4], geometry[6], geometry[10]
    channels, oc, zero = geometry[12], geometry[13], geometry[15]
    multiples = oc // channels
    flat, flat_out = x.reshape(x.size), out.reshape(out.size)
    acc, scales = np.empty(ow * oc, np.int32), repeat(scale32, ow)
    limits, sums = float32_limits(numbers), np.zeros((5, 8), np.int32)
    visits = np.zeros(macs.shape, np.int64)
    for n in range(x.shape[0]):
        offset = n * height * width * channels
        count_nonzeros(
            flat, offset, (height, width, channels), zero, row_class, column_class, visits
        )
        for oy in range(oh):
            if multiples == 1:
                _row_of_outputs(oy, offset, geometry, flat, weights, bias, acc)
            else:
                _row_of_multiples(oy, offset, geometry, flat, weights, bias, acc)
            first = (n * oh + oy) * ow * oc
            if numbers[0] == 0:
                store_float32(acc, ow, oc, oc, scales, limits, sums, flat_out, first)
            else:
                store_fixed(
                    acc,
                    ow,
                    oc,
                    oc,
                    numbers,
                    scale64,
                    multiplier,
                    shift,
                    late,
                    flat_out,
                    first,
                    counts,
                )
        book_sums(sums, numbers, counts)
    book_visits(visits, macs, x.size, counts)
