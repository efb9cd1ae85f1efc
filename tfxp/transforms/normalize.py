"""Rewrite a graph into the few layer forms that quantization knows.

- activation functions inside layers become layers of their own;
- a separable convolution becomes a depthwise and a pointwise one;
- `x + y` on tensors becomes an Add layer, and an Add of many inputs a chain of two-input Adds;
- a softmax before a final Reshape or Flatten moves behind it;
- a layer without weights that is called several times becomes one layer per call, the later ones
  with a number behind the name, because each call may see another format.

Outputs stay the same, bit for bit but for the order of additions in long sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref

_ADD_FUNCTIONS = ("__operators__.add", "math.add", "add")
_SEPARABLE = ("SeparableConv2D", "SeparableConvolution2D")


def normalize(graph: LayerGraph) -> LayerGraph:
    """Apply all rewrites of this file.

    Args:
        graph: graph to edit.

    Returns:
        The same graph.
    """
    _add_functions_to_layers(graph)
    _split_separable(graph)
    _split_activations(graph)
    _split_shared(graph)
    _split_long_adds(graph)
    _move_softmax_last(graph)
    _full_pools_to_means(graph)
    graph.sort()
    return graph


def make_spec(layer: Any) -> LayerSpec:
    """The spec of a fresh Keras layer without weights of its own yet."""
    return LayerSpec(layer.name, type(layer), layer.get_config())


def _add_functions_to_layers(graph: LayerGraph) -> None:
    for _, call, spec in graph.in_order():
        if spec.kind != "TFOpLambda" or spec.config.get("function") not in _ADD_FUNCTIONS:
            continue
        refs = call.refs()
        if len(refs) == 2 and len(graph.uses(spec.name)) == 1:
            layer = layers.Add(name=spec.name.replace(".", "_").strip("_"))
            spec.cls, spec.config = type(layer), {**layer.get_config(), "name": spec.name}
            call.args, call.kwargs = (refs,), {}


def _split_activations(graph: LayerGraph) -> None:
    for _, _, spec in graph.in_order():
        function = spec.config.get("activation")
        if spec.kind == "Activation" or not isinstance(function, str) or function == "linear":
            continue
        if spec.kind not in _WITH_ACTIVATION:
            continue
        layer = layers.Activation(function, name=f"{spec.name}_{function}")
        added = graph.add_layer(make_spec(layer))
        for use in graph.uses(spec.name):
            result = graph.add_call(added.name, (Ref(use),))
            graph.calls[result.call].output_shapes = graph.calls[use].output_shapes
            graph.replace(Ref(use), result, keep=(result.call,))
        spec.config["activation"] = "linear"


_WITH_ACTIVATION = (
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Conv2DTranspose",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "Dense",
)


def _split_separable(graph: LayerGraph) -> None:
    for _, _, spec in graph.in_order():
        if spec.kind in _SEPARABLE and spec.name in graph.layers:
            _split_one_separable(graph, spec)


def _split_one_separable(graph: LayerGraph, spec: LayerSpec) -> None:
    config, arrays = spec.config, spec.arrays()
    depthwise = layers.DepthwiseConv2D(
        config["kernel_size"],
        strides=config["strides"],
        padding=config["padding"],
        depth_multiplier=config["depth_multiplier"],
        dilation_rate=config["dilation_rate"],
        use_bias=False,
        name=f"{spec.name}_depthwise",
    )
    first = make_spec(depthwise)
    first.set_arrays({"depthwise_kernel": arrays["depthwise_kernel"]})
    first = graph.add_layer(first)
    pointwise = layers.Conv2D(
        config["filters"],
        1,
        use_bias=config["use_bias"],
        activation=config["activation"],
        name=spec.name,
    )
    spec.cls, spec.config = type(pointwise), pointwise.get_config()
    kept = {"kernel": arrays["pointwise_kernel"]}
    spec.set_arrays({**kept, "bias": arrays["bias"]} if config["use_bias"] else kept)
    channels = int(np.prod(arrays["depthwise_kernel"].shape[2:]))
    for use in graph.uses(spec.name):
        call = graph.calls[use]
        between = graph.add_call(first.name, tuple(call.refs()))
        shapes = [(*shape[:-1], channels) for shape in call.output_shapes]
        graph.calls[between.call].output_shapes = shapes
        call.args, call.kwargs = (between,), {}
    graph.sort()


def _split_shared(graph: LayerGraph) -> None:
    for number, call, spec in graph.in_order():
        first = graph.uses(spec.name)[0]
        if number == first or spec.weights or spec.kind == "InputLayer":
            continue
        call.layer = graph.add_layer(LayerSpec(spec.name, spec.cls, dict(spec.config))).name


def _split_long_adds(graph: LayerGraph) -> None:
    for _, call, spec in graph.in_order():
        refs = call.refs()
        if spec.kind != "Add" or len(refs) < 3 or len(graph.uses(spec.name)) > 1:
            continue
        total = refs[0]
        for position, ref in enumerate(refs[1:-1], 1):
            partial = graph.add_layer(make_spec(layers.Add(name=f"{spec.name}_{position}")))
            shapes = list(call.output_shapes)
            total = graph.add_call(partial.name, ([total, ref],))
            graph.calls[total.call].output_shapes = shapes
        call.args = ([total, refs[-1]],)
    graph.sort()


def _move_softmax_last(graph: LayerGraph) -> None:
    """Softmax over channels and a reshape that keeps them commute; logits come last that way."""
    for number, call, spec in graph.in_order():
        reader = graph.only_consumer(Ref(number)) if is_softmax(spec) else None
        if reader is None or graph.layers[graph.calls[reader].layer].kind not in _RESHAPES:
            continue
        following, source = graph.calls[reader], call.refs()[0]
        shapes = following.output_shapes, call.output_shapes
        single = len(graph.uses(spec.name)) == len(graph.uses(following.layer)) == 1
        if not single or shapes[0][0][-1] != shapes[1][0][-1]:
            continue
        following.args, following.kwargs = (source,), {}
        graph.replace(Ref(reader), Ref(number))
        call.args, call.kwargs = (Ref(reader),), {}
        call.output_shapes = following.output_shapes


def _full_pools_to_means(graph: LayerGraph) -> None:
    """A pool over the whole image is a mean, which may have a finer format than its input.

    AVERAGE_POOL_2D must keep its input's scale. Averages of 64 values are much smaller than the
    values, so at few bits hardly a level would be left to them; MEAN has a scale of its own.
    """
    for _, call, spec in graph.in_order():
        if spec.kind != "AveragePooling2D":
            continue
        sources = [graph.calls[graph.calls[use].refs()[0].call] for use in graph.uses(spec.name)]
        shapes = {tuple(source.output_shapes[0][1:3]) for source in sources if source.output_shapes}
        window = tuple(spec.config["pool_size"])
        if shapes == {window} and spec.config["data_format"] in (None, "channels_last"):
            if all(size == 1 for size in call.output_shapes[0][1:3]):
                layer = layers.GlobalAveragePooling2D(keepdims=True, name=spec.name)
                spec.cls, spec.config = type(layer), layer.get_config()


_RESHAPES = ("Reshape", "Flatten", "Dropout")


def is_relu(spec: LayerSpec) -> float | None:
    """The upper limit of a ReLU layer (infinity for a plain one); None if it is none."""
    if spec.kind == "Activation":
        return {"relu": float("inf"), "relu6": 6.0}.get(str(spec.config["activation"]))
    if spec.kind == "ReLU":
        slope, threshold = spec.config["negative_slope"], spec.config["threshold"]
        if float(slope or 0) == 0 and float(threshold or 0) == 0:
            limit = spec.config["max_value"]
            return float("inf") if limit is None else float(limit)
    return None


def is_softmax(spec: LayerSpec) -> bool:
    """Whether a layer is a softmax over the last axis."""
    if spec.kind == "Activation":
        return spec.config["activation"] == "softmax"
    return spec.kind == "Softmax" and spec.config["axis"] in (-1,)
