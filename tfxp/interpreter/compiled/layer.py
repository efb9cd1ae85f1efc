"""The compiled twin of `definition.py`: which kernel a layer takes, and calling it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.dense_layout import (
    DenseLayout,
    rows_together,
    suits_dense,
    takes_bytes,
)
from tfxp.interpreter.compiled.packing import Keeper, fits_32_bits, layer_record, pack_bias
from tfxp.interpreter.compiled.planes_layout import WeightLists, cost_share
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.compiled.running import run_step
from tfxp.interpreter.compiled.scatter_layout import (
    ScatterLayout,
    scatter_record,
    scatter_scratch,
)
from tfxp.interpreter.mac.booking import book_run, positions_of
from tfxp.interpreter.mac.geometry import Axis, single_pixels
from tfxp.interpreter.mac.layer import MacLayer, MacResult
from tfxp.interpreter.registry import Node
from tfxp.interpreter.step import Step

#: Weights are listed where their products alone take less than this share of what listing
#: activations takes; multiplying everything, where a layer suits that, takes half of it, in bytes
#: a sixth.
_WORTH_LISTING, _WORTH_LISTING_BESIDE_DENSE, _BESIDE_BYTES = 0.9, 0.5, 0.16


class Plan:
    """Everything a kernel needs besides the activations, for one input size.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis) -> None:
        self.layer, self.axes = layer, (rows, columns)
        self.exact = fits_32_bits(layer)
        self.dtype = layer.requantizer.dtype
        self._dense: DenseLayout | None = None
        self._held: list[NDArray[Any]] = []
        if self.exact:
            self._lay_out(layer, rows, columns)

    def _lay_out(self, layer: MacLayer, rows: Axis, columns: Axis) -> None:
        if layer.weights.shape[2] == 1 and layer.groups > 1 and not layer.transposed:
            keeper = Keeper()
            self.record, self._held = _depthwise_record(layer, rows, columns, keeper), keeper.kept
            self.kernel, self.scratch_bytes = "depthwise", int(self.record[R.SCRATCH_BYTES])
            return
        dense, share = suits_dense(layer, rows, columns), cost_share(layer, rows, columns)
        beside = _BESIDE_BYTES if takes_bytes(layer) else _WORTH_LISTING_BESIDE_DENSE
        worth = beside if dense else _WORTH_LISTING
        lists_weights = share is not None and share < worth
        if dense and not lists_weights:
            self._dense = DenseLayout(layer, rows, columns)
            self.record, self.kernel = self._dense.record, self._dense.kernel
            self._held = self._dense.kept
            either = self.record[R.SCRATCH_BYTES], scatter_scratch(layer, rows, columns)
            self.scratch_bytes = int(max(either))
            return
        layout = ScatterLayout(layer, rows, columns)
        self.record, self.kernel = scatter_record(layout, rows, columns), "scatter"
        self._held = layout.kept
        if lists_weights:
            lists = WeightLists(layer, rows, columns, self.record)
            self.record, self.kernel = lists.record, "planes"
            self._held = [*self._held, *lists.kept]
        self.scratch_bytes = int(self.record[R.SCRATCH_BYTES])

    def learn(self, zeros: int, elements: int) -> None:
        """Prepares to list activations once they are mostly zeros.

        Weights laid out for an input that is hardly ever zero would take memory for nothing.

        Args:
            zeros: activations that were zero.
            elements: of so many.
        """
        dense, share = self._dense, 1 - zeros / max(1, elements)
        if dense is not None and self.layer.skip_zeros and share <= dense.scatter_share:
            self._dense = None
            layout = ScatterLayout(self.layer, *self.axes)
            dense.offer(scatter_record(layout, *self.axes))
            self._held.extend(layout.kept)  # nothing is let go of: others may be running


def run_compiled(
    layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis, node: Node
) -> MacResult:
    """One operator on a batch of images: the same result as `run_definition`.

    Args:
        layer: weights and constants.
        x: codes (N, H, W, C).
        rows, columns: where taps fall.
        node: keeps the plan for this input size, and is told which step was run.
    """
    axes, shape = (rows, columns), (x.shape[0], rows.out, columns.out, layer.channels_out)
    blocks, rows = _together(layer, x, rows, columns)
    plan = node.cache.get("plan")
    if plan is None or plan.layer is not layer or plan.axes != (rows, columns):
        plan = node.cache["plan"] = Plan(layer, rows, columns)
    if not plan.exact:
        from tfxp.interpreter.compiled.plain import run_plain  # loads Numba

        return run_plain(layer, x, *axes)
    if not blocks.flags.c_contiguous:
        blocks = np.ascontiguousarray(blocks)
    out = np.empty(shape, plan.dtype)
    scratch = plan.scratch_bytes
    step = Step(plan.kernel, (blocks,), out, blocks.shape[0], plan.record, plan, scratch)
    result = MacResult.of(out, run_step(step).tolist())
    plan.learn(result.input_zeros, x.size)
    positions = positions_of(layer, x, *axes)
    node.step = replace(step, book=_booking(node, plan, (x.size, out.size), positions))
    return result


def _together(
    layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis
) -> tuple[NDArray[Any], Axis]:
    """Codes of a batch cut into images of as many rows as `rows_together` says, and those rows."""
    height = rows_together(layer, rows, columns, x.shape[0])
    if height == rows.size:
        return x, rows
    return x.reshape(-1, height, *x.shape[2:]), single_pixels(height)


def _booking(
    node: Node, plan: Plan, sizes: tuple[int, int], positions: int
) -> Callable[[list[int], int], None]:
    """A function that books the counts of several runs, and learns from them."""

    def book(counts: list[int], runs: int) -> None:
        summed = MacResult.of(np.empty(0), counts)
        elements, written = runs * sizes[0], runs * sizes[1]
        book_run(node.counters, plan.layer, (elements, written), summed, positions * runs)
        plan.learn(summed.input_zeros, elements)

    return book


def _depthwise_record(layer: MacLayer, rows: Axis, columns: Axis, keeper: Keeper) -> Record:
    """The record of a layer for `depthwise_image`."""
    start, late = pack_bias(layer, layer.channels_out // layer.groups)
    weights = layer.weights.reshape(-1, layer.channels_out).astype(np.int32) & 0xFFFF
    own = {
        R.TAPS_Y: rows.taps, R.STRIDE_Y: rows.stride, R.DILATION_Y: rows.dilation,
        R.PAD_Y: rows.pad, R.TAPS_X: columns.taps, R.STRIDE_X: columns.stride,
        R.DILATION_X: columns.dilation, R.PAD_X: columns.pad,
        R.WEIGHTS: keeper.keep(weights), R.BIAS: keeper.keep(start),
        R.NO_WEIGHTS: keeper.keep(np.zeros(columns.taps * layer.channels_out, np.int32)),
        R.PADDED: layer.channels_out,
    }  # fmt: skip
    scratch = {R.ACCUMULATORS_PART: 4 * columns.out * layer.channels_out}
    return layer_record(layer, (rows, columns), keeper, own, late, scratch)
