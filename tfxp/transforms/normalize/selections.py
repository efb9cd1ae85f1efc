"""Choices between a tensor and another value, by a comparison, as ReLUs.

x * (x > c), where(x > c, x, 0) = a ReLU with a threshold
where(x > 0, f, a * f)          = a leaky ReLU of f, where f is x or elu(x)
"""

from __future__ import annotations

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.normalize.function_calls import FunctionCall, parts_of, plain_name

COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")


def gate(graph: LayerGraph, number: int) -> None:
    """x * (x > c), which Keras makes of keras.activations.relu(x, threshold=c)."""
    call, spec, use = parts_of(graph, number)
    if not use.two_tensors or len(call.refs()) != 2:
        return
    for source, other in (call.refs(), call.refs()[::-1]):
        cast = graph.calls[other.call]
        if plain_name(graph.layers[cast.layer]) == "cast" and cast.refs():
            limit = _threshold(graph, cast.refs()[0], source)
            if limit is not None:
                spec.become(layers.ReLU(threshold=limit))
                call.read(source)
                return


def where(graph: LayerGraph, number: int) -> None:
    """tf.where, which Keras makes of keras.activations.elu(x, alpha) too."""
    call, spec, use = parts_of(graph, number)
    condition, kept, other = (
        use.argument(place, name) for place, name in enumerate(("condition", "x", "y"))
    )
    if not isinstance(condition, Ref) or not isinstance(kept, Ref):
        return
    source = _argument_of(graph, kept, "elu") or kept
    limit = _threshold(graph, condition, source)
    if limit is None:
        return
    if source == kept and _is_zero(graph, other):
        spec.become(layers.ReLU(threshold=limit))
    elif limit == 0 and (slope := _multiple(graph, other, kept)) is not None:
        spec.become(layers.LeakyReLU(slope))
    else:
        return
    call.read(kept)


def _threshold(graph: LayerGraph, condition: Ref, source: Ref) -> float | None:
    """The number c of a condition `source > c`; None for other conditions."""
    call = graph.calls[condition.call]
    if plain_name(graph.layers[call.layer]) != "greater":
        return None
    first, limit = FunctionCall.of(graph, call).operands
    return _number(limit) if first == source else None


def _multiple(graph: LayerGraph, ref: object, source: Ref) -> float | None:
    """The number a of a tensor `a * source`; None for other tensors."""
    if not isinstance(ref, Ref):
        return None
    call = graph.calls[ref.call]
    if plain_name(graph.layers[call.layer]) not in ("multiply", "mul"):
        return None
    first, second = FunctionCall.of(graph, call).operands
    if source not in (first, second):
        return None
    return _number(second if first == source else first)


def _is_zero(graph: LayerGraph, value: object) -> bool:
    if isinstance(value, Ref):
        return plain_name(graph.spec_of(value)) == "zeros_like"
    return _number(value) == 0


def _argument_of(graph: LayerGraph, ref: Ref, function: str) -> Ref | None:
    """The tensor that a function was given to compute another one."""
    call = graph.calls[ref.call]
    return call.refs()[0] if plain_name(graph.layers[call.layer]) == function else None


def _number(value: object) -> float | None:
    if isinstance(value, Ref) or np.size(np.asarray(value)) != 1:
        return None
    return float(np.ravel(np.asarray(value))[0])
