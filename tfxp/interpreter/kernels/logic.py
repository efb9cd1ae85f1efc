"""Comparisons, logic and selection: EQUAL to GREATER_EQUAL, LOGICAL_*, SELECT, SELECT_V2.

Comparisons of INT8 and UINT8 codes that have a scale, both arithmetics: each side is
`double_rounding` of (code - zero_point) * 2^8 by its own scale, and those are compared; scales must
be below 1. Other types are compared as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.elementwise import stacks
from tfxp.interpreter.numerics.arithmetic import QuantizedMultiplier, requantize
from tfxp.interpreter.registry import Array, Node, kernel

_COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
}
_NUMBERS = ("FLOAT32", "INT32", "INT64", "INT8", "UINT8")
_LEFT_SHIFT = 8


def _prepare_comparison(node: Node) -> None:
    need.require_counts(node, 2)
    types = ("BOOL", *_NUMBERS) if node.operator.name.endswith("EQUAL") else _NUMBERS
    if node.operator.name in ("LESS_EQUAL", "GREATER_EQUAL"):
        types = _NUMBERS
    kind = need.require_type(node, 0, types)
    need.require_type(node, 1, (kind,))
    need.require_output_type(node, ("BOOL",))
    need.require_output_shape(node, need.broadcast_shape(node, 0, 1))
    sides = [need.tensor(node, position) for position in (0, 1)]
    if kind in need.BYTE_TYPES:
        scaled = [side.quantization is not None for side in sides]
        if all(scaled):
            node.cache["scale"] = [_scaling(node, side) for side in sides]
        elif any(scaled):
            raise need.unsupported(node, "scales", "one side's", "scales of both sides or none")


def _scaling(node: Node, side: Tensor) -> Callable[[Array], Array]:
    need.require_scales(node, side)
    if side.scale >= 1.0:
        raise need.unsupported(node, f"scale of {side.name!r}", side.scale, "a number below 1")
    by, zero = QuantizedMultiplier.of(side.scale), side.zero_point
    return lambda x: requantize((x.astype(np.int64) - zero) << _LEFT_SHIFT, by)


@kernel(*_COMPARISONS, prepare=_prepare_comparison, batch=stacks, form="pairs")
def compare(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Whether a relation holds, element by element; shapes broadcast."""
    a, b = inputs[:2]
    if "scale" in node.cache:
        a, b = (scale(x) for scale, x in zip(node.cache["scale"], (a, b), strict=True))
    return [_COMPARISONS[node.operator.name](a, b)]


def _prepare_logic(node: Node) -> None:
    count = 1 if node.operator.name == "LOGICAL_NOT" else 2
    need.require_counts(node, count)
    for position in range(count):
        need.require_type(node, position, ("BOOL",))
    need.require_output_type(node, ("BOOL",))
    need.require_output_shape(node, need.broadcast_shape(node, *range(count)))


@kernel("LOGICAL_AND", "LOGICAL_OR", prepare=_prepare_logic, batch=stacks, form="pairs")
def logical_pair(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """And, or of truth values; shapes broadcast."""
    operation = np.logical_and if node.operator.name == "LOGICAL_AND" else np.logical_or
    return [operation(inputs[0], inputs[1])]


@kernel("LOGICAL_NOT", prepare=_prepare_logic, batch=stacks, form="codes")
def logical_not(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The opposite of truth values."""
    return [np.logical_not(inputs[0])]


def _prepare_select(node: Node) -> None:
    need.require_counts(node, 3)
    need.require_type(node, 0, ("BOOL",))
    kinds = ("BOOL", "INT16", *_NUMBERS)
    kind = need.require_type(node, 1, kinds)
    need.require_type(node, 2, (kind,))
    need.require_output_type(node, (kind,))
    condition, x, y = (need.tensor(node, position).shape for position in range(3))
    if node.operator.name == "SELECT_V2":
        need.require_output_shape(node, need.broadcast_shape(node, 0, 1, 2))
        return
    # the older form takes one truth value, one per row, or one per element
    if x != y or condition not in ((), (1,), x[:1], x):
        got = f"{list(condition)}, {list(x)} and {list(y)}"
        raise need.malformed(node, "input shapes", got, "equal ones, or one condition per row")
    need.require_output_shape(node, x)


@kernel("SELECT", "SELECT_V2", prepare=_prepare_select)
def select(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Elements of x where the condition holds, of y elsewhere; codes pass as they are."""
    condition, x, y = inputs
    if node.operator.name == "SELECT" and condition.shape != x.shape:
        rows = condition.reshape(-1, *[1] * max(x.ndim - 1, 0))
        condition = rows if x.ndim else rows.reshape(())
    return [np.where(condition, x, y)]
