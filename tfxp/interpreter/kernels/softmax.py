"""SOFTMAX and LOG_SOFTMAX over the last dimension.

builtin, INT8 and UINT8: differences to the row's largest code are scaled to 5 integer bits, their
exponentials summed with 12, and the reciprocal and products are fixed point throughout. litert,
INT8 and UINT8: a float32 table of exp(-scale * beta * difference), summed in order in float32; an
output rounds half away (UINT8: the half is added and the rest cut off). INT16: two interpolated
tables, in both arithmetics. FLOAT32: float32, which agrees with LiteRT to a few units in the last
place, not bit for bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.formats.rounding import round_half_away
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.record import make_record
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.lookup_tables import interpolate_int16, table_int16
from tfxp.interpreter.numerics import fixed_point_math as fixed
from tfxp.interpreter.numerics.arithmetic import (
    INT32_MAX,
    INT32_MIN,
    QuantizedMultiplier,
    divide_by_power,
    doubling_high_mul,
    requantize,
    wrap_int32,
)
from tfxp.interpreter.registry import Array, Node, kernel
from tfxp.interpreter.step import Step

Unary = Callable[[Array], Array]
#: Integer bits of scaled differences and of sums of exponentials.
_DIFFERENCE_BITS, _SUM_BITS = 5, 12
#: Sums of this many exponentials of 2^19 may leave 32 bits.
_CLASSES_IN_32_BITS = 1 << (31 - (31 - _SUM_BITS))


def _prepare(node: Node) -> None:
    need.require_counts(node, 1)
    kind = need.require_type(node, 0, ("INT8", "UINT8", "INT16", "FLOAT32"))
    outputs = {"INT8": ("INT8", "INT16"), "UINT8": ("UINT8", "INT16")}.get(kind, (kind,))
    need.require_output_type(node, outputs)
    source, output = need.tensor(node, 0), node.outputs[0]
    if not source.shape:
        raise need.malformed(node, "dimensions of input 0", 0, "1 or more")
    need.require_output_shape(node, source.shape)
    beta = float(np.float32(node.options["beta"]))
    if kind == "FLOAT32":
        node.cache["apply"] = functools.partial(_softmax_float, beta=np.float32(beta))
        return
    need.require_scales(node, source, output)
    _require_unit_output(node, output)
    if not beta > 0.0:
        raise need.unsupported(node, "beta", beta, "a number > 0")
    if kind == "INT16":
        need.require_symmetric(node, source, output)
        node.cache["apply"] = _softmax_int16(source, beta)
    elif node.arithmetic == "litert":
        node.cache["apply"] = _softmax_table(source, output, beta)
        exponential = exp_table(source, beta)
        second = np.array([output.scale], np.float32)
        _prepare_step(node, "softmax", source, exponential, second)
    else:
        node.cache["apply"] = _softmax_fixed(node, source, output, beta)
        exponential, second, used = _fixed_tables(node, source, beta)
        marked = np.where(used, exponential, -1).astype(np.int32)
        if source.shape[-1] < _CLASSES_IN_32_BITS:
            _prepare_step(node, "softmax_fixed", source, marked, second.astype(np.int32))


def _prepare_step(node: Node, name: str, source: Tensor, first: Array, second: Array) -> None:
    """Lays a softmax of bytes to bytes out for a compiled kernel."""
    output = node.outputs[0]
    if node.engine != "fast" or output.type != source.type:
        return
    unsigned, limits = int(output.type == "UINT8"), CODE_LIMITS[output.type]
    fields = {
        R.SOFTMAX_UNSIGNED: unsigned, R.SOFTMAX_ZERO: output.zero_point, R.CUTS: unsigned,
        R.SOFTMAX_LOW: limits[0], R.SOFTMAX_HIGH: limits[1],
        R.EXPONENTIALS: first.ctypes.data, R.SOFTMAX_SCALE: second.ctypes.data,
    }  # fmt: skip
    node.cache["step"] = name, fields, (first, second)


def _require_unit_output(node: Node, output: Tensor) -> None:
    """Integer softmax writes probabilities on a fixed grid; LiteRT checks it for most types."""
    wanted = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}
    scale, zero = wanted[output.type]
    if node.inputs[0] is not None and node.inputs[0].type != output.type:
        return
    if abs(output.scale - scale) > 0.001 * scale or output.zero_point != zero:
        got = (output.scale, output.zero_point)
        raise need.unsupported(node, "scale and zero point of output 0", got, f"({scale}, {zero})")


def _softmax_float(x: Array, beta: Any) -> Array:
    shifted = (x - x.max(axis=-1, keepdims=True)) * beta
    exponentials = np.exp(shifted.astype(np.float64)).astype(np.float32)
    return exponentials / exponentials.sum(axis=-1, keepdims=True, dtype=np.float32)


def scaled_differences(node: Node, source: Tensor, beta: float) -> tuple[Array, int]:
    """Differences 0, -1 ... -255 of codes in fixed point with 5 integer bits.

    Returns:
        Raw values by -difference, and the smallest difference whose value is representable.

    Raises:
        UnsupportedOpError: a scale too small to be expressed.
    """
    largest = 2.0**31 - 1.0
    real = min(beta * source.scale * (1 << (31 - _DIFFERENCE_BITS)), largest)
    if real <= 1.0:
        raise need.unsupported(node, "scale * beta", beta * source.scale, "more than 2^-26")
    by = QuantizedMultiplier.of(real)
    smallest = -math.floor(31.0 * 2.0 ** (31 - _DIFFERENCE_BITS) / 2.0**by.shift)
    differences = -np.arange(256, dtype=np.int64)
    return doubling_high_mul(wrap_int32(differences << by.shift), by.multiplier), smallest


def _fixed_tables(node: Node, source: Tensor, beta: float) -> tuple[Array, Array, Array]:
    """By distance from the largest code: exponential, its share of the sum, whether it is used."""
    raw, smallest = scaled_differences(node, source, beta)
    used = -np.arange(256) >= smallest
    exponential = np.where(used, fixed.exp_of_negative(np.where(used, raw, 0), 5), 0)
    return exponential, np.where(used, fixed.scale_by_power(exponential, -_SUM_BITS), 0), used


def _softmax_fixed(node: Node, source: Tensor, output: Tensor, beta: float) -> Unary:
    exponential, summand, used = _fixed_tables(node, source, beta)
    low, high = CODE_LIMITS[output.type]
    bits, dtype = 16 if output.type == "INT16" else 8, output.dtype

    def apply(x: Array) -> Array:
        wide = x.astype(np.int64)
        difference = wide.max(axis=-1, keepdims=True) - wide
        total = wrap_int32(summand.take(difference).sum(axis=-1, keepdims=True))
        scale, over_unit = fixed.reciprocal(total, _SUM_BITS)
        product = doubling_high_mul(scale, exponential.take(difference))
        codes = divide_by_power(product, over_unit + 31 - bits) + low
        return np.where(used.take(difference), np.clip(codes, low, high), low).astype(dtype)

    return apply


def exp_table(source: Tensor, beta: float) -> Array:
    """float32 exp(-scale * beta * d) for d = 0 ... 255, as LiteRT tabulates it."""
    step = np.float32(-np.float32(source.scale)) * np.float32(beta)
    argument = step * np.arange(256, dtype=np.float32)
    return np.exp(argument.astype(np.float64)).astype(np.float32)


def _softmax_table(source: Tensor, output: Tensor, beta: float) -> Unary:
    table = exp_table(source, beta)
    limits, dtype = CODE_LIMITS[output.type], output.dtype
    scale, zero = np.float32(output.scale), output.zero_point
    cut = output.type == "UINT8"

    def apply(x: Array) -> Array:
        exponentials = table.take(x.max(axis=-1, keepdims=True).astype(np.int64) - x)
        # cumsum adds in order, as LiteRT does; sum() would add in pairs
        total = exponentials.cumsum(axis=-1, dtype=np.float32)[..., -1:]
        probability = exponentials * (np.float32(1.0) / (total * scale))
        if cut:
            codes = np.trunc(probability + np.float32(0.5))
        else:
            codes = round_half_away(probability) + np.float32(zero)
        return np.clip(codes, *limits).astype(dtype)

    return apply


def _softmax_compiled(node: Node, x: Array) -> Array:
    # imported here so that loading the interpreter does not load Numba
    from tfxp.interpreter.compiled.running import run_step

    name, fields, held = node.cache["step"]
    x, out = np.ascontiguousarray(x), np.empty(x.shape, node.outputs[0].dtype)
    record = make_record({**fields, R.CLASSES: x.shape[-1]})
    node.step = Step(name, (x,), out, x.size // x.shape[-1], record, held)
    run_step(node.step)
    return out


def _softmax_int16(source: Tensor, beta: float) -> Unary:
    span = 65535
    exp = table_int16(10.0 / span, 32767, 2.0 / span, 0, np.exp, np.float64)
    inverse = table_int16(1.0 / span, -32768, 2.0 / span, 0, lambda x: 1.0 / (1.0 + x), np.float64)
    scaled = float(np.float32(source.scale) * np.float32(beta)) / (10.0 / 65535.0)
    by = QuantizedMultiplier.of(scaled)

    def apply(x: Array) -> Array:
        wide = x.astype(np.int64)
        difference = requantize(wide - wide.max(axis=-1, keepdims=True), by) + 32767
        exponential = interpolate_int16(np.clip(difference, -32768, 32767), exp).astype(np.int64)
        total = exponential.sum(axis=-1, keepdims=True)
        headroom = fixed.leading_zeros(total)
        shifted = ((total << (headroom - 1)) + (1 << 13)) >> 14
        code = np.clip(shifted - ((1 << 15) + (1 << 16)), -32768, 32767)
        reciprocal = interpolate_int16(code, inverse)
        right = 31 - headroom
        result = (exponential * reciprocal + (np.int64(1) << (right - 1))) >> right
        return np.clip(result, 0, 32767).astype(np.int16)

    return apply


def _outer(node: Node) -> bool:
    """Stacking is harmless unless the softmax runs along the leading dimension."""
    return len(need.tensor(node, 0).shape) > 1


@kernel("SOFTMAX", prepare=_prepare, batch=_outer)
def softmax(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """exp(beta * x) over its sum along the last dimension: see the module."""
    if "step" in node.cache and inputs[0].size:
        return [_softmax_compiled(node, inputs[0])]
    return [node.cache["apply"](inputs[0])]


def _prepare_log(node: Node) -> None:
    need.require_counts(node, 1)
    kind = need.require_type(node, 0, ("INT8", "UINT8", "FLOAT32"))
    need.require_output_type(node, (kind,))
    source, output = need.tensor(node, 0), node.outputs[0]
    if not source.shape:
        raise need.malformed(node, "dimensions of input 0", 0, "1 or more")
    need.require_output_shape(node, source.shape)
    if kind == "FLOAT32":
        node.cache["apply"] = _log_softmax_float
        return
    need.require_scales(node, source, output)
    got = (output.scale, output.zero_point)
    wanted = (16.0 / 256, CODE_LIMITS[kind][1])
    if got != wanted:
        raise need.unsupported(node, "scale and zero point of output 0", got, str(wanted))
    if node.arithmetic == "litert":
        node.cache["apply"] = _log_softmax_table(source, output)
    else:
        node.cache["apply"] = _log_softmax_fixed(node, source, output)


def _log_softmax_float(x: Array) -> Array:
    shifted = (x - x.max(axis=-1, keepdims=True)).astype(np.float64)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    return (shifted - np.log(total)).astype(np.float32)


def _log_softmax_fixed(node: Node, source: Tensor, output: Tensor) -> Unary:
    raw, smallest = scaled_differences(node, source, 1.0)
    used = -np.arange(256) >= smallest
    exponential = fixed.exp_of_negative(np.where(used, raw, 0), 5)
    summand = np.where(used, fixed.scale_by_power(exponential, -_SUM_BITS), 0)
    by = QuantizedMultiplier.of(source.scale * 2.0 ** (31 - _DIFFERENCE_BITS))
    back = QuantizedMultiplier.of((1 << (31 - by.shift)) / by.multiplier)
    low, high = CODE_LIMITS[output.type]
    zero, dtype = output.zero_point, output.dtype

    def apply(x: Array) -> Array:
        wide = x.astype(np.int64)
        difference = wide.max(axis=-1, keepdims=True) - wide
        total = wrap_int32(summand.take(difference).sum(axis=-1, keepdims=True))
        log_total = fixed.log_of_at_least_one(total, _SUM_BITS, _DIFFERENCE_BITS)
        threshold = requantize(log_total + INT32_MIN, back)
        threshold = np.maximum(smallest - 1, threshold)
        exact = np.clip(raw.take(difference) - log_total, INT32_MIN, INT32_MAX)
        codes = np.clip(divide_by_power(exact, 31 - 5 - 4) + zero, low, high)
        return np.where(-difference > threshold, codes, low).astype(dtype)

    return apply


def _log_softmax_table(source: Tensor, output: Tensor) -> Unary:
    table = exp_table(source, 1.0)
    limits, dtype = CODE_LIMITS[output.type], output.dtype
    in_scale, out_scale = np.float32(source.scale), np.float32(output.scale)

    def apply(x: Array) -> Array:
        largest = x.max(axis=-1, keepdims=True).astype(np.int64)
        total = table.take(largest - x).cumsum(axis=-1, dtype=np.float32)[..., -1:]
        log_total = np.log(total.astype(np.float64)).astype(np.float32)
        offset = (in_scale * largest.astype(np.float32) + log_total) / out_scale
        log_probability = (in_scale / out_scale) * x.astype(np.float32) - offset
        codes = np.rint(log_probability) + np.float32(output.zero_point)
        return np.clip(codes, *limits).astype(dtype)

    return apply


@kernel("LOG_SOFTMAX", prepare=_prepare_log, batch=_outer)
def log_softmax(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """x - log(sum of exp(x)) along the last dimension: see the module."""
    return [node.cache["apply"](inputs[0])]
