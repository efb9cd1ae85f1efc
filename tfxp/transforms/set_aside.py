"""Layers that transforms of a graph leave alone, set aside while the others are edited."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from tfxp.keras import keras
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.layer_spec import Treatment


class SetAside(keras.layers.Layer):
    """Stands in a graph where a layer was set aside; no transform knows its class."""


@contextlib.contextmanager
def setting_aside(graph: LayerGraph) -> Iterator[None]:
    """Hide the layers of a graph whose treatment is not the default from transforms."""
    kept = {
        name: spec
        for name, spec in graph.layers.items()
        if spec.treatment is not Treatment.DEFAULT and spec.kind != "InputLayer"
    }
    for name, spec in kept.items():
        config = {"name": name}
        # With a weight, because what has none is split when it is called several times.
        graph.layers[name] = LayerSpec(
            name, SetAside, config, [np.zeros(0)], ["none"], treatment=spec.treatment
        )
    yield
    for name, spec in kept.items():
        if name in graph.layers:
            spec.is_read = graph.layers[name].is_read
            graph.layers[name] = spec
