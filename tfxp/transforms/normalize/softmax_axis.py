"""A softmax along another axis than the last becomes one along the last between permutations.

LiteRT's SOFTMAX knows the last axis only. Attention over the steps of a sequence, for instance, is
a softmax over axis 1 of (batch, steps, 1).
"""

from __future__ import annotations

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.masks import mask_readers


def move_softmax_axes(graph: LayerGraph) -> LayerGraph:
    """Turn every softmax along one axis of the sample; masked ones stay as they are."""
    masked = mask_readers(graph)
    for number, call, spec in graph.in_order():
        if spec.kind != "Softmax" or spec.name in masked or not call.output_shapes:
            continue
        rank, axis = len(call.output_shapes[0]), _one_axis(spec)
        if axis is None or axis % rank == 0:
            continue
        spec.config["axis"] = -1
        if axis % rank != rank - 1:
            _permute(graph, number, call, spec, axis % rank)
    graph.sort()
    return graph


def _one_axis(spec: LayerSpec) -> int | None:
    axis = spec.config["axis"]
    if isinstance(axis, list | tuple):
        return int(axis[0]) if len(axis) == 1 else None
    return int(axis)


def _permute(graph: LayerGraph, number: int, call: Call, spec: LayerSpec, axis: int) -> None:
    """Exchange an axis with the last, before and behind."""
    shape = graph.shape_of(Ref(number))
    order = list(range(1, len(shape)))
    order[axis - 1], order[-1] = order[-1], order[axis - 1]
    turned = (shape[0], *(shape[axis] for axis in order))
    graph.insert_before(number, layers.Permute(order, name=f"{spec.name}_turned"), turned)
    back = graph.insert_behind(Ref(number), layers.Permute(order, name=f"{spec.name}_back"), shape)
    spec.pass_on_activity(graph.spec_of(back))
    call.output_shapes = [turned]
