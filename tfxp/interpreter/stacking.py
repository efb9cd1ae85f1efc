"""Many images through a graph made for one: a stack per operator where it permits.

A stacked value holds the images along its leading dimension: (N * d0, d1, ...) for a tensor of
shape (d0, d1, ...). Operators whose stacked tensors all have d0 = 1, and whose kernel says so, run
once on the whole stack; others run image by image on slices.
"""

from __future__ import annotations

import numpy as np

from tfxp.interpreter.executor import Executor
from tfxp.interpreter.registry import Array, Kernel, Node


def run_stacked(executor: Executor, feeds: dict[int, Array]) -> list[Array]:
    """Outputs for a stack of images.

    Args:
        executor: the prepared graph.
        feeds: arrays (N, ...) by model input.

    Returns:
        One array (N, ...) per model output.
    """
    count = next(iter(feeds.values())).shape[0]
    nodes = executor.private_nodes()
    if executor.variables:
        outputs = [_run_alone(executor, nodes, feeds, i) for i in range(count)]
        stacked = [np.concatenate(rows) for rows in zip(*outputs, strict=True)]
    else:
        values = dict(feeds)
        stack = set(feeds)
        for node, kernel in zip(nodes, executor.kernels, strict=True):
            _run_operator(executor, node, kernel, values, stack, count)
            executor.drop_used(node, values)
        stacked = [
            values[i] if i in stack else np.concatenate([_constant(executor, values, i)] * count)
            for i in executor.graph.outputs
        ]
    executor.count(nodes)
    return stacked


def _constant(executor: Executor, values: dict[int, Array], index: int) -> Array:
    value = values.get(index, executor.graph.tensors[index].data)
    assert value is not None  # the executor has checked that every output is computed or constant
    return np.atleast_1d(value)


def _run_alone(
    executor: Executor, nodes: list[Node], feeds: dict[int, Array], image: int
) -> list[Array]:
    """One image through a stateful graph, from fresh state."""
    executor.reset_variables()
    values = {index: rows[image : image + 1] for index, rows in feeds.items()}
    for node, kernel in zip(nodes, executor.kernels, strict=True):
        results = executor.call(node, kernel, executor.arguments(node, values))
        node.counters.runs += 1
        values.update(zip(node.operator.outputs, results, strict=False))
    return [np.atleast_1d(values[index]) for index in executor.graph.outputs]


def _run_operator(
    executor: Executor,
    node: Node,
    kernel: Kernel,
    values: dict[int, Array],
    stack: set[int],
    count: int,
) -> None:
    stacked = [i for i in node.operator.inputs if i in stack]
    arguments = executor.arguments(node, values)
    if not stacked:
        results = executor.call(node, kernel, arguments)
        node.counters.runs += 1
    elif _permits(executor, node, kernel, stacked):
        results = executor.call(node, kernel, arguments)
        node.counters.runs += count
    else:
        results = _image_by_image(executor, node, kernel, arguments, stack, count)
    if stacked:
        stack.update(node.operator.outputs)
    values.update(zip(node.operator.outputs, results, strict=False))


def _permits(executor: Executor, node: Node, kernel: Kernel, stacked: list[int]) -> bool:
    tensors = executor.graph.tensors
    involved = [tensors[i].shape for i in (*stacked, *node.operator.outputs)]
    return all(shape[:1] == (1,) for shape in involved) and kernel.batches(node)


def _image_by_image(
    executor: Executor,
    node: Node,
    kernel: Kernel,
    arguments: list[Array | None],
    stack: set[int],
    count: int,
) -> list[Array]:
    parts = []
    for image in range(count):
        mine = []
        for index, array in zip(node.operator.inputs, arguments, strict=True):
            if array is not None and index in stack:
                rank = len(executor.graph.tensors[index].shape)
                rows = array.shape[0] // count
                array = array[image * rows : (image + 1) * rows]
                array = array.reshape(()) if rank == 0 else array
            mine.append(array)
        parts.append(executor.call(node, kernel, mine))
        node.counters.runs += 1
    return [np.concatenate([np.atleast_1d(a) for a in rows]) for rows in zip(*parts, strict=True)]
