"""A layer graph back to a Keras model, without copies of its weights."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import tensorflow as tf

from tfxp.errors import ModelError
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer
from tfxp.transforms.call_graph import CallGraph, Ref
from tfxp.transforms.custom_training import LOSS_KINDS, vars_of_user
from tfxp.transforms.data_types import float32_config, float32_policy
from tfxp.transforms.layer_spec import LayerSpec, value_of, weight_names
from tfxp.transforms.named_outputs import named_model
from tfxp.transforms.refusals import naming


def build_model(graph: CallGraph, name: str) -> Any:
    """Build the layers and calls of a graph in float32, and give the layers their weights."""
    with float32_policy():
        return _build(graph, name)


def _build(graph: CallGraph, name: str) -> Any:
    specs = {**graph.layers, **graph.loss_layers}
    layers = {key: _new_layer(spec) for key, spec in specs.items() if not _is_made_by_keras(spec)}
    tensors: dict[Ref, Any] = {}
    for number, call, spec in graph.in_order():
        if _is_input(spec):
            config = float32_config(spec.config)
            tensors[Ref(number)] = keras.Input(
                batch_shape=config["batch_input_shape"], dtype=config["dtype"], name=spec.name
            )
            continue
        args, kwargs = call.map_refs(tensors.__getitem__)
        with _rebuilding(spec):
            results = tf.nest.flatten(layers[call.layer](*args, **kwargs))
        tensors.update({Ref(number, index): value for index, value in enumerate(results)})
    inputs = [tensors[ref] for ref in graph.inputs]
    outputs = [tensors[ref] for ref in graph.outputs]
    single = graph.output_structure is None
    packed = outputs[0] if single else tf.nest.pack_sequence_as(graph.output_structure, outputs)
    model = named_model(inputs, packed, graph.output_names, name, graph.model_class)
    vars_of_user(model, graph.attributes)
    _add_losses(model, graph, layers, tensors)
    for key, layer in layers.items():
        spec = specs[key]
        with _rebuilding(spec):
            if spec.weights:
                _assign(layer, spec)
            if spec.wraps is not None:
                _assign(layer.layer, spec.wraps)
    return model


def _add_losses(
    model: keras.Model, graph: CallGraph, layers: dict[str, Any], tensors: dict[Ref, Any]
) -> None:
    """Give the model the losses and metrics that the user's code added to it."""
    for number, call in graph.loss_calls.items():
        spec = graph.loss_layers[call.layer]
        args, kwargs = call.map_refs(tensors.__getitem__)
        if spec.kind == "AddLoss":
            model.add_loss(args[0])
        elif spec.kind == "AddMetric":
            model.add_metric(
                args[0], name=spec.config["metric_name"], aggregation=spec.config["aggregation"]
            )
        else:
            results = tf.nest.flatten(layers[call.layer](*args, **kwargs))
            tensors.update({Ref(number, index): value for index, value in enumerate(results)})


def _is_made_by_keras(spec: LayerSpec) -> bool:
    return _is_input(spec) or spec.kind in LOSS_KINDS


def _assign(layer: KerasLayer, spec: LayerSpec) -> None:
    """Give a layer its weights; variables share memory until one of them changes.

    They go by name, since Keras lists those of frozen parts last.
    """
    own, names, weights = layer.weights, weight_names(layer), list(spec.weights)
    if len(own) != len(weights):
        raise ModelError(f"layer {layer.name!r}: got {len(weights)} weights; expected {len(own)}.")
    if sorted(names) == sorted(spec.weight_names):
        by_name = dict(zip(spec.weight_names, weights, strict=True))
        weights = [by_name[name] for name in names]
    for variable, weight in zip(own, weights, strict=True):
        variable.assign(value_of(weight))
    vars(layer).pop("add_weight", None)


def _is_input(spec: LayerSpec) -> bool:
    return issubclass(spec.cls, keras.layers.InputLayer)


def _rebuilding(spec: LayerSpec) -> contextlib.AbstractContextManager[None]:
    kind = spec.kind if spec.wraps is None else spec.wraps.kind
    return naming(spec.name, kind, "cannot be built again")


def _new_layer(spec: LayerSpec) -> Any:
    with _rebuilding(spec):
        layer = spec.cls.from_config({**float32_config(spec.config), "name": spec.name})
    inner = spec if spec.wraps is None else spec.wraps
    for path in inner.frozen_parts:
        owner = layer if spec.wraps is None else layer.layer
        functools.reduce(getattr, path.split("."), owner).trainable = False
    if spec.activity_regularizer is not None:
        layer._activity_regularizer = spec.activity_regularizer
    if spec.weights:
        _start_from_zeros(layer)
    if spec.wraps is not None:
        _start_from_zeros(layer.layer)
    return layer


def _start_from_zeros(layer: KerasLayer) -> None:
    """Skip the initializers of weights that are assigned later: a large random one takes three
    times its memory, and time."""
    original = layer.add_weight

    def add_weight(*args: object, **kwargs: object) -> Any:
        if len(args) < 4:
            kwargs["initializer"] = "zeros"
        return original(*args, **kwargs)

    object.__setattr__(layer, "add_weight", add_weight)
