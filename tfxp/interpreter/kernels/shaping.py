"""Operators that only rearrange elements: RESHAPE, SQUEEZE, EXPAND_DIMS, TRANSPOSE, SHAPE,
SPACE_TO_DEPTH and DEPTH_TO_SPACE. Codes pass as they are, in both arithmetics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.errors import DataError
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.registry import Array, Node, as_ints, kernel


def require_passed_type(node: Node, position: int = 0) -> None:
    """Checks that elements leave with the type they came with."""
    need.require_output_type(node, (need.tensor(node, position).type,))


def resolve_shape(node: Node, wanted: Sequence[int], size: int) -> tuple[int, ...]:
    """`wanted` with its one -1 replaced so that it holds `size` elements."""
    free = [i for i, n in enumerate(wanted) if n == -1]
    if len(free) > 1 or min(wanted, default=0) < -1:
        raise need.malformed(node, "new shape", list(wanted), "sizes >= 0 and at most one -1")
    known = math.prod(n for n in wanted if n != -1)
    if not free and known == size:
        return tuple(wanted)
    if free and known and size % known == 0:
        return tuple(size // known if n == -1 else n for n in wanted)
    raise need.malformed(node, "new shape", list(wanted), f"one of {size} elements")


def _wanted_shape(node: Node) -> list[int] | None:
    """The new shape if it is known before the run."""
    shape = node.inputs[1] if len(node.inputs) > 1 else None
    if shape is not None and len(shape.shape) == 1 and shape.type == "INT32":
        return None if shape.data is None else as_ints(shape.data)
    stated = node.options.get("new_shape")
    wanted = [int(n) for n in stated] if stated is not None else list(node.outputs[0].shape)
    return [] if wanted == [0] else wanted  # how old files spell a scalar


def _prepare_reshape(node: Node) -> None:
    need.require_counts(node, (1, 2))
    require_passed_type(node)
    wanted = _wanted_shape(node)
    if wanted is not None:
        shape = resolve_shape(node, wanted, need.tensor(node, 0).size)
        need.require_output_shape(node, shape)
        node.cache["shape"], node.cache["wanted"] = shape, wanted


def _known_shape(node: Node) -> bool:
    return "shape" in node.cache


@kernel("RESHAPE", prepare=_prepare_reshape, batch=_known_shape)
def reshape(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The same elements in another shape; several images multiply the first dimension."""
    x = inputs[0]
    if "shape" not in node.cache:
        return [x.reshape(resolve_shape(node, as_ints(inputs[1]), x.size))]
    shape = node.cache["shape"]
    usual = math.prod(shape)
    if x.size == usual:
        return [x.reshape(shape)]
    if shape[:1] == (1,) and usual and x.size % usual == 0:
        return [x.reshape((x.size // usual, *shape[1:]))]
    return [x.reshape(resolve_shape(node, node.cache["wanted"], x.size))]


def _prepare_squeeze(node: Node) -> None:
    need.require_counts(node, 1)
    require_passed_type(node)
    shape = need.tensor(node, 0).shape
    dims = node.options.get("squeeze_dims")
    stated = [] if dims is None else [int(axis) for axis in dims]
    axes = sorted({need.require_axis(node, axis, len(shape)) for axis in stated})
    if any(shape[axis] != 1 for axis in axes):
        raise need.malformed(node, "squeezed sizes", [shape[a] for a in axes], "sizes of 1")
    if not stated:
        axes = [axis for axis, n in enumerate(shape) if n == 1]
    need.require_output_shape(node, [n for i, n in enumerate(shape) if i not in axes])
    node.cache["axes"] = tuple(axes)


def _axis_is_inner(node: Node) -> bool:
    return 0 not in node.cache["axes"]


@kernel("SQUEEZE", prepare=_prepare_squeeze, batch=_axis_is_inner)
def squeeze(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Drops dimensions of size 1: those named, or all."""
    return [np.squeeze(inputs[0], axis=node.cache["axes"])]


def _prepare_expand(node: Node) -> None:
    need.require_counts(node, 2)
    require_passed_type(node)
    stated = need.constant_ints(node, 1)
    if len(stated) != 1:
        raise need.malformed(node, "axes", stated, "one axis")
    shape = list(need.tensor(node, 0).shape)
    axis = need.require_axis(node, stated[0], len(shape) + 1)
    shape.insert(axis, 1)
    need.require_output_shape(node, shape)
    node.cache["axes"] = (axis,)


@kernel("EXPAND_DIMS", prepare=_prepare_expand, batch=_axis_is_inner)
def expand_dims(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Inserts a dimension of size 1."""
    return [np.expand_dims(inputs[0], node.cache["axes"])]


def _prepare_transpose(node: Node) -> None:
    need.require_counts(node, 2)
    require_passed_type(node)
    shape = need.tensor(node, 0).shape
    order = need.constant_ints(node, 1)
    axes = [axis + len(shape) if axis < 0 else axis for axis in order]
    if sorted(axes) != list(range(len(shape))):
        raise need.malformed(node, "permutation", order, f"each of 0 to {len(shape) - 1} once")
    need.require_output_shape(node, [shape[axis] for axis in axes])
    node.cache["order"] = tuple(axes)


def _first_stays(node: Node) -> bool:
    return node.cache["order"][:1] == (0,)


@kernel("TRANSPOSE", prepare=_prepare_transpose, batch=_first_stays, form="moves")
def transpose(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Dimensions in another order."""
    return [np.ascontiguousarray(inputs[0].transpose(node.cache["order"]))]


def _prepare_shape(node: Node) -> None:
    need.require_counts(node, 1)
    need.require_output_type(node, ("INT32", "INT64"))
    need.require_output_shape(node, (len(need.tensor(node, 0).shape),))


@kernel("SHAPE", prepare=_prepare_shape)
def shape_of(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The input's shape as a vector."""
    return [np.array(inputs[0].shape, node.outputs[0].dtype)]


def _prepare_blocks(node: Node) -> None:
    need.require_counts(node, 1)
    require_passed_type(node)
    need.require_rank(node, 0, 4)
    batch, height, width, depth = need.tensor(node, 0).shape
    block = int(node.options["block_size"])
    if block < 1:
        raise need.malformed(node, "block_size", block, "1 or more")
    if node.operator.name == "SPACE_TO_DEPTH":
        if height % block or width % block:
            expected = f"multiples of block_size {block}"
            raise need.malformed(node, "image", [height, width], expected)
        shape = (batch, height // block, width // block, depth * block * block)
    else:
        if depth % (block * block):
            raise need.malformed(node, "depth", depth, f"a multiple of {block * block}")
        shape = (batch, height * block, width * block, depth // (block * block))
    need.require_output_shape(node, shape)


@kernel("SPACE_TO_DEPTH", prepare=_prepare_blocks, batch=True, form="moves")
def space_to_depth(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Each block of pixels becomes one pixel with their channels in row order."""
    x, block = inputs[0], int(node.options["block_size"])
    n, height, width, depth = x.shape
    parts = x.reshape(n, height // block, block, width // block, block, depth)
    parts = parts.transpose(0, 1, 3, 2, 4, 5)
    return [parts.reshape(n, height // block, width // block, block * block * depth)]


@kernel("DEPTH_TO_SPACE", prepare=_prepare_blocks, batch=True, form="moves")
def depth_to_space(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Each pixel becomes a block of pixels: the inverse of SPACE_TO_DEPTH."""
    x, block = inputs[0], int(node.options["block_size"])
    n, height, width, depth = x.shape
    out = depth // (block * block)
    parts = x.reshape(n, height, width, block, block, out).transpose(0, 1, 3, 2, 4, 5)
    return [parts.reshape(n, height * block, width * block, out)]


def require_indices(node: Node, indices: Array, size: int) -> None:
    """Checks computed indices; raises DataError for one outside 0 to size - 1."""
    if indices.size and not (0 <= int(indices.min()) and int(indices.max()) < size):
        got = f"{int(indices.min())} to {int(indices.max())}"
        raise DataError(
            f"indices of {node.name}: got {got}; expected 0 to {size - 1}. Check the data that "
            "the indices come from"
        )


def _prepare_gather(node: Node) -> None:
    need.require_counts(node, 2)
    require_passed_type(node)
    need.require_type(node, 1, ("INT16", "INT32", "INT64"))
    shape, index_shape = need.tensor(node, 0).shape, need.tensor(node, 1).shape
    axis = need.require_axis(node, int(node.options["axis"]), len(shape))
    batch_dims = int(node.options.get("batch_dims") or 0)
    batch_dims += len(index_shape) if batch_dims < 0 else 0
    if not 0 <= batch_dims <= min(axis, len(index_shape)):
        raise need.malformed(node, "batch_dims", batch_dims, f"0 to {axis}")
    if shape[:batch_dims] != index_shape[:batch_dims]:
        raise need.malformed(node, "index shape", list(index_shape), f"a start of {list(shape)}")
    indices = node.constant(1)
    if indices is not None and indices.size:
        least, most = int(indices.min()), int(indices.max())
        if least < 0 or most >= shape[axis]:
            got = f"{least} to {most}"
            raise need.malformed(node, "indices", got, f"0 to {shape[axis] - 1}")
    result = (*shape[:axis], *index_shape[batch_dims:], *shape[axis + 1 :])
    need.require_output_shape(node, result)
    node.cache["axis"], node.cache["batch_dims"] = axis, batch_dims


def _gathers_inside(node: Node) -> bool:
    """Inside every image of a stack, or a stack of indices in one table."""
    axis, whole = node.cache["axis"], node.cache["batch_dims"] == 0
    from_table = axis == 0 and node.constant(0) is not None and node.constant(1) is None
    return whole and (from_table or (axis > 0 and node.constant(1) is not None))


@kernel("GATHER", prepare=_prepare_gather, batch=_gathers_inside, form="moves")
def gather(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Slices of the input at given indices along an axis.

    Raises:
        DataError: a computed index outside the dimension.
    """
    x, indices = inputs
    axis, batch_dims = node.cache["axis"], node.cache["batch_dims"]
    require_indices(node, indices, x.shape[axis])
    if not batch_dims:
        return [np.take(x, indices, axis=axis)]
    lead = x.shape[:batch_dims]
    flat_x = x.reshape(-1, *x.shape[batch_dims:])
    flat_indices = indices.reshape(-1, *indices.shape[batch_dims:])
    rows = [
        np.take(a, i, axis=axis - batch_dims) for a, i in zip(flat_x, flat_indices, strict=True)
    ]
    stacked = np.stack(rows)
    return [stacked.reshape(*lead, *stacked.shape[1:])]
