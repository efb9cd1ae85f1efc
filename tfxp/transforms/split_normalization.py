"""A Normalization layer behind an input, taken out of the network."""

from __future__ import annotations

import numpy as np

from tfxp.data.input_scaling import (
    InputScaling,
    crushed_columns,
    keep_scalings,
    scalings_of,
)
from tfxp.data.model_notes import keep_notes, notes_of
from tfxp.devices import scope_of
from tfxp.keras_types import KerasModel
from tfxp.transforms.conversion.from_keras3 import as_tf_keras
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.normalize.affine import normalization_factors


def split_normalization(
    model: KerasModel, *, always: bool = True
) -> tuple[KerasModel, dict[str, InputScaling]]:
    """The network behind its Normalization layers, and the scaling that they did.

        network(x * scale + shift) = model(x),    scale = 1 / sqrt(variance), shift = -mean * scale

    Inputs are quantized first of all. Where columns differ by orders of magnitude, one format for
    all of them leaves nothing of the small ones; so scale them before the network.

    Args:
        model: a Keras model; it is not changed.
        always: take every such layer out; False only those whose columns differ so much that 8
            bits would crush some.

    Returns:
        The network (the same model where there is nothing to take out), and input name -> scaling,
        those that the model already needed included. `network.save` keeps them.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> norm = layers.Normalization(mean=[0.0, 5000.0], variance=[1.0, 1e6])
        >>> model = keras.Sequential([keras.Input((2,), name="x"), norm, layers.Dense(3)])
        >>> network, scalings = split_normalization(model)
        >>> scalings["x"].scale
        (1.0, 0.001)
        >>> x = np.array([[0.5, 4000.0]], np.float32)
        >>> bool(np.allclose(network(scalings["x"].apply(x)), model(x), atol=1e-5))
        True
    """
    model = as_tf_keras(model)
    graph, found = LayerGraph.from_model(model), scalings_of(model)
    for ref in list(graph.inputs):
        number = graph.only_consumer(ref)
        scaling = None if number is None else _scaling(graph, number)
        if number is None or scaling is None or not (always or _differs(scaling)):
            continue
        name = graph.spec_of(ref).name
        before = found.get(name, InputScaling())
        found[name] = InputScaling(*_joined(before, scaling))
        graph.bypass(number)
    if found == scalings_of(model):
        return model, found
    with scope_of(model):
        rebuilt = keep_notes(graph.to_model(model.name), notes_of(model))
    return keep_scalings(rebuilt, found), found


def _scaling(graph: LayerGraph, number: int) -> InputScaling | None:
    """What a Normalization of the last axis, or of all values, computes; None for other layers."""
    spec, shape = graph.spec_of(Ref(number)), graph.shape_of(Ref(number))
    factors = normalization_factors(spec) if spec.kind == "Normalization" else None
    if factors is None or not shape or any(part.size not in (1, shape[-1]) for part in factors):
        return None
    scale, shift = np.broadcast_arrays(*(part.ravel() for part in factors))
    return InputScaling(tuple(map(float, scale)), tuple(map(float, shift)))


def _joined(first: InputScaling, then: InputScaling) -> tuple[tuple[float, ...], ...]:
    """One scaling after another as one."""
    a, b = np.array(first.scale), np.array(first.shift)
    c, d = np.array(then.scale), np.array(then.shift)
    scale, shift = np.broadcast_arrays(a * c, b * c + d)
    return tuple(map(float, scale)), tuple(map(float, shift))


def _differs(scaling: InputScaling) -> bool:
    scale, shift = np.array(scaling.scale), np.array(scaling.shift)
    deviation, mean = 1 / np.abs(scale), -shift / scale
    return bool(crushed_columns(mean - 2 * deviation, mean + 2 * deviation, deviation))
