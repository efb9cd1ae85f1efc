"""Memory of computed tensors, given to later ones when nothing reads it any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.registry import Array
from tfxp.interpreter.step import cache_line


@dataclass
class _Block:
    """A piece of memory, until which operator it is read, and the tensors that live in it."""

    memory: NDArray[np.uint8]
    until: int
    tensors: list[int] = field(default_factory=list)


class Arena:
    """Pieces of memory by tensor lifetimes: each new tensor takes the smallest idle one that fits.

    Args:
        last_use: by tensor, the position of the last operator that reads it.
    """

    def __init__(self, last_use: Mapping[int, int]) -> None:
        self._last_use = last_use
        self._busy: list[_Block] = []
        self._idle: list[_Block] = []
        #: Tensors whose memory others have taken since.
        self.lost: set[int] = set()

    def place(self, tensor: int, content: Array) -> Array:
        """A copy of a tensor's content in memory that is its own until its last use.

        Example:
            >>> arena = Arena({0: 1, 1: 2, 2: 3})
            >>> a = arena.place(0, np.arange(4))
            >>> arena.release(1)
            >>> b = arena.place(1, np.arange(3))
            >>> np.may_share_memory(a, b), arena.lost
            (True, {0})
        """
        fitting = [block for block in self._idle if block.memory.nbytes >= content.nbytes]
        if fitting:
            block = min(fitting, key=lambda block: block.memory.nbytes)
            self._idle = [other for other in self._idle if other is not block]
            self.lost.update(block.tensors)
            block.tensors = []
        else:
            block = _Block(_aligned(content.nbytes), -1)
        self._busy.append(block)
        self._join(block, tensor)
        memory = block.memory[: content.nbytes].view(content.dtype).reshape(content.shape)
        np.copyto(memory, content)
        return memory

    def share(self, tensors: Iterable[int], view: int) -> None:
        """Says that `view` may lie in the memory of these tensors."""
        given = set(tensors)
        for block in self._busy:
            if given.intersection(block.tensors):
                self._join(block, view)

    def release(self, position: int) -> None:
        """Gives memory back that no operator behind `position` reads."""
        self._idle += [block for block in self._busy if block.until <= position]
        self._busy = [block for block in self._busy if block.until > position]

    def _join(self, block: _Block, tensor: int) -> None:
        block.tensors.append(tensor)
        block.until = max(block.until, self._last_use.get(tensor, -1))


def _aligned(size: int) -> NDArray[Any]:
    memory = np.empty(size + 64, np.uint8)
    first = cache_line(memory) - int(memory.ctypes.data)
    return memory[first : first + size]
