"""Tables that stand for real functions of one code: 8-bit tables and interpolated 16-bit ones.

Transcendental functions are evaluated in double precision and rounded to float32 where LiteRT's C
library works in float32, so that a table entry can differ only where that library's last bit does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfxp.formats.rounding import round_half_away
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.registry import Array

Real = Callable[[Array], Array]


def in_float32(function: Callable[[Array], Array]) -> Real:
    """A double-precision function as a float32 one: exact input, result rounded once."""
    return lambda x: function(np.asarray(x, np.float64)).astype(np.float32)


def codes_as_bytes(tensor: Tensor) -> Array:
    """All 256 codes of an 8-bit tensor in the order of their bytes, as int32."""
    return np.arange(256, dtype=np.uint8).view(tensor.dtype).astype(np.int32)


def table_builtin(source: Tensor, output: Tensor, function: Real) -> Array:
    """LiteRT's 8-bit table: half_away(f(scale * (code - zero)) * float32(1 / scale)) + zero.

    Returns:
        256 codes, indexed by the input's byte.
    """
    x = np.float32(source.scale) * (codes_as_bytes(source) - source.zero_point).astype(np.float32)
    inverse = np.float32(1.0) / np.float32(output.scale)
    codes = round_half_away(function(x) * inverse).astype(np.float64) + output.zero_point
    return np.clip(codes, *CODE_LIMITS[output.type]).astype(output.dtype)


def table_xnnpack(source: Tensor, output: Tensor, function: Real) -> Array:
    """XNNPACK's 8-bit table: half_even(f((code - zero) * scale) * float32(1 / scale) + zero)."""
    x = (codes_as_bytes(source) - source.zero_point).astype(np.float32) * np.float32(source.scale)
    inverse = np.float32(1.0) / np.float32(output.scale)
    codes = np.rint(function(x) * inverse + np.float32(output.zero_point))
    return np.clip(codes, *CODE_LIMITS[output.type]).astype(output.dtype)


def table_int16(
    input_scale: Any,
    input_zero: int,
    output_scale: Any,
    output_zero: int,
    function: Real,
    real: type = np.float32,
) -> Array:
    """LiteRT's 16-bit table: 513 samples, each shifted by half its midpoint's interpolation error.

    Args:
        input_scale, input_zero, output_scale, output_zero: quantization of input and output.
        function: the real function, on arrays of type `real`.
        real: np.float32 or np.float64, the precision LiteRT tabulates in.

    Returns:
        513 int16 codes over the input range.
    """
    low, high = CODE_LIMITS["INT16"]
    scale_in, scale_out = real(input_scale), real(output_scale)
    input_min = scale_in * real(low - input_zero)
    input_max = scale_in * real(high - input_zero)
    output_min = scale_out * real(low - output_zero)
    output_max = scale_out * real(high - output_zero)
    step = (input_max - input_min) / real(512)
    inverse = real(65536) / (output_max - output_min)
    index: Array = np.arange(512).astype(real)
    value = function(input_min + index * step) * inverse
    middle = function(input_min + index * step + step / real(2)) * inverse
    after = function(input_min + (index + real(1)) * step) * inverse
    sample = round_half_away(value)
    interpolated = round_half_away((after + sample) / real(2))
    bias = round_half_away((interpolated - round_half_away(middle)) / real(2))
    last = round_half_away(function(np.asarray([input_max], real)) * inverse)
    codes = np.concatenate([sample - bias, last])
    return np.clip(codes, low, high).astype(np.int16)


def interpolate_int16(x: Any, table: Array) -> Array:
    """Values of a 513-entry table at int16 codes: 9 bits choose, 7 bits interpolate, halves up."""
    x = np.asarray(x).astype(np.int32)
    index = 256 + (x >> 7)
    base = table.take(index).astype(np.int32)
    slope = table.take(index + 1).astype(np.int32) - base
    return base + ((slope * (x & 0x7F) + 64) >> 7)
