"""SVDF: a filter over time in integers, whose state holds past feature values.

Every product is requantized with double rounding. LiteRT has one kernel for both resolvers, so both
arithmetics are the same. State lives in a variable tensor, which the kernel updates in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.numerics.arithmetic import float32_product, requantize, wrap_int32
from tfxp.interpreter.registry import Array, Node, kernel

INT8 = (-128, 127)


def _prepare_svdf(node: Node) -> None:
    need.require_counts(node, 5, optional=(3,))
    need.require_type(node, 0, ("INT8",))
    need.require_type(node, 1, ("INT8",))
    need.require_type(node, 2, ("INT16", "INT8"))
    need.require_type(node, 4, (need.tensor(node, 2).type,))
    need.require_output_type(node, ("INT8",))
    source, feature, time, state = (need.tensor(node, i) for i in (0, 1, 2, 4))
    output, rank = node.outputs[0], int(node.options["rank"])
    need.require_scales(node, source, feature, time, state, output)
    filters, memory = time.shape
    if rank < 1 or filters % rank:
        raise need.malformed(node, "rank", rank, f"a divisor of {filters} filters")
    batch, inputs = source.shape
    shapes: list[tuple[int, tuple[int, ...]]] = [
        (1, (filters, inputs)),
        (4, (batch, memory * filters)),
    ]
    if node.inputs[3] is not None:
        shapes.append((3, (filters // rank,)))
    for position, shape in shapes:
        if tuple(need.tensor(node, position).shape) != shape:
            got = list(need.tensor(node, position).shape)
            raise need.malformed(node, f"shape of input {position}", got, str(list(shape)))
    need.require_output_shape(node, (batch, filters // rank))
    if not state.is_variable:
        raise need.unsupported(node, "input 4", "no variable", "a variable tensor")
    for position in (1, 2):
        if node.constant(position) is None:
            raise need.unsupported(node, f"input {position}", "a computed tensor", "a constant")
    node.cache["first"] = float32_product(source.scale, feature.scale, state.scale)
    node.cache["second"] = float32_product(state.scale, time.scale, output.scale)
    node.cache["rank"] = rank


@kernel("SVDF", prepare=_prepare_svdf)
def svdf(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Rank-`rank` filter over time; the state holds past feature values and shifts by one."""
    x, feature, time, bias, state = inputs
    source, output = need.tensor(node, 0), node.outputs[0]
    filters, memory = time.shape
    batch = x.shape[0]
    values = (x.astype(np.int64) - source.zero_point) @ feature.astype(np.int64).T
    limits = np.iinfo(state.dtype)
    newest = np.clip(requantize(wrap_int32(values), node.cache["first"]), limits.min, limits.max)
    past = state.reshape(batch, filters, memory)[:, :, 1:]
    history = np.concatenate([past.astype(np.int64), newest[:, :, None]], axis=2)
    state[...] = history.reshape(state.shape)
    total = wrap_int32((history * time.astype(np.int64)).sum(axis=2))
    total = total.reshape(batch, -1, node.cache["rank"]).sum(axis=2)
    if bias is not None:
        total = total + bias
    codes = requantize(wrap_int32(total), node.cache["second"]) + output.zero_point
    return [np.clip(codes, *INT8).astype(np.int8)]
