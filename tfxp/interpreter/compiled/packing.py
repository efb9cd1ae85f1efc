"""What all compiled kernels of a layer need: start values, requantizer, visits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.arithmetic import MODES, reduced_multiplier
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer


class Keeper:
    """Holds the arrays that a record points to."""

    def __init__(self) -> None:
        self.kept: list[NDArray[Any]] = []

    def keep(self, array: NDArray[Any]) -> int:
        """The address of an array that lives as long as this object."""
        array = np.ascontiguousarray(array)
        self.kept.append(array)
        return int(array.ctypes.data)


def pack_bias(layer: MacLayer, group_padded: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Start values of a pixel's accumulators, padded like them, and what is added behind them.

    A wide layer starts at 0 and adds its bias in 64 bits.
    """
    start = np.zeros((layer.groups, group_padded), np.int32)
    if layer.wide:
        return start.reshape(-1), layer.bias
    wrapped = ((layer.bias + 2**31) & 0xFFFFFFFF) - 2**31
    start[:, : layer.channels_out // layer.groups] = wrapped.reshape(layer.groups, -1)
    return start.reshape(-1), np.zeros_like(layer.bias)


#: int64 fields of a record; where the requantizer begins, and the shares of scratch memory.
REQUANTIZATION, SCRATCH, RECORD = 32, 48, 56


def share_scratch(record: NDArray[np.int64], sizes: list[int]) -> None:
    """Writes byte offsets of parts of scratch memory into a record, and its size behind them.

    Args:
        record: written from SCRATCH on; the last field is the total.
        sizes: bytes of each part, at most 7; each begins on a cache line.
    """
    offset = 0
    for number, size in enumerate(sizes):
        record[SCRATCH + number] = offset
        offset += -(-size // 64) * 64
    record[RECORD - 1] = offset


def fits_32_bits(layer: MacLayer) -> bool:
    """Whether 32-bit accumulators and 16-bit operands give this layer's exact results."""
    low, high = layer.worst_case
    fits = layer.weights.min(initial=0) >= -32768 and layer.weights.max(initial=0) <= 32767
    centred = layer.input_type != "INT16" or layer.input_zero == 0
    if layer.accumulator_bits is not None or not fits or not centred:
        return False
    biggest = int(np.abs(layer.bias).max(initial=0))
    # narrow layers wrap at 32 bits as LiteRT does; wide ones must not come near
    return not layer.wide or max(-low, high) + biggest < 2**31


def pack_requantizer(
    layer: MacLayer, late: NDArray[np.int64], repeats: int, keeper: Keeper
) -> list[int]:
    """The requantizer of a layer as a record for `store_row`.

    Args:
        layer: whose requantizer.
        late: int64 (OC,), added to accumulators.
        repeats: how many pixels of scales stand one behind the other.
        keeper: holds the arrays.

    Returns:
        Mode, zero point, limits, limits of the type, which of those count as saturation; addresses
        of scales in float32 and float64, multipliers, shifts, late bias, float32 limits; two zeros.
    """
    r = layer.requantizer
    multiplier = r.multiplier
    if r.mode == "reduced":
        multiplier = reduced_multiplier(multiplier)
    zero = r.zero_point
    # one beyond the type's limits is enough to see a saturation, and keeps the magic sum exact
    limits = [r.type_low - zero - 1, r.type_high - zero + 1, r.type_low - zero, r.type_high - zero,
              r.low - zero, r.high - zero, zero]  # fmt: skip
    return [
        *(MODES.index(r.mode), zero, r.low, r.high, r.type_low, r.type_high),
        *(int(not r.clamps_low), int(not r.clamps_high)),
        keeper.keep(np.tile(r.scale.astype(np.float32), repeats)),
        keeper.keep(r.scale.astype(np.float64)),
        keeper.keep(multiplier.astype(np.int64)),
        keeper.keep(r.shift.astype(np.int64)),
        keeper.keep(late.astype(np.int64)),
        keeper.keep(np.array(limits, np.float32)),
        *(0, 0),
    ]


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


def visit_fields(layer: MacLayer, rows: Axis, columns: Axis, keeper: Keeper) -> list[int]:
    """The visit table in a record: row classes, column classes, their numbers, MACs."""
    table = visit_table(layer, rows, columns)
    return [
        keeper.keep(table.row_class),
        keeper.keep(table.column_class),
        *table.macs.shape[:2],
        keeper.keep(table.macs),
    ]


def code_kind(layer: MacLayer) -> int:
    """How compiled kernels name the type of codes."""
    return ("INT8", "UINT8", "INT16").index(layer.input_type)
