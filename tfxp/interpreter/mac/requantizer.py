"""From accumulators to codes: which of LiteRT's roundings an operator uses, and applying it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import TfliteFormatError, UnsupportedOpError
from tfxp.graph import Tensor
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.interpreter.fused_activation import ACTIVATION_LIMITS, code_limits
from tfxp.interpreter.numerics.arithmetic import (
    QuantizedMultiplier,
    requantize_channels,
    requantize_float32,
    requantize_float64,
)


@dataclass(frozen=True)
class Requantizer:
    """How the accumulators of one operator become output codes.

    Args:
        mode: one of `arithmetic.MODES`.
        scale: float64 array, one real multiplier per output channel (float32 values in mode
            "float32").
        multiplier, shift: the same as integers for the fixed-point modes.
        zero_point: of the output.
        low, high: inclusive limits, fused activation included.
        type_low, type_high: inclusive limits of the stored type.
        clamps_low, clamps_high: whether the fused activation, not the type, sets that limit.
    """

    mode: str
    scale: NDArray[np.float64]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    zero_point: int
    low: int
    high: int
    type_low: int
    type_high: int
    clamps_low: bool
    clamps_high: bool
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.int8))

    def apply(self, accumulators: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """Codes of accumulators (..., channels), and how many the type's limits clamped.

        Args:
            accumulators: int64, channels last; 32-bit values unless the mode is "reduced".
        """
        codes = self._rounded(accumulators) + self.zero_point
        saturated = 0
        if not self.clamps_high:
            saturated += int(np.count_nonzero(codes > self.type_high))
        if not self.clamps_low:
            saturated += int(np.count_nonzero(codes < self.type_low))
        return np.clip(codes, self.low, self.high).astype(self.dtype), saturated

    def rounds_away(self, channel: int) -> bool:
        """Whether the second of two fixed-point roundings takes halves away from zero there."""
        whole_eights = self.shift.size // 8 * 8
        tail = self.mode == "double_eights" and channel >= whole_eights
        return tail or self.mode == "double_rounding"

    def _rounded(self, accumulators: NDArray[Any]) -> NDArray[np.int64]:
        if self.mode == "float32":
            return requantize_float32(accumulators, self.scale, 0, -(2**31), 2**31)
        if self.mode == "float64":
            return requantize_float64(accumulators, self.scale)
        return requantize_channels(accumulators, self.multiplier, self.shift, self.mode)


def build_requantizer(
    mode: str,
    scales: tuple[float, NDArray[np.float32], float],
    channels: int,
    output: Tensor,
    activation: str,
    what: str,
) -> Requantizer:
    """The requantizer of an operator.

    Args:
        mode: one of `arithmetic.MODES`.
        scales: of the input, of the weights (one or one per channel), of the output.
        channels: output channels.
        output: the output tensor, for its type and zero point.
        activation: the fused activation's schema name.
        what: how messages call the operator.

    Raises:
        UnsupportedOpError: an activation that cannot be fused.
        TfliteFormatError: an output without a positive scale, or scales of another count.
    """
    real = _multipliers(mode, scales, channels, what)
    fixed = [QuantizedMultiplier.of(float(m)) for m in real]
    if mode == "reduced" and any(m.shift > 14 for m in fixed):
        raise UnsupportedOpError(f"{what} has a scale ratio above 2^14, which no LiteRT kernel has")
    if activation not in ACTIVATION_LIMITS:
        raise UnsupportedOpError(f"{what} fuses {activation}, which integer kernels cannot")
    type_low, type_high = CODE_LIMITS[output.type]
    low, high = code_limits(activation, output, xnnpack=mode == "float32")
    return Requantizer(
        mode,
        real,
        np.array([m.multiplier for m in fixed], np.int64),
        np.array([m.shift for m in fixed], np.int64),
        output.zero_point,
        low,
        max(low, high),
        type_low,
        type_high,
        activation != "NONE",
        high < type_high,
        output.dtype,
    )


def _multipliers(
    mode: str, scales: tuple[float, NDArray[np.float32], float], channels: int, what: str
) -> NDArray[np.float64]:
    """Real multipliers, one per output channel."""
    input_scale, weight_scales, output_scale = scales
    if not output_scale > 0 or not input_scale > 0:
        raise TfliteFormatError(
            f"scales of {what}: got {input_scale} in and {output_scale} out; expected positive ones"
        )
    if weight_scales.size not in (1, channels):
        raise TfliteFormatError(
            f"weight scales of {what}: got {weight_scales.size}; expected 1 or {channels}"
        )
    per_channel = np.broadcast_to(weight_scales, (channels,))
    if mode == "float32":
        single = np.float32(input_scale) * per_channel / np.float32(output_scale)
        return single.astype(np.float64)
    return np.float64(input_scale) * per_channel.astype(np.float64) / np.float64(output_scale)
