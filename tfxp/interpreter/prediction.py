"""Many images through a graph made for one: a stack per operator where it permits.

A stacked value holds the images along its leading dimension: (N * d0, d1, ...) for a tensor of
shape (d0, d1, ...). Operators whose stacked tensors all have d0 = 1, and whose kernel says so, run
once on the whole stack; others run image by image on slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from tfxp.errors import DataError, did_you_mean
from tfxp.graph import IntegerGraph
from tfxp.interpreter.executor import Executor
from tfxp.interpreter.registry import Array, Kernel, Node

#: Rows of every model input: an array, a list in the model's order, or a dictionary by name.
Rows = ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike]


def rows_by_input(graph: IntegerGraph, x: Rows, call: str) -> dict[int, Array]:
    """Rows by tensor index, in the model's order.

    Args:
        graph: whose inputs.
        x: an array; a list, an array per input; a dictionary by the names of tensors or of the
            arguments of a signature.
        call: how messages name the call.

    Raises:
        DataError: an input is missing, unknown, or of another number of rows than the first.
    """
    names = {graph.tensors[index].name: index for index in graph.inputs}
    if isinstance(x, Mapping):
        known = dict(names)
        for signature in graph.signatures:
            if signature.subgraph == 0:
                known = {**signature.inputs, **known}
        unknown = [name for name in x if name not in known]
        if unknown:
            raise DataError(
                f"inputs of {call}: got {unknown[0]!r}; expected {sorted(names)}."
                f"{did_you_mean(unknown[0], known)}"
            )
        given = {known[name]: np.asarray(rows) for name, rows in x.items()}
    elif _is_one_array(graph, x):
        given = dict(zip(graph.inputs[:1], [np.asarray(x)], strict=False))
    else:
        assert isinstance(x, Sequence)
        if len(x) != len(names):
            raise DataError(f"inputs of {call}: got {len(x)}; expected all of {list(names)}")
        given = dict(zip(graph.inputs, map(np.asarray, x), strict=True))
    missing = [name for name, index in names.items() if index not in given]
    if missing or not names:
        raise DataError(f"inputs of {call}: got {len(given)}; expected all of {list(names)}")
    counts = {name: given[i].shape[0] if given[i].ndim else None for name, i in names.items()}
    if len(set(counts.values())) != 1 or None in counts.values():
        raise DataError(f"rows for the inputs of {call}: got {counts}; expected the same number")
    return {index: given[index] for index in graph.inputs}


def _is_one_array(graph: IntegerGraph, x: Rows) -> bool:
    """Whether x is the rows of one input, not a list of arrays per input."""
    if not isinstance(x, list | tuple):
        return True
    if len(graph.inputs) != 1:
        return False
    rank = len(graph.tensors[graph.inputs[0]].shape)
    return not (len(x) == 1 and np.ndim(x[0]) == rank)


def predict_rows(
    executor: Executor, feeds: dict[int, Array], batch_size: int | None, threads: int
) -> list[Array]:
    """Output codes (N, ...), one array per model output.

    Args:
        executor: the prepared graph.
        feeds: codes (N, ...) by model input.
        batch_size: images per pass; None for as many as fit some tens of MB.
        threads: passes side by side.
    """
    count = next(iter(feeds.values())).shape[0]
    size = batch_size or executor.images_per_pass()
    if threads > 1:
        size = max(1, min(size, -(-count // threads)))
    starts = range(0, count, size)

    def part(start: int) -> list[Array]:
        piece = {index: rows[start : start + size] for index, rows in feeds.items()}
        return run_stacked(executor, piece)

    if threads > 1 and len(starts) > 1:
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(part, starts))
    else:
        results = [part(start) for start in starts]
    if not results:
        tensors = [executor.graph.tensors[i] for i in executor.graph.outputs]
        return [np.zeros((0, *t.shape[1:]), t.dtype) for t in tensors]
    return [np.concatenate(pieces) for pieces in zip(*results, strict=True)]


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
