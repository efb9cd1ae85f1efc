"""A layer laid out for `compiled_planes`: per output channel, a list of its weights that are not 0.

Pixels lie side by side, channel by channel, rows one behind the other with the padding between
them, so a tap is a fixed distance in memory for every pixel. That wants a stride of 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled.microkernel_planes import PIXELS
from tfxp.interpreter.compiled.packing import (
    RECORD,
    REQUANTIZATION,
    SCRATCH,
    Keeper,
    code_kind,
    pack_bias,
    pack_requantizer,
    share_scratch,
    visit_fields,
)
from tfxp.interpreter.compiled.store import SUMS
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer

#: Shares are compared in units of this.
SHARE = 1 << 16
#: Time of the dense products by scattering is 1: what laying out and turning back costs, and a
#: product by a list. Measured on 3x3x64x64 (docs/performance.md).
_FIXED, _PRODUCT = 0.16, 1.18


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
    """The record of a layer for `convolve_planes`, and what it points to.

    Fields: as in `scatter_record` up to the kind of code; codes of a plane, of a row of it, padding
    above and to the left, pixels from first to last; addresses of the list starts, distances,
    weights and start values; the record of `convolve_scatter` and the share of non-zero activations
    (in SHARE) up to which that is taken; from 24 on as there.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
        scatter: the layer's record for `convolve_scatter`.
    """

    def __init__(
        self, layer: MacLayer, rows: Axis, columns: Axis, scatter: NDArray[np.int64]
    ) -> None:
        super().__init__()
        width, span = _row_pixels(columns), _span(rows, columns)
        height = rows.out + (rows.taps - 1) * rows.dilation
        plane = height * width + PIXELS  # the last block may read on
        starts, offsets, values = _lists(layer, plane, rows.dilation * width, columns.dilation)
        start, late = pack_bias(layer, layer.channels_out // layer.groups)
        limit = cost_share(layer, rows, columns)
        assert limit is not None  # the caller has asked
        record = np.zeros(RECORD, np.int64)
        head = [
            *(rows.size, columns.size, layer.channels_in, layer.groups),
            *(rows.out, columns.out, layer.channels_out, layer.input_zero, 0, code_kind(layer)),
            *(plane, width, rows.pad, columns.pad, span),
            *(self.keep(starts), self.keep(offsets), self.keep(values), self.keep(start)),
            *(self.keep(scatter), int(limit * SHARE)),
        ]
        record[: len(head)] = head
        record[24:29] = visit_fields(layer, rows, columns, self)
        record[REQUANTIZATION:SCRATCH] = pack_requantizer(layer, late, columns.out, self)
        padded = -(-span // PIXELS) * PIXELS
        sizes = [
            2 * (layer.channels_in * plane + PIXELS),
            4 * layer.channels_out * PIXELS,
            4 * padded * layer.channels_out,
            4 * SUMS,
            4 * int(record[26]) * columns.size * layer.channels_in,
        ]
        share_scratch(record, sizes)
        record[RECORD - 1] = max(record[RECORD - 1], scatter[RECORD - 1])
        self.record = record


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
