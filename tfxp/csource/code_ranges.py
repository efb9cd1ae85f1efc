"""The codes that a tensor can hold at all, as far as the operators before it say.

Codes of few bits keep to their format by a zero point near 127 and a MAXIMUM, so sums of them fit
into 16 bits where sums of any 8-bit codes would not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfxp.graph import IntegerGraph, Operator, Tensor

#: The least and the greatest code.
CodeRange = tuple[int, int]

_ALL: CodeRange = (-128, 127)
#: Operators whose outputs hold codes of their first input and no others.
_MOVES = frozenset({
    "AVERAGE_POOL_2D", "BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D",
    "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2",
    "SLICE", "SPACE_TO_DEPTH", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
})  # fmt: skip


def code_ranges(graph: IntegerGraph) -> dict[int, CodeRange]:
    """The range of codes of every tensor of type INT8, by its number.

    Example:
        >>> code_ranges(IntegerGraph())
        {}
    """
    ranges = {index: _of_tensor(tensor) for index, tensor in enumerate(graph.tensors)}
    for operator in graph.operators:
        found = _of_operator(graph, operator, ranges)
        ranges.update(dict.fromkeys(operator.outputs, found))
    return {i: ranges[i] for i, tensor in enumerate(graph.tensors) if tensor.type == "INT8"}


def _of_tensor(tensor: Tensor) -> CodeRange:
    if tensor.data is None or tensor.type != "INT8" or not np.size(tensor.data):
        return _ALL
    return int(np.min(tensor.data)), int(np.max(tensor.data))


def _of_operator(
    graph: IntegerGraph, operator: Operator, ranges: dict[int, CodeRange]
) -> CodeRange:
    inputs = [index for index in operator.inputs if index >= 0]
    activation = operator.options.get("fused_activation_function", "NONE")
    if activation != "NONE" or not _one_scheme(graph, [*inputs[:1], *operator.outputs]):
        return _ALL
    if operator.name in ("MAXIMUM", "MINIMUM") and _one_scheme(graph, inputs):
        either = max if operator.name == "MAXIMUM" else min
        (low, high), (other_low, other_high) = (ranges[index] for index in inputs)
        return either(low, other_low), either(high, other_high)
    return ranges[inputs[0]] if operator.name in _MOVES else _ALL


def _one_scheme(graph: IntegerGraph, indices: Sequence[int]) -> bool:
    """Whether codes mean the same in all of these tensors."""
    tensors = [graph.tensors[index] for index in indices]
    schemes = [t.quantization for t in tensors if t.type == "INT8"]
    if not schemes or len(schemes) < len(tensors):
        return False
    if any(scheme is None or scheme.per_channel for scheme in schemes):
        return False
    return len({(t.scale, t.zero_point) for t in tensors}) == 1
