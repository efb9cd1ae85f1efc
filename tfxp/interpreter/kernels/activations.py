"""RELU, RELU6, RELU_N1_TO_1, LEAKY_RELU, PRELU and HARD_SWISH.

RELU family of codes: (x - zero) requantized with double rounding, then limited, in both
arithmetics. PRELU, both, and LEAKY_RELU, builtin: one double-rounded multiplier for each sign.
LEAKY_RELU, litert, INT8 and UINT8: XNNPACK, floor((x - zero) * m / 2^8 + 1/2) with m =
half_even(256 * ratio), where the ratios are within [2^-8, 2^7]; else as builtin. HARD_SWISH: 16-bit
fixed point in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.graph.element_types import CODE_LIMITS
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.fused_activation import ACTIVATION_LIMITS, code_limits
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.conversion import tabulated
from tfxp.interpreter.kernels.elementwise import stacks
from tfxp.interpreter.numerics import fixed_point_math as fixed
from tfxp.interpreter.numerics.arithmetic import (
    QuantizedMultiplier,
    divide_by_power,
    requantize,
)
from tfxp.interpreter.registry import Array, Node, kernel

Unary = Callable[[Array], Array]


def _prepare_relu(node: Node) -> None:
    source, output = need.require_unary(node, (*need.CODE_TYPES, "FLOAT32"))
    if source.type == "FLOAT32":
        low, high = ACTIVATION_LIMITS[node.operator.name]
        bounds = np.float32(low), np.float32(high)
        node.cache["apply"] = lambda x: np.clip(x, *bounds)
        return
    by = QuantizedMultiplier.of(need.float32_ratio(source.scale, output.scale))
    least, most = code_limits(node.operator.name, output)

    def apply(x: Array) -> Array:
        codes = requantize(x.astype(np.int64) - source.zero_point, by) + output.zero_point
        return np.minimum(np.maximum(codes, least), most).astype(output.dtype)

    node.cache["apply"] = tabulated(source, apply)


@kernel("RELU", "RELU6", "RELU_N1_TO_1", prepare=_prepare_relu, batch=True, form="codes")
def relu(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """x limited to the operator's range; codes are rescaled first, with double rounding."""
    return [node.cache["apply"](inputs[0])]


def _prepare_leaky(node: Node) -> None:
    source, output = need.require_unary(node, (*need.CODE_TYPES, "FLOAT32"))
    alpha = np.float32(node.options["alpha"])
    if not np.isfinite(alpha):
        raise need.malformed(node, "alpha", alpha, "a finite number")
    if source.type == "FLOAT32":
        node.cache["apply"] = lambda x: np.where(x > 0, x, x * alpha)
        return
    positive = np.float32(source.scale) / np.float32(output.scale)
    if node.arithmetic == "litert" and _xnnpack_takes(source, output, positive, alpha):
        apply = _leaky_xnnpack(source, output, positive, positive * alpha)
    else:
        product = np.float32(source.scale) * alpha / np.float32(output.scale)
        apply = _leaky_builtin(source, output, float(positive), float(product))
    node.cache["apply"] = tabulated(source, apply)


def _xnnpack_takes(source: Tensor, output: Tensor, positive: Any, alpha: Any) -> bool:
    negative = float(positive * alpha)
    return (
        need.byte_quantized(source, output)
        and abs(alpha) >= np.finfo(np.float32).tiny
        and 2.0**-8 <= positive <= 128.0
        and -127.99609375 <= negative <= 128.0
        and abs(negative) >= 2.0**-8
    )


def _leaky_xnnpack(source: Tensor, output: Tensor, positive: Any, negative: Any) -> Unary:
    above, below = (int(np.rint(np.float32(256.0) * ratio)) for ratio in (positive, negative))

    def apply(x: Array) -> Array:
        value = x.astype(np.int32) - source.zero_point
        product = value * np.where(value >= 0, above, below)
        codes = ((product + 128) >> 8) + output.zero_point
        return np.clip(codes, *CODE_LIMITS[output.type]).astype(output.dtype)

    return apply


def _leaky_builtin(source: Tensor, output: Tensor, positive: float, negative: float) -> Unary:
    above, below = QuantizedMultiplier.of(positive), QuantizedMultiplier.of(abs(negative))
    sign = -1 if negative < 0 else 1

    def apply(x: Array) -> Array:
        value = x.astype(np.int64) - source.zero_point
        codes = np.where(value >= 0, requantize(value, above), sign * requantize(value, below))
        codes = codes + output.zero_point
        return np.clip(codes, *CODE_LIMITS[output.type]).astype(output.dtype)

    return apply


@kernel("LEAKY_RELU", prepare=_prepare_leaky, batch=True, form="codes")
def leaky_relu(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """x where positive, alpha * x elsewhere: see the module for the rounding."""
    return [node.cache["apply"](inputs[0])]


def _prepare_prelu(node: Node) -> None:
    need.require_counts(node, 2)
    kind = need.require_type(node, 0, (*need.CODE_TYPES, "FLOAT32"))
    need.require_type(node, 1, ("INT8",) if kind == "INT16" else (kind,))
    need.require_output_type(node, (kind,))
    source, alpha, output = need.tensor(node, 0), need.tensor(node, 1), node.outputs[0]
    if need.broadcast_shape(node, 0, 1) != tuple(source.shape):
        raise need.malformed(node, "alpha shape", list(alpha.shape), "one that fits the input")
    need.require_output_shape(node, source.shape)
    if kind == "FLOAT32":
        node.cache["apply"] = lambda x, a: np.where(x >= 0, x, x * a)
        return
    need.require_scales(node, source, alpha, output)
    ratio = need.float32_ratio(source.scale, output.scale)
    product = float(np.float32(source.scale) * np.float32(alpha.scale) / np.float32(output.scale))
    above, below = QuantizedMultiplier.of(ratio), QuantizedMultiplier.of(product)

    def apply(x: Array, a: Array) -> Array:
        value = x.astype(np.int64) - source.zero_point
        slope = a.astype(np.int64) - alpha.zero_point
        codes = np.where(value >= 0, requantize(value, above), requantize(value * slope, below))
        codes = codes + output.zero_point
        return np.clip(codes, *CODE_LIMITS[output.type]).astype(output.dtype)

    node.cache["apply"] = apply


@kernel("PRELU", prepare=_prepare_prelu, batch=stacks)
def prelu(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """x where positive, alpha * x elsewhere, alpha a tensor; double rounding, both arithmetics."""
    return [node.cache["apply"](*inputs)]


def _prepare_hard_swish(node: Node) -> None:
    source, output = need.require_unary(node, (*need.BYTE_TYPES, "FLOAT32"))
    if source.type == "FLOAT32":
        three, six = np.float32(3), np.float32(6)
        node.cache["apply"] = lambda x: x * np.clip(x + three, np.float32(0), six) / six
        return
    fine = np.float32(1 / 128) * np.float32(source.scale)
    to_output = QuantizedMultiplier.of(float(fine / np.float32(output.scale)))
    to_gate = QuantizedMultiplier.of(float(fine / np.float32(3 / 32768)))
    if to_output.shift > 0:
        ratio = source.scale / output.scale
        raise need.unsupported(node, "input scale over output scale", ratio, "at most 128")
    apply = _hard_swish_codes(source, output, to_output, to_gate)
    node.cache["apply"] = tabulated(source, apply)


def _hard_swish_codes(
    source: Tensor, output: Tensor, to_output: QuantizedMultiplier, to_gate: QuantizedMultiplier
) -> Unary:
    """x * gate(x), the gate (x + 3) / 6 limited to 0..1 in 15 fractional bits."""
    limits16 = CODE_LIMITS["INT16"]
    output_factor, gate_factor = (
        min((by.multiplier + (1 << 15)) >> 16, 32767) for by in (to_output, to_gate)
    )

    def apply(x: Array) -> Array:
        value = (x.astype(np.int64) - source.zero_point) * 128
        scaled = fixed.multiply(value, output_factor, 16)
        gate = np.clip(value << max(to_gate.shift - 1, 0), *limits16)
        gate = fixed.multiply(gate, gate_factor, 16)
        if to_gate.shift > 0:
            gate = np.clip(2 * gate, *limits16)
        gate = (divide_by_power(gate, max(-to_gate.shift, 0)) + (1 << 15)) >> 1
        product = gate * scaled
        truncated = np.sign(product) * (np.abs(product) >> 15)
        codes = divide_by_power(truncated, -to_output.shift) + output.zero_point
        return np.clip(codes, *CODE_LIMITS[output.type]).astype(output.dtype)

    return apply


@kernel("HARD_SWISH", prepare=_prepare_hard_swish, batch=True, form="codes")
def hard_swish(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """x * relu6(x + 3) / 6; 8-bit codes through 16-bit fixed point."""
    return [node.cache["apply"](inputs[0])]
