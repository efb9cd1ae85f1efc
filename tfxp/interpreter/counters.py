"""What one operator did in the runs so far: MACs, zeros, saturations, bits moved, accumulators.

Counting rules: a convolution's MACs include padding taps; a zero is a code equal to its zero point;
a MAC with a zero weight counts as skipped by weight whatever the activation is, so it is not
counted again as skipped by activation; padding taps read zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Counters:
    """Sums over all runs since the last reset; `max` fields keep the largest value.

    Args:
        runs: images that passed through.
        macs_total: multiply-accumulates of the dense operator.
        macs_executed: those left after both kinds of skipping.
        macs_skipped_activation: weight not zero, activation zero.
        macs_skipped_weight: weight zero.
        input_elements, input_zeros: activations read as a tensor, each once.
        weight_elements, weight_zeros: of the constant operand.
        output_elements, output_zeros, saturations: codes written; those equal to the zero point;
            those that left the range of the stored type before clamping.
        bits_dense, bits_compressed: activation bits read and written, plain, and in NullHop's
            form (one bit per element and the non-zero values).
        accumulator_min, accumulator_max: extreme partial results seen.
        accumulator_bits_worst: two's-complement bits that any input could need.
        accumulator_overflows: results that left the narrower accumulator asked for.
    """

    runs: int = 0
    macs_total: int = 0
    macs_executed: int = 0
    macs_skipped_activation: int = 0
    macs_skipped_weight: int = 0
    input_elements: int = 0
    input_zeros: int = 0
    weight_elements: int = 0
    weight_zeros: int = 0
    output_elements: int = 0
    output_zeros: int = 0
    saturations: int = 0
    bits_dense: int = 0
    bits_compressed: int = 0
    accumulator_min: int = 0
    accumulator_max: int = 0
    accumulator_bits_worst: int = 0
    accumulator_overflows: int = 0

    def add(self, other: Counters) -> None:
        """Adds the figures of another run of the same operator."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name in _CONSTANT or field.name == "accumulator_max":
                value = max(mine, theirs)
            elif field.name == "accumulator_min":
                value = min(mine, theirs)
            else:
                value = mine + theirs
            setattr(self, field.name, value)

    def reset(self) -> None:
        """Sets everything back to zero."""
        for field in fields(self):
            setattr(self, field.name, 0)

    @property
    def accumulator_bits(self) -> int:
        """Two's-complement bits that hold every accumulator seen."""
        return signed_bits(self.accumulator_min, self.accumulator_max)


#: properties of the weights, not sums over runs
_CONSTANT = frozenset({"weight_elements", "weight_zeros", "accumulator_bits_worst"})


def signed_bits(low: int, high: int) -> int:
    """Two's-complement bits for every integer from `low` to `high`.

    Example:
        >>> signed_bits(-128, 127), signed_bits(0, 128), signed_bits(0, 0)
        (8, 9, 1)
    """
    negative = (-low - 1).bit_length() if low < 0 else 0
    return 1 + max(negative, high.bit_length() if high > 0 else 0)


def count_products(
    counters: Counters, nonzero: NDArray[np.bool_], weights: NDArray[Any], skip_zeros: bool
) -> None:
    """Counts the products of rows of activations with a matrix, and the zeros among what is read.

    Args:
        counters: where to.
        nonzero: (rows, inputs), which activations are not zero.
        weights: (outputs, inputs).
        skip_zeros: whether products with a zero are left out.

    Example:
        >>> counters = Counters()
        >>> count_products(counters, np.array([[True, False]]), np.array([[3, 5], [0, 2]]), True)
        >>> counters.macs_total, counters.macs_executed, counters.macs_skipped_weight
        (4, 1, 1)
    """
    present = np.count_nonzero(weights, axis=0)
    total = executed = len(nonzero) * weights.size
    by_weight = 0
    if skip_zeros:
        executed = int(nonzero.sum(axis=0) @ present)
        by_weight = len(nonzero) * int(weights.size - present.sum())
    counters.macs_total += total
    counters.macs_executed += executed
    counters.macs_skipped_weight += by_weight
    counters.macs_skipped_activation += total - executed - by_weight
    counters.input_elements += nonzero.size
    counters.input_zeros += int(nonzero.size - nonzero.sum())
