"""Channel axes as expressions, so that what must stay equal is widened alike.

The last axis of every tensor of a network is built from the filters and units that layers own:

    Free(n)          n channels that a layer owns and that may be widened
    Fixed(n)         n channels that must not change: inputs, outputs, unknown layers
    Concat(a, b, …)  one after another: Concatenate, groups
    Repeat(a, m)     every channel m times in a row: depthwise with a multiplier m
    Tile(a, t)       the whole axis t times: Flatten of t positions

Two axes that an Add or a shared layer joins are unified: a free axis is bound to the other
expression and, where it must be, split in two. Afterwards each axis knows, for each of its
channels in the wide network, which channel of the narrow network it copies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np


class AxisMismatchError(Exception):
    """Two axes cannot be laid out alike."""


@dataclasses.dataclass(eq=False)
class Free:
    """Channels that may be widened; `bound` is what they were found to be equal to.

    Once the width is chosen, `copies` holds for each wide channel the narrow one it copies.
    """

    width: int
    bound: Axis | None = None
    copies: np.ndarray | None = None


@dataclasses.dataclass(eq=False)
class Fixed:
    """Channels that must stay as they are; `reason` completes "the layer that makes them …"."""

    width: int
    reason: str = ""


@dataclasses.dataclass(eq=False)
class Concat:
    """Axes one after another."""

    parts: list[Axis]

    @property
    def width(self) -> int:
        """Narrow channels."""
        return sum(part.width for part in self.parts)


@dataclasses.dataclass(eq=False)
class Repeat:
    """Every channel of `inner`, `times` times in a row."""

    inner: Axis
    times: int

    @property
    def width(self) -> int:
        """Narrow channels."""
        return self.inner.width * self.times


@dataclasses.dataclass(eq=False)
class Tile:
    """All of `inner`, `times` times."""

    inner: Axis
    times: int

    @property
    def width(self) -> int:
        """Narrow channels."""
        return self.inner.width * self.times


Axis = Free | Fixed | Concat | Repeat | Tile


def resolve(axis: Axis) -> Axis:
    """The expression an axis stands for."""
    while isinstance(axis, Free) and axis.bound is not None:
        axis = axis.bound
    return axis


def leaves(axis: Axis) -> Iterator[Free | Fixed]:
    """The free and fixed channels an axis is made of."""
    axis = resolve(axis)
    if isinstance(axis, Free | Fixed):
        yield axis
    elif isinstance(axis, Concat):
        for part in axis.parts:
            yield from leaves(part)
    else:
        yield from leaves(axis.inner)


def freeze(axis: Axis, reason: str) -> None:
    """Keep all channels of an axis as they are."""
    for leaf in list(leaves(axis)):
        if isinstance(leaf, Free):
            leaf.bound = Fixed(leaf.width, reason)


def unify(a: Axis, b: Axis) -> None:
    """Make two axes one.

    Raises:
        AxisMismatchError: they have different widths, or are laid out differently.
    """
    a, b = resolve(a), resolve(b)
    if a is b:
        return
    if a.width != b.width:
        raise AxisMismatchError(f"{a.width} and {b.width} channels")
    if isinstance(b, Free):
        a, b = b, a
    if isinstance(a, Free):
        if any(leaf is a for leaf in leaves(b)):
            raise AxisMismatchError("channels that contain themselves")
        a.bound = b
    elif isinstance(a, Fixed):
        freeze(b, a.reason)
    elif isinstance(b, Fixed):
        freeze(a, b.reason)
    elif isinstance(a, Concat) or isinstance(b, Concat):
        _unify_parts(a, b)
    elif type(a) is type(b):
        _unify_multiples(a, b)
    else:
        raise AxisMismatchError("differently ordered channels")


def _unify_parts(a: Axis, b: Axis) -> None:
    ours, theirs = _parts(a), _parts(b)
    while ours:
        x, y = ours.pop(0), theirs.pop(0)
        if x.width < y.width:
            y, rest = split(y, x.width)
            theirs.insert(0, rest)
        elif x.width > y.width:
            x, rest = split(x, y.width)
            ours.insert(0, rest)
        unify(x, y)


def _unify_multiples(a: Axis, b: Axis) -> None:
    assert isinstance(a, Repeat | Tile) and isinstance(b, Repeat | Tile)
    if a.times < b.times:
        a, b = b, a
    if a.times % b.times:
        raise AxisMismatchError("channels repeated differently")
    inner = a.inner if a.times == b.times else type(a)(a.inner, a.times // b.times)
    unify(inner, b.inner)


def _parts(axis: Axis) -> list[Axis]:
    axis = resolve(axis)
    if not isinstance(axis, Concat):
        return [axis]
    return [piece for part in axis.parts for piece in _parts(part)]


def split(axis: Axis, at: int) -> tuple[Axis, Axis]:
    """Cut an axis in two; a free one is bound to its halves.

    Raises:
        AxisMismatchError: the cut would go through channels that belong together.
    """
    axis = resolve(axis)
    if isinstance(axis, Free):
        halves = Free(at), Free(axis.width - at)
        axis.bound = Concat(list(halves))
        return halves
    if isinstance(axis, Fixed):
        rest = axis.width - at
        return dataclasses.replace(axis, width=at), dataclasses.replace(axis, width=rest)
    if isinstance(axis, Concat):
        return _split_concat(axis, at)
    step = axis.times if isinstance(axis, Repeat) else axis.inner.width
    if at % step:
        raise AxisMismatchError("a cut through channels that belong together")
    if isinstance(axis, Tile):
        return Tile(axis.inner, at // step), Tile(axis.inner, axis.times - at // step)
    left, right = split(axis.inner, at // step)
    return Repeat(left, step), Repeat(right, step)


def _split_concat(axis: Concat, at: int) -> tuple[Axis, Axis]:
    left: list[Axis] = []
    right = _parts(axis)
    while at > 0:
        part = right.pop(0)
        if part.width > at:
            part, rest = split(part, at)
            right.insert(0, rest)
        left.append(part)
        at -= part.width
    return Concat(left), Concat(right)


def blocks(axis: Axis, count: int) -> list[Axis]:
    """Cut an axis into `count` pieces of the same width.

    Raises:
        AxisMismatchError: it cannot be cut so.
    """
    pieces: list[Axis] = []
    width, rest = axis.width // count, axis
    for _ in range(count - 1):
        piece, rest = split(rest, width)
        pieces.append(piece)
    return [*pieces, rest]


def copies(axis: Axis) -> np.ndarray:
    """For each channel of the wide axis, the channel of the narrow axis that it copies."""
    axis = resolve(axis)
    if isinstance(axis, Fixed):
        return np.arange(axis.width)
    if isinstance(axis, Free):
        return np.arange(axis.width) if axis.copies is None else axis.copies
    if isinstance(axis, Concat):
        starts = np.cumsum([0, *(part.width for part in axis.parts)])
        indices = [copies(part) + start for part, start in zip(axis.parts, starts, strict=False)]
        return np.concatenate(indices)
    inner = copies(axis.inner)
    if isinstance(axis, Repeat):
        return (inner[:, None] * axis.times + np.arange(axis.times)).ravel()
    return (np.arange(axis.times)[:, None] * axis.inner.width + inner).ravel()


def expand(
    axis: Axis, value: Callable[[Free], float | np.ndarray], fixed: float = 1.0
) -> np.ndarray:
    """One number for each narrow channel: `value` of free ones, `fixed` for fixed ones.

    `value` gives a number for the whole axis, or one a channel.
    """
    axis = resolve(axis)
    if isinstance(axis, Free | Fixed):
        return np.full(axis.width, value(axis) if isinstance(axis, Free) else fixed)
    if isinstance(axis, Concat):
        return np.concatenate([expand(part, value, fixed) for part in axis.parts])
    inner = expand(axis.inner, value, fixed)
    return np.repeat(inner, axis.times) if isinstance(axis, Repeat) else np.tile(inner, axis.times)


def new_width(axis: Axis) -> int:
    """Channels of the wide axis."""
    return len(copies(axis))


def shares(axis: Axis) -> np.ndarray:
    """For each wide channel, one over the number of copies of its narrow channel."""
    index = copies(axis)
    return 1.0 / np.bincount(index)[index]


def choose_copies(free: Iterable[Free], widths: Iterable[int], seed: int) -> None:
    """Give each free axis its wide channels: all narrow ones first, then evenly drawn copies."""
    rng = np.random.default_rng(seed)
    for leaf, width in zip(free, widths, strict=True):
        rounds = -(-width // leaf.width)
        drawn = [rng.permutation(leaf.width) for _ in range(rounds - 1)]
        leaf.copies = np.concatenate([np.arange(leaf.width), *drawn])[:width]
