"""Many images through a graph made for one: remembered runs of a few images each."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import ArrayLike

from tfxp.errors import DataError, did_you_mean
from tfxp.graph import IntegerGraph
from tfxp.interpreter.executor import Executor
from tfxp.interpreter.registry import Array, Node
from tfxp.interpreter.stack import Stack
from tfxp.interpreter.tape import Tape
from tfxp.interpreter.thread_team import ThreadTeam

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


class Batches:
    """Runs of an executor on many images; remembers them from one call to the next.

    Args:
        executor: the prepared graph.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor, self._usual_size = executor, executor.images_per_pass()
        self._tapes: dict[int, SimpleQueue[Tape]] = {}
        self._team = ThreadTeam()

    def predict(self, feeds: dict[int, Array], batch_size: int | None, threads: int) -> list[Array]:
        """Output codes (N, ...), one array per model output.

        Args:
            feeds: codes (N, ...) by model input.
            batch_size: images per pass; None for as many as stay near the processor.
            threads: passes side by side.
        """
        executor, count = self._executor, next(iter(feeds.values())).shape[0]
        if batch_size is None:  # the rest one by one: a run of one image is remembered for any rest
            size = _size_of_pass(count, self._usual_size, threads)
            whole = count // size * size
            starts = [(start, size) for start in range(0, whole, size)]
            starts += [(start, 1) for start in range(whole, count)]
        else:
            size = max(1, min(batch_size, -(-count // threads)))
            starts = [(start, min(size, count - start)) for start in range(0, count, size)]

        results: list[list[Array]] = [[] for _ in starts]
        left = deque(enumerate(starts))

        def work() -> None:
            while left:
                try:
                    number, (start, images) = left.popleft()
                except IndexError:  # another thread took the last one
                    return
                mine = {i: rows[start : start + images] for i, rows in feeds.items()}
                results[number] = self._pass(mine, images)

        self._team.run(work, min(threads, len(starts)))
        if not results:
            tensors = [executor.graph.tensors[i] for i in executor.graph.outputs]
            return [np.zeros((0, *t.shape[1:]), t.dtype) for t in tensors]
        return [np.concatenate(pieces) for pieces in zip(*results, strict=True)]

    def _pass(self, feeds: dict[int, Array], images: int) -> list[Array]:
        """Outputs of some images."""
        executor = self._executor
        if executor.variables or executor.settings.engine != "fast":
            return run_stacked(executor, feeds)
        idle = self._tapes.setdefault(images, SimpleQueue())
        try:
            tape = idle.get_nowait()
        except Empty:
            own = {i: np.array(rows, order="C") for i, rows in feeds.items()}
            tape = Tape(executor, own, executor.private_nodes(), images)
        else:
            for index, rows in feeds.items():
                np.copyto(tape.values[index], rows)
            if not tape.run():  # a size depends on the data
                tape.settle()
                self._book(tape.nodes)
                return run_stacked(executor, feeds)
        outputs = [tape.stack.output(tape.values, i) for i in executor.graph.outputs]
        copies = [np.array(o) for o in outputs]
        idle.put(tape)
        return copies

    def settle(self) -> None:
        """Books what idle tapes have counted since the last time; it takes as long as an image."""
        for idle in list(self._tapes.values()):
            for _ in range(idle.qsize()):
                try:
                    tape = idle.get_nowait()
                except Empty:  # another call runs on it, and will book it
                    break
                tape.settle()
                self._book(tape.nodes)
                idle.put(tape)

    def _book(self, nodes: list[Node]) -> None:
        self._executor.count(nodes)
        for node in nodes:
            node.counters.reset()


def _size_of_pass(count: int, usual: int, threads: int) -> int:
    """Images of a pass, such that all threads end together: the usual number halved some times.

    Halves, since every size is remembered by itself.

    Args:
        count: of all images.
        usual: of a pass when one thread runs them all.
        threads: that share the passes.
    """
    if threads == 1:
        return usual
    sizes = [usual >> halvings for halvings in range(usual.bit_length())]

    def longest(size: int) -> int:
        passes, rest = divmod(count, size)
        return -(-passes // threads) * size + -(-rest // threads)

    return min(sizes, key=longest)


def run_stacked(executor: Executor, feeds: dict[int, Array]) -> list[Array]:
    """Outputs for a stack of images, operator by operator.

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
        values, stack = dict(feeds), Stack(executor, set(feeds), count)
        for node, kernel in zip(nodes, executor.kernels, strict=True):
            results = stack.run(node, kernel, executor.arguments(node, values))
            values.update(zip(node.operator.outputs, results, strict=False))
            executor.drop_used(node, values)
        stacked = [stack.output(values, i) for i in executor.graph.outputs]
    executor.count(nodes)
    return stacked


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
