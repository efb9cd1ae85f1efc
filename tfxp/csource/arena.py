"""Where tensors lie in one static block of memory: no two that live at once overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Lifetime(NamedTuple):
    """A tensor's size in bytes, and the first and last step that need it."""

    size: int
    first: int
    last: int


def place(lifetimes: Mapping[int, Lifetime]) -> tuple[dict[int, int], int]:
    """Offsets of all tensors, and the size of the block.

    The largest tensors are placed first, each at the lowest offset where nothing that lives at
    the same time is in its way.

    Example:
        >>> place({1: Lifetime(10, 0, 1), 2: Lifetime(4, 1, 2), 3: Lifetime(8, 2, 3)})
        ({1: 0, 3: 0, 2: 10}, 14)
    """
    offsets: dict[int, int] = {}
    for tensor in sorted(lifetimes, key=lambda t: (-lifetimes[t].size, t)):
        size, first, last = lifetimes[tensor]
        taken = sorted(
            (offset, offset + lifetimes[other].size)
            for other, offset in offsets.items()
            if lifetimes[other].first <= last and first <= lifetimes[other].last
        )
        at = 0
        for begin, end in taken:
            if at + size <= begin:
                break
            at = max(at, end)
        offsets[tensor] = at
    total = max((offsets[t] + lifetimes[t].size for t in offsets), default=0)
    return offsets, total
