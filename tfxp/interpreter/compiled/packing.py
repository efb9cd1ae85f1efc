"""What the records of all compiled convolutions share: start values, requantizer, visits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.native import address_of
from tfxp.interpreter.compiled.record import SUMS, Record, make_record, share_scratch
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer
from tfxp.interpreter.numerics.arithmetic import MODES, reduced_multiplier

#: Which kernel requantizes, by rounding.
_STORES = {
    "float32": "store_float32", "double_rounding": "store_fixed",
    "double_half_up": "store_fixed", "double_eights": "store_fixed",
}  # fmt: skip


#: Accumulators that are requantized in one go, if their pixels stand close.
_RUN = 512


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


def layer_record(
    layer: MacLayer,
    axes: tuple[Axis, Axis],
    keeper: Keeper,
    own: Mapping[int, int],
    late: NDArray[np.int64],
    scratch: Mapping[int, int],
) -> Record:
    """The record of a convolution.

    Args:
        layer: weights and constants.
        axes: where taps fall, vertically and horizontally.
        keeper: holds the arrays that the record points to.
        own: fields of the kernel, PADDED among them.
        late: int64 (OC,), added to accumulators.
        scratch: bytes of the parts of scratch memory that the kernel has besides the common ones.
    """
    rows, columns = axes
    table = visit_table(layer, rows, columns)
    common = {
        R.HEIGHT: rows.size, R.WIDTH: columns.size, R.CHANNELS: layer.channels_in,
        R.GROUPS: layer.groups,
        R.OUT_HEIGHT: rows.out, R.OUT_WIDTH: columns.out, R.OUT_CHANNELS: layer.channels_out,
        R.INPUT_ZERO: layer.input_zero, R.TAKE_ALL: 0 if layer.skip_zeros else 255,
        R.CODE_KIND: R.KINDS.index(layer.input_type),
        R.ROW_CLASS: keeper.keep(table.row_class),
        R.COLUMN_ORDER: keeper.keep(np.argsort(table.column_class, kind="stable")),
        R.COLUMN_STARTS: keeper.keep(np.cumsum([0, *np.bincount(table.column_class)])),
        R.ROW_CLASSES: table.macs.shape[0], R.COLUMN_CLASSES: table.macs.shape[1],
        R.VISIT_MACS: keeper.keep(table.macs), R.COUNT_KERNEL: address_of("count"),
    }  # fmt: skip
    repeats = _pixels_of_a_run(layer.channels_out) if own[R.PADDED] == layer.channels_out else 1
    requantizer = _requantizer_fields(layer, late, repeats, keeper)
    parts = scratch_parts(layer, columns, scratch)
    return make_record({**common, **own, **requantizer, **parts})


def scratch_parts(layer: MacLayer, columns: Axis, own: Mapping[int, int]) -> dict[int, int]:
    """Fields for scratch memory: the parts that all convolutions have, and a kernel's own."""
    visits = (4 + columns.size) * layer.channels_in
    return share_scratch({R.SUMS_PART: 4 * SUMS, R.VISITS_PART: visits, **own})


def _pixels_of_a_run(channels: int) -> int:
    """Pixels whose factors stand one behind the other, so that few channels fill vectors too."""
    whole = 16 // math.gcd(channels, 16)
    return whole * max(1, _RUN // (whole * channels)) if channels < _RUN else 1


def _requantizer_fields(
    layer: MacLayer, late: NDArray[np.int64], repeats: int, keeper: Keeper
) -> dict[int, int]:
    """The requantizer of a layer: what the kernel that stores its codes reads."""
    r = layer.requantizer
    multiplier = reduced_multiplier(r.multiplier) if r.mode == "reduced" else r.multiplier
    zero = r.zero_point
    # one beyond the type's limits is enough to see a saturation, and keeps the magic sum exact
    limits = [r.type_low - zero - 1, r.type_high - zero + 1, r.type_low - zero, r.type_high - zero,
              r.low - zero, r.high - zero, zero]  # fmt: skip
    store = _STORES.get(r.mode, "store_scalar")
    away = np.array([-(r.rounds_away(channel)) for channel in range(len(r.shift))], np.int32)
    if store == "store_float32":
        tables = {R.SCALES32: np.tile(r.scale.astype(np.float32), repeats),
                  R.FLOAT_LIMITS: np.array(limits, np.float32)}  # fmt: skip
    elif store == "store_fixed":
        vectors = {R.MULTIPLIERS32: multiplier, R.LEFT32: np.maximum(r.shift, 0),
                   R.RIGHT32: np.maximum(-r.shift, 0), R.AWAY32: away}  # fmt: skip
        tables = {place: np.tile(v.astype(np.int32), repeats) for place, v in vectors.items()}
        tables[R.INT_LIMITS] = np.array(limits, np.int32)
    else:
        tables = {R.SCALES64: r.scale.astype(np.float64), R.LATE_BIAS: late.astype(np.int64),
                  R.MULTIPLIERS: multiplier.astype(np.int64),
                  R.SHIFTS: r.shift.astype(np.int64)}  # fmt: skip
    return {
        R.RUN_PIXELS: repeats, R.STORE_KERNEL: address_of(store),
        R.MODE: MODES.index(r.mode), R.ZERO: zero, R.LOW: r.low, R.HIGH: r.high,
        R.TYPE_LOW: r.type_low, R.TYPE_HIGH: r.type_high,
        R.COUNT_LOW: int(not r.clamps_low), R.COUNT_HIGH: int(not r.clamps_high),
        **{place: keeper.keep(table) for place, table in tables.items()},
    }  # fmt: skip


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
