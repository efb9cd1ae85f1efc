"""TimeDistributed around a layer that treats every position alike becomes that layer."""

from __future__ import annotations

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec

# These act on the last axis or on every element, whatever stands before.
_ANY_RANK = (
    "Dense",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "Softmax",
    "Dropout",
    "Rescaling",
    "LayerNormalization",
)


def unwrap_time_distributed(graph: LayerGraph) -> LayerGraph:
    """Replace TimeDistributed(layer) where the layer alone computes the same."""
    for _, _, spec in graph.in_order():
        if spec.kind == "TimeDistributed":
            _unwrap(spec)
    return graph


def _unwrap(spec: LayerSpec) -> None:
    inner = spec.config["layer"]
    kind = getattr(layers, str(inner["class_name"]), None)
    if kind is None or kind.__name__ not in _ANY_RANK:
        return
    config = inner["config"]
    if config.get("axis", -1) not in (-1, [-1]) or config.get("noise_shape"):
        return  # counted from the front, without the axis of time
    if config.get("activity_regularizer") is not None:
        return  # by which the mean over all steps is taken
    spec.become(LayerSpec(spec.name, kind, config))
    spec.weight_names = [name.removeprefix("layer.") for name in spec.weight_names]
