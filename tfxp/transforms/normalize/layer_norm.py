"""Layer normalization over the last axis in steps that integer operators compute.

    d = x - mean(x),    y = gamma d / sqrt(mean(d^2) + e) + beta

The root is the length of a longer row: with one more element, p = (d, sqrt(C e)),

    |p|^2 = C (mean(d^2) + e),    so    y = gamma sqrt(C) (p / |p|)_1..C + beta

Dividing a row by its length is an operator that keeps 31 bits inside, whatever the row's size; a
variance of 8 bits would not do. What is left per channel folds as BatchNormalization does.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Shape
from tfxp.transforms.normalize.affine import become_batch_norm
from tfxp.transforms.normalize.function_layers import function_spec, slicing_spec
from tfxp.transforms.normalize.masks import mask_readers, masked_layers
from tfxp.transforms.training_settings import MovedWeight, carry_settings

# Images are the largest that the operator takes.
_RANKS = (2, 3, 4)


def split_layer_norms(graph: LayerGraph) -> LayerGraph:
    """Split every plain layer normalization; the step per channel keeps the layer's name.

    What stays one layer: other axes than the last, and layers that hand on a mask somebody reads.
    """
    masked = masked_layers(graph) if mask_readers(graph) else {}
    for name, spec in list(graph.layers.items()):
        if spec.kind != "LayerNormalization" or name in masked:
            continue
        shapes = [graph.input_shape(number) for number in graph.uses(name)]
        if not all(_is_plain(spec, shape) for shape in shapes):
            continue
        channels, epsilon = int(shapes[0][-1] or 0), float(spec.config["epsilon"])
        for number, shape in zip(graph.uses(name), shapes, strict=True):
            _split_call(graph, number, shape, math.sqrt(channels * epsilon))
        arrays = spec.arrays()
        gamma = arrays.get("gamma", np.ones(channels)).astype(np.float64)
        beta = arrays.get("beta", np.zeros(channels))
        settings, factor = spec.config, math.sqrt(channels)
        become_batch_norm(spec, gamma * factor, beta)
        moves = (MovedWeight("gamma", spec, "gamma", factor), MovedWeight("beta", spec, "beta"))
        carry_settings(graph, name, settings, moves)
    graph.sort()
    return graph


def _is_plain(spec: LayerSpec, shape: Shape) -> bool:
    axes = [int(axis) for axis in np.atleast_1d(spec.config["axis"])]
    last = axes in ([-1], [len(shape) - 1])
    return len(shape) in _RANKS and last and shape[-1] is not None


def _split_call(graph: LayerGraph, number: int, shape: Shape, guard: float) -> None:
    """Put the steps in front of one call; `guard` is what lengthens every row."""
    call = graph.calls[number]
    name, x, channels = call.layer, call.refs()[0], int(shape[-1] or 0)
    longer = (*shape[:-1], channels + 1)
    mean = graph.append(
        function_spec(tf.reduce_mean, f"{name}_mean"),
        x, shape=(*shape[:-1], 1), axis=-1, keepdims=True,
    )  # fmt: skip
    centered = graph.append(layers.Subtract(name=f"{name}_centered"), [x, mean], shape=shape)
    row = graph.append(
        function_spec(tf.pad, f"{name}_guarded"),
        centered, shape=longer,
        paddings=[[0, 0]] * (len(shape) - 1) + [[0, 1]], constant_values=guard,
    )  # fmt: skip
    direction = graph.append(function_spec(tf.math.l2_normalize, f"{name}_direction"), row, axis=-1)
    ends = [*[None] * (len(shape) - 1), channels]
    index = [{"start": None, "stop": end, "step": None} for end in ends]  # as files keep it
    call.read(graph.append(slicing_spec(f"{name}_channels"), direction, index, shape=shape))
