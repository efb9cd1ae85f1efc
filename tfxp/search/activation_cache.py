"""Activations of earlier evaluations, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class ActivationCache:
    """Tensors by (what was computed, batch); what was used longest ago goes first.

    A map tried once leaves activations that nobody will ask for, so only those are worth keeping
    whose key has been seen before: `note` says that an evaluation passes there, `wanted` whether
    an earlier one did.

    Args:
        limit_bytes: what all tensors together may take.

    Example:
        >>> cache = ActivationCache(limit_bytes=10)
        >>> cache.put("a", 0, "tensors", 8)
        >>> cache.put("b", 0, "more", 8)
        >>> cache.get("a", 0), cache.get("b", 0), cache.used_bytes
        (None, 'more', 8)
    """

    # So many keys are remembered as seen; by hash, since a collision costs a little memory only.
    _SEEN = 100_000

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.used_bytes = limit_bytes, 0
        self._entries: OrderedDict[Hashable, dict[int, tuple[Any, int]]] = OrderedDict()
        self._seen: OrderedDict[int, None] = OrderedDict()

    def note(self, key: Hashable) -> None:
        """An evaluation has passed here."""
        self._seen[hash(key)] = None
        self._seen.move_to_end(hash(key))
        if len(self._seen) > self._SEEN:
            self._seen.popitem(last=False)

    def wanted(self, key: Hashable) -> bool:
        """Whether an earlier evaluation has passed here."""
        return hash(key) in self._seen

    def get(self, key: Hashable, batch: int) -> Any:
        """Tensors that were put, or None."""
        entry = self._entries.get(key)
        if entry is None or batch not in entry:
            return None
        self._entries.move_to_end(key)
        return entry[batch][0]

    def put(
        self, key: Hashable, batch: int, tensors: Any, size: int, make_room: bool = True
    ) -> None:
        """Keep tensors of `size` bytes; older keys make room, the key's own batches stay."""
        if not make_room and self.used_bytes + size > self.limit_bytes:
            return
        entry = self._entries.setdefault(key, {})
        self._entries.move_to_end(key)
        while self.used_bytes + size > self.limit_bytes and len(self._entries) > 1:
            _, old = self._entries.popitem(last=False)
            self.used_bytes -= sum(bytes_ for _, bytes_ in old.values())
        if self.used_bytes + size <= self.limit_bytes and batch not in entry:
            entry[batch] = tensors, size
            self.used_bytes += size

    def clear(self) -> None:
        """Forget all tensors and keys."""
        self._entries.clear()
        self._seen.clear()
        self.used_bytes = 0
