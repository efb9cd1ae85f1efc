"""From accumulators to codes: which of LiteRT's roundings an operator uses, and applying it.

| mode            | where                                                                    |
|-----------------|--------------------------------------------------------------------------|
| float32         | XNNPACK, so 8-bit operators of the default engine: float32(acc) * scale, |
|                 | half-even                                                                |
| double_rounding | BUILTIN_REF convolutions with 32-bit accumulators                        |
| double_half_up  | the default engine's kernels for what XNNPACK does not take (packed INT4 |
|                 | convolutions, int16 with int32 bias): as above, second rounding half up  |
| double_eights   | its depthwise and transposed convolutions of that kind: double_half_up   |
|                 | for whole eights of channels, double_rounding for those behind them,     |
|                 | which a tail loop takes                                                  |
| reduced         | 64-bit accumulators (int16 with int64 bias), 16-bit multiplier           |
| double          | FULLY_CONNECTED reference kernels: acc * scale in float64, half away     |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import TfliteFormatError, UnsupportedOpError
from tfxp.graph import Tensor
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.interpreter.arithmetic import (
    QuantizedMultiplier,
    doubling_high_mul,
    requantize_channels,
    round_half_away,
    wrap_int32,
)

MODES = ("float32", "double_rounding", "reduced", "double", "double_half_up", "double_eights")
_UPPER = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}
_LOWER = {"RELU": 0.0, "RELU6": 0.0, "RELU_N1_TO_1": -1.0}


@dataclass(frozen=True)
class Requantizer:
    """How the accumulators of one operator become output codes.

    Args:
        mode: one of MODES.
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

    def _rounded(self, accumulators: NDArray[Any]) -> NDArray[np.int64]:
        if self.mode == "float32":
            product = accumulators.astype(np.float32) * self.scale.astype(np.float32)
            return np.rint(np.clip(product, -(2.0**31), 2.0**31)).astype(np.int64)
        if self.mode == "double":
            product64 = accumulators.astype(np.float64) * self.scale
            return round_half_away(np.clip(product64, -(2.0**31), 2.0**31)).astype(np.int64)
        if self.mode == "double_half_up":
            return self._half_up(accumulators)
        if self.mode == "double_eights":
            whole = accumulators.shape[-1] // 8 * 8
            tail = requantize_channels(
                accumulators, self.multiplier, self.shift, "double_rounding"
            )[..., whole:]
            return np.concatenate([self._half_up(accumulators)[..., :whole], tail], axis=-1)
        return requantize_channels(accumulators, self.multiplier, self.shift, self.mode)

    def _half_up(self, accumulators: NDArray[Any]) -> NDArray[np.int64]:
        left, right = np.maximum(self.shift, 0), np.maximum(-self.shift, 0)
        shifted = wrap_int32(accumulators << left)
        high = doubling_high_mul(shifted, self.multiplier)
        return np.asarray((high + ((np.int64(1) << right) >> 1)) >> right)


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
        mode: one of MODES.
        scales: of the input, of the weights (one or one per channel), of the output.
        channels: output channels.
        output: the output tensor, for its type and zero point.
        activation: the fused activation's schema name.
        what: how messages call the operator.

    Raises:
        UnsupportedOpError: an activation that cannot be fused.
        TfliteFormatError: an output without a positive scale, or scales of another count.
    """
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
        real = single.astype(np.float64)
    else:
        real = np.float64(input_scale) * per_channel.astype(np.float64) / np.float64(output_scale)
    fixed = [QuantizedMultiplier.of(float(m)) for m in real]
    if mode == "reduced" and any(m.shift > 14 for m in fixed):
        raise UnsupportedOpError(f"{what} has a scale ratio above 2^14, which no LiteRT kernel has")
    low, high, type_low, type_high = _limits(mode, output, activation, what)
    return Requantizer(
        mode,
        real,
        np.array([m.multiplier for m in fixed], np.int64),
        np.array([m.shift for m in fixed], np.int64),
        output.zero_point,
        low,
        high,
        type_low,
        type_high,
        activation in _LOWER,
        activation in _UPPER and high < type_high,
        output.dtype,
    )


def _limits(mode: str, output: Tensor, activation: str, what: str) -> tuple[int, int, int, int]:
    if activation not in ("NONE", *_LOWER):
        raise UnsupportedOpError(f"{what} fuses {activation}, which integer kernels cannot")
    type_low, type_high = CODE_LIMITS[output.type]
    low, high = type_low, type_high
    if activation in _LOWER:
        low = max(low, _quantized(_LOWER[activation], output, mode))
    if activation in _UPPER:
        high = min(high, _quantized(_UPPER[activation], output, mode))
    return low, max(low, high), type_low, type_high


def _quantized(real: float, output: Tensor, mode: str) -> int:
    """A limit as a code: XNNPACK rounds real / scale + zero point half-even, LiteRT half away."""
    ratio = np.float32(real) / np.float32(output.scale)
    if mode == "float32":
        limits = CODE_LIMITS[output.type]
        return int(np.rint(np.clip(ratio + np.float32(output.zero_point), *limits)))
    return output.zero_point + int(np.clip(round_half_away(ratio), -(2**31), 2**31))
