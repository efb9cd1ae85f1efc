"""A layer laid out for `planes.py`: per output channel, a list of its weights that are not 0.

Pixels lie side by side, channel by channel, rows one behind the other with the padding between
them, so a tap is a fixed distance in memory for every pixel. A convolution that takes strides of s
pixels reads each s-th pixel from where a tap begins; those lie side by side too, in a plane for
each of the places, or *phases*, that taps begin at.
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

#: Time of the dense products by scattering is 1: what turning back costs, the laying out of a code
#: in products of it, and a product by a list. Measured on 3x3 convolutions of 16 to 128 channels
#: with strides of 1 and 2 (docs/performance.md).
_TURNING, _LAYING_OUT, _PRODUCT = 0.08, 12, 0.78


def cost_share(layer: MacLayer, rows: Axis, columns: Axis) -> float | None:
    """Time of the products by weight lists, as a share of all products; None if they do not apply.

    Weights that are zero cost nothing; the pixels between rows and behind the last one do.
    """
    pixels = rows.out * columns.out
    if layer.transposed or not layer.skip_zeros or pixels < PIXELS // 2:
        return None
    phases = _Phases(rows).count * _Phases(columns).count
    blocks = -(-_span(rows, columns) // PIXELS)
    met = layer.nonzero_weights / layer.weight_count * blocks * PIXELS / pixels
    products = rows.taps * columns.taps * layer.channels_out / layer.groups
    return _TURNING + _LAYING_OUT * phases / products + _PRODUCT * met


class _Phases:
    """Where taps begin within a stride, and how long that makes a plane."""

    def __init__(self, axis: Axis) -> None:
        reach = (axis.taps - 1) * axis.dilation
        self.count = min(axis.stride, reach + 1)
        self.pixels = axis.out + reach // axis.stride


def _span(rows: Axis, columns: Axis) -> int:
    """Pixels from the first output to the last, those between rows included."""
    return (rows.out - 1) * _Phases(columns).pixels + columns.out


class WeightLists(Keeper):
    """The record of a layer for `planes_image`, and what it points to.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
        scatter: the layer's record for `scatter_image`.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis, scatter: Record) -> None:
        super().__init__()
        down, across, span = _Phases(rows), _Phases(columns), _span(rows, columns)
        phase = down.pixels * across.pixels + PIXELS  # the last block may read on
        plane = down.count * across.count * phase
        starts, distances, weights = _lists(
            layer,
            plane,
            [_distance(rows, tap, across.count * phase, across.pixels) for tap in range(rows.taps)],
            [_distance(columns, tap, phase, 1) for tap in range(columns.taps)],
        )
        start, late = pack_bias(layer, layer.channels_out // layer.groups)
        limit = cost_share(layer, rows, columns)
        assert limit is not None  # the caller has asked
        own = {
            R.PLANE: plane, R.PLANE_ROW: across.pixels, R.PLANE_ROWS: down.pixels,
            R.PHASE_PLANE: phase, R.PHASES_Y: down.count, R.PHASES_X: across.count,
            R.STEP_Y: rows.stride, R.STEP_X: columns.stride,
            R.PAD_ABOVE: rows.pad, R.PAD_LEFT: columns.pad, R.SPAN: span,
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


def _distance(axis: Axis, tap: int, phase: int, step: int) -> int:
    """From the first code of an output pixel to the one that a tap reads.

    Args:
        axis: where taps fall.
        tap: which.
        phase, step: codes from a phase's plane, and from a pixel of it, to the next.
    """
    whole, place = divmod(tap * axis.dilation, axis.stride)
    return place * phase + whole * step


def _lists(
    layer: MacLayer, plane: int, down: list[int], across: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int16]]:
    """Where each output channel's list begins; distances; weights. An even number of each.

    Args:
        layer: weights.
        plane: codes from a channel to the next.
        down, across: codes from an output pixel's first code to each row and column of taps.
    """
    starts, offsets, values = [0], [], []
    each = layer.channels_out // layer.groups
    for channel in range(layer.channels_out):
        weights = layer.weights[:, :, :, channel]
        ky, kx, c = np.nonzero(weights)
        absolute = channel // each * weights.shape[2] + c
        distance = absolute * plane + np.take(down, ky) + np.take(across, kx)
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
