"""Compiled loops in 64 bits for what the gather kernels cannot hold.

That is: a narrower accumulator under study, 16-bit weights with 16-bit activations, zero points in
16 bits. One scalar multiply-add per tap that is not skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.mac.compiled_gather import book_visits, count_nonzeros
from tfxp.interpreter.mac.layer import MacLayer, MacResult

if TYPE_CHECKING:
    from tfxp.interpreter.mac.compiled import Plan


@numba.njit(cache=True, nogil=True)
def _add(acc: Any, value: Any, limit: Any, overflowed: Any, at: Any) -> Any:
    """acc + value; with a limit it saturates and notes that it did."""
    acc += value
    if limit and (acc < -limit or acc >= limit):
        overflowed[at] = 1
        acc = min(max(acc, -limit), limit - 1)
    return acc


@numba.njit(cache=True, nogil=True)
def _accumulate_plain(
    x: Any, geometry: Any, weights: Any, limit: Any, acc: Any, overflowed: Any
) -> None:
    """Sums of products without bias, tap by tap in the definition's order."""
    height, kh, sh, dh, oh, ph, width, kw, sw, dw, ow, pw = geometry[:12]
    channels, oc, groups = geometry[12], geometry[13], geometry[14]
    zero, transposed = geometry[15], geometry[17]
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
                            for o in range(first, first + og):
                                weight = np.int64(weights[ky, kx, c % cg, o])
                                acc[at + o] = _add(
                                    acc[at + o], value * weight, limit, overflowed, at + o
                                )


@numba.njit(cache=True, nogil=True)
def _count_plain(
    x: Any, geometry: Any, row_class: Any, column_class: Any, macs: Any, counts: Any
) -> None:
    """Executed MACs and input zeros."""
    size = (geometry[0], geometry[6], geometry[12])
    flat = x.reshape(x.size)
    visits = np.zeros(macs.shape, np.int64)
    for n in range(x.shape[0]):
        offset = n * size[0] * size[1] * size[2]
        count_nonzeros(flat, offset, size, geometry[15], row_class, column_class, visits)
    book_visits(visits, macs, x.size, counts)


def run_plain(layer: MacLayer, x: NDArray[Any], plan: Plan) -> MacResult:
    """One operator on a batch of images, in 64-bit scalars."""
    x = np.ascontiguousarray(x)
    acc = np.zeros((x.shape[0], *plan.shape), np.int64)
    overflowed = np.zeros(acc.size, np.uint8)
    bits, saturate = layer.accumulator_bits, layer.accumulator_overflow == "saturate"
    limit = 1 << (bits - 1) if bits is not None and bits < 64 else 0
    _accumulate_plain(
        x, plan.geometry, layer.weights, limit if saturate else 0, acc.reshape(-1), overflowed
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
    counts = np.zeros(6, np.int64)
    _count_plain(x, plan.geometry, *plan.visits, counts)
    zeros = int(np.count_nonzero(codes == layer.requantizer.zero_point))
    executed, input_zeros = int(counts[0]), int(counts[1])
    return MacResult(codes, executed, input_zeros, zeros, saturations, low, high, overflows)
