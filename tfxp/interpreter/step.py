"""One compiled operator with everything it needs, so that it can be run again without Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Step:
    """What a kernel has just run as compiled code, on which memory.

    Args:
        kernel: one of `compiled.native.KERNELS`.
        inputs: the one or two arrays it read.
        output: the array it wrote.
        count: images, elements or rows, as the operator counts.
        record: int64 constants of the operator, among them addresses.
        held: keeps alive what the record points to.
        scratch_bytes: memory it works in.
        book: takes six counts and a number of runs, and books them; None where nothing is counted.
    """

    kernel: str
    inputs: tuple[NDArray[Any], ...]
    output: NDArray[Any]
    count: int
    record: NDArray[np.int64]
    held: Any = None
    scratch_bytes: int = 0
    book: Callable[[list[int], int], None] | None = None

    def row(self, scratch_at: int) -> tuple[int, ...]:
        """What the kernel is given besides counts, working in memory at `scratch_at`; then 0."""
        addresses = [array.ctypes.data for array in (*self.inputs, self.output)]
        second = addresses[1] if len(self.inputs) > 1 else 0
        record = self.record.ctypes.data
        return addresses[0], second, addresses[-1], self.count, record, scratch_at, 0


def cache_line(memory: NDArray[np.uint8]) -> int:
    """The address of the first cache line that begins in `memory`."""
    return -(-int(memory.ctypes.data) // 64) * 64
