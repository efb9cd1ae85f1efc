"""BatchNormalization that stays one, to be trained: behind a layer with weights, or alone.

One that stands alone, such as in front of a pre-activation block, gets a depthwise 1x1 convolution
with a kernel of ones in front of it. That takes its name and its rule in the precision map, and at
export its factors:

    BN(x)  =  BN'(1 * x)
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.fold_batch_norm import (
    follows_foldable,
    reshape_to_image,
    scales_images,
)
from tfxp.transforms.layer_graph import LayerGraph


def keep_batch_norm(graph: LayerGraph) -> set[str]:
    """Prepare a graph for training with its BatchNormalization.

    Args:
        graph: graph to edit; its outputs stay the same.

    Returns:
        The layers that stay: all but those that normalise several tensors, or that no depthwise
        convolution can stand in front of.
    """
    kept = set()
    for number, call, spec in graph.in_order():
        if spec.kind != "BatchNormalization" or len(graph.uses(spec.name)) > 1:
            continue
        if follows_foldable(graph, number) or _put_behind_ones(graph, number):
            kept.add(call.layer)
    graph.sort()
    return kept


def _put_behind_ones(graph: LayerGraph, number: int) -> bool:
    """Put a channel scale of 1 in front of a BatchNormalization that stands alone."""
    call = graph.calls[number]
    spec = graph.layers[call.layer]
    if not scales_images(graph, number):
        return False
    reshape_to_image(graph, number)
    config = {**spec.config, "axis": -1}
    kept = dataclasses.replace(spec, name=f"{spec.name}_kept", config=config, aliases=[])
    call.layer = graph.add_layer(kept).name
    spec.activity_regularizer = None
    spec.become(layers.DepthwiseConv2D(1, use_bias=False))
    spec.config["trainable"] = False
    channels = kept.arrays()["moving_variance"].size
    spec.set_arrays({"depthwise_kernel": np.ones((1, 1, channels, 1), np.float32)})
    ones = graph.add_call(spec.name, (call.refs()[0],), {}, [graph.input_shape(number)])
    call.redirect(lambda _: ones)
    return True
