"""Fold BatchNormalization into the layer before or after it, or turn it into a 1x1 convolution.

    BN(y) = g * y + c,    g = gamma / sqrt(variance + epsilon),    c = beta - g * mean

    before:  BN(conv(x, W) + b)  = conv(x, g * W) + g * b + c        (any padding)
    after:   conv(BN(x), W) + b  = conv(x, W * g) + b + sum(W * c)   (only without zero padding)
    alone:   a depthwise 1x1 convolution with kernel g and bias c
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref

# Layers a BatchNormalization after them can go into: class -> axes of the kernel, from the last
# one, that number output channels.
FOLDABLE = {
    "Conv1D": 1,
    "Conv2D": 1,
    "Conv3D": 1,
    "DepthwiseConv2D": 2,
    "Dense": 1,
}


def fold_batch_norm(graph: LayerGraph, keep: Collection[str] = ()) -> LayerGraph:
    """Remove BatchNormalization from a graph; its outputs at inference stay the same.

    The arithmetic is done in float64, so that outputs change by float32 rounding only.

    Args:
        graph: graph to edit.
        keep: names of layers to leave alone.

    Returns:
        The same graph.
    """
    for number, call, spec in graph.in_order():
        if spec.kind != "BatchNormalization" or spec.name in keep:
            continue
        if not (_fold_back(graph, number) or _fold_forward(graph, number)):
            _become_depthwise(graph, number, call.output_shapes)
    graph.sort()
    return graph


def affine(spec: LayerSpec) -> tuple[np.ndarray, np.ndarray]:
    """g and c of a BatchNormalization at inference, float64 (channels,)."""
    arrays = {name: value.astype(np.float64) for name, value in spec.arrays().items()}
    deviation = np.sqrt(arrays["moving_variance"] + spec.config["epsilon"])
    g = arrays.get("gamma", np.ones_like(deviation)) / deviation
    return g, arrays.get("beta", np.zeros_like(deviation)) - g * arrays["moving_mean"]


def follows_foldable(graph: LayerGraph, number: int) -> bool:
    """Whether the BatchNormalization called at `number` can go into the layer before it."""
    call = graph.calls[number]
    spec, source = graph.layers[call.layer], call.refs()[0]
    before = graph.spec_of(source)
    return (
        before.kind in FOLDABLE
        and before.config.get("activation", "linear") == "linear"
        and len(graph.uses(before.name)) == len(graph.uses(spec.name)) == 1
        and graph.only_consumer(source) == number
        and _normalises_channels(spec, graph.calls[source.call].output_shapes)
    )


def _normalises_channels(spec: LayerSpec, shapes: list[tuple[int | None, ...]]) -> bool:
    axis = spec.config["axis"]
    axis = list(axis) if isinstance(axis, list | tuple) else [axis]
    return axis == [-1] or (bool(shapes) and axis == [len(shapes[0]) - 1])


def _fold_back(graph: LayerGraph, number: int) -> bool:
    if not follows_foldable(graph, number):
        return False
    spec = graph.layers[graph.calls[number].layer]
    before = graph.spec_of(graph.calls[number].refs()[0])
    g, c = affine(spec)
    arrays = before.arrays()
    name, kernel = next(iter(arrays.items()))
    channels = kernel.shape[kernel.ndim - FOLDABLE[before.kind] :]
    bias = arrays.get("bias", np.zeros(g.shape)).astype(np.float64)
    before.set_arrays(
        {
            name: (kernel.astype(np.float64) * g.reshape(channels)).astype(np.float32),
            "bias": (g * bias + c).astype(np.float32),
        }
    )
    before.config["use_bias"] = True
    before.absorb(spec)
    graph.bypass(number)
    return True


def _fold_forward(graph: LayerGraph, number: int) -> bool:
    call = graph.calls[number]
    spec = graph.layers[call.layer]
    consumer = graph.only_consumer(Ref(number))
    if consumer is None or len(graph.uses(spec.name)) > 1:
        return False
    after = graph.layers[graph.calls[consumer].layer]
    unpadded = after.kind == "Dense" or (
        after.kind == "Conv2D"
        and after.config["padding"] == "valid"
        and after.config.get("groups", 1) == 1
    )
    normal = _normalises_channels(spec, call.output_shapes)
    if not (unpadded and normal and len(graph.uses(after.name)) == 1):
        return False
    g, c = affine(spec)
    arrays = after.arrays()
    kernel = arrays["kernel"].astype(np.float64)
    bias = arrays.get("bias", np.zeros(kernel.shape[-1])).astype(np.float64)
    shift = (kernel * c[:, None]).sum(axis=tuple(range(kernel.ndim - 1)))
    after.set_arrays(
        {
            "kernel": (kernel * g[:, None]).astype(np.float32),
            "bias": (bias + shift).astype(np.float32),
        }
    )
    after.config["use_bias"] = True
    after.absorb(spec)
    graph.bypass(number)
    return True


def _become_depthwise(
    graph: LayerGraph, number: int, shapes: list[tuple[int | None, ...]]
) -> None:
    """Replace the layer by a depthwise 1x1 convolution of the same name, for every call of it."""
    spec = graph.layers[graph.calls[number].layer]
    shape = shapes[0] if shapes else ()
    if len(shape) not in (2, 4) or not _normalises_channels(spec, shapes):
        return
    g, c = affine(spec)
    layer = layers.DepthwiseConv2D(1, name=spec.name)
    spec.cls, spec.config = type(layer), layer.get_config()
    spec.set_arrays(
        {
            "depthwise_kernel": g.astype(np.float32).reshape(1, 1, -1, 1),
            "bias": c.astype(np.float32),
        }
    )
    if len(shape) == 2:
        for use in graph.uses(spec.name):
            _reshape_around(graph, use, g.size)


def _reshape_around(graph: LayerGraph, number: int, channels: int) -> None:
    call = graph.calls[number]
    name = call.layer
    image = graph.add_layer(_reshape_spec(f"{name}_as_image", (1, 1, channels)))
    vector = graph.add_layer(_reshape_spec(f"{name}_as_vector", (channels,)))
    before = graph.add_call(image.name, (call.refs()[0],))
    call.args, call.kwargs = (before,), {}
    after = graph.add_call(vector.name, (Ref(number),))
    batch = call.output_shapes[0][0]
    graph.calls[after.call].output_shapes = call.output_shapes
    call.output_shapes = [(batch, 1, 1, channels)]
    graph.calls[before.call].output_shapes = call.output_shapes
    graph.replace(Ref(number), after, keep=(after.call,))


def _reshape_spec(name: str, shape: tuple[int, ...]) -> LayerSpec:
    layer = layers.Reshape(shape, name=name)
    return LayerSpec(name, type(layer), layer.get_config())
