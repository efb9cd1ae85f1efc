"""The canonical form of a multiply-accumulate operator: a grouped convolution on codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfxp.graph import Tensor
from tfxp.graph.element_types import CODE_LIMITS, element_bits
from tfxp.interpreter.counters import signed_bits
from tfxp.interpreter.mac.requantizer import Requantizer


@dataclass(frozen=True)
class MacLayer:
    """Weights and constants of one operator, ready for the definition and its twin.

    Args:
        weights: integer array (kh, kw, C / groups, OC), zero point subtracted; mostly a view of the
            file's own bytes.
        bias: int64 array (OC,).
        groups: channel groups; C for depthwise.
        input_zero: zero point of the input.
        input_type, output_type: schema names, for code limits and bits.
        requantizer: accumulators to codes.
        wide: whether LiteRT accumulates in 64 bits (else 32, wrapping).
        transposed: whether taps scatter (TRANSPOSE_CONV) instead of gather.
        accumulator_bits: width of a narrower accumulator to study, or None.
        accumulator_overflow: "wrap" or "saturate".
        skip_zeros: whether zero operands are skipped.
        input_limits: smallest and largest activation minus its zero; None for those of the type.
    """

    weights: NDArray[Any]
    bias: NDArray[np.int64]
    groups: int
    input_zero: int
    input_type: str
    output_type: str
    requantizer: Requantizer
    wide: bool = False
    transposed: bool = False
    accumulator_bits: int | None = None
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"
    skip_zeros: bool = True
    input_limits: tuple[int, int] | None = None

    @property
    def channels_in(self) -> int:
        """Input channels C."""
        return self.weights.shape[2] * self.groups

    @property
    def channels_out(self) -> int:
        """Output channels OC."""
        return self.weights.shape[3]

    @cached_property
    def row_nonzeros(self) -> NDArray[np.int32]:
        """Non-zero weights that meet an activation: (kh, kw, C)."""
        kh, kw, cg, oc = self.weights.shape
        split = (self.weights != 0).reshape(kh, kw, cg, self.groups, oc // self.groups)
        counts = split.sum(axis=4, dtype=np.int32)  # (kh, kw, cg, groups)
        return np.ascontiguousarray(counts.transpose(0, 1, 3, 2).reshape(kh, kw, -1))

    @cached_property
    def nonzero_weights(self) -> int:
        """How many weights are not zero."""
        return int(np.count_nonzero(self.weights))

    @cached_property
    def worst_case(self) -> tuple[int, int]:
        """Smallest and largest accumulator that any input could give."""
        first, last = CODE_LIMITS[self.input_type]
        first, last = self.input_limits or (first - self.input_zero, last - self.input_zero)
        # padding reads zeros, which the range of activations covers in any case
        low, high = min(first, 0), max(last, 0)
        positive = np.maximum(self.weights, 0).sum(axis=(0, 1, 2), dtype=np.int64)
        negative = np.minimum(self.weights, 0).sum(axis=(0, 1, 2), dtype=np.int64)
        least, most = positive * low + negative * high, positive * high + negative * low
        both = np.concatenate([least, most, least + self.bias, most + self.bias])
        return int(both.min(initial=0)), int(both.max(initial=0))

    @cached_property
    def worst_bits(self) -> int:
        """Two's-complement bits that no input can overflow."""
        return signed_bits(*self.worst_case)

    @cached_property
    def weight_count(self) -> int:
        """How many weights there are."""
        return self.weights.size

    @cached_property
    def input_bits(self) -> int:
        """Bits of one stored input code."""
        return element_bits(self.input_type)

    @cached_property
    def output_bits(self) -> int:
        """Bits of one stored output code."""
        return element_bits(self.output_type)


class MacResult(NamedTuple):
    """Output codes of a run, and what was counted in it."""

    codes: NDArray[Any]
    executed: int
    input_zeros: int
    output_zeros: int
    saturations: int
    low: int
    high: int
    overflows: int

    @classmethod
    def of(cls, codes: NDArray[Any], counts: Sequence[int]) -> MacResult:
        """From the six counts of a compiled kernel, which has no overflows."""
        executed, input_zeros, output_zeros, saturations, low, high = counts
        return cls(codes, executed, input_zeros, output_zeros, saturations, low, high, 0)


def weight_codes(tensor: Tensor, data: NDArray[Any]) -> NDArray[Any]:
    """Weight codes without their zero point; the data itself where it is 0."""
    zeros = tensor.quantization.zero_point if tensor.quantization is not None else np.zeros(1)
    return data.astype(np.int32) - np.int32(zeros[0]) if np.any(zeros) else data
