"""Sizes and work of a Keras model, counted without running it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfxp.errors import UnsupportedLayerError
from tfxp.measure.any_layer import any_workload
from tfxp.precision import LayerStats, ModelStats
from tfxp.quantization.layer_roles import role_of
from tfxp.quantization.plan import QuantizationPlan, prepare
from tfxp.transforms.fold_batch_norm import fold_batch_norm as fold
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize import normalize


def count_model(model: Any, *, fold_batch_norm: bool = True) -> ModelStats:
    """Every layer's shapes, parameters and multiply-accumulates; no distributions.

    A network that can be quantized is counted as it will run: activation functions are part of the
    layer before. Any other network is counted layer by layer (`tfxp.measure.any_layer`).

    Args:
        model: Sequential or functional tf_keras model.
        fold_batch_norm: count the network with BatchNormalization folded, as it will run.

    Raises:
        ModelError: the model is subclassed, or a Sequential without a known input shape.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> count_model(keras.Sequential([layers.Dense(3, input_shape=(4,))])).macs
        12
    """
    try:
        return workload(prepare(model, fold_batch_norm))
    except UnsupportedLayerError:
        graph = normalize(LayerGraph.from_model(model))
        if fold_batch_norm:
            fold(graph)
        return any_workload(graph)


def workload(plan: QuantizationPlan) -> ModelStats:
    """The figures of a prepared network; layers that close another are part of it."""
    closing = {point.layer: owner for owner, point in plan.points.items()}
    layers: dict[str, LayerStats] = {}
    graph = plan.graph
    for number, call, spec in graph.in_order():
        owner = plan.aliases.get(spec.name, spec.name)
        if closing.get(spec.name, spec.name) != spec.name or owner != spec.name:
            continue
        shape = call.output_shapes[0] if call.output_shapes else ()
        stats = _layer_stats(spec, shape, _producers(plan, number))
        if spec.name in layers:  # a shared layer works once per call
            first = layers[spec.name]
            stats = _merge_calls(first, stats)
        layers[spec.name] = stats
    outputs = [_owner_of(plan, ref) for ref in graph.outputs]
    return ModelStats(layers, tuple(dict.fromkeys(outputs)), 0, dict(plan.aliases))


def layer_macs(spec: LayerSpec, output_shape: tuple[int | None, ...]) -> int:
    """Multiply-accumulates of one call on one sample, padding taps included."""
    role = role_of(spec)
    if role.role != "mac":
        return 0
    weight = role.weights[0]
    kernel = dict(zip(spec.weight_names, spec.weights, strict=True))[weight.attribute].shape
    channels = int(np.prod(weight.channels(tuple(kernel))))
    positions = _count(output_shape[1:]) // channels
    return positions * _count(tuple(kernel))


def _layer_stats(
    spec: LayerSpec, shape: tuple[int | None, ...], inputs: tuple[str, ...]
) -> LayerStats:
    role = role_of(spec)
    shapes = {
        name: tuple(weight.shape)
        for name, weight in zip(spec.weight_names, spec.weights, strict=True)
    }
    weight = shapes.get(role.weights[0].attribute, ()) if role.weights else ()
    bias = shapes.get(str(role.bias), ())
    return LayerStats(
        spec.name,
        role.kind,
        inputs,
        tuple(int(size or 1) for size in shape[1:]),
        tuple(int(size) for size in weight),
        layer_macs(spec, shape),
        _count(bias) if bias else 0,
    )


def _merge_calls(first: LayerStats, more: LayerStats) -> LayerStats:
    return dataclasses.replace(
        first, inputs=first.inputs + more.inputs, macs=first.macs + more.macs
    )


def _producers(plan: QuantizationPlan, number: int) -> tuple[str, ...]:
    return tuple(_owner_of(plan, ref) for ref in plan.graph.calls[number].refs())


def _owner_of(plan: QuantizationPlan, ref: Ref) -> str:
    name = plan.graph.calls[ref.call].layer
    return plan.aliases.get(name, name)


def _count(shape: tuple[int | None, ...]) -> int:
    return int(np.prod([int(size or 1) for size in shape], dtype=np.int64)) if shape else 1
