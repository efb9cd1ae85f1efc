"""QUANTIZE, DEQUANTIZE and CAST: between floats, codes and other codes.

QUANTIZE of floats. builtin: half_away(x / scale) + zero_point. litert: half_even(x * float32(1 /
scale)) + zero_point, in XNNPACK for INT8 and UINT8; for INT16 in LiteRT's vectorised kernel, whose
last (size mod 8) elements run as half_away(x / scale) in double precision.

QUANTIZE of codes. builtin: double rounding. litert: INT8 to INT8 and UINT8 to UINT8 run in
XNNPACK where the scale ratio is within [2^-8, 2^7]: floor((x - zero) * m / 2^8 + 1/2) with m =
half_even(256 * ratio), so halves go up and the ratio keeps 8 fractional bits. Other pairs of 8-bit
types run in LiteRT's vectorised kernel: halves go up in both roundings, except in the last (size
mod 16) elements, which run as builtin. Everything else as builtin.

DEQUANTIZE is exact up to float32 in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.formats.rounding import round_half_away
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.numerics.arithmetic import (
    QuantizedMultiplier,
    requantize,
    wrap_int32,
)
from tfxp.interpreter.registry import Array, Node, kernel

Unary = Callable[[Array], Array]
#: Input type of QUANTIZE to the output types LiteRT knows.
_QUANTIZE = {
    "FLOAT32": ("INT8", "UINT8", "INT16", "INT4", "UINT4"),
    "INT8": ("INT8", "UINT8", "INT16"),
    "UINT8": ("INT8", "UINT8", "INT16"),
    "INT16": ("INT8", "INT16", "INT32"),
    "INT32": ("INT8", "INT16"),
}
_DEQUANTIZE = ("INT8", "UINT8", "INT16", "INT4", "UINT4", "INT2", "FLOAT16")
_CAST = (
    "FLOAT32",
    "FLOAT16",
    "INT8",
    "UINT8",
    "INT16",
    "UINT16",
    "INT32",
    "UINT32",
    "INT64",
    "BOOL",
    "FLOAT64",
)


def _per_channel(tensor: Tensor) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale.size > 1


def _channel_shape(tensor: Tensor, values: Array) -> Array:
    """Per-channel parameters shaped to broadcast against the tensor."""
    assert tensor.quantization is not None
    shape = [1] * len(tensor.shape)
    shape[tensor.quantization.axis] = values.size
    return values.reshape(shape)


def _prepare_quantize(node: Node) -> None:
    need.require_counts(node, 1)
    kind = need.require_type(node, 0, _QUANTIZE)
    need.require_output_type(node, _QUANTIZE[kind])
    source, output = need.tensor(node, 0), node.outputs[0]
    need.require_output_shape(node, source.shape)
    need.require_scales(node, output)
    if kind == "FLOAT32":
        node.cache["apply"] = _quantize_floats(node, output)
        return
    if _per_channel(source) or _per_channel(output):
        raise need.unsupported(node, "scales", "several", "one per tensor")
    need.require_scales(node, source)
    if kind == "INT16" and output.type == "INT16":
        need.require_symmetric(node, source, output)
    ratio = need.float32_ratio(source.scale, output.scale)
    in_xnnpack = need.byte_quantized(source, output) and source.type == output.type
    bytes_only = kind in need.BYTE_TYPES and output.type in need.BYTE_TYPES
    if node.arithmetic == "litert" and in_xnnpack and 2.0**-8 <= ratio <= 128.0:
        node.cache["apply"] = _requantize_xnnpack(source, output, ratio)
    elif node.arithmetic == "litert" and bytes_only:
        node.cache["apply"] = _in_blocks(
            _requantize_builtin(source, output, "double_half_up"),
            _requantize_builtin(source, output),
            16,
        )
        node.cache["block"] = 16
    else:
        node.cache["apply"] = _requantize_builtin(source, output)


def _in_blocks(main: Unary, rest: Unary, block: int) -> Unary:
    """`main` for all whole blocks of the flattened input, `rest` for the elements after them."""

    def apply(x: Array) -> Array:
        flat = np.ascontiguousarray(x).reshape(-1)
        whole = flat.size - flat.size % block
        return np.concatenate([main(flat[:whole]), rest(flat[whole:])]).reshape(x.shape)

    return apply


def _quantize_floats(node: Node, output: Tensor) -> Unary:
    scale: Any = np.float32(output.scale)
    zero: Any = output.zero_point
    inverse = np.float32(1.0) / scale
    if _per_channel(output):
        assert output.quantization is not None
        scale = _channel_shape(output, output.quantization.scale)
        zeros = np.broadcast_to(output.quantization.zero_point, output.quantization.scale.shape)
        zero = _channel_shape(output, zeros)
    elif node.arithmetic == "litert" and need.byte_quantized(output):
        return _quantize_floats_xnnpack(output, inverse)
    elif node.arithmetic == "litert" and output.type == "INT16":
        node.cache["block"] = 8
        exact = np.float64(output.scale)
        return _in_blocks(
            _to_codes(output, zero, lambda x: np.rint(x * inverse)),
            _to_codes(output, zero, lambda x: round_half_away(x / exact)),
            8,
        )
    return _to_codes(output, zero, lambda x: round_half_away(x / scale))


def _to_codes(output: Tensor, zero: Any, nearest: Unary) -> Unary:
    """Rounded reals to codes; what does not fit 32 bits becomes INT32_MIN, as conversion has it."""
    limits, dtype = CODE_LIMITS[output.type], output.dtype

    def apply(x: Array) -> Array:
        whole = nearest(x).astype(np.float64)
        fits = np.abs(whole) < 2.0**31
        codes = np.where(fits, whole, -(2.0**31)).astype(np.int64) + zero
        return np.clip(wrap_int32(codes), *limits).astype(dtype)

    return apply


def _quantize_floats_xnnpack(output: Tensor, inverse: Any) -> Unary:
    low, high = CODE_LIMITS[output.type]
    zero, dtype = output.zero_point, output.dtype
    bounds = np.float32(low - zero), np.float32(high - zero)

    def apply(x: Array) -> Array:
        scaled = np.where(np.isnan(x), bounds[1], np.clip(x * inverse, *bounds))
        return (np.rint(scaled).astype(np.int32) + zero).astype(dtype)

    return apply


def _requantize_builtin(source: Tensor, output: Tensor, mode: str = "double_rounding") -> Unary:
    by = QuantizedMultiplier.of(source.scale / output.scale)
    limits, dtype = CODE_LIMITS[output.type], output.dtype

    def apply(x: Array) -> Array:
        codes = requantize(x.astype(np.int64) - source.zero_point, by, mode) + output.zero_point
        return np.clip(codes, *limits).astype(dtype)

    return tabulated(source, apply)


def _requantize_xnnpack(source: Tensor, output: Tensor, ratio: float) -> Unary:
    multiplier = int(np.rint(np.float32(256.0) * np.float32(ratio)))
    limits, dtype = CODE_LIMITS[output.type], output.dtype

    def apply(x: Array) -> Array:
        product = (x.astype(np.int32) - source.zero_point) * multiplier
        return np.clip(((product + 128) >> 8) + output.zero_point, *limits).astype(dtype)

    return tabulated(source, apply)


def tabulated(source: Tensor, apply: Unary) -> Unary:
    """`apply` as one lookup for 8-bit inputs, else itself."""
    if source.type not in need.BYTE_TYPES:
        return apply
    table = byte_table(source, apply)
    return lambda x: look_up(table, x)


def byte_table(source: Tensor, apply: Unary) -> Array:
    """Results of `apply` for every 8-bit code, indexed by the code's byte."""
    return apply(np.arange(256, dtype=np.uint8).view(source.dtype))


def look_up(table: Array, x: Array) -> Array:
    """`table` at the bytes of x."""
    return table.take(x.view(np.uint8))


def _free_of_blocks(node: Node) -> bool:
    """Images that do not fill whole blocks of a vectorised kernel would shift the next ones."""
    return need.tensor(node, 0).size % node.cache.get("block", 1) == 0


@kernel("QUANTIZE", prepare=_prepare_quantize, batch=_free_of_blocks, form="codes")
def quantize(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Floats or codes to codes: see the module for the rounding."""
    return [node.cache["apply"](inputs[0])]


def _prepare_dequantize(node: Node) -> None:
    need.require_counts(node, 1)
    kind = need.require_type(node, 0, _DEQUANTIZE)
    need.require_output_type(node, ("FLOAT32",))
    source = need.tensor(node, 0)
    need.require_output_shape(node, source.shape)
    if kind == "FLOAT16":
        node.cache["apply"] = lambda x: x.astype(np.float32)
        return
    need.require_scales(node, source)
    need.require_symmetric(node, source)
    scale: Any = np.float32(source.scale)
    zero: Any = np.float32(source.zero_point)
    if _per_channel(source):
        assert source.quantization is not None
        scale = _channel_shape(source, source.quantization.scale)
        zeros = np.broadcast_to(source.quantization.zero_point, source.quantization.scale.shape)
        zero = _channel_shape(source, zeros.astype(np.float32))
    node.cache["apply"] = lambda x: (x.astype(np.float32) - zero) * scale


def _constant_free(node: Node) -> bool:
    """Whether stacked images meet no per-channel parameters of the leading dimension."""
    tensor = node.inputs[0] if node.operator.name == "DEQUANTIZE" else node.outputs[0]
    return tensor is None or not _per_channel(tensor)


@kernel("DEQUANTIZE", prepare=_prepare_dequantize, batch=_constant_free, form="codes")
def dequantize(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Codes to float32: (x - zero_point) * scale; FLOAT16 widens."""
    return [node.cache["apply"](inputs[0])]


def _prepare_cast(node: Node) -> None:
    need.require_counts(node, 1)
    need.require_type(node, 0, _CAST)
    need.require_output_type(node, _CAST)
    need.require_output_shape(node, need.tensor(node, 0).shape)


@kernel("CAST", prepare=_prepare_cast, batch=True, form="codes")
def cast(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Numbers to another type: floats truncate to integers and saturate; integers wrap."""
    source, dtype = inputs[0], node.outputs[0].dtype
    if source.dtype.kind == "f" and dtype.kind in "iu":
        info = np.iinfo(dtype)
        wide = np.trunc(source.astype(np.float64))
        wide = np.where(np.isnan(wide), 0.0, wide)
        inside = (wide >= info.min) & (wide < float(info.max) + 1.0)
        codes = np.where(inside, wide, 0.0).astype(dtype)
        return [np.where(inside, codes, np.where(wide < 0, info.min, info.max)).astype(dtype)]
    return [source.astype(dtype)]
