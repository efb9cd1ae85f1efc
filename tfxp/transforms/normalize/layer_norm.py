"""Layer normalization over the last axis in steps that integer operators compute.

    d = x - mean(x),    y = gamma d / sqrt(mean(d^2) + e) + beta

The root is the length of a longer row: with one more element, p = (d, sqrt(C e)),

    |p|^2 = C (mean(d^2) + e),    so    y = gamma sqrt(C) (p / |p|)_1..C + beta

Dividing a row by its length is an operator that keeps 31 bits inside, whatever the row's size; a
variance of 8 bits would not do. What is left per channel folds as BatchNormalization does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, make_spec
from tfxp.transforms.normalize.affine import become_batch_norm
from tfxp.transforms.normalize.function_layers import function_spec, slicing_spec
from tfxp.transforms.normalize.masks import mask_readers, masked_layers

Shape = tuple[int | None, ...]
# Images are the largest that the operator takes.
_RANKS = (2, 3, 4)


def split_layer_norms(graph: LayerGraph) -> None:
    """Split every plain layer normalization; the step per channel keeps the layer's name.

    What stays one layer: other axes than the last, and layers that hand on a mask somebody reads.
    """
    masked = masked_layers(graph) if mask_readers(graph) else {}
    for name, spec in list(graph.layers.items()):
        if spec.kind != "LayerNormalization" or name in masked:
            continue
        shapes = [_input_shape(graph, number) for number in graph.uses(name)]
        if not all(_is_plain(spec, shape) for shape in shapes):
            continue
        channels, epsilon = int(shapes[0][-1] or 0), float(spec.config["epsilon"])
        for number, shape in zip(graph.uses(name), shapes, strict=True):
            _split_call(graph, number, shape, math.sqrt(channels * epsilon))
        arrays = spec.arrays()
        gamma = arrays.get("gamma", np.ones(channels)).astype(np.float64)
        beta = arrays.get("beta", np.zeros(channels))
        become_batch_norm(spec, gamma * math.sqrt(channels), beta)
    graph.sort()


def _input_shape(graph: LayerGraph, number: int) -> Shape:
    ref = graph.calls[number].refs()[0]
    shapes = graph.calls[ref.call].output_shapes
    return shapes[ref.index] if shapes else ()


def _is_plain(spec: LayerSpec, shape: Shape) -> bool:
    axes = [int(axis) for axis in np.atleast_1d(spec.config["axis"])]
    last = axes in ([-1], [len(shape) - 1])
    return len(shape) in _RANKS and last and shape[-1] is not None


def _split_call(graph: LayerGraph, number: int, shape: Shape, guard: float) -> None:
    """Put the steps in front of one call; `guard` is what lengthens every row."""
    call = graph.calls[number]
    name, x, channels = call.layer, call.refs()[0], int(shape[-1] or 0)
    longer = (*shape[:-1], channels + 1)

    def step(spec: LayerSpec, args: Any, output: Shape, **options: Any) -> Ref:
        ref = graph.add_call(graph.add_layer(spec).name, args, options)
        graph.calls[ref.call].output_shapes = [output]
        return ref

    mean_spec = function_spec(tf.reduce_mean, f"{name}_mean")
    mean = step(mean_spec, (x,), (*shape[:-1], 1), axis=-1, keepdims=True)
    centered = step(make_spec(layers.Subtract(name=f"{name}_centered")), ([x, mean],), shape)
    pads = [[0, 0]] * (len(shape) - 1) + [[0, 1]]
    pad_spec = function_spec(tf.pad, f"{name}_guarded")
    row = step(pad_spec, (centered,), longer, paddings=pads, constant_values=guard)
    direction_spec = function_spec(tf.math.l2_normalize, f"{name}_direction")
    direction = step(direction_spec, (row,), longer, axis=-1)
    ends = [*[None] * (len(shape) - 1), channels]
    index = [{"start": None, "stop": end, "step": None} for end in ends]  # as files keep it
    kept = step(slicing_spec(f"{name}_channels"), (direction, index), shape)
    call.args, call.kwargs = (kept,), {}
