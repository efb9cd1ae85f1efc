"""Books what a run of a layer counted in its operator's counters."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tfxp.interpreter.counters import Counters
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult


def positions_of(layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis) -> int:
    """How many times a run multiplies all weights."""
    # a transposed convolution multiplies per input pixel, cropped products included
    pixels = rows.size * columns.size if layer.transposed else rows.out * columns.out
    return int(x.shape[0] * pixels)


def book_run(
    counters: Counters,
    layer: MacLayer,
    sizes: tuple[int, int],
    result: MacResult,
    positions: int,
) -> None:
    """Adds the counts of one run, or of several summed.

    Args:
        counters: added to.
        layer: what ran.
        sizes: activations read, each once, and written.
        result: what was counted; its codes play no part.
        positions: how many times all weights were multiplied; see `positions_of`.
    """
    (elements, written), weights = sizes, layer.weight_count
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
