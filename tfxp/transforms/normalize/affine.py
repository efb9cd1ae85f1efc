"""Layers that compute g * x + c per channel become BatchNormalization, to be folded like it.

Rescaling and Normalization (of the last axis) are such layers, and so are sums and products with
constants, which `tensor_functions` turns into Rescaling. Average becomes a sum and a Rescaling.
"""

from __future__ import annotations

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref

_AFFINE = ("Rescaling", "Normalization")


def averages_to_sums(graph: LayerGraph) -> LayerGraph:
    """Average(a, b, …) becomes Add(a, b, …) and a Rescaling by 1 / n."""
    for number, call, spec in graph.in_order():
        if spec.kind != "Average":
            continue
        total = layers.Add(name=f"{spec.name}_sum")
        result = graph.append(total, *call.args, shape=graph.shape_of(Ref(number)))
        spec.become(layers.Rescaling(1.0 / len(call.refs())))
        call.read(result)
    graph.sort()
    return graph


def affine_to_batch_norm(graph: LayerGraph) -> LayerGraph:
    """Replace Rescaling and Normalization by a BatchNormalization that computes the same.

    Layers that normalise other axes than the last are left alone.
    """
    for number, call, spec in graph.in_order():
        if spec.kind not in _AFFINE or not call.output_shapes:
            continue
        channels = call.output_shapes[0][-1]
        factors = _rescaling(spec) if spec.kind == "Rescaling" else normalization_factors(spec)
        if channels is None or factors is None:
            continue
        for values in factors:
            if values.size not in (1, channels):
                break
        else:
            become_batch_norm(spec, *(np.broadcast_to(v.ravel(), (channels,)) for v in factors))
            spec.config["trainable"] = False  # numbers that no training changed
            _take_real_input(graph, number)
    return graph


def _rescaling(spec: LayerSpec) -> tuple[np.ndarray, np.ndarray]:
    config = spec.config
    return np.asarray(config["scale"], np.float64), np.asarray(config["offset"], np.float64)


def normalization_factors(spec: LayerSpec) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and offset of a Normalization layer, per channel; None where they are unknown."""
    axis = spec.config["axis"]
    return None if axis is not None and np.size(axis) > 1 else element_factors(spec)


def element_factors(spec: LayerSpec) -> tuple[np.ndarray, np.ndarray] | None:
    """The same per element along all axes of the layer."""
    config = spec.config
    mean, variance = config.get("mean"), config.get("variance")
    if mean is None:
        arrays = spec.arrays()
        mean, variance = arrays.get("adapt_mean"), arrays.get("adapt_variance")
    if mean is None or variance is None:
        return None
    deviation = np.maximum(np.sqrt(np.asarray(variance, np.float64)), 1e-7)  # as Keras does
    mean = np.asarray(mean, np.float64)
    if config.get("invert"):
        return deviation, mean
    return 1 / deviation, -mean / deviation


def become_batch_norm(spec: LayerSpec, g: np.ndarray, c: np.ndarray) -> None:
    """Make a layer a BatchNormalization that computes g * x + c per channel."""
    spec.become(layers.BatchNormalization(epsilon=0.0))
    zeros = np.zeros(g.shape, np.float32)
    spec.set_arrays({"gamma": g, "beta": c, "moving_mean": zeros, "moving_variance": zeros + 1})


def _take_real_input(graph: LayerGraph, number: int) -> None:
    """A network that rescales bytes itself takes them as real numbers from now on."""
    source = graph.spec_of(graph.calls[number].refs()[0])
    if source.kind == "InputLayer" and "int" in str(source.config.get("dtype")):
        source.config["dtype"] = "float32"
