"""ADD, SUB, MUL and SQUARED_DIFFERENCE of two broadcast tensors: codes, plain integers, floats.

Integer arithmetic, by name:

builtin, INT8, UINT8 and general INT16: both inputs are shifted left (20 bits; 15 for INT16), scaled
to twice the larger input scale, summed, and scaled to the output, each scaling with double
rounding. INT16 with power-of-two scales and the option `pot_scale_int16`: one input is shifted
right, halves away from zero, and the sum saturates. MUL: one double-rounded scaling of the product.
SQUARED_DIFFERENCE, INT8, both arithmetics: inputs scaled as for SUB with 7 bits, then the square.

litert, INT16 ADD of equal shapes (general scales): LiteRT's vectorised kernel merges the two shifts
of an input and rounds once less there; the last (size mod 16) elements run as builtin.

litert, INT8 and UINT8: XNNPACK. ADD and SUB: floor((a*qa + b*qb + 2^(s-1)) / 2^s), 21-bit
multipliers, so halves go up. MUL: float32(product) * float32 scale, half to even. XNNPACK declines
ADD and SUB whose input scale over output scale is outside [2^-10, 2^8), and MUL outside
[2^-16, 2^8); those, and INT16, run as builtin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.graph.element_types import CODE_LIMITS
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.record import Record, make_record
from tfxp.interpreter.fused_activation import ACTIVATION_LIMITS
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.numerics.arithmetic import (
    QuantizedMultiplier,
    divide_by_power,
    doubling_high_mul,
    log2_if_power_of_two,
    requantize,
    requantize_float32,
)
from tfxp.interpreter.registry import Array, Node, kernel
from tfxp.interpreter.step import Step

Binary = Callable[[Array, Array], Array]
_PLAIN = ("FLOAT32", "INT32", "INT64")
_ADD_PARAMETERS = (R.MULTIPLIER_A, R.MULTIPLIER_B, R.ADD_BIAS, R.ADD_SHIFT)
#: Elements that LiteRT's vectorised INT16 ADD takes at a time.
BLOCK = 16


def stacks(node: Node) -> bool:
    """Whether stacking along the leading dimension leaves a broadcast operator's meaning alone."""
    rank = max(len(item.shape) for item in node.inputs if item is not None)
    for item in node.inputs:
        if item is None:
            continue
        if item.data is None and len(item.shape) != rank:
            return False
        if item.data is not None and len(item.shape) == rank and item.shape[:1] != (1,):
            return False
    return rank > 0


def _blocks_permit(node: Node) -> bool:
    """`stacks`, and no image that would shift the blocks of a vectorised kernel."""
    whole = need.tensor(node, 0).size % BLOCK == 0
    return stacks(node) and (whole or "blocks" not in node.cache)


def _prepare(node: Node) -> None:
    need.require_counts(node, 2)
    first = need.require_type(node, 0, (*need.CODE_TYPES, *_PLAIN))
    need.require_type(node, 1, (first,))
    need.require_output_type(node, (first,))
    need.require_output_shape(node, need.broadcast_shape(node, 0, 1))
    activation = need.require_activation(node)
    quantized = first in need.BYTE_TYPES or (
        first == "INT16" and need.tensor(node, 0).quantization is not None
    )
    if quantized:
        node.cache["apply"] = _prepare_codes(node, activation)
    else:
        node.cache["apply"] = _plain(node, activation)


def _prepare_codes(node: Node, activation: str) -> Binary:
    a, b, output = need.tensor(node, 0), need.tensor(node, 1), node.outputs[0]
    need.require_scales(node, a, b, output)
    need.require_symmetric(node, a, b, output)
    multiplies = node.operator.name == "MUL"
    if node.arithmetic == "litert" and xnnpack_takes(multiplies, a, b, output):
        low, high = need.activation_code_limits(node, activation, output, xnnpack=True)
        build = _multiply_xnnpack if multiplies else _add_xnnpack
    else:
        low, high = need.activation_code_limits(node, activation, output)
        build = _multiply_builtin if multiplies else _choose_add(node)
    sign = -1 if node.operator.name == "SUB" else 1
    if node.engine == "fast" and a.shape == b.shape and output.type in need.BYTE_TYPES:
        if build is _add_xnnpack:
            node.cache["step"] = "add", _add_record(a, b, output, (low, high), sign)
        elif build is _add_builtin and sign == 1:
            node.cache["step"] = "add_fixed", _sum_record(a, b, output, (low, high))
    return build(a, b, output, (low, high), sign)


def xnnpack_takes(multiplies: bool, a: Tensor, b: Tensor, output: Tensor) -> bool:
    """Whether LiteRT's default engine leaves a sum or product of codes to XNNPACK."""
    if not need.byte_quantized(a, b, output):
        return False
    if multiplies:
        product = float(np.float32(a.scale) * np.float32(b.scale))
        return 2.0**-16 <= need.float32_ratio(product, output.scale) < 256.0
    ratios = (need.float32_ratio(item.scale, output.scale) for item in (a, b))
    return all(2.0**-10 <= ratio < 256.0 for ratio in ratios)


def _plain(node: Node, activation: str) -> Binary:
    """Floats, and integers without scales, which wrap."""
    operation = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}[node.operator.name]
    low, high = ACTIVATION_LIMITS[activation]
    dtype = node.outputs[0].dtype
    if activation == "NONE":
        return lambda a, b: operation(a, b)
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        low, high = max(low, info.min), min(high, info.max)
    bounds = dtype.type(low), dtype.type(high)
    return lambda a, b: np.clip(operation(a, b), *bounds)


def _choose_add(node: Node) -> Callable[..., Binary]:
    output = node.outputs[0]
    if output.type != "INT16" or not node.options.get("pot_scale_int16", True):
        return _general_add(node)
    tensors = need.tensor(node, 0), need.tensor(node, 1), output
    logs = [log2_if_power_of_two(item.scale) for item in tensors]
    if any(log is None for log in logs):
        return _general_add(node)
    shifts = [int(logs[i] or 0) - int(logs[2] or 0) for i in (0, 1)]
    if max(shifts) != 0:
        raise need.unsupported(
            node,
            "log2 of the input scales over the output scale",
            shifts,
            "one 0 and one <= 0 (or pot_scale_int16 off)",
        )
    return _add_power_of_two


def _general_add(node: Node) -> Callable[..., Binary]:
    equal = need.tensor(node, 0).shape == need.tensor(node, 1).shape
    is_int16_add = node.outputs[0].type == "INT16" and node.operator.name == "ADD"
    if node.arithmetic == "litert" and is_int16_add and equal:
        node.cache["blocks"] = True
        return _add_int16_vectorised
    return _add_builtin


def _add_int16_vectorised(
    a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int], sign: int
) -> Binary:
    twice = 2.0 * max(a.scale, b.scale)
    by_a, by_b = QuantizedMultiplier.of(a.scale / twice), QuantizedMultiplier.of(b.scale / twice)
    by_output = QuantizedMultiplier.of(twice / (2.0**15 * output.scale))
    rest = _add_builtin(a, b, output, limits, sign)

    def scaled(x: Array, by: QuantizedMultiplier) -> Array:
        left = 15 + by.shift
        wide = x.astype(np.int64)
        return doubling_high_mul(wide << left if left >= 0 else wide >> -left, by.multiplier)

    def apply(x: Array, y: Array) -> Array:
        if x.shape != y.shape:
            return rest(x, y)
        flat_x, flat_y = (np.ascontiguousarray(v).reshape(-1) for v in (x, y))
        whole = x.size - x.size % BLOCK
        total = scaled(flat_x[:whole], by_a) + scaled(flat_y[:whole], by_b)
        main = np.clip(requantize(total, by_output), *limits).astype(np.int16)
        return np.concatenate([main, rest(flat_x[whole:], flat_y[whole:])]).reshape(x.shape)

    return apply


def _headroom(output: Tensor) -> int:
    """By how many bits codes are shifted before they are scaled."""
    return 15 if output.type == "INT16" else 20


def _sum_multipliers(
    a: Tensor, b: Tensor, output: Tensor
) -> tuple[QuantizedMultiplier, QuantizedMultiplier, QuantizedMultiplier]:
    """What scales the shifted codes of both inputs, and their sum."""
    twice = 2.0 * max(a.scale, b.scale)
    over_output = twice / (2.0 ** _headroom(output) * output.scale)
    factors = a.scale / twice, b.scale / twice, over_output
    by_a, by_b, by_output = (QuantizedMultiplier.of(factor) for factor in factors)
    return by_a, by_b, by_output


def _add_builtin(
    a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int], sign: int
) -> Binary:
    left, dtype = _headroom(output), output.dtype
    by_a, by_b, by_output = _sum_multipliers(a, b, output)

    def apply(x: Array, y: Array) -> Array:
        scaled_x = requantize((x.astype(np.int64) - a.zero_point) << left, by_a)
        scaled_y = requantize((y.astype(np.int64) - b.zero_point) << left, by_b)
        total = requantize(scaled_x + sign * scaled_y, by_output) + output.zero_point
        return np.clip(total, *limits).astype(dtype)

    return apply


def _add_power_of_two(
    a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int], sign: int
) -> Binary:
    base = math.log2(output.scale)
    right_a, right_b = (round(base - math.log2(item.scale)) for item in (a, b))

    def apply(x: Array, y: Array) -> Array:
        total = divide_by_power(x, right_a) + sign * divide_by_power(y, right_b)
        return np.clip(np.clip(total, *CODE_LIMITS["INT16"]), *limits).astype(np.int16)

    return apply


def add_xnnpack_parameters(a: Tensor, b: Tensor, output: Tensor, sign: int) -> tuple[int, ...]:
    """(multiplier of a, of b, bias, shift): codes = (a*ma + b*mb + bias) >> shift, plus zero point.

    The larger scale ratio gets a 21-bit multiplier.
    """
    ratios = [np.float32(item.scale) / np.float32(output.scale) for item in (a, b)]
    shift = 20 - (math.frexp(float(max(ratios)))[1] - 1)
    m_a, m_b = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
    m_b *= sign
    bias = (1 << (shift - 1)) - m_a * a.zero_point - m_b * b.zero_point
    return m_a, m_b, bias, shift


def _add_xnnpack(
    a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int], sign: int
) -> Binary:
    m_a, m_b, bias, shift = add_xnnpack_parameters(a, b, output, sign)
    dtype, zero = output.dtype, output.zero_point

    def apply(x: Array, y: Array) -> Array:
        # every term is below 2^30 (21-bit multiplier, 8-bit code), so 32 bits hold the sum
        total = np.multiply(x, m_a, dtype=np.int32) + np.int32(bias)
        total = total + np.multiply(y, m_b, dtype=np.int32)
        total >>= shift
        total += zero
        return np.clip(total, *limits, out=total).astype(dtype)

    return apply


def _add_record(a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int], sign: int) -> Record:
    """`_add_xnnpack` for the compiled kernel."""
    parameters = add_xnnpack_parameters(a, b, output, sign)
    return make_record(
        {
            R.ADD_UNSIGNED: int(output.type == "UINT8"),
            **dict(zip(_ADD_PARAMETERS, parameters, strict=True)),
            R.ADD_ZERO: output.zero_point, R.ADD_LOW: limits[0], R.ADD_HIGH: limits[1],
        }
    )  # fmt: skip


def _sum_record(a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int]) -> Record:
    """`_add_builtin` for the compiled kernel."""
    by_a, by_b, by_output = _sum_multipliers(a, b, output)
    return make_record(
        {
            R.ADD_UNSIGNED: int(output.type == "UINT8"), R.ADD_ZERO: output.zero_point,
            R.ADD_LOW: limits[0], R.ADD_HIGH: limits[1],
            R.ZERO_A: a.zero_point, R.FACTOR_A: by_a.multiplier, R.RIGHT_A: -by_a.shift,
            R.ZERO_B: b.zero_point, R.FACTOR_B: by_b.multiplier, R.RIGHT_B: -by_b.shift,
            R.SUM_FACTOR: by_output.multiplier, R.SUM_LEFT: max(by_output.shift, 0),
            R.SUM_RIGHT: max(-by_output.shift, 0),
        }
    )  # fmt: skip


def _add_compiled(node: Node, x: Array, y: Array) -> Array:
    """A sum of equal shapes."""
    # imported here so that loading the interpreter does not load Numba
    from tfxp.interpreter.compiled.running import run_step

    x, y, out = np.ascontiguousarray(x), np.ascontiguousarray(y), np.empty(x.shape, x.dtype)
    name, record = node.cache["step"]
    node.step = Step(name, (x, y), out, x.size, record)
    run_step(node.step)
    return out


def _multiply_builtin(
    a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int], sign: int
) -> Binary:
    product_scale = np.float32(a.scale) * np.float32(b.scale)
    by = QuantizedMultiplier.of(need.float32_ratio(float(product_scale), output.scale))
    dtype = output.dtype

    def apply(x: Array, y: Array) -> Array:
        product = (x.astype(np.int64) - a.zero_point) * (y.astype(np.int64) - b.zero_point)
        return np.clip(requantize(product, by) + output.zero_point, *limits).astype(dtype)

    return apply


def _multiply_xnnpack(
    a: Tensor, b: Tensor, output: Tensor, limits: tuple[int, int], sign: int
) -> Binary:
    product_scale = np.float32(a.scale) * np.float32(b.scale)
    scale = np.float32(need.float32_ratio(float(product_scale), output.scale))
    dtype = output.dtype

    def apply(x: Array, y: Array) -> Array:
        product = (x.astype(np.int32) - a.zero_point) * (y.astype(np.int32) - b.zero_point)
        return requantize_float32(product, scale, output.zero_point, *limits).astype(dtype)

    return apply


@kernel("ADD", "SUB", "MUL", prepare=_prepare, batch=_blocks_permit, form="pairs")
def combine(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """ADD, SUB or MUL: see the module for the arithmetic of each type."""
    if "step" in node.cache and inputs[0].shape == inputs[1].shape:
        return [_add_compiled(node, *inputs)]
    return [node.cache["apply"](*inputs)]


def _prepare_squared(node: Node) -> None:
    need.require_counts(node, 2)
    kind = need.require_type(node, 0, ("INT8", *_PLAIN))
    need.require_type(node, 1, (kind,))
    need.require_output_type(node, (kind,))
    need.require_output_shape(node, need.broadcast_shape(node, 0, 1))
    if kind != "INT8":
        node.cache["apply"] = lambda x, y: (x - y) * (x - y)
        return
    a, b, output = need.tensor(node, 0), need.tensor(node, 1), node.outputs[0]
    need.require_scales(node, a, b, output)
    twice, left = 2.0 * max(a.scale, b.scale), 7
    by_a, by_b = QuantizedMultiplier.of(a.scale / twice), QuantizedMultiplier.of(b.scale / twice)
    by_output = QuantizedMultiplier.of(twice * twice / (2.0 ** (2 * left) * output.scale))

    def apply(x: Array, y: Array) -> Array:
        scaled_x = requantize((x.astype(np.int64) - a.zero_point) << left, by_a)
        scaled_y = requantize((y.astype(np.int64) - b.zero_point) << left, by_b)
        codes = requantize((scaled_x - scaled_y) ** 2, by_output) + output.zero_point
        return np.clip(codes, -128, 127).astype(np.int8)

    node.cache["apply"] = apply


@kernel("SQUARED_DIFFERENCE", prepare=_prepare_squared, batch=stacks, form="pairs")
def squared_difference(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """(x - y)^2; plain whole numbers wrap."""
    return [node.cache["apply"](*inputs)]


def _prepare_extreme(node: Node) -> None:
    need.require_counts(node, 2)
    kind = need.require_type(node, 0, (*need.CODE_TYPES, *_PLAIN))
    need.require_type(node, 1, (kind,))
    need.require_output_type(node, (kind,))
    need.require_output_shape(node, need.broadcast_shape(node, 0, 1))


@kernel("MAXIMUM", "MINIMUM", prepare=_prepare_extreme, batch=stacks, form="pairs")
def extreme(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """MAXIMUM or MINIMUM of codes; scales play no part, in either arithmetic."""
    operation = np.maximum if node.operator.name == "MAXIMUM" else np.minimum
    return [operation(inputs[0], inputs[1])]
