"""Operators that move codes and compute nothing.

The interpreter moves the numbers 0, 1, 2, … instead of codes, which tells the place that each
output comes from. Nearly all such maps are sums of one term per axis; the C kernel walks them with
strides, or with a table where an axis has no stride (mirrors, odd enlargements).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.operators.site import Site, lowers
from tfxp.csource.program import Constant, Step, Structure
from tfxp.graph import Tensor

#: Operators that give another shape to the same codes.
VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
#: Axes of the C struct; tfxp_kernels.h says the same.
_AXES = 6


@dataclasses.dataclass(frozen=True)
class Walk:
    """Some steps along one axis of a copy.

    Args:
        size: how many.
        source, target: distance of two steps in the input and in the output.
        places: where each step lies in the input, if that is no multiple of a distance.
    """

    size: int
    source: int
    target: int
    places: tuple[int, ...] | None = None


@lowers(*VIEWS)
def _view(site: Site) -> list[Step]:
    return [site.step("", [site.index(0)])]


@lowers(
    "TRANSPOSE", "STRIDED_SLICE", "SLICE", "TILE", "BROADCAST_TO", "DEPTH_TO_SPACE",
    "SPACE_TO_DEPTH", "MIRROR_PAD", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2",
)  # fmt: skip
def _moved(site: Site) -> list[Step]:
    constants = [None if t is None else t.data for t in site.node.inputs[1:]]
    (places,) = site.evaluate(numbered(site.tensor(0)), *constants)
    return [move(site, places, site.index(0))]


@lowers("SPLIT", "SPLIT_V", "UNPACK")
def _parts(site: Site) -> list[Step]:
    position = 1 if site.operator == "SPLIT" else 0
    arrays: list[Any] = [None if t is None else t.data for t in site.node.inputs]
    arrays[position] = numbered(site.tensor(position))
    parts = site.evaluate(*arrays)
    return [
        move(site, places, site.index(position), output=output, word=f"part_{i}")
        for i, (places, output) in enumerate(zip(parts, site.node.operator.outputs, strict=True))
    ]


@lowers("CONCATENATION", "PACK")
def _joined(site: Site) -> list[Step]:
    shape = site.output.shape
    axis = site.node.options["axis"] % len(shape)
    starts = np.arange(math.prod(shape)).reshape(shape)
    steps, at = [], 0
    for i, tensor in enumerate(site.node.inputs):
        assert tensor is not None
        output = site.output
        if (tensor.scale, tensor.zero_point) != (output.scale, output.zero_point):
            raise site.refusal(f"operand {tensor.name!r} with another scale than the output")
        size = tensor.shape[axis] if site.operator == "CONCATENATION" else 1
        target = np.take(starts, range(at, at + size), axis).reshape(tensor.shape)
        steps.append(move(site, numbered(tensor), site.index(i), target=target, word=f"part_{i}"))
        at += size
    return steps


@lowers("PAD", "PADV2")
def _padded(site: Site) -> list[Step]:
    x, output, pairs = site.tensor(0), site.output, site.node.cache["pairs"]
    fill = site.node.cache["fill"]
    if site.operator == "PADV2":
        value = site.tensor(2).data
        if value is None:
            raise site.refusal("a value that is computed; expected a constant")
        fill = int(value.reshape(-1)[0])
    inside = tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, pairs, strict=True))
    target = np.arange(output.size).reshape(output.shape)[inside]
    filled = site.step(f"tfxp_fill({output.size}, {fill}, $out)", [])
    return [filled, move(site, numbered(x), site.index(0), target=target)]


def move(
    site: Site,
    places: NDArray[np.int64],
    source: int,
    *,
    target: NDArray[np.int64] | None = None,
    output: int | None = None,
    word: str = "move",
) -> Step:
    """A copy that brings element `places[i]` of a tensor to place `target[i]` of the output.

    Args:
        site: the operator.
        places: where each element comes from.
        source: the tensor that is read; a constant becomes one of the program.
        target: where it goes, in the shape of `places`; in order if left out.
        output: the tensor that is written; the operator's first if left out.
        word: suffix of the names of constants, for operators of several copies.
    """
    if target is None:
        target = np.arange(places.size).reshape(places.shape)
    walks = _walks(places, target, nested=True) or _walks(places, target, nested=False)
    if not walks:
        raise site.refusal("a rearrangement that is not one per axis")
    starts = (int(places.flat[0]), int(target.flat[0])) if places.size else (0, 0)
    name, constants, fields = f"{site.c_name}_{word}", [], []
    for number, walk in enumerate(walks):
        table: int | str = 0
        if walk.places is not None:
            constants.append(Constant(f"{name}_places_{number}", "int32_t", np.array(walk.places)))
            table = constants[-1].name
        fields.append((walk.size, walk.source, walk.target, table))
    fields += [(1, 0, 0, 0)] * (_AXES - len(walks))
    data, origin = site.node.graph.tensors[source].data, "$in0"
    if data is not None:
        origin = f"{name}_operand"
        constants.append(Constant(origin, "int8_t", data))
    structure = Structure("tfxp_moves", name, (len(walks), *starts, tuple(fields)))
    call = f"tfxp_move(&{name}, {origin}, $out)"
    return site.step(call, [source], structure=structure, constants=constants, output=output)


def numbered(tensor: Tensor) -> NDArray[np.int64]:
    """0, 1, 2, ... in the shape of a tensor."""
    return np.arange(tensor.size).reshape(tensor.shape)


def _walks(places: NDArray[np.int64], target: NDArray[np.int64], nested: bool) -> list[Walk]:
    """The copy axis by axis, outermost first; none if places are no sums of terms per axis."""
    walks: list[Walk] = []
    rebuilt = np.full(places.shape, places.flat[0] if places.size else 0)
    for axis, size in enumerate(places.shape):
        index = tuple(slice(None) if i == axis else 0 for i in range(places.ndim))
        line = places[index] - places.flat[0]
        rebuilt = rebuilt + line.reshape([-1 if i == axis else 1 for i in range(places.ndim)])
        pitch = int(target[index][1] - target[index][0]) if size > 1 else 0
        walks += _along(line, pitch, nested)
    walks = list(_merged([walk for walk in walks if walk.size != 1]))
    fits = len(walks) <= _AXES and np.array_equal(rebuilt, places)
    return (walks or [Walk(places.size, 1, 1)]) if fits else []


def _along(line: NDArray[np.int64], pitch: int, nested: bool) -> list[Walk]:
    """One axis as nested strides, or as a table."""
    strides = _nested(line)
    if strides is None or (len(strides) > 1 and not nested):
        return [Walk(line.size, 0, pitch, tuple(int(place) for place in line))]
    inner = line.size
    walks = []
    for size, stride in strides:
        inner //= size
        walks.append(Walk(size, stride, pitch * inner))
    return walks


def _nested(line: NDArray[np.int64]) -> list[tuple[int, int]] | None:
    """(size, stride) of loops that count a line of places off, outermost first."""
    if line.size < 2:
        return [(line.size, 0)]
    stride = int(line[1])
    expected = stride * np.arange(line.size)
    unequal = np.flatnonzero(line != expected)
    run = int(unequal[0]) if unequal.size else line.size
    if run == line.size:
        return [(run, stride)]
    if line.size % run or not np.array_equal(
        line.reshape(-1, run), line[::run, None] + expected[:run]
    ):
        return None
    outer = _nested(line[::run])
    return None if outer is None else [*outer, (run, stride)]


def _merged(walks: Sequence[Walk]) -> Iterator[Walk]:
    """Neighbouring axes that are one stride together are one."""
    held: Walk | None = None
    for walk in walks:
        if held is None:
            held = walk
            continue
        together = held.source == walk.size * walk.source and held.target == walk.size * walk.target
        if together and held.places is None and walk.places is None:
            held = Walk(held.size * walk.size, walk.source, walk.target)
            continue
        yield held
        held = walk
    if held is not None:
        yield held
