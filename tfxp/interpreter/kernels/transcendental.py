"""LOGISTIC, TANH, ELU, GELU, EXP, LOG and RSQRT.

8 bits: a table of 256 codes. builtin rounds halves away after scaling, litert (XNNPACK) to even
after adding the zero point. GELU, EXP and LOG round halves away, and RSQRT is integer
Newton-Raphson, in both. 16 bits: LOGISTIC and TANH
interpolate one table of 256 samples; in litert an input scale of 2^-12 (TANH: also 2^-11) runs in
16-bit fixed point instead. RSQRT INT16 interpolates 513 samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.errors import DataError
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.conversion import look_up
from tfxp.interpreter.kernels.lookup_tables import (
    in_float32,
    interpolate_int16,
    table_builtin,
    table_int16,
    table_xnnpack,
)
from tfxp.interpreter.numerics import fixed_point_math as fixed
from tfxp.interpreter.numerics.arithmetic import (
    QuantizedMultiplier,
    log2_if_power_of_two,
    requantize_scalar,
)
from tfxp.interpreter.registry import Array, Node, kernel

Unary = Callable[[Array], Array]
_ONE = np.float32(1.0)

#: Entries of the 16-bit logistic table that lie one above the nearest integer.
_ABOVE_NEAREST = frozenset(
    (4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41)
    + (43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255)
)


def _sigmoid_samples() -> Array:
    """65536 / (1 + exp(-k / 24)) for k = 0 ... 255, as LiteRT and TFLM ship the table."""
    exact = 65536.0 / (1.0 + np.exp(-np.arange(256) / 24.0))
    nearest = np.floor(exact + 0.5).astype(np.int64)
    return nearest + np.isin(np.arange(256), list(_ABOVE_NEAREST))


SIGMOID_SAMPLES = _sigmoid_samples()


def _logistic_builtin(x: Array) -> Array:
    return _ONE / (_ONE + in_float32(lambda v: np.exp(-v))(x))


def _logistic_double(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def _elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(np.minimum(x, 0.0)), x)


_erfc = in_float32(np.vectorize(math.erfc, otypes=[np.float64]))
_HALF, _CUBE = np.float32(0.5), np.float32(0.044715)
_MINUS_ROOT, _SLOPE = np.float32(-math.sqrt(0.5)), np.float32(math.sqrt(2 / math.pi))


def _gelu(x: Array) -> Array:
    return _HALF * x * _erfc(x * _MINUS_ROOT)


def _gelu_tanh(x: Array) -> Array:
    return _HALF * x * (_ONE + in_float32(np.tanh)(_SLOPE * (x + _CUBE * x * x * x)))


def _logarithm(x: Array) -> Array:
    """What has none becomes the lowest code."""
    return np.log(x, out=np.full(x.shape, -np.inf), where=x > 0)


#: Operator to (builtin function, XNNPACK and float function), all on arrays.
_FUNCTIONS: dict[str, tuple[Unary, Unary]] = {
    "LOGISTIC": (_logistic_builtin, in_float32(_logistic_double)),
    "TANH": (in_float32(np.tanh), in_float32(np.tanh)),
    "ELU": (in_float32(_elu), in_float32(_elu)),
}
#: Operator to its function in both arithmetics.
_ROUNDED_AWAY: dict[str, Unary] = {
    "GELU": _gelu,
    "EXP": in_float32(np.exp),
    "LOG": in_float32(_logarithm),
}


def _prepare(node: Node) -> None:
    name = node.operator.name
    types = ("INT8", "FLOAT32") if name == "ELU" else ("INT8", "UINT8", "INT16", "FLOAT32")
    source, output = need.require_unary(node, types)
    builtin, xnnpack = _FUNCTIONS[name]
    if source.type == "FLOAT32":
        node.cache["apply"] = xnnpack
    elif source.type == "INT16":
        node.cache["apply"] = _sixteen_bits(node, source, output)
    elif node.arithmetic == "litert" and need.byte_quantized(source, output):
        table = table_xnnpack(source, output, xnnpack)
        node.cache["apply"] = lambda x: look_up(table, x)
    else:
        if name == "LOGISTIC" and output.scale != 1 / 256:
            raise need.unsupported(node, "scale of output 0", output.scale, "1/256")
        table = table_builtin(source, output, builtin)
        node.cache["apply"] = lambda x: look_up(table, x)


def _sixteen_bits(node: Node, source: Tensor, output: Tensor) -> Unary:
    if output.scale != 1 / 32768:
        raise need.unsupported(node, "scale of output 0", output.scale, "1/32768 for INT16")
    is_tanh = node.operator.name == "TANH"
    log2 = log2_if_power_of_two(source.scale)
    left = None if log2 is None else 12 + log2
    if left not in ((0, 1) if is_tanh else (0,)):
        left = None
    if left is not None and node.arithmetic == "litert":
        return _in_fixed_point(is_tanh, left)
    return _interpolated(is_tanh, *_input_scaling(source, left))


def _input_scaling(source: Tensor, left: int | None) -> tuple[int, int]:
    """(multiplier, shift) that bring codes to 3 * 4096 steps per unit."""
    if left is not None:
        return 3 << left, 0
    multiplier, shift = source.scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        shift += 1
        multiplier *= 2.0
    return int(multiplier), shift


def _in_fixed_point(is_tanh: bool, left: int) -> Unary:
    function = fixed.tanh if is_tanh else fixed.logistic

    def apply(x: Array) -> Array:
        return function(fixed.scale_by_power(x, left, 16), 3, 16).astype(np.int16)

    return apply


def _interpolated(is_tanh: bool, multiplier: int, shift: int) -> Unary:
    bits = 8 if is_tanh else 9
    half = (1 << shift) >> 1

    def apply(x: Array) -> Array:
        value = (x.astype(np.int64) * multiplier + half) >> shift
        magnitude = np.abs(value)
        index = np.minimum(magnitude >> bits, 254)
        base, fraction = SIGMOID_SAMPLES[index], magnitude & ((1 << bits) - 1)
        result = (base << bits) + fraction * (SIGMOID_SAMPLES[index + 1] - base)
        saturated = (magnitude >> bits) >= 255
        if is_tanh:
            result = np.where(saturated, 0xFFFF << 8, result)
            signed = np.where(value >= 0, result - (1 << 23), -result + (1 << 23) - 1)
            return ((signed + (1 << 7)) >> 8).astype(np.int16)
        result = np.where(saturated, 0x7FFF << 10, result)
        signed = np.where(value >= 0, result, (1 << 25) - result - 1)
        return ((signed + (1 << 9)) >> 10).astype(np.int16)

    return apply


@kernel("LOGISTIC", "TANH", "ELU", prepare=_prepare, batch=True, form="codes")
def transcendental(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """LOGISTIC, TANH or ELU by table or fixed point: see the module."""
    return [node.cache["apply"](inputs[0])]


def _prepare_rounded_away(node: Node) -> None:
    source, output = need.require_unary(node, ("INT8", "FLOAT32"))
    function = _ROUNDED_AWAY[node.operator.name]
    if node.operator.options.get("approximate"):
        function = _gelu_tanh
    if source.type == "FLOAT32":
        node.cache["apply"] = function
        return
    table = table_builtin(source, output, function)
    node.cache["apply"] = lambda x: look_up(table, x)


@kernel("GELU", "EXP", "LOG", prepare=_prepare_rounded_away, batch=True, form="codes")
def rounded_away(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """GELU, EXP or LOG by one table for both arithmetics."""
    return [node.cache["apply"](inputs[0])]


def inverse_square_root(value: int) -> tuple[int, int]:
    """1 / sqrt(value) as (multiplier, shift), by five Newton-Raphson steps in 32 bits.

    Args:
        value: integer >= 1.

    Example:
        >>> multiplier, shift = inverse_square_root(4)
        >>> round(multiplier * 2.0 ** (shift - 31), 6)
        0.5
    """
    if value <= 1:
        return 2**31 - 1, 0
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    half_input = int(fixed.scale_by_power(value >> 1, -1))
    x = 1 << 28
    for _ in range(5):
        cube = fixed.scale_by_power(fixed.multiply(fixed.multiply(x, x), x), 6)
        step = fixed.multiply((1 << 28) + (1 << 27), x) - fixed.multiply(half_input, cube)
        x = int(fixed.scale_by_power(step, 3))
    result = int(fixed.multiply(x, 1518500250))
    if shift < 0:
        return result << -shift, 0
    return result, -shift


def _prepare_rsqrt(node: Node) -> None:
    source, output = need.require_unary(node, ("INT8", "INT16", "FLOAT32"))
    if source.type == "FLOAT32":
        node.cache["apply"] = lambda x: _ONE / np.sqrt(x)
        return
    node.cache["least"] = source.zero_point
    if source.type == "INT16":
        largest = np.float32(32767) * np.float32(output.scale)

        def real(x: Array) -> Array:
            safe = np.where(x > 0, x, _ONE)
            return np.where(x > 0, _ONE / np.sqrt(safe), largest)

        table = table_int16(source.scale, 0, output.scale, 0, real)
        node.cache["apply"] = lambda x: interpolate_int16(x, table).astype(np.int16)
        return
    root = float(np.sqrt(np.float32(source.scale)))
    by = QuantizedMultiplier.of(1.0 / (root * output.scale))
    table = np.array([_rsqrt_code(code, source, output, by) for code in range(256)], np.int8)
    node.cache["apply"] = lambda x: look_up(table, x)


def _rsqrt_code(byte: int, source: Tensor, output: Tensor, by: QuantizedMultiplier) -> int:
    value = (byte - 256 if byte > 127 else byte) - source.zero_point
    if value <= 0:
        return 127
    multiplier, shift = inverse_square_root(value)
    scaled = requantize_scalar(1, QuantizedMultiplier(multiplier, shift + 20))
    code = requantize_scalar(scaled, QuantizedMultiplier(by.multiplier, by.shift - 20))
    return min(max(code + output.zero_point, -128), 127)


@kernel("RSQRT", prepare=_prepare_rsqrt, batch=True, form="codes")
def rsqrt(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """1 / sqrt(x); codes below the zero point have no root and are refused.

    Raises:
        DataError: a code that stands for a negative number.
    """
    x = inputs[0]
    least = node.cache.get("least")
    if least is not None and x.size and int(x.min()) < least:
        raise DataError(
            f"input of {node.name}: got code {int(x.min())}; expected {least} or more, since the "
            "square root is defined for positive values only. Check the data or the scale"
        )
    return [node.cache["apply"](x)]
