"""Weights and constants of a layer, laid out for the compiled kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer
from tfxp.interpreter.mac.microkernel import CHANNEL_ORDER
from tfxp.interpreter.mac.requantizer import MODES


@dataclass(frozen=True)
class PackedLayer:
    """A layer for the gather kernels.

    Args:
        weights: int16, per block of 16, 32 or 64 channels of one group: (taps * C / groups, block),
            channels in the order the gather loop wants.
        blocks: int64 rows (group, vectors of 16, accumulator offset, weight offset).
        bias: int32 start values of the accumulators, padded like them; zeros for wide layers.
        late_bias: int64 (OC,), added before requantizing; zeros for narrow layers.
        padded: accumulators per output pixel.
        group_padded: of which per group.
    """

    weights: NDArray[np.int16]
    blocks: NDArray[np.int64]
    bias: NDArray[np.int32]
    late_bias: NDArray[np.int64]
    padded: int
    group_padded: int


def _block_sizes(channels: int) -> list[int]:
    """Blocks of 64, 32 and 16 channels that cover `channels`, the last one padded."""
    sizes = [64] * (channels // 64)
    rest = channels % 64
    if rest > 48:
        return [*sizes, 64]
    for size in (32, 16):
        while rest >= size or (0 < rest and size == 16):
            sizes.append(size)
            rest -= size
    return sizes


def pack_layer(layer: MacLayer) -> PackedLayer:
    """Lays out the weights of a layer."""
    kh, kw, cg, oc = layer.weights.shape
    og = oc // layer.groups
    sizes = _block_sizes(og)
    group_padded = sum(sizes)
    rows = kh * kw * cg
    padded = np.zeros((layer.groups, rows, group_padded), np.int16)
    grouped = layer.weights.reshape(rows, layer.groups, og).transpose(1, 0, 2)
    padded[:, :, :og] = grouped
    order = np.arange(group_padded).reshape(-1, 16)[:, CHANNEL_ORDER].reshape(-1)
    padded = padded[:, :, order]
    blocks, parts, offset = [], [], 0
    for group in range(layer.groups):
        first = 0
        for size in sizes:
            blocks.append((group, size // 16, group * group_padded + first, offset))
            parts.append(padded[group, :, first : first + size].reshape(-1))
            first += size
            offset += rows * size
    bias = np.zeros((layer.groups, group_padded), np.int32)
    late = np.zeros(oc, np.int64)
    if layer.wide:
        late = layer.bias
    else:
        wrapped = ((layer.bias + 2**31) & 0xFFFFFFFF) - 2**31
        bias[:, :og] = wrapped.reshape(layer.groups, og)
    return PackedLayer(
        np.concatenate(parts),
        np.array(blocks, np.int64),
        bias.reshape(-1),
        late,
        layer.groups * group_padded,
        group_padded,
    )


def gather_exact(layer: MacLayer) -> bool:
    """Whether 32-bit accumulators and 16-bit operands give this layer's exact results."""
    low, high = layer.worst_case
    fits = layer.weights.min(initial=0) >= -32768 and layer.weights.max(initial=0) <= 32767
    centred = layer.input_type != "INT16" or layer.input_zero == 0
    if layer.accumulator_bits is not None or not fits or not centred:
        return False
    biggest = int(np.abs(layer.bias).max(initial=0))
    # narrow layers wrap at 32 bits as LiteRT does; wide ones must not come near
    return not layer.wide or max(-low, high) + biggest < 2**31


@dataclass(frozen=True)
class Requantization:
    """A requantizer as plain arrays: numbers (mode, zero point, limits, ...) and per channel."""

    numbers: NDArray[np.int64]
    scale32: NDArray[np.float32]
    scale64: NDArray[np.float64]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]


def pack_requantizer(layer: MacLayer) -> Requantization:
    """The requantizer of a layer for the compiled store loops."""
    r = layer.requantizer
    numbers = [
        MODES.index(r.mode),
        r.zero_point,
        r.low,
        r.high,
        r.type_low,
        r.type_high,
        not r.clamps_low,
        not r.clamps_high,
    ]
    multiplier = r.multiplier
    if r.mode == "reduced":
        multiplier = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    return Requantization(
        np.array(numbers, np.int64),
        r.scale.astype(np.float32),
        r.scale.astype(np.float64),
        np.ascontiguousarray(multiplier, np.int64),
        np.ascontiguousarray(r.shift, np.int64),
    )


@dataclass(frozen=True)
class VisitTable:
    """How many non-zero weights an activation meets, by where it stands.

    Positions in one direction fall into few classes by the set of taps that use them, so the MACs
    of a run follow from counting non-zero activations per class and channel: once per activation,
    not once per tap.
    """

    row_class: NDArray[np.int64]
    column_class: NDArray[np.int64]
    macs: NDArray[np.int64]


def visit_table(layer: MacLayer, rows: Axis, columns: Axis) -> VisitTable:
    """The table for one input size: macs (row classes, column classes, C)."""
    row_class, row_taps = _classes(rows, layer.transposed)
    column_class, column_taps = _classes(columns, layer.transposed)
    macs = np.einsum("ay,bx,yxc->abc", row_taps, column_taps, layer.row_nonzeros)
    return VisitTable(row_class, column_class, np.ascontiguousarray(macs))


def _classes(axis: Axis, transposed: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The class of every input position, and per class how often each tap uses it."""
    uses: Any = np.zeros((axis.size, axis.taps), np.int64)
    for tap in range(axis.taps):
        if transposed:
            landed = np.array([axis.source(i, tap) for i in range(axis.size)])
            uses[:, tap] = (landed >= 0) & (landed < axis.out)
            continue
        for position in range(axis.out):
            source = axis.source(position, tap)
            if 0 <= source < axis.size:
                uses[source, tap] += 1
    kinds, index = np.unique(uses, axis=0, return_inverse=True)
    return np.ascontiguousarray(index.reshape(-1).astype(np.int64)), kinds
