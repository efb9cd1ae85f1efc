"""A Keras model to the graph of its calls, nested models flattened on the way."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxp.errors import ModelError
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, KerasModel, KerasNode
from tfxp.transforms.activation_functions import read_config
from tfxp.transforms.call_graph import CallGraph, Ref
from tfxp.transforms.conversion.from_keras3 import as_tf_keras
from tfxp.transforms.custom_training import (
    losses_without_tensors,
    read_training,
    require_own_layers,
    split_losses,
)
from tfxp.transforms.data_types import float32_config, float32_value, other_float, warn_of_types
from tfxp.transforms.layer_spec import LayerSpec, frozen_parts, weight_names

_Key = tuple[int, int, int]


def read_model(model: KerasModel, graph: CallGraph) -> None:
    """Add the calls of a Sequential or functional model to an empty graph.

    Args:
        model: of tf_keras, or of Keras 3, which is converted.
        graph: takes the model's name, layers, calls, inputs and outputs.

    Raises:
        ModelError: the model is subclassed, or a Sequential without a known input shape, or
            one of Keras 3 with layers that tf_keras lacks.
    """
    given: Any = as_tf_keras(model)
    _require_graph(given)
    graph.name = given.name
    reader = _Reader(graph)
    known = reader.read(given, {})
    warn_of_types(graph.name, reader.types)
    graph.inputs = [known[_key(tensor)] for tensor in given.inputs]
    graph.outputs = [known[_key(tensor)] for tensor in given.outputs]
    single = not isinstance(given.output, list | tuple | dict)
    graph.output_structure = None if single else given.output
    graph.output_names = list(given.output_names)
    graph.left_behind += losses_without_tensors(given)
    split_losses(graph)
    read_training(model, given, graph)


def _require_graph(model: KerasModel) -> None:
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"model: got {type(model).__module__}.{type(model).__name__}; expected a tf_keras "
            "Sequential or functional model. Load it with tfxp.load_model."
        )
    require_own_layers(model)
    if getattr(model, "inputs", None) and getattr(model, "outputs", None):
        if isinstance(model, keras.Sequential) or getattr(model, "_is_graph_network", False):
            return
    raise ModelError(
        f"model {model.name!r}: got a {type(model).__name__} without a layer graph; expected a "
        "functional model or a Sequential with a known input shape. Call model.build(...) or "
        "rewrite a subclassed model with the functional API."
    )


class _Reader:
    """Copies a model's calls into a graph, flattening nested models on the way."""

    def __init__(self, graph: CallGraph) -> None:
        self._graph = graph
        self._names: dict[int, str] = {}
        self._trainable = True  # whether training changes anything of the model that is being read
        self._frozen: set[str] = set()  # layers frozen by the models around them
        self.types: dict[str, str] = {}  # layer -> its floating-point type, if not float32

    def read(self, model: keras.Model, given: dict[_Key, Ref]) -> dict[_Key, Ref]:
        """Add every call of `model`; `given` are its inputs where it is nested in another."""
        known, outside = dict(given), self._trainable
        self._trainable = outside and model.trainable
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                keys = [_key(tensor) for tensor in tf.nest.flatten(node.outputs)]
                if keys[0] in given:
                    continue
                refs = self._add(node, known)
                known.update(zip(keys, refs, strict=True))
        self._trainable = outside
        return known

    def _add(self, node: KerasNode, known: dict[_Key, Ref]) -> list[Ref]:
        if isinstance(node.layer, keras.Model):
            return self._add_nested(node, known)
        args, kwargs = tf.nest.map_structure(
            lambda value: known[_key(value)] if _is_symbolic(value) else float32_value(value),
            (tuple(node.call_args or ()), dict(node.call_kwargs or {})),
        )
        shapes = [tuple(tensor.shape) for tensor in tf.nest.flatten(node.outputs)]
        first = self._graph.add_call(self._name(node.layer), args, kwargs, shapes)
        return [Ref(first.call, index) for index in range(len(shapes))]

    def _add_nested(self, node: KerasNode, known: dict[_Key, Ref]) -> list[Ref]:
        inner = node.layer
        _require_graph(inner)
        read = [known[_key(tensor)] for tensor in tf.nest.flatten(node.keras_inputs)]
        given = {_key(t): ref for t, ref in zip(inner.inputs, read, strict=True)}
        inside = self.read(inner, given)
        return [inside[_key(tensor)] for tensor in inner.outputs]

    def _name(self, layer: KerasLayer) -> str:
        if id(layer) not in self._names:
            weights, config = [float32_value(w) for w in layer.weights], read_config(layer)
            spec = LayerSpec(layer.name, type(layer), float32_config(config), weights)
            spec.weight_names = weight_names(layer)
            spec.activity_regularizer = layer._activity_regularizer
            spec.frozen_parts = frozen_parts(layer) if spec.is_trainable else []
            self._names[id(layer)] = self._graph.add_layer(spec).name
            dtype = other_float(config.get("dtype"))
            if dtype:
                self.types[spec.name] = dtype
            self._graph.left_behind += losses_without_tensors(layer)
        name = self._names[id(layer)]
        self._freeze(self._graph.layers[name])
        return name

    def _freeze(self, spec: LayerSpec) -> None:
        """A frozen model freezes its layers; those that another model calls too train there."""
        first = not self._graph.uses(spec.name)
        if not self._trainable and first and spec.config.get("trainable"):
            spec.config["trainable"] = False
            self._frozen.add(spec.name)
        elif self._trainable and spec.name in self._frozen:
            spec.config["trainable"] = True
            self._frozen.remove(spec.name)


def _key(tensor: tf.Tensor) -> _Key:
    layer, node_index, tensor_index = tensor._keras_history[:3]
    return id(layer), node_index, tensor_index


def _is_symbolic(value: object) -> bool:
    return hasattr(value, "_keras_history")
