"""A layer laid out for `scatter.py`: which outputs an input pixel meets, and weights for it.

Along one direction, input position i with (i + pad) mod stride = r, its *phase*, meets output
position (i + pad - r) / stride + (r - t * dilation) / stride through tap t, for the taps that leave
no remainder; so all positions of one phase have the same taps and the same distances. A transposed
convolution has one phase: i meets i * stride - pad + t.

For each pair of phases and group, the outputs met (taps times blocks of 16 channels) are cut into
passes of as many accumulators as registers hold. Blocks that have no weight but zero are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.lanes import PLACES, SCATTER_SIZES, SHUFFLES, row_order
from tfxp.interpreter.compiled.packing import Keeper, layer_record, pack_bias, scratch_parts
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer

#: A distance to no output row.
_NOWHERE = 1 << 40


@dataclass(frozen=True)
class Phase:
    """Input positions first, first + step, ... that meet outputs through the same taps.

    Args:
        number: (i + pad) mod stride.
        first, count: the first input position, and how many there are.
        output: output position that `first` meets through a tap of distance 0.
        taps: (tap, distance to that output position).
    """

    number: int
    first: int
    count: int
    output: int
    taps: tuple[tuple[int, int], ...]


def phases_of(axis: Axis, transposed: bool) -> list[Phase]:
    """The phases of one direction that have taps."""
    if transposed:
        taps = tuple((t, t * axis.dilation) for t in range(axis.taps))
        return [Phase(0, 0, axis.size, -axis.pad, taps)]
    phases = []
    for r in range(axis.stride):
        distances = [(t, r - t * axis.dilation) for t in range(axis.taps)]
        met = tuple((t, d // axis.stride) for t, d in distances if d % axis.stride == 0)
        first = (r - axis.pad) % axis.stride
        if met and first < axis.size:
            count = -(-(axis.size - first) // axis.stride)
            phases.append(Phase(r, first, count, (first + axis.pad) // axis.stride, met))
    return phases


class RowSchedule:
    """When output rows are complete, and how many are unfinished at once.

    Args:
        axis: the vertical direction.
        transposed: whether taps scatter in the operator itself.
    """

    def __init__(self, axis: Axis, transposed: bool) -> None:
        #: per input row: (phase or -1, output row of distance 0)
        self.rows = np.full((axis.size, 2), -1, np.int64)
        last = np.full(axis.out, -1, np.int64)
        highest = np.full(axis.size, -1, np.int64)
        for phase in phases_of(axis, transposed):
            for k in range(phase.count):
                i = phase.first + k * (1 if transposed else axis.stride)
                output = phase.output + k * (axis.stride if transposed else 1)
                self.rows[i] = phase.number, output
                met = [output + d for _, d in phase.taps if 0 <= output + d < axis.out]
                last[met] = np.maximum(last[met], i)
                highest[i] = max(met, default=-1)
        done_after = np.maximum.accumulate(np.maximum(last, 0))
        #: output rows that are complete once an input row has passed
        self.until = np.searchsorted(done_after, np.arange(axis.size), side="right")
        self.until[-1] = axis.out
        before = np.concatenate([[0], self.until[:-1]])
        reached = np.maximum(highest + 1, self.until)
        self.ring = int(max(1, (reached - before).max()))


def _pass_sizes(vectors: int) -> list[tuple[int, int]]:
    """(vectors used, size of the loop that takes them) that cover `vectors`, evenly."""
    passes = -(-vectors // max(SCATTER_SIZES))
    sizes, left = [], vectors
    for number in range(passes, 0, -1):
        use = -(-left // number)
        size = min(s for s in SCATTER_SIZES if s >= use)
        use = min(size, left)
        sizes.append((use, size))
        left -= use
    return sizes


class ScatterLayout(Keeper):
    """The passes of a layer for one input size, and everything their record points to.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis) -> None:
        super().__init__()
        self.layer = layer
        self.each = layer.channels_out // layer.groups
        self.group_padded = -(-self.each // 16) * 16
        self.padded = layer.groups * self.group_padded
        self.schedule = RowSchedule(rows, layer.transposed)
        self.columns = phases_of(columns, layer.transposed)
        self.row_phases = phases_of(rows, layer.transposed)
        self.pixel_step = columns.stride if layer.transposed else 1
        self.start_step = 1 if layer.transposed else columns.stride
        reach = [
            p.output + k * self.pixel_step + d
            for p in self.columns for k in (0, p.count - 1) for _, d in p.taps
        ]  # fmt: skip
        self.margin = max(0, -min(reach, default=0))
        self.row_pixels = self.margin + max([columns.out, *(x + 1 for x in reach)])

    def lay_out(self) -> NDArray[np.int64]:
        """Lays weights out; rows (phase, first pixel, pixels, base, group, vectors, two addresses).

        The addresses are of weights and of where their products go.
        """
        result = []
        for row_phase in self.row_phases:
            for phase in self.columns:
                for group in range(self.layer.groups):
                    for size, weights, table in self._cut(row_phase, phase, group):
                        base = 4 * (self.margin + phase.output) * self.padded
                        addresses = self.keep(weights), self.keep(table)
                        result.append(
                            (row_phase.number, phase.first, phase.count, base, group, size,
                             *addresses)
                        )  # fmt: skip
        return np.array(result, np.int64).reshape(-1, 8)

    def _cut(self, row_phase: Phase, phase: Phase, group: int) -> Any:
        """(size, weights, table) of each pass of two phases and a group."""
        layer, blocks = self.layer, self.group_padded // 16
        cg = layer.weights.shape[2]
        columns, table = [], []
        mine = slice(group * self.each, (group + 1) * self.each)
        for ky, dy in row_phase.taps:
            for kx, dx in phase.taps:
                padded = np.zeros((cg, self.group_padded), np.int16)
                padded[:, : self.each] = layer.weights[ky, kx, :, mine]
                for b in range(blocks):
                    block = padded[:, 16 * b : 16 * b + 16]
                    if block.any() or not layer.skip_zeros:
                        columns.append(block)
                        place = dx * self.padded + group * self.group_padded + 16 * b
                        table.append((dy, 4 * place))
        first = 0
        for use, size in _pass_sizes(len(columns)) if columns else ():
            unused = size - use
            part = columns[first : first + use] + [np.zeros((cg, 16), np.int16)] * unused
            # what is unused goes to a row that nobody reads, within the reach of the others
            where = table[first : first + use] + [(_NOWHERE, table[first][1])] * unused
            yield size, _ordered(np.concatenate(part, axis=1), size), np.array(where, np.int64)
            first += use

    def scratch_sizes(self, width: int) -> dict[int, int]:
        """Bytes of the parts of scratch memory."""
        blocks = width * self.layer.groups
        listed = blocks * (self.layer.weights.shape[2] + 1) + 16
        accumulators = (self.schedule.ring + 1) * self.row_pixels * self.padded
        return {
            R.POSITIONS_PART: 4 * listed, R.VALUES_PART: 2 * listed,
            R.STARTS_PART: 8 * (blocks + 1), R.OFFSETS_PART: 8 * 64,
            R.ACCUMULATORS_PART: 4 * accumulators,
        }  # fmt: skip


def _ordered(rows: NDArray[np.int16], vectors: int) -> NDArray[np.int16]:
    """Weight rows in the order of `row_order`, on a cache line of their own."""
    order = row_order(vectors)
    bare = np.zeros(rows.shape[0] * order.size + 32, np.int16)
    skip = -bare.ctypes.data % 64 // 2
    ordered = bare[skip : skip + rows.shape[0] * order.size].reshape(rows.shape[0], order.size)
    ordered[:, order >= 0] = rows[:, order[order >= 0]]
    return ordered


def scatter_scratch(layer: MacLayer, rows: Axis, columns: Axis) -> int:
    """Bytes of scratch memory that `scatter_image` would want, without laying weights out."""
    own = ScatterLayout(layer, rows, columns).scratch_sizes(columns.size)
    return scratch_parts(layer, columns, own)[R.SCRATCH_BYTES]


def scatter_record(layout: ScatterLayout, rows: Axis, columns: Axis) -> Record:
    """The record of a layer for `scatter_image`."""
    layer, schedule, passes = layout.layer, layout.schedule, layout.lay_out()
    start, late = pack_bias(layer, layout.group_padded)
    own = {
        R.PADDED: layout.padded, R.GROUP_PADDED: layout.group_padded, R.RING: schedule.ring,
        R.ROW_PIXELS: layout.row_pixels, R.PIXEL_STEP: 4 * layout.pixel_step * layout.padded,
        R.START_STEP: layout.start_step, R.MARGIN: layout.margin,
        R.ROW_SCHEDULE: layout.keep(schedule.rows),
        R.COMPLETE_ROWS: layout.keep(schedule.until.astype(np.int64)),
        R.PASSES: layout.keep(passes), R.PASS_COUNT: len(passes),
        R.PLACES_TABLE: PLACES.ctypes.data, R.SHUFFLES_TABLE: SHUFFLES.ctypes.data,
        R.START_VALUES: layout.keep(np.tile(start, layout.row_pixels)),
    }  # fmt: skip
    scratch = layout.scratch_sizes(columns.size)
    return layer_record(layer, (rows, columns), layout, own, late, scratch)
