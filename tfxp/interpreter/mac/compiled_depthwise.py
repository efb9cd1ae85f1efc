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


@numba.njit(cache=True, nogil=True)
def _add_tap(
    acc: Any, flat: Any, at: Any, weights: Any, w: Any, zero: Any, channels: Any, multiples: Any
) -> None:
    """acc[c * m + j] += (x[c] - zero) * w[c * m + j] for one pixel and tap."""
    if multiples == 1:
        for c in range(channels):
            acc[c] += (np.int32(flat[at + c]) - zero) * weights[w, c]
        return
    for c in range(channels):
        value = np.int32(flat[at + c]) - zero
        for j in range(c * multiples, (c + 1) * multiples):
            acc[j] += value * weights[w, j]


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
    height, kh, sh, dh, oh, ph, width, kw, sw, dw, ow, pw = geometry[:12]
    channels, oc, zero = geometry[12], geometry[13], np.int32(geometry[15])
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
            for ox in range(ow):
                part = acc[ox * oc : (ox + 1) * oc]
                part[:] = bias
                for ky in range(kh):
                    iy = oy * sh - ph + ky * dh
                    if iy < 0 or iy >= height:
                        continue
                    for kx in range(kw):
                        ix = ox * sw - pw + kx * dw
                        if ix < 0 or ix >= width:
                            continue
                        at = offset + (iy * width + ix) * channels
                        w = ky * kw + kx
                        _add_tap(part, flat, at, weights, w, zero, channels, multiples)
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
