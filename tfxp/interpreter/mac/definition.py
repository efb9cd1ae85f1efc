"""The definition of every multiply-accumulate operator: plain NumPy, tap by tap.

    acc[n, y, x, o] = bias[o] + sum over ky, kx, c of
        w[ky, kx, c, o] * (input[n, y s_y - p_y + ky d_y, x s_x - p_x + kx d_x, c] - zero)

with taps outside the image reading zero. Transposed convolutions add the same products to output
pixel (y s_y - p_y + ky, x s_x - p_x + kx) instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult

Ints = NDArray[np.int64]


def run_definition(layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis) -> MacResult:
    """One operator on a batch of images.

    Args:
        layer: weights and constants.
        x: codes (N, H, W, C).
        rows, columns: where taps fall.
    """
    centred = x.astype(np.int64) - layer.input_zero
    accumulators, executed, overflowed = accumulate(layer, centred, rows, columns)
    accumulators += layer.bias
    low, high = int(accumulators.min(initial=0)), int(accumulators.max(initial=0))
    accumulators, overflows = _narrow(layer, accumulators, overflowed)
    codes, saturations = layer.requantizer.apply(accumulators)
    return MacResult(
        codes,
        executed,
        int(np.count_nonzero(centred == 0)),
        int(np.count_nonzero(codes == layer.requantizer.zero_point)),
        saturations,
        low,
        high,
        overflows,
    )


def accumulate(
    layer: MacLayer, centred: NDArray[Any], rows: Axis, columns: Axis
) -> tuple[NDArray[Any], int, NDArray[np.bool_]]:
    """Sums of products without bias, MACs without a zero operand, and which sums overflowed.

    Args:
        layer: weights and constants.
        centred: activations minus their zero (N, H, W, C), whole numbers; sums have their type.
        rows, columns: where taps fall.
    """
    shape = (centred.shape[0], rows.out, columns.out, layer.channels_out)
    accumulators, executed = np.zeros(shape, centred.dtype), 0
    overflowed = np.zeros(shape, bool)
    for tap, source, target in _taps(layer, centred, rows, columns):
        window = accumulators[:, target[0], target[1]]
        if layer.accumulator_bits and layer.accumulator_overflow == "saturate":
            overflowed[:, target[0], target[1]] |= _add_saturating(layer, source, tap, window)
        else:
            window += _product(layer, source, layer.weights[tap].astype(centred.dtype))
        used = np.count_nonzero(source, axis=(0, 1, 2))
        executed += int(used @ layer.row_nonzeros[tap])
    return accumulators, executed, overflowed


def _taps(
    layer: MacLayer, centred: NDArray[Any], rows: Axis, columns: Axis
) -> Iterator[tuple[tuple[int, int], NDArray[Any], tuple[slice, slice]]]:
    """Per tap: its index, the activations it reads, and the outputs they belong to.

    Taps that fall outside the image are left out: they read zeros.
    """
    for ky in range(rows.taps):
        for kx in range(columns.taps):
            read_y, write_y = _ranges(rows, ky, layer.transposed)
            read_x, write_x = _ranges(columns, kx, layer.transposed)
            source = centred[:, read_y, read_x]
            if source.size:
                yield (ky, kx), source, (write_y, write_x)


def _ranges(axis: Axis, tap: int, transposed: bool) -> tuple[slice, slice]:
    """Input positions that `tap` reads, and output positions they contribute to."""
    count, limit = (axis.size, axis.out) if transposed else (axis.out, axis.size)
    landed = [axis.source(i, tap) for i in range(count)]
    inside = [i for i, position in enumerate(landed) if 0 <= position < limit]
    if not inside:
        return slice(0), slice(0)
    plain = slice(inside[0], inside[-1] + 1)
    strided = slice(landed[inside[0]], landed[inside[-1]] + 1, axis.stride)
    return (plain, strided) if transposed else (strided, plain)


def _product(layer: MacLayer, source: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """(N, y, x, C) times one tap's (C / groups, OC), group by group."""
    cg, oc = weights.shape
    og = oc // layer.groups
    if cg == 1:
        return np.repeat(source, og, axis=3) * weights[0]
    parts = [
        source[..., g * cg : (g + 1) * cg] @ weights[:, g * og : (g + 1) * og]
        for g in range(layer.groups)
    ]
    return np.concatenate(parts, axis=3) if len(parts) > 1 else parts[0]


def _add_saturating(
    layer: MacLayer, source: Ints, tap: tuple[int, int], window: Ints
) -> NDArray[np.bool_]:
    """Adds a tap's products channel by channel, clamping after each; says where it clamped."""
    limit = 1 << (layer.accumulator_bits or 64) - 1
    clamped = np.zeros(window.shape, bool)
    weights = layer.weights[tap].astype(np.int64)
    cg = weights.shape[0]
    for c in range(cg):
        per_group = np.repeat(source[..., c::cg], layer.channels_out // layer.groups, axis=3)
        window += per_group * weights[c]
        clamped |= (window < -limit) | (window >= limit)
        np.clip(window, -limit, limit - 1, out=window)
    return clamped


def _narrow(layer: MacLayer, accumulators: Ints, overflowed: NDArray[np.bool_]) -> tuple[Ints, int]:
    """Accumulators as the hardware holds them: 32 bits wrapping, or the narrower one studied."""
    bits, overflows = layer.accumulator_bits, 0
    if bits is not None and bits < 64:
        limit = 1 << (bits - 1)
        overflowed = overflowed | (accumulators < -limit) | (accumulators >= limit)
        overflows = int(np.count_nonzero(overflowed))
        if layer.accumulator_overflow == "saturate":
            accumulators = np.clip(accumulators, -limit, limit - 1)
        else:
            accumulators = ((accumulators + limit) & (2 * limit - 1)) - limit
    if not layer.wide:
        accumulators = ((accumulators + 2**31) & 0xFFFFFFFF) - 2**31
    return accumulators, overflows
