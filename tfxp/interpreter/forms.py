"""Compiled steps for operators of a common form, read off their definitions.

An operator that maps bytes to codes is its table of 256 results; one of two bytes its table of
65,536; one that moves elements is the list of places that they come from, found by running it on
numbers that tell their places. Each step is compared with the definition's own result before it is
used, so a node that does not have its kernel's form (codes of another scale, sizes from data) stays
with its definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.errors import TfxpError
from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.record import make_record
from tfxp.interpreter.registry import Array, Kernel, Node
from tfxp.interpreter.step import Step

#: Elements beyond this stay with the definition: the list of their places takes memory.
_MOST = 1 << 22
#: Where numbers that tell places begin: far from every code and fill.
_FIRST = 1 << 40
#: Bytes of a run from which runs are copied whole.
_LONG = 8
_ORDINARY = (TfxpError, ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError)


def steps_of(
    node: Node, kernel: Kernel, arguments: Sequence[Array | None], data: Sequence[int],
    results: Sequence[Array]
) -> list[Step]:  # fmt: skip
    """Steps that write `results` again from what a later run has in `arguments`.

    Args:
        node: what ran.
        kernel: its kernel, which says its form.
        arguments: what it read.
        data: which of them a run computes or is fed; the others are constants.
        results: what it wrote.

    Returns:
        Nothing where the operator has no such form here.
    """
    build = _BUILDERS.get(kernel.form or "")
    fits = build is not None and data and all(_fits(r) for r in results)
    if not fits or any(not _fits(arguments[i]) for i in data):
        return []
    assert build is not None
    try:
        with np.errstate(all="ignore"):
            return build(node, kernel, arguments, data, results)
    except _ORDINARY:  # the definition does not take every code, or no numbers of another type
        return []


def _fits(array: Array | None) -> bool:
    return array is not None and 0 < array.size <= _MOST and bool(array.flags.c_contiguous)


def _all_bytes(like: Array) -> Array:
    return np.arange(256, dtype=np.uint8).view(like.dtype)


def _step(
    name: str, inputs: tuple[Array, ...], out: Array, count: int, held: Array, **fields: int
) -> Step:
    places = {getattr(R, key.upper()): value for key, value in fields.items()}
    record = make_record({R.MOVE_TABLE: held.ctypes.data, **places})
    return Step(name, inputs, out, count, record, held)


def _codes(
    node: Node, kernel: Kernel, arguments: Sequence[Any], data: Sequence[int], results: Any
) -> list[Step]:
    x, out = arguments[data[0]], results[0]
    alone = len(data) == len(results) == 1 and out.shape == x.shape
    whole = x.size % node.cache.get("block", 1) == 0
    if not alone or not whole or x.dtype.itemsize != 1 or out.dtype.itemsize not in (1, 2, 4):
        return []
    given = [_all_bytes(x) if i == data[0] else a for i, a in enumerate(arguments)]
    table = np.ascontiguousarray(kernel.run(node, given)[0])
    if table.shape != (256,) or not np.array_equal(table[x.view(np.uint8)], out, equal_nan=True):
        return []
    return [_step("table", (x,), out, x.size, table, item_bytes=out.dtype.itemsize)]


def _pairs(
    node: Node, kernel: Kernel, arguments: Sequence[Any], data: Sequence[int], results: Any
) -> list[Step]:
    sides, out = [np.asarray(a) for a in arguments], results[0]
    narrow = all(a.dtype.itemsize == 1 for a in (*sides, out))
    if len(sides) != 2 or not narrow or "blocks" in node.cache:
        return []
    long, short = (0, 1) if sides[0].size >= sides[1].size else (1, 0)
    x, y = sides[long], sides[short]
    ending = x.shape[x.ndim - len(_without_ones(y.shape)) :]
    if out.shape != x.shape or not y.size or ending != _without_ones(y.shape):
        return []
    given = [_all_bytes(x).reshape(-1, 1), _all_bytes(y).reshape(1, -1)]
    table = np.ascontiguousarray(kernel.run(node, given if long == 0 else given[::-1])[0])
    index = x.view(np.uint8).reshape(-1, y.size), y.view(np.uint8).reshape(-1)
    if table.shape != (256, 256) or not np.array_equal(table[index].reshape(out.shape), out):
        return []
    return [_step("pairs", (x, y), out, x.size, table, period=y.size)]


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the ones that it begins with."""
    ones = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return shape[ones:]


def _moves(
    node: Node, kernel: Kernel, arguments: Sequence[Any], data: Sequence[int], results: Any
) -> list[Step]:
    sources = [arguments[i] for i in data]
    if any(a.dtype != results[0].dtype for a in sources):
        return []
    bounds = np.cumsum([0, *(a.size for a in sources)])
    given = list(arguments)
    for i, source, first in zip(data, sources, bounds, strict=False):
        places = np.arange(source.size, dtype=np.int64) + (_FIRST + first)
        given[i] = places.reshape(source.shape)
    found = [np.asarray(r) for r in kernel.run(node, given)]
    together = np.concatenate([a.reshape(-1) for a in sources])
    steps: list[Step] = []
    for places, out in zip(found, results, strict=True):
        if places.shape != out.shape or places.dtype != np.int64:
            return []
        flat, moved = places.reshape(-1) - _FIRST, places.reshape(-1) >= _FIRST
        filled = kernel.form == "fills" or moved.all()
        if not filled or not np.array_equal(together[flat[moved]], out.reshape(-1)[moved]):
            return []
        steps += _copies(sources, bounds, flat, moved, out)
    return steps


def _copies(
    sources: Sequence[Array], bounds: Array, flat: Array, moved: Array, out: Array
) -> list[Step]:
    """Steps that bring elements from the places `flat` of all sources; what is not moved stays."""
    places = np.flatnonzero(moved)
    origin = np.searchsorted(bounds, flat[places], side="right") - 1
    breaks = (np.diff(places) != 1) | (np.diff(flat[places]) != 1) | (np.diff(origin) != 0)
    begin = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    lengths = np.diff(np.concatenate([begin, [len(places)]]))
    item = out.dtype.itemsize
    if len(sources) == 1 and moved.all() and item * len(places) < _LONG * len(begin):
        table = np.ascontiguousarray(flat, np.int32)
        return [_step("permute", (sources[0],), out, out.size, table, item_bytes=item)]
    steps = []
    for number, source in enumerate(sources):
        own = origin[begin] == number
        runs = [places[begin][own], flat[places[begin]][own] - bounds[number], lengths[own]]
        table = np.ascontiguousarray(item * np.stack(runs, axis=1), np.int32)
        if len(table):
            steps.append(_step("copy", (source,), out, len(table), table))
    return steps


_BUILDERS: dict[str, Callable[..., list[Step]]] = {
    "codes": _codes, "pairs": _pairs, "moves": _moves, "fills": _moves,
}  # fmt: skip
