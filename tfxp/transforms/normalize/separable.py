"""A separable convolution becomes a depthwise convolution and one of kernel size 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, make_spec

_DEPTHWISE = {
    "SeparableConv1D": layers.DepthwiseConv1D,
    "SeparableConv2D": layers.DepthwiseConv2D,
}
_POINTWISE = {"SeparableConv1D": layers.Conv1D, "SeparableConv2D": layers.Conv2D}


def split_separable(graph: LayerGraph) -> None:
    """Split every separable convolution; the second part keeps the layer's name."""
    for _, _, spec in graph.in_order():
        if spec.kind in _DEPTHWISE and spec.name in graph.layers:
            _split_one(graph, spec)
    graph.sort()


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
    first = make_spec(depthwise)
    first.set_arrays({"depthwise_kernel": arrays["depthwise_kernel"]})
    first = graph.add_layer(first)
    pointwise = _POINTWISE[kind](
        config["filters"],
        1,
        use_bias=config["use_bias"],
        activation=config["activation"],
        name=spec.name,
    )
    spec.cls, spec.config = type(pointwise), pointwise.get_config()
    kept = {"kernel": arrays["pointwise_kernel"]}
    spec.set_arrays({**kept, "bias": arrays["bias"]} if config["use_bias"] else kept)
    channels = int(np.prod(arrays["depthwise_kernel"].shape[-2:]))
    for use in graph.uses(spec.name):
        call = graph.calls[use]
        source = _padded_before(graph, use, config, spec.name) if causal else call.refs()[0]
        between = graph.add_call(first.name, (source,))
        shapes = [(*shape[:-1], channels) for shape in call.output_shapes]
        graph.calls[between.call].output_shapes = shapes
        call.args, call.kwargs = (between,), {}


def _padded_before(graph: LayerGraph, use: int, config: dict[str, Any], name: str) -> Ref:
    """The input of a causal convolution with the zeros it puts before the first step."""
    (size,), (step,) = np.atleast_1d(config["kernel_size"]), np.atleast_1d(config["dilation_rate"])
    before = int(step * (size - 1))
    source = graph.calls[use].refs()[0]
    padding = graph.add_layer(make_spec(layers.ZeroPadding1D((before, 0), name=f"{name}_padding")))
    padded = graph.add_call(padding.name, (source,))
    shape = graph.calls[source.call].output_shapes[source.index]
    length = None if shape[1] is None else shape[1] + before
    graph.calls[padded.call].output_shapes = [(shape[0], length, shape[2])]
    return padded
