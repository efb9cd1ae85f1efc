"""Stacked values: several images through a graph made for one, an operator at a time.

A stacked value holds the images along its leading dimension: (N * d0, d1, ...) for a tensor of
shape (d0, d1, ...). Operators whose stacked tensors all have d0 = 1, and whose kernel says so, run
once on the whole stack; others run image by image on slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfxp.interpreter.executor import Executor
from tfxp.interpreter.registry import Array, Kernel, Node


class Stack:
    """Which values are stacks, and how operators run on them.

    Args:
        executor: the prepared graph.
        stacked: tensors that hold one image each: the model inputs.
        images: N.
    """

    def __init__(self, executor: Executor, stacked: set[int], images: int) -> None:
        self._executor = executor
        self._stacked = stacked
        self._images = images
        #: Whether the last operator ran once for all images.
        self.ran_whole = True

    def run(self, node: Node, kernel: Kernel, arguments: Sequence[Array | None]) -> list[Array]:
        """One operator on its arrays; counts its runs."""
        executor = self._executor
        stacked = [i for i in node.operator.inputs if i in self._stacked]
        if stacked:
            self._stacked.update(node.operator.outputs)
        one_by_one = bool(self._images > 1 and stacked) and not self._permits(node, kernel, stacked)
        self.ran_whole = not one_by_one
        if one_by_one:
            return self._image_by_image(node, kernel, arguments)
        node.counters.runs += self._images if stacked else 1
        return executor.call(node, kernel, arguments)

    def output(self, values: dict[int, Array], index: int) -> Array:
        """A model output (N, ...); one that no image decides is repeated."""
        value = values.get(index, self._executor.graph.tensors[index].data)
        assert value is not None  # the executor has checked that it is computed or constant
        value = np.atleast_1d(value)
        return value if index in self._stacked else np.concatenate([value] * self._images)

    def _permits(self, node: Node, kernel: Kernel, stacked: list[int]) -> bool:
        tensors = self._executor.graph.tensors
        involved = [tensors[i].shape for i in (*stacked, *node.operator.outputs)]
        return all(shape[:1] == (1,) for shape in involved) and kernel.batches(node)

    def _image_by_image(
        self, node: Node, kernel: Kernel, arguments: Sequence[Array | None]
    ) -> list[Array]:
        parts, count = [], self._images
        for image in range(count):
            mine = []
            for index, array in zip(node.operator.inputs, arguments, strict=True):
                if array is not None and index in self._stacked:
                    rank = len(self._executor.graph.tensors[index].shape)
                    rows = array.shape[0] // count
                    array = array[image * rows : (image + 1) * rows]
                    array = array.reshape(()) if rank == 0 else array
                mine.append(array)
            parts.append(self._executor.call(node, kernel, mine))
            node.counters.runs += 1
        node.step = None  # of the last image only
        return [
            np.concatenate([np.atleast_1d(a) for a in rows]) for rows in zip(*parts, strict=True)
        ]
