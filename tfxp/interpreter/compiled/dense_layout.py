"""A layer laid out for `dense.py`: groups of neighbouring codes, and weights for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.lanes import DENSE_SHORT, DENSE_VECTORS, LANES, USE_BYTES
from tfxp.interpreter.compiled.native import address_of
from tfxp.interpreter.compiled.packing import Keeper, layer_record, pack_bias
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.mac.geometry import Axis, single_pixels
from tfxp.interpreter.mac.layer import MacLayer

#: Share of codes that are not zero up to which listing them is faster, where groups have two codes
#: and where they have four.
_SCATTER_SHARES = {2: 0.43, 4: 0.17}
#: Bytes of accumulators that stay in the second cache.
_ROW_BYTES = 2**17


def suits_dense(layer: MacLayer, rows: Axis, columns: Axis) -> bool:
    """Whether a layer has rows of neighbouring codes, and pixels enough to share weights."""
    joined = columns.dilation == 1 or columns.taps == 1
    enough = rows.out * columns.out >= DENSE_SHORT
    return layer.groups == 1 and not layer.transposed and joined and enough


class DenseLayout(Keeper):
    """The record of a layer for `dense.dense`, and what it points to.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis) -> None:
        super().__init__()
        padded = _padded(layer)
        in_bytes = takes_bytes(layer)
        #: Which kernel multiplies, and codes of a group.
        self.kernel, codes = ("dense_bytes", 4) if in_bytes else ("dense", 2)
        self.scatter_share = _SCATTER_SHARES[codes]
        rows, columns = _joined(rows, columns)
        channels, run = layer.channels_in, columns.taps * layer.channels_in
        groups, size = -(-run // codes), 4 // codes
        width = ((columns.out - 1) * columns.stride + columns.taps) * channels
        line = -(-(width + 4) // 16) * 16  # the last group may read on
        height = (rows.out - 1) * rows.stride + (rows.taps - 1) * rows.dilation + 1
        start, late = pack_bias(layer, padded)
        if in_bytes:
            start = _without_zero(layer, start)
        weights = _weights(layer, padded, groups, codes)
        own = {
            R.DENSE_ROWS: height, R.DENSE_ROW: line, R.PAD_ABOVE: rows.pad,
            R.PAD_LEFT: columns.pad, R.DENSE_WEIGHTS: self.keep(weights),
            R.DENSE_BIAS: self.keep(start), R.DENSE_GROUPS: groups, R.DENSE_TAP_ROWS: rows.taps,
            R.DENSE_STEP_Y: size * rows.stride * line,
            R.DENSE_TAP_STEP: size * rows.dilation * line,
            R.DENSE_STEP_X: size * columns.stride * channels, R.PADDED: padded,
            R.SCATTER_SHARE: -1,
        }  # fmt: skip
        scratch = {
            R.PLANES_PART: size * (height * line + 16),
            R.ACCUMULATORS_PART: 4 * columns.out * padded,
        }
        self.record = layer_record(layer, (rows, columns), self, own, late, scratch)

    def offer(self, scatter: Record) -> None:
        """From now on images that are mostly zeros go by a record for `scatter.scatter`."""
        self.record[R.SCATTER_RECORD] = self.keep(scatter)
        self.record[R.SCATTER_KERNEL] = address_of("scatter")
        self.record[R.SCATTER_SHARE] = int(
            self.scatter_share * R.SHARE
        )  # last: others may be running


def rows_together(layer: MacLayer, rows: Axis, columns: Axis, images: int) -> int:
    """Rows of a batch that go as one image where windows are single pixels, else those of an image.

    Pixels that fill tiles share loads of weights, whatever image they are of: a dense layer has one
    pixel an image.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
        images: in the batch.
    """
    if not _single_pixels(rows, columns):
        return rows.size
    count, most = images * rows.size, _ROW_BYTES // (4 * columns.size * _padded(layer))
    return next((n for n in range(min(count, most), 1, -1) if count % n == 0), 1)


def _single_pixels(rows: Axis, columns: Axis) -> bool:
    """Whether each window is the pixel at its own place."""
    plain = (a.taps == a.stride == 1 and a.out == a.size and not a.pad for a in (rows, columns))
    return all(plain)


def _joined(rows: Axis, columns: Axis) -> tuple[Axis, Axis]:
    """Windows of one pixel: all rows as one, so that short ones fill their tiles."""
    if not _single_pixels(rows, columns):
        return rows, columns
    return single_pixels(1), single_pixels(rows.size * columns.size)


def _padded(layer: MacLayer) -> int:
    """Accumulators of a pixel."""
    return -(-layer.channels_out // LANES) * LANES


def takes_bytes(layer: MacLayer) -> bool:
    """Whether codes and weights are bytes, on a processor that multiplies those."""
    if not USE_BYTES or layer.input_type == "INT16":
        return False
    least, most = layer.weights.min(initial=0), layer.weights.max(initial=0)
    return bool(least >= -128 and most <= 127)


def _without_zero(layer: MacLayer, start: NDArray[np.int32]) -> NDArray[np.int32]:
    """Start values minus what the zero of the codes adds to every window; both wrap at 32 bits."""
    zero = layer.input_zero + (128 if layer.input_type == "INT8" else 0)
    added = zero * layer.weights.sum(axis=(0, 1, 2), dtype=np.int64)
    wanted = start.astype(np.int64)
    wanted[: layer.channels_out] -= added
    return (wanted & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _weights(layer: MacLayer, padded: int, groups: int, codes: int) -> NDArray[Any]:
    """Block by block of channels: (rows, groups, channels of the block, codes of a group)."""
    kh, _, _, oc = layer.weights.shape
    run = layer.weights.reshape(kh, -1, oc)
    full: Any = np.zeros((kh, codes * groups, padded), np.int8 if codes == 4 else np.int16)
    full[:, : run.shape[1], :oc] = run
    full = full.reshape(kh, groups, codes, padded).transpose(0, 1, 3, 2)
    blocks, first = [], 0
    while first < padded:
        left = (padded - first) // LANES
        lanes = LANES * next(v for v in DENSE_VECTORS if v <= left)
        blocks.append(np.ascontiguousarray(full[:, :, first : first + lanes]).reshape(-1))
        first += lanes
    bare = np.concatenate(blocks).view(np.uint8)
    aligned = np.zeros(bare.size + 64, np.uint8)
    skip = -aligned.ctypes.data % 64
    aligned[skip : skip + bare.size] = bare
    return aligned[skip : skip + bare.size]
