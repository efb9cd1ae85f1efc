"""Products of float activations and integer weights: codes are made row by row in the run.

FULLY_CONNECTED, and BATCH_MATMUL with one constant matrix to the right, which has no bias. Every
row of activations gets a scale of its own, is rounded to 8 bits and multiplied in integers:
acc = sum w * (q - zero), out = acc * scale * weight scale + bias.

litert (XNNPACK): scale and zero point of each row from its range, widened to hold 0:
m = 255 / (max - min) in float32, q = half_even(x * m) + zero, scale = 1 / m;
out = fma(float32(acc) * scale, weight scale, bias). The option `asymmetric_quantize_inputs` plays
no part.

builtin: with `asymmetric_quantize_inputs` the range likewise, scale = (max - min) / 255 and
q = half_away(zero + x * (1 / scale)); without it zero = 0, scale = max|x| / 127 and
q = half_away(x * (127 / max|x|)). out = bias + float32(acc) * (scale * weight scale).

Blockwise INT4 weights have one FLOAT16 scale per block of the depth. litert: the scales rounded to
bfloat16; starting from -(zero + 128) * sum of block scale * weights, acc_b * scale_b is added block
by block in float32 with q + 128 for q, and the sum multiplied by the row's scale. builtin: summed
in float64 with the scales as they are. LiteRT's BUILTIN_REF writes zeros there, its optimised
kernels differ in the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import TfliteFormatError, UnsupportedOpError
from tfxp.formats.rounding import round_half_away
from tfxp.graph import Tensor
from tfxp.interpreter.counters import count_products
from tfxp.interpreter.fused_activation import float_activation
from tfxp.interpreter.registry import Array, Node

Floats = NDArray[np.float32]
_F = np.float32
_WEIGHTS = ("INT8", "INT4")


@dataclass(frozen=True)
class Rows:
    """Activations in 8 bits: int64 codes (N, depth), float32 scales, int64 zero points (N, 1)."""

    codes: NDArray[np.int64]
    scale: Floats
    zero: NDArray[np.int64]


def _range(x: Floats) -> tuple[Floats, Floats]:
    low = np.minimum(x.min(axis=1, keepdims=True), _F(0))
    return low, np.maximum(x.max(axis=1, keepdims=True), _F(0))


def quantize_xnnpack(x: Floats) -> Rows:
    """Rows (N, depth) as XNNPACK quantizes them; see the module."""
    low, high = _range(x)
    flat = low == high
    with np.errstate(divide="ignore", invalid="ignore"):
        multiplier = np.where(flat, _F(1), _F(255) / (high - low))
    at_low, at_high = low * multiplier, high * multiplier
    nearer = (_F(-128) + at_low) + (_F(127) + at_high) > 0
    zero = np.where(nearer, _F(-128) - at_low, _F(127) - at_high)
    zero = np.rint(np.clip(zero, _F(-128), _F(127)))
    codes = np.rint(np.clip(x * multiplier, _F(-128) - zero, _F(127) - zero)) + zero
    return Rows(codes.astype(np.int64), _F(1) / multiplier, zero.astype(np.int64))


def quantize_asymmetric(x: Floats) -> Rows:
    """Rows (N, depth) as LiteRT's own kernels quantize them to a range; see the module."""
    low, high = _range(x)
    scale = np.where(low == high, _F(1), (high - low) / _F(255)).astype(_F)
    at_low, at_high = low.astype(float) / scale, high.astype(float) / scale
    nearer = 128.0 + np.abs(at_low) < 127.0 + np.abs(at_high)
    zero = np.where(nearer, -128.0 - at_low, 127.0 - at_high)
    zero = round_half_away(np.clip(zero, -128.0, 127.0))
    zero = np.where(low == high, 0.0, zero)
    codes = round_half_away(zero.astype(_F) + x * (_F(1) / scale))
    return Rows(np.clip(codes, -128, 127).astype(np.int64), scale, zero.astype(np.int64))


def quantize_symmetric(x: Floats) -> Rows:
    """Rows (N, depth) as LiteRT's own kernels quantize them around 0; see the module."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    safe = np.where(largest == 0, _F(1), largest)
    codes = round_half_away(x * (_F(127) / safe))
    scale = np.where(largest == 0, _F(1), safe / _F(127)).astype(_F)
    zero = np.zeros(scale.shape, np.int64)
    return Rows(np.clip(codes, -127, 127).astype(np.int64), scale, zero)


def is_dynamic_range(node: Node) -> bool:
    """Whether a FULLY_CONNECTED has float activations and integer weights."""
    x, weights = node.inputs[0], node.inputs[1]
    return (
        x is not None
        and weights is not None
        and (x.type, weights.type) in [("FLOAT32", kind) for kind in _WEIGHTS]
    )


def prepare_dynamic_range(node: Node) -> None:
    """Checks the operator and reads its weights.

    Raises:
        UnsupportedOpError: weights that are computed or have zero points, another bias type.
        TfliteFormatError: scales that do not fit the weights.
    """
    weights = node.inputs[1]
    assert weights is not None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if weights.data is None or node.outputs[0].type != "FLOAT32":
        raise UnsupportedOpError(
            f"{node.name} has computed weights of type {weights.type} or output of type "
            f"{node.outputs[0].type}; expected constant weights and FLOAT32"
        )
    if bias is not None and (bias.type != "FLOAT32" or bias.size != weights.shape[0]):
        raise UnsupportedOpError(
            f"{node.name} has a bias of type {bias.type} and {bias.size} elements; expected "
            f"FLOAT32 and {weights.shape[0]}"
        )
    float_activation(node, np.zeros(1, _F))
    codes = weights.data.reshape(weights.shape[0], -1).astype(np.int64)
    prepare_rows(node, weights, codes, _xnnpack_takes(weights))


def prepare_rows(
    node: Node, weights: Tensor, codes: NDArray[np.int64], in_xnnpack: bool = True
) -> None:
    """Makes a node ready for `dynamic_range`.

    Args:
        node: the operator.
        weights: whose scales count, one or one per unit.
        codes: the weights (units, depth).
        in_xnnpack: whether XNNPACK takes the operator, in the arithmetic that asks it.

    Raises:
        UnsupportedOpError: weights that have zero points.
    """
    node.cache["codes"], node.cache["counts_macs"] = codes, True
    asymmetric = node.options.get("asymmetric_quantize_inputs")
    own = quantize_asymmetric if asymmetric else quantize_symmetric
    xnnpack = in_xnnpack and node.arithmetic == "litert"
    node.cache["quantize"] = quantize_xnnpack if xnnpack else own
    node.cache["multiply"] = _multiplier(node, weights, codes)


def _xnnpack_takes(weights: Tensor) -> bool:
    return len(weights.shape) == 2 and (weights.type == "INT8" or weights.shape[1] % 2 == 0)


def _multiplier(node: Node, weights: Tensor, codes: NDArray[np.int64]) -> Callable[..., Floats]:
    """A function of quantized rows and a bias: the outputs."""
    scheme = weights.quantization
    if scheme is None:
        return _blockwise(node, weights, codes)
    if np.any(scheme.zero_point) or scheme.scale.size not in (1, len(codes)):
        raise UnsupportedOpError(
            f"{node.name} has weights with zero points or {scheme.scale.size} scales; expected "
            f"zero points 0 and 1 or {len(codes)} scales"
        )
    scale, fused = scheme.scale.astype(_F), node.cache["quantize"] is quantize_xnnpack
    transposed = codes.T.astype(float)  # sums of products stay far below 2^53
    sums = codes.sum(axis=1)

    def multiply(rows: Rows, bias: Floats) -> Floats:
        acc = (rows.codes.astype(float) @ transposed).astype(np.int64) - rows.zero * sums
        if fused:
            product = acc.astype(_F) * rows.scale
            return (product.astype(float) * scale + bias).astype(_F)
        return acc.astype(_F) * (rows.scale * scale) + bias

    return multiply


def _blockwise(node: Node, weights: Tensor, codes: NDArray[np.int64]) -> Callable[..., Floats]:
    scales, size = _block_scales(node, weights)
    blocks = codes.reshape(len(codes), -1, size)
    fused = node.cache["quantize"] is quantize_xnnpack
    if not fused:
        return lambda rows, bias: _blocks_in_float64(rows, bias, blocks, scales.astype(float))
    bits = scales.view(np.uint32)
    scales = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(_F)
    sums = _in_order(np.zeros((1, len(codes)), _F), blocks.sum(axis=2)[None], scales)

    def multiply(rows: Rows, bias: Floats) -> Floats:
        acc = _block_sums(rows.codes + 128, blocks)
        start = sums * (-(rows.zero + 128)).astype(_F)
        total = _in_order(start, acc, scales)
        return (total.astype(float) * rows.scale + bias).astype(_F)

    return multiply


def _block_scales(node: Node, weights: Tensor) -> tuple[Floats, int]:
    """float32 scales (units, blocks) and the codes of a block."""
    details: Any = getattr(weights.extra.get("quantization"), "details", None)
    index, size = getattr(details, "scales", None), getattr(details, "blockSize", 0)
    tensors = node.graph.tensors
    if index is None or not 0 < index < len(tensors) or size < 1 or details.zeroPoints > 0:
        raise UnsupportedOpError(
            f"{node.name} has {weights.type} weights with neither a scale nor blocks of scales "
            "without zero points"
        )
    scales = tensors[index].data
    units, depth = weights.shape[0], weights.size // weights.shape[0]
    if scales is None or depth % size or scales.shape != (units, depth // size):
        got = None if scales is None else list(scales.shape)
        raise TfliteFormatError(
            f"block scales of {node.name}: got shape {got} for blocks of {size}; expected "
            f"[{units}, {depth} / {size}]. The file is damaged"
        )
    return np.ascontiguousarray(scales, _F), size


def _block_sums(codes: NDArray[np.int64], blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of products per row, unit and block."""
    split = codes.reshape(len(codes), blocks.shape[1], -1).astype(float)
    sums = np.einsum("nbk,ubk->nub", split, blocks.astype(float), optimize=True)
    return np.asarray(sums).astype(np.int64)


def _in_order(start: Floats, acc: NDArray[np.int64], scales: Floats) -> Floats:
    """start + sum over blocks of acc * scale, rounded to float32 at every block."""
    total = start
    for block in range(acc.shape[2]):
        exact = acc[:, :, block].astype(float) * scales[:, block] + total
        total = exact.astype(_F)
    return total


def _blocks_in_float64(
    rows: Rows, bias: Floats, blocks: NDArray[np.int64], scales: NDArray[np.float64]
) -> Floats:
    acc = _block_sums(rows.codes - rows.zero, blocks)
    total = (acc * scales).sum(axis=2) * rows.scale
    return (total + bias).astype(_F)


def dynamic_range(node: Node, x: Floats, bias: Floats | None) -> Floats:
    """Outputs (N, units) for rows (N, depth); counts what it multiplies."""
    rows = node.cache["quantize"](x)
    codes: Array = node.cache["codes"]
    _count(node, rows, codes)
    offset = np.zeros(len(codes), _F) if bias is None else bias.reshape(-1)
    return float_activation(node, node.cache["multiply"](rows, offset))


def _count(node: Node, rows: Rows, weights: NDArray[np.int64]) -> None:
    counters, bits = node.counters, 8
    nonzero, present = rows.codes != rows.zero, np.count_nonzero(weights)
    written = len(rows.codes) * len(weights)
    count_products(counters, nonzero, weights, node.skip_zeros)
    counters.weight_elements, counters.weight_zeros = weights.size, weights.size - int(present)
    counters.output_elements += written
    counters.bits_dense += bits * nonzero.size + 32 * written
    counters.bits_compressed += nonzero.size + bits * int(nonzero.sum()) + 33 * written
