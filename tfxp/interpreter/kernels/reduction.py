"""MEAN, SUM, REDUCE_PROD, REDUCE_MAX, REDUCE_MIN, ARG_MAX and ARG_MIN over constant axes.

MEAN and SUM of codes. builtin: the sum of (code - zero_point) is requantized with double rounding;
MEAN divides the 32-bit multiplier itself by the number of elements, truncating. litert, INT8 and
UINT8: XNNPACK, half_even(float32(sum of codes) * m + z) with m = float32(scale ratio) / n and
z = zero_out - n * zero_in * m, each step in float32. litert, INT16: MEAN as builtin; SUM
half_away(float32(sum) * ratio). BUILTIN_REF's SUM reads INT8 codes as if they were UINT8, and
writes UINT8; builtin repeats that. It reads INT16 codes byte by byte, half of the tensor, which
builtin does not repeat: it sums the codes. REDUCE_MAX and REDUCE_MIN compare codes; their scales
must agree. REDUCE_PROD takes plain numbers only.
"""

from __future__ import annotations

import math
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

#: Sums and the number of elements in each, to codes.
Scaling = Callable[[Array, int], Array]
_PLAIN = ("FLOAT32", "INT32", "INT64")


def _prepare(node: Node) -> None:
    need.require_counts(node, 2)
    codes = () if node.operator.name == "REDUCE_PROD" else need.CODE_TYPES
    kind = need.require_type(node, 0, (*codes, *_PLAIN))
    need.require_output_type(node, (kind,))
    source, output = need.tensor(node, 0), node.outputs[0]
    rank = len(source.shape)
    stated = need.constant_ints(node, 1)
    axes = tuple(sorted({need.require_axis(node, axis, rank) for axis in stated}))
    node.cache["axes"] = axes
    node.cache["keep"] = bool(node.options["keep_dims"])
    kept = [1 if i in axes else n for i, n in enumerate(source.shape)]
    squeezed = [n for i, n in enumerate(source.shape) if i not in axes]
    need.require_output_shape(node, kept if node.cache["keep"] else squeezed)
    if any(source.shape[axis] == 0 for axis in axes):
        raise need.malformed(node, "input shape", list(source.shape), "no empty reduced dimension")
    if kind not in _PLAIN:
        need.require_scales(node, source, output)
        need.require_symmetric(node, source, output)
        if node.operator.name in ("REDUCE_MAX", "REDUCE_MIN"):
            _require_equal_scales(node, source, output)
        else:
            node.cache["scale"] = _choose_scaling(node, source, output)
            is_reference_sum = node.operator.name == "SUM" and node.arithmetic == "builtin"
            node.cache["as_uint8"] = is_reference_sum and kind == "INT8"


def _require_equal_scales(node: Node, source: Tensor, output: Tensor) -> None:
    got = [(source.scale, source.zero_point), (output.scale, output.zero_point)]
    if got[0] != got[1]:
        raise need.unsupported(node, "scale and zero point", got, "the same for input and output")


def _choose_scaling(node: Node, source: Tensor, output: Tensor) -> Scaling:
    is_sum = node.operator.name == "SUM"
    if node.arithmetic == "litert":
        if need.byte_quantized(source, output):
            return _xnnpack(source, output, is_sum)
        if is_sum:
            return _sum_float32(source, output)
    return _builtin(source, output, is_sum)


def _builtin(source: Tensor, output: Tensor, is_sum: bool) -> Scaling:
    by = QuantizedMultiplier.of(source.scale / output.scale)

    def apply(total: Array, count: int) -> Array:
        multiplier = by
        if not is_sum:
            shift = min(count.bit_length() - 1, 32, 31 + by.shift)
            divided = (by.multiplier << shift) // count
            multiplier = QuantizedMultiplier(divided, by.shift - shift)
        shifted = wrap_int32(total - source.zero_point * count)
        return requantize(shifted, multiplier) + output.zero_point

    return apply


def _xnnpack(source: Tensor, output: Tensor, is_sum: bool) -> Scaling:
    ratio = np.float32(source.scale) / np.float32(output.scale)

    def apply(total: Array, count: int) -> Array:
        scale = ratio if is_sum else ratio * (np.float32(1.0) / np.float32(count))
        offset = np.float32(count) * np.float32(source.zero_point) * scale
        zero = np.float32(output.zero_point) - offset
        return np.rint(total.astype(np.float32) * scale + zero)

    return apply


def _sum_float32(source: Tensor, output: Tensor) -> Scaling:
    ratio = np.float32(source.scale) / np.float32(output.scale)

    def apply(total: Array, count: int) -> Array:
        bias = np.float32(-source.zero_point) * ratio * np.float32(count)
        return round_half_away(total.astype(np.float32) * ratio + bias) + output.zero_point

    return apply


def keeps_batch(node: Node) -> bool:
    """Whether the leading dimension is not reduced."""
    return 0 not in node.cache["axes"]


@kernel("MEAN", "SUM", prepare=_prepare, batch=keeps_batch)
def mean_or_sum(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Mean or sum over the axes: see the module for the rounding."""
    x, axes, keep = inputs[0], node.cache["axes"], node.cache["keep"]
    is_mean = node.operator.name == "MEAN"
    count = math.prod(x.shape[axis] for axis in axes)
    if "scale" in node.cache:
        if node.cache.get("as_uint8"):
            total = x.view(np.uint8).sum(axis=axes, keepdims=keep, dtype=np.int64)
            codes = np.clip(node.cache["scale"](total, count), 0, 255)
            return [codes.astype(np.uint8).view(np.int8)]
        total = x.sum(axis=axes, keepdims=keep, dtype=np.int64)
        codes = node.cache["scale"](total, count)
        kind = node.outputs[0].type
        return [np.clip(codes, *CODE_LIMITS[kind]).astype(x.dtype)]
    if x.dtype.kind == "f":
        total = x.sum(axis=axes, keepdims=keep, dtype=np.float32)
        return [np.asarray(total / np.float32(count) if is_mean else total)]
    total = x.sum(axis=axes, keepdims=keep, dtype=np.int64)
    quotient = np.sign(total) * (np.abs(total) // max(count, 1)) if is_mean else total
    return [np.asarray(quotient).astype(x.dtype)]


@kernel("REDUCE_MAX", "REDUCE_MIN", prepare=_prepare, batch=keeps_batch)
def reduce_extreme(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Largest or smallest element over the axes; codes are compared as they are."""
    reduce = np.max if node.operator.name == "REDUCE_MAX" else np.min
    result = reduce(inputs[0], axis=node.cache["axes"], keepdims=node.cache["keep"])
    return [np.asarray(result)]


@kernel("REDUCE_PROD", prepare=_prepare, batch=keeps_batch)
def reduce_product(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Product of plain numbers over the axes; whole ones wrap."""
    x = inputs[0]
    result = np.prod(x, axis=node.cache["axes"], keepdims=node.cache["keep"], dtype=x.dtype)
    return [np.asarray(result)]


def _prepare_segments(node: Node) -> None:
    need.require_counts(node, 3)
    kind = need.require_type(node, 0, _PLAIN)
    need.require_output_type(node, (kind,))
    shape, ids = need.tensor(node, 0).shape, need.constant_ints(node, 1)
    count = need.constant_ints(node, 2)
    if shape[:1] != (len(ids),) or len(count) != 1 or not -1 <= min(ids, default=0):
        got = [list(shape), ids, count]
        raise need.malformed(node, "rows, segments and count", got, "a segment number for each row")
    if max(ids, default=0) >= count[0]:
        raise need.malformed(node, "segments", max(ids), f"below {count[0]}")
    need.require_output_shape(node, (count[0], *shape[1:]))
    node.cache["ids"], node.cache["count"] = ids, count[0]


@kernel("UNSORTED_SEGMENT_PROD", prepare=_prepare_segments)
def segment_product(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Per segment, the product of its rows; 1 where it has none. Rows of segment -1 are dropped."""
    x = inputs[0]
    result = np.ones((node.cache["count"], *x.shape[1:]), x.dtype)
    for row, segment in zip(x, node.cache["ids"], strict=True):
        if segment >= 0:
            result[segment] *= row
    return [result]


def _prepare_arg(node: Node) -> None:
    need.require_counts(node, 2)
    need.require_type(node, 0, ("FLOAT32", "INT8", "UINT8", "INT32", "BOOL"))
    need.require_output_type(node, ("INT32", "INT64"))
    source = need.tensor(node, 0)
    stated = need.constant_ints(node, 1)
    if len(stated) != 1:
        raise need.malformed(node, "axes", stated, "one axis")
    axis = need.require_axis(node, stated[0], len(source.shape))
    if source.shape[axis] == 0:
        raise need.malformed(node, "input shape", list(source.shape), "no empty searched dimension")
    need.require_output_shape(node, [n for i, n in enumerate(source.shape) if i != axis])
    node.cache["axes"] = (axis,)


@kernel("ARG_MAX", "ARG_MIN", prepare=_prepare_arg, batch=keeps_batch)
def arg_extreme(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Index of the first largest or smallest element along the axis."""
    search = np.argmax if node.operator.name == "ARG_MAX" else np.argmin
    index = search(inputs[0], axis=node.cache["axes"][0])
    return [np.asarray(index).astype(node.outputs[0].dtype)]
