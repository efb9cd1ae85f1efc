"""Sizes and work of a Keras model, counted without running it."""

from __future__ import annotations

import math

from tfxp.errors import UnsupportedLayerError
from tfxp.keras_types import KerasModel
from tfxp.measure.any_layer import any_workload, layer_work, sample_shape
from tfxp.precision import LayerStats, ModelStats
from tfxp.quantization.layer_roles import role_of
from tfxp.quantization.plan import QuantizationPlan, prepare
from tfxp.transforms.fold_batch_norm import fold_batch_norm as fold
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.normalize import normalize


def count_model(model: KerasModel, *, fold_batch_norm: bool = True) -> ModelStats:
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
    for number, _, spec in graph.in_order():
        owner = plan.aliases.get(spec.name, spec.name)
        if closing.get(spec.name, spec.name) != spec.name or owner != spec.name:
            continue
        stats = _layer_stats(plan, number)
        known = layers.get(spec.name)  # a shared layer works once per call
        layers[spec.name] = stats if known is None else known.again(stats)
    outputs = tuple(dict.fromkeys(_owner_of(plan, ref) for ref in graph.outputs))
    return ModelStats(layers, outputs, 0, dict(plan.aliases), plan.selected())


def _layer_stats(plan: QuantizationPlan, number: int) -> LayerStats:
    """What one call of a layer is and does."""
    call = plan.graph.calls[number]
    spec, role = plan.graph.layers[call.layer], role_of(plan.graph.layers[call.layer])
    out = sample_shape(plan.graph.shape_of(Ref(number)))
    read = [sample_shape(plan.graph.shape_of(ref)) for ref in call.refs()]
    macs = layer_work(spec, read, out)
    if macs is None:
        macs = _registered_work(spec, out)
    kernel, biases = _weights(spec)
    return LayerStats(
        spec.name,
        role.kind,
        _producers(plan, number),
        out,
        kernel,
        macs,
        biases,
        owns_format=spec.name in plan.points,
        is_float=role.role.is_float,
    )


def _weights(spec: LayerSpec) -> tuple[tuple[int, ...], int]:
    """The shape of what is quantized (of several kernels: all in a row), and how much else is."""
    role, shapes = role_of(spec), _shapes(spec)
    if role.role.is_absorbed:  # absorbed by the layer before
        return (), 0
    kernels = [shapes[weight.attribute] for weight in role.weights]
    size = sum(math.prod(shape) for shape in kernels)
    others = sum(math.prod(shape) for shape in shapes.values()) - size
    if len(kernels) == 1 and kernels[0]:
        return kernels[0], others
    return ((size,) if size else ()), others


def _registered_work(spec: LayerSpec, out: tuple[int, ...]) -> int:
    """The work of a class that only `register_layer` knows: its kernel once per position."""
    role = role_of(spec)
    if not role.role.adds_up or not role.weights:
        return 0
    weight = role.weights[0]
    kernel = _shapes(spec)[weight.attribute]
    positions = math.prod(out) // math.prod(weight.channels(kernel))
    return positions * math.prod(kernel)


def _shapes(spec: LayerSpec) -> dict[str, tuple[int, ...]]:
    pairs = zip(spec.weight_names, spec.weights, strict=True)
    return {name: tuple(int(size) for size in weight.shape) for name, weight in pairs}


def _producers(plan: QuantizationPlan, number: int) -> tuple[str, ...]:
    return tuple(_owner_of(plan, ref) for ref in plan.graph.calls[number].refs())


def _owner_of(plan: QuantizationPlan, ref: Ref) -> str:
    name = plan.graph.calls[ref.call].layer
    return plan.aliases.get(name, name)
