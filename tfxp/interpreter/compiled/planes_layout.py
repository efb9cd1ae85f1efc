"""A layer laid out for `planes.py`: per output channel, a list of its weights that are not 0.

Pixels lie side by side, channel by channel, rows one behind the other with the padding between
them, so a tap is a fixed distance in memory for every pixel. That wants a stride of 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.lanes import PIXELS
from tfxp.interpreter.compiled.native import address_of
from tfxp.interpreter.compiled.packing import Keeper, layer_record, pack_bias
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer

#: Time of the dense products by scattering is 1: what laying out and turning back costs, and a
#: product by a list. Measured on 3x3x64x64 (docs/performance.md).
_FIXED, _PRODUCT = 0.10, 0.78


def cost_share(layer: MacLayer, rows: Axis, columns: Axis) -> float | None:
    """Time of the products by weight lists, as a share of all products; None if they do not apply.

    Weights that are zero cost nothing; the pixels between rows and behind the last one do.
    """
    fits = rows.stride == columns.stride == 1 and not layer.transposed and layer.skip_zeros
    pixels = rows.out * columns.out
    if not fits or pixels < PIXELS // 2:
        return None
    blocks = -(-_span(rows, columns) // PIXELS)
    met = layer.nonzero_weights / layer.weight_count * blocks * PIXELS / pixels
    return _FIXED + _PRODUCT * met


def _row_pixels(columns: Axis) -> int:
    return columns.out + (columns.taps - 1) * columns.dilation


def _span(rows: Axis, columns: Axis) -> int:
    """Pixels from the first output to the last, those between rows included."""
    return (rows.out - 1) * _row_pixels(columns) + columns.out


class WeightLists(Keeper):
    """The record of a layer for `planes_image`, and what it points to.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
        scatter: the layer's record for `scatter_image`.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis, scatter: Record) -> None:
        super().__init__()
        width, span = _row_pixels(columns), _span(rows, columns)
        height = rows.out + (rows.taps - 1) * rows.dilation
        plane = height * width + PIXELS  # the last block may read on
        starts, distances, weights = _lists(layer, plane, rows.dilation * width, columns.dilation)
        start, late = pack_bias(layer, layer.channels_out // layer.groups)
        limit = cost_share(layer, rows, columns)
        assert limit is not None  # the caller has asked
        own = {
            R.PLANE: plane, R.PLANE_ROW: width, R.PAD_ABOVE: rows.pad,
            R.PAD_LEFT: columns.pad, R.SPAN: span,
            R.LIST_STARTS: self.keep(starts), R.DISTANCES: self.keep(distances),
            R.LISTED_WEIGHTS: self.keep(weights), R.LIST_BIAS: self.keep(start),
            R.SCATTER_RECORD: self.keep(scatter), R.SCATTER_KERNEL: address_of("scatter"),
            R.PADDED: layer.channels_out, R.SCATTER_SHARE: int(limit * R.SHARE),
        }  # fmt: skip
        scratch = {
            R.PLANES_PART: 2 * (layer.channels_in * plane + PIXELS),
            R.TILE_PART: 4 * layer.channels_out * PIXELS,
            R.ACCUMULATORS_PART: 4 * -(-span // PIXELS) * PIXELS * layer.channels_out,
        }
        self.record = layer_record(layer, (rows, columns), self, own, late, scratch)
        either = max(self.record[R.SCRATCH_BYTES], scatter[R.SCRATCH_BYTES])
        self.record[R.SCRATCH_BYTES] = either


def _lists(
    layer: MacLayer, plane: int, row_step: int, column_step: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int16]]:
    """Where each output channel's list begins; distances; weights. An even number of each."""
    starts, offsets, values = [0], [], []
    each = layer.channels_out // layer.groups
    for channel in range(layer.channels_out):
        weights = layer.weights[:, :, :, channel]
        ky, kx, c = np.nonzero(weights)
        absolute = channel // each * weights.shape[2] + c
        distance = absolute * plane + ky * row_step + kx * column_step
        odd = len(ky) % 2
        # a weight of 0 makes the number even
        offsets.append(np.pad(distance, (0, odd)))
        values.append(np.pad(weights[ky, kx, c], (0, odd)))
        starts.append(starts[-1] + len(ky) + odd)
    return (
        np.array(starts, np.int64),
        np.concatenate(offsets).astype(np.int32),
        np.concatenate(values).astype(np.int16),
    )
