"""Tensors of a graph that no input changes: found, computed once, and put into their readers.

A position embedding written as `x + Embedding(n, d)(tf.range(tf.shape(x)[1]))` is such a tensor:
its steps are known when the network is, so the rows it picks are a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.constant_layers import CONSTANT_LAYERS
from tfxp.transforms.normalize.function_layers import function_spec
from tfxp.transforms.normalize.slices import index_of
from tfxp.transforms.training_settings import lose_settings

_FUNCTIONS = {
    "AddConstant": tf.add,
    "SubtractFromConstant": tf.subtract,
    "MultiplyConstant": tf.multiply,
}
_SHAPE_FUNCTIONS = ("shape", "compat.v1.shape")


class Learned(np.ndarray):
    """A constant that weights went into; training may go on with it."""


def is_constant(value: object) -> bool:
    """Whether an argument of a call is a tensor of its own, no number and no layer's output."""
    if isinstance(value, np.ndarray | tf.Tensor | tf.Variable):
        return bool(np.ndim(value))
    return False


def fold_constants(graph: LayerGraph) -> LayerGraph:
    """Compute every tensor that depends on sizes and weights only, and give its readers the value.

    Sizes may be taken from `tf.shape`; what depends on the number of samples is left alone.
    """
    known: dict[Ref, np.ndarray] = {}
    for number, call, spec in graph.in_order():
        values = [known.get(ref) for ref in call.refs()]
        if spec.config.get("function") in _SHAPE_FUNCTIONS:
            shape = graph.input_shape(number)
            if shape:
                known[Ref(number)] = _sizes(shape)
        elif values and all(value is not None for value in values) and not _is_random(spec):
            found = _computed(call, spec, known)
            if found is not None:
                known[Ref(number)] = found
                lose_settings(graph, spec, "whose outputs are constants")
    for number, call in graph.calls.items():
        if Ref(number) not in known and any(_is_whole(known.get(ref)) for ref in call.refs()):
            call.redirect(lambda ref: known[ref] if _is_whole(known.get(ref)) else ref)
    graph.sort()
    return graph


def constants_to_functions(graph: LayerGraph) -> LayerGraph:
    """Replace layers that hold constants by functions of tensors, `x + constant` and so on."""
    for _, call, spec in graph.in_order():
        if spec.kind not in CONSTANT_LAYERS:
            continue
        value = spec.arrays()["constant"]
        spec.become(function_spec(_FUNCTIONS[spec.kind], spec.name))
        spec.set_arrays({})
        operands: list[Any] = [call.refs()[0], np.array(value)]
        if spec.config["function"] == "math.subtract":
            operands.reverse()
        call.read(operands[0], y=operands[1])
    return graph


def _is_random(spec: LayerSpec) -> bool:
    return str(spec.config.get("function")).startswith("random.")


def _is_whole(value: np.ndarray | None) -> bool:
    """Whether all elements are known: a shape's first one, the batch, is not."""
    return value is not None and value.dtype != object


def _sizes(shape: tuple[int | None, ...]) -> np.ndarray:
    known = all(size is not None for size in shape)
    return np.array(shape, np.int32 if known else object)


def _computed(call: Call, spec: LayerSpec, known: dict[Ref, np.ndarray]) -> np.ndarray | None:
    """The output of a call of constants; None if it cannot be known."""
    values = [known[ref] for ref in call.refs()]
    if not all(_is_whole(value) for value in values):
        return _element(call, spec, known)
    args, kwargs = call.map_refs(lambda ref: tf.constant(known[ref]))
    layer = spec.cls.from_config(dict(spec.config))
    result = layer(*args, **kwargs)
    if spec.weights:
        layer.set_weights(list(spec.arrays().values()))
        result = layer(*args, **kwargs)
    if not isinstance(result, tf.Tensor):
        return None
    weighted = bool(spec.weights) and spec.is_trainable
    learned = weighted or any(isinstance(value, Learned) for value in values)
    return result.numpy().view(Learned) if learned else np.asarray(result)


def _element(call: Call, spec: LayerSpec, known: dict[Ref, np.ndarray]) -> np.ndarray | None:
    """Part of a shape of which not all sizes are known."""
    if spec.kind != "SlicingOpLambda":
        return None
    index = index_of(call)
    if len(index) != 1 or not isinstance(index[0], int | slice):
        return None
    part = known[call.refs()[0]][index[0]]
    if isinstance(part, np.ndarray):
        return _sizes(tuple(part))
    return None if part is None else np.asarray(part, np.int32)
