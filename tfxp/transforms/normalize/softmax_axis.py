"""A softmax along another axis than the last becomes one along the last between permutations.

LiteRT's SOFTMAX knows the last axis only. Attention over the steps of a sequence, for instance, is
a softmax over axis 1 of (batch, steps, 1).
"""

from __future__ import annotations

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, make_spec
from tfxp.transforms.normalize.masks import mask_readers


def move_softmax_axes(graph: LayerGraph) -> None:
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


def _one_axis(spec: LayerSpec) -> int | None:
    axis = spec.config["axis"]
    if isinstance(axis, list | tuple):
        return int(axis[0]) if len(axis) == 1 else None
    return int(axis)


def _permute(graph: LayerGraph, number: int, call: Call, spec: LayerSpec, axis: int) -> None:
    """Exchange an axis with the last, before and behind."""
    shape = list(call.output_shapes[0])
    order = list(range(1, len(shape)))
    order[axis - 1], order[-1] = order[-1], order[axis - 1]
    turned = [shape[0], *(shape[axis] for axis in order)]
    before, after = (
        graph.add_layer(make_spec(layers.Permute(order, name=f"{spec.name}_{where}"))).name
        for where in ("turned", "back")
    )
    source = graph.add_call(before, (call.refs()[0],))
    graph.calls[source.call].output_shapes = [tuple(turned)]
    call.args, call.kwargs = (source,), {}
    result = graph.add_call(after, (Ref(number),))
    graph.calls[result.call].output_shapes = [tuple(shape)]
    call.output_shapes = [tuple(turned)]
    graph.replace(Ref(number), result, keep=(result.call,))
