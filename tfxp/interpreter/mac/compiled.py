"""The compiled twin of `definition.py`: which kernel a layer takes, and calling it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.mac import compiled_depthwise, compiled_gather, compiled_plain
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult
from tfxp.interpreter.mac.microkernel import PLACES, SHUFFLES
from tfxp.interpreter.mac.packing import (
    gather_exact,
    pack_layer,
    pack_requantizer,
    visit_table,
)


class Plan:
    """Everything a kernel needs besides the activations, for one input size.

    Args:
        layer: weights and constants.
        rows, columns: where taps fall.
    """

    def __init__(self, layer: MacLayer, rows: Axis, columns: Axis) -> None:
        self.layer, self.axes = layer, (rows, columns)
        self.depthwise = layer.weights.shape[2] == 1 and layer.groups > 1 and not layer.transposed
        self.gather = gather_exact(layer)
        requantizer = pack_requantizer(layer)
        table = visit_table(layer, rows, columns)
        self.geometry = np.array(
            [
                *(rows.size, rows.taps, rows.stride, rows.dilation, rows.out, rows.pad),
                *(columns.size, columns.taps, columns.stride, columns.dilation),
                *(columns.out, columns.pad),
                *(layer.channels_in, layer.channels_out, layer.groups, layer.input_zero),
                0 if layer.skip_zeros else 255,
                int(layer.transposed),
                ("INT8", "UINT8", "INT16").index(layer.input_type),
            ],
            np.int64,
        )
        self.dtype = layer.requantizer.dtype
        self.shape = (rows.out, columns.out, layer.channels_out)
        self.visits = (table.row_class, table.column_class, table.macs)
        if self.gather:
            self.arguments = (
                self.geometry,
                *self._weights(layer),
                requantizer.numbers,
                requantizer.scale32,
                requantizer.scale64,
                requantizer.multiplier,
                requantizer.shift,
                *self.visits,
            )

    def _weights(self, layer: MacLayer) -> tuple[Any, ...]:
        if self.depthwise:
            flat = layer.weights.reshape(-1, layer.channels_out)
            bias = np.zeros_like(layer.bias) if layer.wide else layer.bias
            return (
                np.ascontiguousarray(flat, np.int32),
                (((bias + 2**31) & 0xFFFFFFFF) - 2**31).astype(np.int32),
                layer.bias if layer.wide else np.zeros_like(layer.bias),
            )
        packed = pack_layer(layer)
        return (
            packed.weights,
            packed.blocks,
            packed.bias,
            packed.late_bias,
            packed.padded,
            packed.group_padded,
            PLACES,
            SHUFFLES,
        )


def run_compiled(
    layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis, cache: dict[str, Any]
) -> MacResult:
    """One operator on a batch of images: the same result as `run_definition`.

    Args:
        layer: weights and constants.
        x: codes (N, H, W, C).
        rows, columns: where taps fall.
        cache: where the plan for this input size is kept.
    """
    plan = cache.get("plan")
    if plan is None or plan.layer is not layer or plan.axes != (rows, columns):
        plan = cache["plan"] = Plan(layer, rows, columns)
    if not plan.gather:
        return compiled_plain.run_plain(layer, x, plan)
    if not x.flags.c_contiguous:
        x = np.ascontiguousarray(x)
    out = np.empty((x.shape[0], *plan.shape), plan.dtype)
    counts = np.zeros(6, np.int64)
    if plan.depthwise:
        run = compiled_depthwise.convolve_depthwise
    else:
        run = compiled_gather.convolve_gather
    run(x, *plan.arguments, out, counts)
    executed, input_zeros, output_zeros, saturations, low, high = counts.tolist()
    return MacResult(out, executed, input_zeros, output_zeros, saturations, low, high, 0)
