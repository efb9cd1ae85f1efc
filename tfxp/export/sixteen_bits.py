"""Sums and changes of format that round half up on every runtime, on their way through 16 bits.

LiteRT's ADD and QUANTIZE of 8 bits round ties up in one engine and away from zero, or twice, in
others. Sixteen bits have room for the exact sum and half a step below its last bit:

    QUANTIZE to steps of s / 4,    ADD 2,    ADD the other tensor,    QUANTIZE: (4 a + 2) 2^-(k + 2)

which is never a tie, and the same in every runtime (tests/export/test_portable.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfxp.export.graph_parts import GraphParts, Value, zero_centred
from tfxp.formats import has_power_of_two
from tfxp.graph import Tensor

_LARGEST = 2**15 - 1
_FINER = 4


def needs_room(parts: GraphParts, values: Sequence[Value], output: Value) -> bool:
    """Whether runtimes may round otherwise than each other when 8-bit codes get coarser."""
    if not parts.portable or parts.storage != "INT8":
        return False
    steps = [value.fmt.scale for value in values]
    return output.fmt.scale > min(steps) and _fits(values, output)


def _fits(values: Sequence[Value], output: Value) -> bool:
    """Whether 16 bits hold the exact sum, in quarters of the finest step."""
    if not all(has_power_of_two(value.fmt) for value in (*values, output)):
        return False
    finest = min(value.fmt.scale for value in values) / _FINER
    largest = sum(max(-v.fmt.qmin, v.fmt.qmax) * v.fmt.scale / finest for v in values)
    return largest + _FINER // 2 <= _LARGEST


def write_half_up(
    parts: GraphParts, values: Sequence[Value], output: Value, name: str, operator: str = "ADD"
) -> Value:
    """One tensor, or the sum or difference of two, in the output's format.

    Args:
        parts: the graph.
        values: one or two tensors.
        output: the tensor to write.
        name: first part of the names of tensors in between.
        operator: "ADD" or "SUB", for two tensors.
    """
    scale = min(value.fmt.scale for value in values) / _FINER
    wide = [_widened(parts, value, scale, f"{name}_16_bits") for value in values]
    half = parts.constant(
        f"half_of_{scale:g}", np.array([_FINER // 2], np.int16), "INT16", zero_centred(scale)
    )
    options = {"fused_activation_function": "NONE", "pot_scale_int16": False}
    total = _like(parts, wide[0], scale, f"{name}_half_up")
    parts.emit("ADD", [wide[0].index, half], total, options)
    if len(wide) == 2:
        inputs = [total.index, wide[1].index]
        total = _like(parts, output, scale, f"{name}_sum")
        parts.emit(operator, inputs, total, options)
    return parts.emit("QUANTIZE", [total.index], output)


def _widened(parts: GraphParts, value: Value, scale: float, name: str) -> Value:
    tensor = parts.graph.tensors[value.index]
    if tensor.data is None:
        return parts.emit("QUANTIZE", [value.index], _like(parts, value, scale, name))
    codes = np.asarray(tensor.data, np.int64) - tensor.zero_point
    wide = (codes * round(value.fmt.scale / scale)).astype(np.int16)
    return Value(parts.constant(name, wide, "INT16", zero_centred(scale)), value.fmt)


def _like(parts: GraphParts, value: Value, scale: float, name: str) -> Value:
    """A 16-bit tensor of the same shape."""
    tensor = parts.graph.tensors[value.index]
    wide = Tensor(
        parts.unique(name),
        tensor.shape,
        "INT16",
        zero_centred(scale),
        shape_signature=tensor.shape_signature,
    )
    return Value(parts.graph.add_tensor(wide), value.fmt)
