"""float32 forms of the multiply-accumulate operators, for float layers around a quantized core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.fused_activation import float_activation
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.registry import Node

Floats = NDArray[np.float32]


def float_convolution(
    node: Node, x: Floats, weights: Floats, inputs: Sequence[Any], axes: tuple[Axis, Axis]
) -> Floats:
    """A grouped convolution in float32: weights (kh, kw, C / groups, OC)."""
    rows, columns = axes
    groups, (kh, kw, cg, oc) = node.cache["groups"], weights.shape
    total = np.zeros((x.shape[0], rows.out, columns.out, oc), np.float32)
    for ky in range(kh):
        for kx in range(kw):
            patch = _patch(x, rows, columns, ky, kx)
            if cg == 1:
                total += np.repeat(patch, oc // groups, axis=3) * weights[ky, kx, 0]
                continue
            og = oc // groups
            for g in range(groups):
                part = patch[..., g * cg : (g + 1) * cg]
                total[..., g * og : (g + 1) * og] += (
                    part @ weights[ky, kx, :, g * og : (g + 1) * og]
                )
    if len(inputs) > 2 and inputs[2] is not None:
        total += inputs[2].reshape(-1)
    return float_activation(node, total)


def _patch(x: Floats, rows: Axis, columns: Axis, ky: int, kx: int) -> Floats:
    """What one tap reads at every output pixel, zeros outside."""
    patch = np.zeros((x.shape[0], rows.out, columns.out, x.shape[3]), np.float32)
    ys = [y for y in range(rows.out) if 0 <= rows.source(y, ky) < rows.size]
    xs = [i for i in range(columns.out) if 0 <= columns.source(i, kx) < columns.size]
    if ys and xs:
        read_y = slice(rows.source(ys[0], ky), rows.source(ys[-1], ky) + 1, rows.stride)
        read_x = slice(columns.source(xs[0], kx), columns.source(xs[-1], kx) + 1, columns.stride)
        patch[:, ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] = x[:, read_y, read_x]
    return patch


def float_transposed(
    node: Node, x: Floats, weights: Floats, bias: Floats | None, axes: tuple[Axis, Axis]
) -> Floats:
    """A transposed convolution in float32: weights (kh, kw, C, OC)."""
    rows, columns = axes
    total = np.zeros((x.shape[0], rows.out, columns.out, weights.shape[3]), np.float32)
    for y in range(rows.size):
        for i in range(columns.size):
            for ky in range(rows.taps):
                for kx in range(columns.taps):
                    ty, tx = rows.source(y, ky), columns.source(i, kx)
                    if 0 <= ty < rows.out and 0 <= tx < columns.out:
                        total[:, ty, tx] += x[:, y, i] @ weights[ky, kx]
    return float_activation(node, total if bias is None else total + bias.reshape(-1))
