"""Normalization and layer normalization along other axes than the last."""

from __future__ import annotations

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, Ref, make_spec
from tfxp.transforms.normalize.affine import element_factors
from tfxp.transforms.normalize.constant_layers import (
    AddConstant,
    MultiplyConstant,
    constant_layer,
)


def normalization_of_other_axes(graph: LayerGraph, number: int) -> None:
    """Normalization over other axes than the last: a constant per element for the mean, and one
    for the deviation."""
    spec, shape = graph.layers[graph.calls[number].layer], graph.input_shape(number)
    given = spec.config["axis"]
    axes = {int(axis) % len(shape) for axis in np.ravel([] if given is None else given)}
    found = element_factors(spec)
    if axes in (set(), {len(shape) - 1}) or 0 in axes or found is None:
        return
    sizes = [shape[axis] or 0 if axis in axes else 1 for axis in range(1, len(shape))]
    factor, offset = (np.reshape(values, sizes) for values in found)
    name = spec.name
    scaled = constant_layer(MultiplyConstant, factor, f"{name}_scaled")
    last = make_spec(constant_layer(AddConstant, offset, name))
    source = graph.append(scaled, graph.calls[number].refs()[0], shape=shape)
    spec.become(last)
    spec.weights, spec.weight_names = last.weights, last.weight_names
    graph.calls[number].read(source)


def layer_norm_of_several_axes(graph: LayerGraph, number: int) -> None:
    """Layer normalization over several last axes: over one that holds them all."""
    call, shape = graph.calls[number], graph.input_shape(number)
    spec, rank = graph.layers[call.layer], len(shape)
    axes = sorted(int(axis) % rank for axis in np.ravel(spec.config["axis"]))
    sizes = [int(size or 0) for size in shape[axes[0] :]]
    if len(axes) < 2 or axes != list(range(axes[0], rank)) or 0 in (axes[0], *sizes):
        return
    before, row = [-1 if size is None else size for size in shape[1 : axes[0]]], int(np.prod(sizes))
    if before.count(-1) > 1:
        return
    merged = (*shape[: axes[0]], row)
    graph.insert_before(number, layers.Reshape([*before, row], name=f"{spec.name}_row"), merged)
    graph.insert_behind(
        Ref(number), layers.Reshape([*before, *sizes], name=f"{spec.name}_shape"), shape
    )
    call.output_shapes = [merged]
    spec.config["axis"] = -1
    spec.set_arrays({key: value.reshape(-1) for key, value in spec.arrays().items()})
