"""Runs a canonical layer on either engine and books what was counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.counters import Counters
from tfxp.interpreter.mac.definition import run_definition
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult
from tfxp.interpreter.registry import Node


def run_layer(
    node: Node, layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis
) -> NDArray[Any]:
    """Output codes (N, OH, OW, OC) of a layer; its counts go to `node.counters`.

    Args:
        node: whose engine and counters to use.
        layer: weights and constants.
        x: codes (N, H, W, C).
        rows, columns: where taps fall.
    """
    if node.engine == "reference":
        result = run_definition(layer, x, rows, columns)
    else:
        result = _compiled()(layer, x, rows, columns, node)
    _count(node.counters, layer, x.size, result, positions_of(layer, x, rows, columns))
    return result.codes


def positions_of(layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis) -> int:
    """How many times a run multiplies all weights."""
    # a transposed convolution multiplies per input pixel, cropped products included
    pixels = rows.size * columns.size if layer.transposed else rows.out * columns.out
    return int(x.shape[0] * pixels)


def booking(
    node: Node, layer: MacLayer, result: MacResult, elements: int, positions: int
) -> Callable[[list[int], int], None]:
    """A function that books the counts of several runs like the one that gave `result`."""

    def book(counts: list[int], runs: int) -> None:
        summed = MacResult.of(result.codes, counts)
        _count(node.counters, layer, elements * runs, summed, positions * runs, runs)

    return book


@cache
def _compiled() -> Callable[..., MacResult]:
    """The compiled twin, imported when first needed: Numba takes half a second to load."""
    from tfxp.interpreter.compiled.layer import run_compiled

    return run_compiled


def _count(
    counters: Counters,
    layer: MacLayer,
    elements: int,
    result: MacResult,
    positions: int,
    runs: int = 1,
) -> None:
    weights, written = layer.weight_count, result.codes.size * runs
    zero_weights = weights - layer.nonzero_weights
    total = positions * weights
    executed = result.executed if layer.skip_zeros else total
    by_weight = positions * zero_weights if layer.skip_zeros else 0
    counters.macs_total += total
    counters.macs_executed += executed
    counters.macs_skipped_weight += by_weight
    counters.macs_skipped_activation += total - executed - by_weight
    counters.input_elements += elements
    counters.input_zeros += result.input_zeros
    counters.output_elements += written
    counters.output_zeros += result.output_zeros
    counters.saturations += result.saturations
    counters.weight_elements = weights
    counters.weight_zeros = zero_weights
    read_bits, write_bits = layer.input_bits, layer.output_bits
    counters.bits_dense += elements * read_bits + written * write_bits
    counters.bits_compressed += (
        elements
        + (elements - result.input_zeros) * read_bits
        + written
        + (written - result.output_zeros) * write_bits
    )
    counters.accumulator_min = min(counters.accumulator_min, result.low)
    counters.accumulator_max = max(counters.accumulator_max, result.high)
    counters.accumulator_bits_worst = max(counters.accumulator_bits_worst, layer.worst_bits)
    counters.accumulator_overflows += result.overflows


def as_image(x: NDArray[Any], channels: int) -> NDArray[Any]:
    """Rows of `channels` activations as images of one pixel."""
    return np.ascontiguousarray(x).reshape(-1, 1, 1, channels)
