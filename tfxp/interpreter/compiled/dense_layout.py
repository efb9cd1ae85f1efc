"""A layer laid out for `dense.py`: pairs of neighbouring codes, and weights for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.lanes import DENSE_PIXELS, DENSE_VECTORS, LANES
from tfxp.interpreter.compiled.native import address_of
from tfxp.interpreter.compiled.packing import Keeper, layer_record, pack_bias
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer

#: Share of codes that are not zero up to which listing them is faster.
SCATTER_SHARE = 0.43
#: Bytes of accumulators that stay in the second cache.
_ROW_BYTES = 2**17


def suits_dense(layer: MacLayer, rows: Axis, columns: Axis) -> bool:
    """Whether a layer has rows of neighbouring codes, and pixels enough to share weights."""
    joined = columns.dilation == 1 or columns.taps == 1
    enough = rows.out * columns.out >= DENSE_PIXELS[0]
    return layer.groups == 1 and not layer.transposed and joined and enough


class DenseLayout(Keeper):
    """The record of a layer for `dense.dense`, and what it points to.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis) -> None:
        super().__init__()
        padded = -(-layer.channels_out // LANES) * LANES
        rows, columns = _joined(rows, columns, padded)
        channels, run = layer.channels_in, columns.taps * layer.channels_in
        pairs = -(-run // 2)
        width = ((columns.out - 1) * columns.stride + columns.taps) * channels
        line = -(-(width + 2) // 16) * 16  # the last pair may read on
        height = (rows.out - 1) * rows.stride + (rows.taps - 1) * rows.dilation + 1
        start, late = pack_bias(layer, padded)
        own = {
            R.DENSE_ROWS: height, R.DENSE_ROW: line, R.PAD_ABOVE: rows.pad,
            R.PAD_LEFT: columns.pad, R.DENSE_WEIGHTS: self.keep(_weights(layer, padded, pairs)),
            R.DENSE_BIAS: self.keep(start), R.DENSE_PAIRS: pairs, R.DENSE_TAP_ROWS: rows.taps,
            R.DENSE_STEP_Y: rows.stride * line, R.DENSE_TAP_STEP: rows.dilation * line,
            R.DENSE_STEP_X: columns.stride * channels, R.PADDED: padded,
            R.SCATTER_SHARE: -1,
        }  # fmt: skip
        scratch = {
            R.PLANES_PART: 2 * (height * line + 16),
            R.ACCUMULATORS_PART: 4 * columns.out * padded,
        }
        self.record = layer_record(layer, (rows, columns), self, own, late, scratch)

    def offer(self, scatter: Record) -> None:
        """From now on images that are mostly zeros go by a record for `scatter.scatter`."""
        self.record[R.SCATTER_RECORD] = self.keep(scatter)
        self.record[R.SCATTER_KERNEL] = address_of("scatter")
        self.record[R.SCATTER_SHARE] = int(SCATTER_SHARE * R.SHARE)  # last: others may be running


def _joined(rows: Axis, columns: Axis, padded: int) -> tuple[Axis, Axis]:
    """Windows of one pixel: several rows as one, so that short ones fill their tiles."""
    plain = Axis(rows.size, 1, 1, rows.dilation, rows.size, 0)
    if rows != plain or columns.taps != 1 or columns.stride != 1 or columns.pad:
        return rows, columns
    fits = [n for n in range(1, rows.size + 1)
            if rows.size % n == 0 and 4 * n * columns.size * padded <= _ROW_BYTES]  # fmt: skip
    n = max(fits, default=1)
    height, width = rows.size // n, n * columns.size
    return Axis(height, 1, 1, 1, height, 0), Axis(width, 1, 1, 1, width, 0)


def _weights(layer: MacLayer, padded: int, pairs: int) -> NDArray[np.int16]:
    """Block by block of channels: (rows, pairs, channels of the block, 2)."""
    kh, _, _, oc = layer.weights.shape
    run = layer.weights.reshape(kh, -1, oc)
    full: Any = np.zeros((kh, 2 * pairs, padded), np.int16)
    full[:, : run.shape[1], :oc] = run
    full = full.reshape(kh, pairs, 2, padded).transpose(0, 1, 3, 2)
    blocks, first = [], 0
    while first < padded:
        left = (padded - first) // LANES
        lanes = LANES * next(v for v in DENSE_VECTORS if v <= left)
        blocks.append(np.ascontiguousarray(full[:, :, first : first + lanes]).reshape(-1))
        first += lanes
    bare = np.concatenate(blocks)
    aligned = np.zeros(bare.size + 32, np.int16)
    skip = -aligned.ctypes.data % 64 // 2
    aligned[skip : skip + bare.size] = bare
    return aligned[skip : skip + bare.size]
