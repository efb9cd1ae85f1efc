"""Compiled loops in 64 bits for what 32-bit accumulators cannot hold.

That is: a narrower accumulator under study, 16-bit weights with 16-bit activations, zero points in
16 bits. One scalar multiply-add per tap that is not skipped.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled.packing import visit_table
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult

_cached = numba.njit(cache=True, nogil=True)


@_cached
def _add(acc: Any, value: Any, limit: int, overflowed: Any, at: int) -> Any:
    """acc + value, which saturates and notes that it did."""
    acc += value
    if acc < -limit or acc >= limit:
        overflowed[at] = 1
        acc = min(max(acc, -limit), limit - 1)
    return acc


@_cached
def _accumulate_plain(
    x: Any, geometry: Any, weights: Any, limit: int, acc: Any, overflowed: Any
) -> None:
    """Sums of products without bias, tap by tap in the definition's order."""
    height, kh, sh, dh, oh, ph, width, kw, sw, dw, ow, pw = geometry[:12]
    channels, oc, groups, zero, transposed = geometry[12:]
    cg, og = channels // groups, oc // groups
    ny, nx = (height, width) if transposed else (oh, ow)
    ly, lx = (oh, ow) if transposed else (height, width)
    for n in range(x.shape[0]):
        for ky in range(kh):
            for kx in range(kw):
                for y in range(ny):
                    ty = y * sh - ph + ky * dh
                    if ty < 0 or ty >= ly:
                        continue
                    for z in range(nx):
                        tz = z * sw - pw + kx * dw
                        if tz < 0 or tz >= lx:
                            continue
                        iy, ix, oy, ox = (y, z, ty, tz) if transposed else (ty, tz, y, z)
                        for c in range(channels):
                            value = np.int64(x[n, iy, ix, c]) - zero
                            if value == 0:
                                continue
                            first = (c // cg) * og
                            at = ((n * oh + oy) * ow + ox) * oc
                            if not limit:  # the usual case, which vectorises
                                row, sums = weights[ky, kx, c % cg], acc[at : at + oc]
                                for o in range(first, first + og):
                                    sums[o] += value * np.int64(row[o])
                                continue
                            for o in range(first, first + og):
                                weight = np.int64(weights[ky, kx, c % cg, o])
                                acc[at + o] = _add(
                                    acc[at + o], value * weight, limit, overflowed, at + o
                                )


def _geometry(layer: MacLayer, rows: Axis, columns: Axis) -> NDArray[np.int64]:
    sides = [(a.size, a.taps, a.stride, a.dilation, a.out, a.pad) for a in (rows, columns)]
    channels = layer.channels_in, layer.channels_out, layer.groups
    return np.array([*sides[0], *sides[1], *channels, layer.input_zero, layer.transposed], np.int64)


def run_plain(layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis) -> MacResult:
    """One operator on a batch of images, in 64-bit scalars."""
    x = np.ascontiguousarray(x)
    acc = np.zeros((x.shape[0], rows.out, columns.out, layer.channels_out), np.int64)
    overflowed = np.zeros(acc.size, np.uint8)
    bits, saturate = layer.accumulator_bits, layer.accumulator_overflow == "saturate"
    limit = 1 << (bits - 1) if bits is not None and bits < 64 else 0
    _accumulate_plain(
        x,
        _geometry(layer, rows, columns),
        np.ascontiguousarray(layer.weights),
        limit if saturate else 0,
        acc.reshape(-1),
        overflowed,
    )
    acc += layer.bias
    low, high = int(acc.min(initial=0)), int(acc.max(initial=0))
    overflows = 0
    if limit:
        outside = (acc < -limit) | (acc >= limit)
        overflows = int(np.count_nonzero(outside.reshape(-1) | (overflowed != 0)))
        if saturate:
            acc = np.clip(acc, -limit, limit - 1)
        else:
            acc = ((acc + limit) & (2 * limit - 1)) - limit
    if not layer.wide:
        acc = ((acc + 2**31) & 0xFFFFFFFF) - 2**31
    codes, saturations = layer.requantizer.apply(acc)
    table = visit_table(layer, rows, columns)
    nonzero = np.count_nonzero(x != layer.input_zero, axis=0)  # (H, W, C)
    executed = int((nonzero * table.macs[np.ix_(table.row_class, table.column_class)]).sum())
    input_zeros = x.size - int(nonzero.sum())
    zeros = int(np.count_nonzero(codes == layer.requantizer.zero_point))
    return MacResult(codes, executed, input_zeros, zeros, saturations, low, high, overflows)
