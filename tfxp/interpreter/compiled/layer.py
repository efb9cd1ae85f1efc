"""The compiled twin of `definition.py`: which kernel a layer takes, and calling it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.graph.element_types import CODE_LIMITS
from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.dense_layout import DenseLayout, suits_dense
from tfxp.interpreter.compiled.packing import Keeper, fits_32_bits, layer_record, pack_bias
from tfxp.interpreter.compiled.planes_layout import WeightLists, cost_share
from tfxp.interpreter.compiled.record import Record
from tfxp.interpreter.compiled.running import run_step
from tfxp.interpreter.compiled.scatter_layout import ScatterLayout, scatter_record
from tfxp.interpreter.mac.booking import booking, positions_of
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult
from tfxp.interpreter.registry import Node
from tfxp.interpreter.step import Step

#: Weights are listed where their products alone take less than this share of what listing
#: activations takes; multiplying everything, where a layer suits that, takes half of it.
_WORTH_LISTING, _WORTH_LISTING_BESIDE_DENSE = 0.9, 0.5


class Plan:
    """Everything a kernel needs besides the activations, for one input size.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
        zeros_likely: whether to prepare for activations that are mostly zero.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis, zeros_likely: bool) -> None:
        self.layer, self.axes = layer, (rows, columns)
        self.exact = fits_32_bits(layer)
        self.dtype = layer.requantizer.dtype
        self.shape = (rows.out, columns.out, layer.channels_out)
        if self.exact:
            self._lay_out(layer, rows, columns, zeros_likely)
            self.scratch_bytes = int(self.record[R.SCRATCH_BYTES])

    def _lay_out(self, layer: MacLayer, rows: Axis, columns: Axis, zeros_likely: bool) -> None:
        if layer.weights.shape[2] == 1 and layer.groups > 1 and not layer.transposed:
            keeper = Keeper()
            self.record, self._held = _depthwise_record(layer, rows, columns, keeper), keeper.kept
            self.kernel = "depthwise"
            return
        dense, share = suits_dense(layer, rows, columns), cost_share(layer, rows, columns)
        worth = _WORTH_LISTING_BESIDE_DENSE if dense else _WORTH_LISTING
        lists_weights = share is not None and share < worth
        scatter, self._held = None, []
        if lists_weights or zeros_likely or not dense:
            layout = ScatterLayout(layer, rows, columns)
            scatter, self._held = scatter_record(layout, rows, columns), layout.kept
        if lists_weights:
            assert scatter is not None
            lists = WeightLists(layer, rows, columns, scatter)
            self.record, self.kernel, kept = lists.record, "planes", lists.kept
        elif dense:
            packed = DenseLayout(layer, rows, columns, scatter)
            self.record, self.kernel, kept = packed.record, "dense", packed.kept
        else:
            assert scatter is not None
            self.record, self.kernel, kept = scatter, "scatter", []
        self._held = [*self._held, *kept]


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
    plan = node.cache.get("plan")
    if plan is None or plan.layer is not layer or plan.axes != (rows, columns):
        plan = node.cache["plan"] = Plan(layer, rows, columns, _zeros_likely(node))
    if not plan.exact:
        from tfxp.interpreter.compiled.plain import run_plain  # loads Numba

        return run_plain(layer, x, rows, columns)
    if not x.flags.c_contiguous:
        x = np.ascontiguousarray(x)
    out = np.empty((x.shape[0], *plan.shape), plan.dtype)
    scratch = plan.scratch_bytes
    step = Step(plan.kernel, (x,), out, x.shape[0], plan.record, plan, scratch)
    result = MacResult.of(out, run_step(step).tolist())
    positions = positions_of(layer, x, rows, columns)
    node.step = replace(step, book=booking(node, layer, result, x.size, positions))
    return result


def _zeros_likely(node: Node) -> bool:
    """Whether the input comes out of a ReLU, or its zero is the lowest code.

    Weights laid out for an input that is hardly ever zero would take memory for nothing.
    """
    index = node.operator.inputs[2 if node.operator.name == "TRANSPOSE_CONV" else 0]
    source = node.graph.tensors[index]
    if source.type in CODE_LIMITS and source.zero_point == CODE_LIMITS[source.type][0]:
        return True
    makers = [o for o in node.graph.operators if index in o.outputs]
    return any(
        "RELU" in f"{maker.name} {maker.options.get('fused_activation_function', '')}"
        for maker in makers
    )


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
