"""Pieces of a tensor, and tensors put together from repetitions, by slices and joins."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.normalize.function_calls import parts_of
from tfxp.transforms.normalize.function_layers import WHOLE, slicing_spec

_MOST_PARTS = 64


def _cut(graph: LayerGraph, number: int, items: list[tuple[int, Any]]) -> None:
    """Replace each output of a call by a slice of its input: an index along an axis."""
    call, spec, use = parts_of(graph, number)
    for place, (axis, item) in enumerate(items):
        index = [item if i == axis else WHOLE for i in range(len(use.inputs[0]))]
        name = spec.name if len(items) == 1 else f"{spec.name}_{place}"
        piece = graph.append(
            slicing_spec(name), call.refs()[0], index, shape=graph.shape_of(Ref(number, place))
        )
        graph.replace(Ref(number, place), piece)


def split(graph: LayerGraph, number: int) -> None:
    """tf.split: slices of sizes that follow one another."""
    call, _, use = parts_of(graph, number)
    axis = int(use.argument(2, "axis", 0)) % len(use.inputs[0])
    sizes = [shape[axis] for shape in call.output_shapes]
    if axis == 0 or None in sizes or len(sizes) > _MOST_PARTS:
        return
    ends = np.cumsum([size or 0 for size in sizes]).tolist()
    pairs = zip([0, *ends], ends, strict=False)
    _cut(graph, number, [(axis, {**WHOLE, "start": start, "stop": end}) for start, end in pairs])


def unstack(graph: LayerGraph, number: int) -> None:
    """tf.unstack: one position each, its axis taken away."""
    call, _, use = parts_of(graph, number)
    axis = int(use.argument(2, "axis", 0)) % len(use.inputs[0])
    if axis and len(call.output_shapes) <= _MOST_PARTS:
        _cut(graph, number, [(axis, place) for place in range(len(call.output_shapes))])


def reverse(graph: LayerGraph, number: int) -> None:
    """tf.reverse: a slice with steps of -1."""
    call, spec, use = parts_of(graph, number)
    axes = use.axes(1)
    if axes is None:
        return
    index = [{**WHOLE, "step": -1} if i in axes else WHOLE for i in range(len(use.inputs[0]))]
    source = call.refs()[0]
    spec.become(slicing_spec(spec.name))
    call.read(source, index)


def stack(graph: LayerGraph, number: int) -> None:
    """tf.stack: tensors with an axis more, joined along it."""
    call, spec, use = parts_of(graph, number)
    values, shape = use.argument(0, "values"), graph.shape_of(Ref(number))
    axis = int(use.argument(1, "axis", 0)) % len(shape)
    if axis == 0 or not all(isinstance(value, Ref) for value in values):
        return
    single = tuple(1 if i == axis else size for i, size in enumerate(shape))
    target = [-1 if size is None else size for size in single[1:]]
    if target.count(-1) > 1:
        return
    wider = [
        graph.append(layers.Reshape(target, name=f"{spec.name}_{i}"), ref, shape=single)
        for i, ref in enumerate(values)
    ]
    spec.become(layers.Concatenate(axis))
    call.read(wider)


def tile(graph: LayerGraph, number: int) -> None:
    """tf.tile: the tensor joined with itself, axis after axis."""
    call, spec, use = parts_of(graph, number)
    counts = [int(count) for count in np.ravel(use.argument(1, "multiples"))]
    if counts[0] != 1 or max(counts) > _MOST_PARTS:
        return
    axes = [axis for axis, count in enumerate(counts) if count > 1]
    if not axes:
        graph.bypass(number)
        return
    source, shape = call.refs()[0], list(use.inputs[0])
    for axis in axes[:-1]:
        known = shape[axis]
        shape[axis] = None if known is None else known * counts[axis]
        joined = layers.Concatenate(axis, name=f"{spec.name}_{axis}")
        source = graph.append(joined, [source] * counts[axis], shape=tuple(shape))
    spec.become(layers.Concatenate(axes[-1]))
    call.read([source] * counts[axes[-1]])


def repeat(graph: LayerGraph, number: int) -> None:
    """tf.repeat of rows or columns: an enlargement."""
    call, spec, use = parts_of(graph, number)
    axis, times = use.axes(2), use.argument(1, "repeats")
    rank, source = len(use.inputs[0]), call.refs()[0]
    if axis is None or np.size(times) != 1 or rank not in (3, 4) or axis[0] == rank - 1:
        return
    count = int(np.ravel(times)[0])
    if rank == 3:
        spec.become(layers.UpSampling1D(count))
    else:
        spec.become(layers.UpSampling2D((count, 1) if axis == [1] else (1, count)))
    call.read(source)


def roll(graph: LayerGraph, number: int) -> None:
    """tf.roll along one axis: the end first, then the beginning."""
    _, _, use = parts_of(graph, number)
    axes, shift = use.axes(2), use.argument(1, "shift")
    if axes is None or len(axes) != 1 or np.size(shift) != 1 or isinstance(shift, Ref):
        return
    size = use.inputs[0][axes[0]]
    if size is not None:
        places = np.roll(np.arange(size), int(np.ravel(shift)[0]))
        _take(graph, number, axes[0], places)


def gather(graph: LayerGraph, number: int) -> None:
    """tf.gather of constant places: a slice for every run of neighbours."""
    call, _, use = parts_of(graph, number)
    places, rank = use.argument(1, "indices"), len(use.inputs[0])
    axis = use.kwargs.get("axis", use.argument(4, "axis"))
    if isinstance(places, Ref) or axis is None or use.kwargs.get("batch_dims"):
        return
    size = use.inputs[0][int(axis) % rank]
    if not int(axis) % rank or size is None or np.ndim(places) > 1:
        return
    if np.ndim(places) == 0:
        _cut(graph, number, [(int(axis) % rank, int(places) % size)])
    else:
        _take(graph, number, int(axis) % rank, np.asarray(places) % size)


def _take(graph: LayerGraph, number: int, axis: int, places: np.ndarray) -> None:
    """Places along an axis, put together from slices."""
    call, spec, use = parts_of(graph, number)
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    runs = [run for run in np.split(places, breaks) if run.size]
    if not runs or len(runs) > _MOST_PARTS:
        return
    found, shape = [], list(use.inputs[0])
    for place, run in enumerate(runs):
        part = {**WHOLE, "start": int(run[0]), "stop": int(run[-1]) + 1}
        index = [part if i == axis else WHOLE for i in range(len(shape))]
        if len(runs) == 1:
            source = call.refs()[0]
            spec.become(slicing_spec(spec.name))
            call.read(source, index)
            return
        shape[axis] = len(run)
        piece = slicing_spec(f"{spec.name}_{place}")
        found.append(graph.append(piece, call.refs()[0], index, shape=tuple(shape)))
    spec.become(layers.Concatenate(axis))
    call.read(found)
