"""Plain numbers and indices: FLOOR_DIV, FLOOR_MOD, RANGE, WHERE, GATHER_ND, SCATTER_ND.

Quotients are cut towards minus infinity, remainders have the divisor's sign; both arithmetics do
the same. Sizes of RANGE and WHERE depend on what they read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.errors import DataError
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.elementwise import stacks
from tfxp.interpreter.kernels.shaping import require_indices, require_passed_type
from tfxp.interpreter.registry import Array, Node, as_ints, kernel

_INDICES = ("INT32", "INT64")


def _prepare_floor(node: Node) -> None:
    need.require_counts(node, 2)
    more = ("INT64",) if node.operator.name == "FLOOR_MOD" else ()
    kind = need.require_type(node, 0, ("INT32", "FLOAT32", *more))
    need.require_type(node, 1, (kind,))
    need.require_output_type(node, (kind,))
    need.require_output_shape(node, need.broadcast_shape(node, 0, 1))


@kernel("FLOOR_DIV", "FLOOR_MOD", prepare=_prepare_floor, batch=stacks)
def floor_divide(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """floor(x / y), or x - y * floor(x / y).

    Raises:
        DataError: a divisor of zero.
    """
    x, y = inputs
    if y.dtype.kind != "f" and not np.all(y):
        raise DataError(f"divisor of {node.name}: got 0; expected other numbers. Check the data")
    if node.operator.name == "FLOOR_MOD":
        if y.dtype.kind != "f":
            return [np.mod(x, y)]
        with np.errstate(all="ignore"):
            rest = np.fmod(x, y)
            return [np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)]
    with np.errstate(all="ignore"):
        return [np.floor(x / y) if y.dtype.kind == "f" else np.floor_divide(x, y)]


def _prepare_range(node: Node) -> None:
    need.require_counts(node, 3)
    kind = need.require_type(node, 0, (*_INDICES, "FLOAT32"))
    for position in (1, 2):
        need.require_type(node, position, (kind,))
    need.require_output_type(node, (kind,))
    if any(need.tensor(node, position).size != 1 for position in range(3)):
        shapes = [list(need.tensor(node, position).shape) for position in range(3)]
        raise need.malformed(node, "shapes of start, limit and step", shapes, "one number each")
    known = [node.constant(position) for position in range(3)]
    if all(value is not None for value in known):
        need.require_output_shape(node, (_range_size(node, known),))


def _range_size(node: Node, numbers: Sequence[Any]) -> int:
    start, limit, step = (number.reshape(-1)[0].item() for number in numbers)
    if not step or not math.isfinite(start + limit + step) or (limit - start) / step < 0:
        got = f"{start}, {limit}, {step}"
        raise DataError(
            f"start, limit and step of {node.name}: got {got}; expected a step that leads from one "
            "to the other"
        )
    size = math.ceil(abs((limit - start) / step))
    if size > node.largest_tensor:
        raise DataError(
            f"size of {node.name}: got {size} numbers; expected at most {node.largest_tensor}"
        )
    return size


@kernel("RANGE", prepare=_prepare_range)
def number_range(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """start, start + step, ... up to but without the limit.

    Raises:
        DataError: a step of zero or of the wrong sign.
    """
    size, dtype = _range_size(node, inputs), inputs[0].dtype
    start, step = (inputs[position].reshape(-1)[0] for position in (0, 2))
    if dtype.kind != "f":
        return [start + step * np.arange(size, dtype=dtype)]
    # LiteRT adds the step again and again
    return [np.cumsum(np.array([start] + [step] * (size - 1), dtype)[:size], dtype=dtype)]


def _prepare_where(node: Node) -> None:
    need.require_counts(node, 1)
    kinds = ("BOOL", "FLOAT32", *_INDICES, "INT8", "UINT8", "UINT32")
    need.require_type(node, 0, kinds)
    need.require_output_type(node, ("INT64",))


@kernel("WHERE", prepare=_prepare_where)
def where(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Coordinates (n, rank) of the elements that are not zero, in row order."""
    return [np.argwhere(inputs[0]).astype(np.int64)]


def _prepare_gather_nd(node: Node) -> None:
    need.require_counts(node, 2)
    require_passed_type(node)
    need.require_type(node, 1, ("INT16", *_INDICES))
    shape, indices = need.tensor(node, 0).shape, need.tensor(node, 1).shape
    if not indices or not 1 <= indices[-1] <= len(shape):
        expected = f"a last dimension of 1 to {len(shape)}"
        raise need.malformed(node, "index shape", list(indices), expected)
    need.require_output_shape(node, (*indices[:-1], *shape[indices[-1] :]))


def _flat(node: Node, indices: Array, sides: Sequence[int]) -> Array:
    """Row numbers of coordinates (..., k) in an array that begins with the sides."""
    flat = np.zeros(indices.shape[:-1], np.int64)
    for place, side in enumerate(sides):
        coordinate = indices[..., place].astype(np.int64)
        require_indices(node, coordinate, side)
        flat = flat * side + coordinate
    return flat


@kernel("GATHER_ND", prepare=_prepare_gather_nd)
def gather_nd(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Slices of the input at given coordinates.

    Raises:
        DataError: a coordinate outside its dimension.
    """
    x, indices = inputs
    depth = indices.shape[-1]
    rows = x.reshape(-1, *x.shape[depth:])
    return [rows[_flat(node, indices, x.shape[:depth])]]


def _prepare_scatter_nd(node: Node) -> None:
    need.require_counts(node, 3)
    need.require_type(node, 0, ("INT32",))
    kinds = ("FLOAT32", "UINT8", "BOOL", "INT8", "INT32", "INT64")
    kind = need.require_type(node, 1, kinds)
    need.require_output_type(node, (kind,))
    shape = need.constant_ints(node, 2)
    indices, updates = (need.tensor(node, position).shape for position in (0, 1))
    fits = indices and 1 <= indices[-1] <= len(shape) and min(shape, default=0) >= 0
    if not fits or updates != (*indices[:-1], *shape[indices[-1] :]):
        got = f"{list(indices)} and {list(updates)} for {shape}"
        raise need.malformed(node, "shapes of indices and updates", got, "ones that fit")
    need.require_output_shape(node, shape)


@kernel("SCATTER_ND", prepare=_prepare_scatter_nd)
def scatter_nd(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Zeros with updates added at given coordinates; plain whole numbers wrap.

    Raises:
        DataError: a coordinate outside its dimension.
    """
    indices, updates, shape = inputs[0], inputs[1], as_ints(inputs[2])
    depth = indices.shape[-1]
    rows = np.zeros((math.prod(shape[:depth]), *shape[depth:]), updates.dtype)
    places = _flat(node, indices, shape[:depth]).reshape(-1)
    np.add.at(rows, places, updates.reshape(-1, *shape[depth:]))
    return [rows.reshape(shape)]
