"""SpectralNormalization becomes the layer inside: training has normalized its kernel."""

from __future__ import annotations

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec

_INSIDE = "layer."


def unwrap_spectral_norms(graph: LayerGraph) -> LayerGraph:
    """Replace the wrapper by its layer, which computes the same outside training."""
    for _, _, spec in graph.in_order():
        inner = spec.config.get("layer")
        kind = getattr(layers, str(inner["class_name"]), None) if isinstance(inner, dict) else None
        if spec.kind != "SpectralNormalization" or kind is None or inner is None:
            continue
        spec.become(LayerSpec(spec.name, kind, inner["config"]))
        pairs = zip(spec.weight_names, spec.weights, strict=True)
        kept, seen = {}, set()
        for name, weight in pairs:
            if name != "vector_u" and id(weight) not in seen:  # a frozen kernel is listed twice
                kept[name.removeprefix(_INSIDE)] = weight
                seen.add(id(weight))
        spec.set_arrays(kept)
    return graph
