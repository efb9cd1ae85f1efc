"""A call replaced by several layers, one behind the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from tfxp.keras_types import KerasLayer
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Shape

#: Changes the call of a number in a graph.
Rewrite = Callable[[LayerGraph, int], None]


@dataclasses.dataclass(frozen=True)
class Step:
    """One of the layers.

    Args:
        layer: a fresh Keras layer, or a spec.
        shape: of its output, batch included.
        options: what it is called with besides the tensor.
    """

    layer: KerasLayer | LayerSpec
    shape: Shape
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def follow(graph: LayerGraph, number: int, steps: Sequence[Step]) -> None:
    """Compute a call of one tensor in steps; the last one keeps the layer's name."""
    call = graph.calls[number]
    *before, last = steps
    source = call.refs()[0]
    for step in before:
        source = graph.append(step.layer, source, shape=step.shape, **step.options)
    graph.layers[call.layer].become(last.layer)
    call.read(source, **last.options)
