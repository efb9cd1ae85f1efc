"""A separable convolution becomes a depthwise convolution and one of kernel size 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.training_settings import MovedWeight, carry_settings

_DEPTHWISE = {
    "SeparableConv1D": layers.DepthwiseConv1D,
    "SeparableConv2D": layers.DepthwiseConv2D,
}
_POINTWISE = {"SeparableConv1D": layers.Conv1D, "SeparableConv2D": layers.Conv2D}


def split_separable(graph: LayerGraph) -> LayerGraph:
    """Split every separable convolution; the second part keeps the layer's name."""
    for _, _, spec in graph.in_order():
        last = spec.config.get("data_format") != "channels_first"
        if spec.kind in _DEPTHWISE and spec.name in graph.layers and last:
            _split_one(graph, spec)
    graph.sort()
    return graph


def _split_one(graph: LayerGraph, spec: LayerSpec) -> None:
    config, arrays, kind = spec.config, spec.arrays(), spec.kind
    causal = config["padding"] == "causal"
    depthwise = _DEPTHWISE[kind](
        config["kernel_size"],
        strides=config["strides"],
        padding="valid" if causal else config["padding"],
        depth_multiplier=config["depth_multiplier"],
        dilation_rate=config["dilation_rate"],
        use_bias=False,
        name=f"{spec.name}_depthwise",
    )
    first = graph.add_layer(spec.part(depthwise))
    first.set_arrays({"depthwise_kernel": arrays["depthwise_kernel"]})
    pointwise = _POINTWISE[kind](
        config["filters"],
        1,
        use_bias=config["use_bias"],
        activation=config["activation"],
    )
    spec.become(pointwise)
    kept = {"kernel": arrays["pointwise_kernel"]}
    spec.set_arrays({**kept, "bias": arrays["bias"]} if config["use_bias"] else kept)
    moves = (
        MovedWeight("depthwise", first, "depthwise"),
        MovedWeight("pointwise", spec, "kernel"),
        MovedWeight("bias", spec, "bias"),
    )
    carry_settings(graph, spec.name, config, moves)
    channels = int(np.prod(arrays["depthwise_kernel"].shape[-2:]))
    for use in graph.uses(spec.name):
        if causal:
            _pad_before(graph, use, config)
        call = graph.calls[use]
        shapes = [(*shape[:-1], channels) for shape in call.output_shapes]
        call.read(graph.add_call(first.name, (call.refs()[0],), shapes=shapes))


def _pad_before(graph: LayerGraph, use: int, config: dict[str, Any]) -> None:
    """The zeros that a causal convolution puts before the first step."""
    (size,), (step,) = np.atleast_1d(config["kernel_size"]), np.atleast_1d(config["dilation_rate"])
    before = int(step * (size - 1))
    batch, length, channels = graph.input_shape(use)
    padding = layers.ZeroPadding1D((before, 0), name=f"{config['name']}_padding")
    shape = (batch, None if length is None else length + before, channels)
    graph.insert_before(use, padding, shape)
