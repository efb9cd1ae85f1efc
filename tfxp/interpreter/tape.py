"""A run remembered: memory kept, consecutive compiled operators run as one call.

The first run for some input shapes goes operator by operator. Its results get memory by their
lifetimes (`arena.py`), and what compiled kernels say they did (`Step`) becomes programs over these
addresses. Later runs copy nothing and look nothing up: a program per stretch of compiled operators,
Python for the others, nothing at all for those that only show an input in another shape.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.arena import Arena
from tfxp.interpreter.executor import Executor
from tfxp.interpreter.forms import steps_of
from tfxp.interpreter.registry import Array, Kernel, Node
from tfxp.interpreter.stack import Stack
from tfxp.interpreter.step import Step, cache_line


class _Program:
    """Consecutive steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._table: NDArray[np.int64] = np.zeros((0, 8), np.int64)
        self.counts = np.zeros((0, 6), np.int64)
        self.runs = 0

    def finish(self, scratch_at: int) -> None:
        """Writes the table, once all steps are known."""
        self._table = _running().table_of(self.steps, scratch_at)
        self.counts = np.zeros((len(self.steps), 6), np.int64)

    def run(self) -> None:
        """Runs all steps."""
        _running().run_table(self._table, self.counts)
        self.runs += 1

    def settle(self) -> None:
        """Books what was counted."""
        for step, counts in zip(self.steps, self.counts.tolist(), strict=True):
            if step.book is not None and self.runs:
                step.book(counts, self.runs)
        self.counts[:] = 0
        self.runs = 0


class Tape:
    """A recorded run of an executor.

    Args:
        executor: whose operators.
        feeds: arrays of the model inputs, which become their memory; stacks of `images` of them.
        nodes: the executor's own, or private copies of them for one thread.
        images: how many images a run takes, stacked as in `stack.py`.
    """

    def __init__(
        self, executor: Executor, feeds: dict[int, Array], nodes: list[Node], images: int = 1
    ) -> None:
        self._executor = executor
        self.values = dict(feeds)
        self.nodes = nodes
        self.stack = Stack(executor, set(feeds), images)
        self._parts: list[_Program | tuple[Node, Kernel]] = []
        self._skipped: list[tuple[Node, int]] = []
        self._runs = self._all_runs = 0
        self._arena = Arena(executor.last_use)
        self._again: dict[int, Array] = {}
        #: Whether an input was set since the last run, so that it cannot be repeated.
        self.stale = False
        for node, kernel in zip(nodes, executor.kernels, strict=True):
            self._record(node, kernel)
            self._arena.release(node.index)
        programs = [part for part in self._parts if isinstance(part, _Program)]
        sizes = [step.scratch_bytes for program in programs for step in program.steps]
        self._scratch = np.empty(max(sizes, default=0) + 64, np.uint8)
        for program in programs:
            program.finish(cache_line(self._scratch))

    def _record(self, node: Node, kernel: Kernel) -> None:
        executor = self._executor
        arguments = executor.arguments(node, self.values)
        node.step = None
        before = node.counters.runs
        results = self.stack.run(node, kernel, arguments)
        runs = node.counters.runs - before
        given = [a for a in arguments if a is not None]
        # a view is for good if nothing that a run computes decides its shape or may change it
        stateful = any(index in executor.variables for index in node.operator.inputs)
        shaped = any(i in self.values for i in node.operator.inputs[1:])
        if not stateful and not shaped and results and all(_is_view(r, given) for r in results):
            self._skipped.append((node, runs))
            for output in node.operator.outputs:
                self._arena.share(node.operator.inputs, output)
        elif steps := self._steps(node, kernel, arguments, results):
            program = self._parts[-1] if self._parts else None
            if not isinstance(program, _Program):
                program = _Program()
                self._parts.append(program)
            memory = self._memory(node, kernel, results)
            moved = {r.ctypes.data: m for r, m in zip(results, memory, strict=True)}
            program.steps += [replace(s, output=moved[s.output.ctypes.data]) for s in steps]
            self._skipped.append((node, runs))
            results = memory
        else:
            results = self._memory(node, kernel, results)
            self._parts.append((node, kernel))
        node.step = None  # it holds the first result
        self.values.update(zip(node.operator.outputs, results, strict=False))

    def _memory(self, node: Node, kernel: Kernel, results: list[Array]) -> list[Array]:
        """The results in memory that stays theirs for as long as something reads it."""
        if self._executor.variables or kernel.form == "fills":  # what runs do not write again stays
            return [np.array(r, order="C") for r in results]
        named = zip(node.operator.outputs, results, strict=False)
        return [self._arena.place(index, np.asarray(result)) for index, result in named]

    def _steps(
        self, node: Node, kernel: Kernel, arguments: list[Array | None], results: list[Array]
    ) -> list[Step]:
        """What repeats a node's run as compiled code; nothing if it needs Python."""
        given = [a for a in arguments if a is not None]
        if _repeatable(node.step, given, results):
            assert node.step is not None
            return [node.step]
        computed = [p for p, i in enumerate(node.operator.inputs) if i in self.values]
        stateful = any(index in self._executor.variables for index in node.operator.inputs)
        if node.step is not None or stateful or not self.stack.ran_whole:
            return []
        return steps_of(node, kernel, arguments, computed, results)

    def run(self) -> bool:
        """Runs on what the inputs' memory holds now.

        Returns:
            False if a result had another shape than at first (its size depends on the data), in
            which case nothing is left to keep: run anew.
        """
        self._again, self.stale = {}, False
        for part in self._parts:
            if isinstance(part, _Program):
                part.run()
            elif not self._run_node(*part):
                return False
        self._runs += 1
        self._all_runs += 1
        if self._all_runs & (self._all_runs - 1) == 0:
            self.settle()  # plans learn how many zeros there are: after 1, 2, 4, ... runs
        return True

    def read(self, index: int) -> Array | None:
        """What the last run left in a tensor; None if it has not computed it.

        Where the memory has gone to another tensor since, the run is repeated, uncounted; None if
        it cannot be.
        """
        if index not in self._arena.lost:
            return self.values.get(index)
        if not self._again:
            if self.stale:
                return None
            executor = self._executor
            self._again = {i: self.values[i] for i in executor.graph.inputs}
            for node, kernel in zip(executor.private_nodes(), executor.kernels, strict=True):
                results = executor.call(node, kernel, executor.arguments(node, self._again))
                self._again.update(zip(node.operator.outputs, results, strict=False))
        return self._again[index]

    def _run_node(self, node: Node, kernel: Kernel) -> bool:
        results = self.stack.run(node, kernel, self._executor.arguments(node, self.values))
        for index, result in zip(node.operator.outputs, results, strict=False):
            memory = self.values[index]
            if memory.shape != np.shape(result):
                return False
            np.copyto(memory, result)
        return True

    def settle(self) -> None:
        """Books what was counted since the last time."""
        for part in self._parts:
            if isinstance(part, _Program):
                part.settle()
        for node, runs in self._skipped:
            node.counters.runs += self._runs * runs
        self._runs = 0


@cache
def _running() -> ModuleType:
    """The way into compiled kernels, imported when first needed."""
    from tfxp.interpreter.compiled import running

    return running


def _is_view(result: Any, arguments: list[Any]) -> bool:
    return isinstance(result, np.ndarray) and any(
        np.may_share_memory(result, argument) for argument in arguments
    )


def _repeatable(step: Step | None, arguments: list[Any], results: list[Any]) -> bool:
    """Whether a step read and wrote the tensors themselves, not copies of them."""
    if step is None or len(results) != 1 or not results[0].flags.c_contiguous:
        return False
    known = {argument.ctypes.data for argument in arguments if argument.flags.c_contiguous}
    read = all(array.ctypes.data in known for array in step.inputs)
    return read and step.output.ctypes.data == results[0].ctypes.data
