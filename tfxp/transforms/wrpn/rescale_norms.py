"""Give layers without BatchNormalization one that changes nothing, so that they can be scaled."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tfxp.keras import layers
from tfxp.keras_types import Samples
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.wrpn.layer_rules import WITH_KERNELS
from tfxp.transforms.wrpn.rescale_ranges import channel_moments


def add_batch_norms(
    graph: LayerGraph, data: Samples, skip: Collection[str], batch_size: int
) -> list[str]:
    """Insert BatchNormalization that is the identity at inference and, nearly, in training.

        moving_mean = mean, moving_variance = var, gamma = sqrt(var + epsilon), beta = mean

    with the mean and variance of each channel over the calibration data. An activation function
    inside the layer becomes a layer of its own, behind it.

    Args:
        graph: graph to edit.
        data: calibration inputs.
        skip: layers to leave alone; those that form the outputs are left alone anyway.
        batch_size: samples per step, for arrays.

    Returns:
        The names of the layers that got one.
    """
    chosen = {}
    for number, _, spec in graph.in_order():
        if spec.kind not in WITH_KERNELS or spec.name in skip:
            continue
        named = isinstance(spec.config["activation"], str)
        if named and len(graph.uses(spec.name)) == 1 and not _has_norm(graph, number):
            chosen[number] = spec
    for number, spec in chosen.items():
        function = spec.config["activation"]
        if function != "linear":
            spec.config["activation"] = "linear"
            activation = layers.Activation(function, name=f"{spec.name}_{function}")
            graph.insert_behind(Ref(number), activation)
    graph.sort()
    moments = channel_moments(graph, [Ref(number) for number in chosen], data, batch_size)
    for (number, spec), (mean, variance) in zip(chosen.items(), moments, strict=True):
        norm = layers.BatchNormalization(name=f"{spec.name}_norm")
        added = graph.spec_of(graph.insert_behind(Ref(number), norm))
        gamma = np.sqrt(variance + norm.epsilon)
        arrays = {"gamma": gamma, "beta": mean, "moving_mean": mean, "moving_variance": variance}
        added.set_arrays({name: value.astype(np.float32) for name, value in arrays.items()})
    graph.sort()
    return [spec.name for spec in chosen.values()]


def _has_norm(graph: LayerGraph, number: int) -> bool:
    consumer = graph.only_consumer(Ref(number))
    if consumer is None or graph.layers[graph.calls[number].layer].config["activation"] != "linear":
        return False
    return graph.layers[graph.calls[consumer].layer].kind == "BatchNormalization"
