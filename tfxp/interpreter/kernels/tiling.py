"""SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND, TILE, BROADCAST_TO and FILL: repeat or move elements.

Codes pass as they are, in both arithmetics; SPACE_TO_BATCH_ND pads with the zero point. Older
converters write a dilated convolution as SPACE_TO_BATCH_ND, a plain one and BATCH_TO_SPACE_ND.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.shaping import require_passed_type
from tfxp.interpreter.registry import Array, Node, as_ints, kernel


def _prepare_blocks(node: Node) -> None:
    need.require_counts(node, 3)
    require_passed_type(node)
    rank = need.require_rank(node, 0, 3, 4)
    blocks, margins = need.constant_ints(node, 1), need.require_constant(node, 2)
    spatial = rank - 2
    if len(blocks) != spatial or min(blocks) < 1 or max(blocks) > need.MAX_SIDE:
        raise need.malformed(node, "block shape", blocks, f"{spatial} numbers of 1 or more")
    if margins.shape != (spatial, 2) or int(margins.min()) < 0:
        expected = f"[{spatial}, 2] numbers >= 0"
        raise need.malformed(node, "paddings or crops", margins.tolist(), expected)
    pairs = [(int(a), int(b)) for a, b in margins]
    node.cache["blocks"], node.cache["pairs"] = tuple(blocks), pairs
    shape = need.tensor(node, 0).shape
    if node.operator.name == "SPACE_TO_BATCH_ND":
        result = _to_batch_shape(node, shape, blocks, pairs)
    else:
        result = _to_space_shape(node, shape, blocks, pairs)
    need.require_output_shape(node, result)


def _to_batch_shape(
    node: Node, shape: Sequence[int], blocks: list[int], pairs: list[tuple[int, int]]
) -> list[int]:
    sizes = []
    for size, block, pair in zip(shape[1:], blocks, pairs, strict=False):
        padded = size + sum(pair)
        if padded % block:
            raise need.malformed(node, "padded size", padded, f"a multiple of {block}")
        sizes.append(padded // block)
    return [shape[0] * math.prod(blocks), *sizes, shape[-1]]


def _to_space_shape(
    node: Node, shape: Sequence[int], blocks: list[int], pairs: list[tuple[int, int]]
) -> list[int]:
    count = math.prod(blocks)
    if shape[0] % count:
        raise need.malformed(node, "batch", shape[0], f"a multiple of {count}")
    sizes = []
    for size, block, pair in zip(shape[1:], blocks, pairs, strict=False):
        left = size * block - sum(pair)
        if left < 0:
            raise need.malformed(node, "crops", list(pair), f"at most {size * block} together")
        sizes.append(left)
    return [shape[0] // count, *sizes, shape[-1]]


@kernel("SPACE_TO_BATCH_ND", prepare=_prepare_blocks, form="fills")
def space_to_batch(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Pads, then moves each position inside a block to an image of its own."""
    x, blocks, pairs = inputs[0], node.cache["blocks"], node.cache["pairs"]
    fill = node.outputs[0].zero_point if x.dtype.kind in "iu" else 0
    x = np.pad(x, [(0, 0), *pairs, (0, 0)], constant_values=fill)
    split: list[int] = [x.shape[0]]
    for size, block in zip(x.shape[1:-1], blocks, strict=True):
        split += [size // block, block]
    inside = list(range(2, len(split), 2))
    order = [*inside, 0, *range(1, len(split), 2), len(split)]
    moved = x.reshape(*split, x.shape[-1]).transpose(order)
    sizes = [n // b for n, b in zip(x.shape[1:-1], blocks, strict=True)]
    return [moved.reshape(x.shape[0] * math.prod(blocks), *sizes, x.shape[-1])]


@kernel("BATCH_TO_SPACE_ND", prepare=_prepare_blocks, form="moves")
def batch_to_space(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The inverse of SPACE_TO_BATCH_ND, then crops."""
    x, blocks, pairs = inputs[0], node.cache["blocks"], node.cache["pairs"]
    spatial = len(blocks)
    images = x.shape[0] // math.prod(blocks)
    parts = x.reshape(*blocks, images, *x.shape[1:])
    order = [spatial]
    for axis in range(spatial):
        order += [spatial + 1 + axis, axis]
    whole = parts.transpose(*order, 2 * spatial + 1)
    sizes = [n * b for n, b in zip(x.shape[1:-1], blocks, strict=True)]
    whole = whole.reshape(images, *sizes, x.shape[-1])
    crops = [slice(None), *(slice(a, n - b) for n, (a, b) in zip(sizes, pairs, strict=True))]
    return [np.ascontiguousarray(whole[tuple(crops)])]


def _prepare_tile(node: Node) -> None:
    need.require_counts(node, 2)
    require_passed_type(node)
    shape, times = need.tensor(node, 0).shape, need.constant_ints(node, 1)
    if len(times) != len(shape) or min(times, default=0) < 0:
        raise need.malformed(node, "multiples", times, f"{len(shape)} numbers >= 0")
    need.require_output_shape(node, [n * k for n, k in zip(shape, times, strict=True)])


def _first_once(node: Node) -> bool:
    return need.constant_ints(node, 1)[:1] == [1]


@kernel("TILE", prepare=_prepare_tile, batch=_first_once, form="moves")
def tile(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Repeats the input along each dimension."""
    return [np.tile(inputs[0], as_ints(inputs[1]))]


def _prepare_broadcast(node: Node) -> None:
    need.require_counts(node, 2)
    require_passed_type(node)
    wanted = need.constant_ints(node, 1)
    try:
        fits = np.broadcast_shapes(need.tensor(node, 0).shape, tuple(wanted)) == tuple(wanted)
    except (ValueError, RuntimeError):  # the second beyond 32 dimensions
        fits = False
    if not fits:
        got = list(need.tensor(node, 0).shape)
        raise need.malformed(node, "input shape", got, f"one that broadcasts to {wanted}")
    need.require_output_shape(node, wanted)


@kernel("BROADCAST_TO", prepare=_prepare_broadcast, form="moves")
def broadcast_to(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The input repeated along its dimensions of size 1."""
    return [np.array(np.broadcast_to(inputs[0], as_ints(inputs[1])))]


def _prepare_fill(node: Node) -> None:
    need.require_counts(node, 2)
    require_passed_type(node, 1)
    wanted = need.constant_ints(node, 0)
    if min(wanted, default=0) < 0 or need.tensor(node, 1).size != 1:
        got = [wanted, list(need.tensor(node, 1).shape)]
        raise need.malformed(node, "shape and value", got, "sizes of 0 or more and one value")
    need.require_output_shape(node, wanted)


@kernel("FILL", prepare=_prepare_fill)
def fill(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """One value in a given shape."""
    return [np.full(as_ints(inputs[0]), inputs[1].reshape(()))]
