"""Channels that do nothing, taken out of a network: widening, the other way."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from tfxp.data.input_scaling import keep_scalings, scalings_of
from tfxp.keras_types import KerasModel
from tfxp.precision import PrecisionMap
from tfxp.quantization.quantize_model import quantize_model
from tfxp.quantization.read_network import is_quantized, read_network
from tfxp.sparsity.constant_channels import constant_channels, rows_used
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.wrpn import axes
from tfxp.transforms.wrpn.axes import Axis, Concat, Free, Repeat
from tfxp.transforms.wrpn.layer_rules import (
    OWNERS,
    WITH_KERNELS,
    WITH_WEIGHTS,
    configure,
    copy_weights,
    trace,
    uneven_groups,
)
from tfxp.transforms.wrpn.plan import ChannelPlan
from tfxp.transforms.zero_mask import refresh_masks


def remove_channels(model: KerasModel) -> KerasModel:
    """The same function in fewer channels: those go that are always zero, or that nobody reads.

    A channel goes if every layer that mixes channels either finds it to be zero for all inputs or
    has no weight for it. Channels that an Add, a shared layer or a depthwise convolution ties
    together go together or not at all; inputs and outputs keep theirs. `prune_model` with the
    pattern "channels:0.5" makes such channels; on a float model with BatchNormalization between
    kernel and ReLU they are constant, not zero, so prune the quantized model or a folded one.

    Args:
        model: a float model, or what `quantize_model` returned; it is not changed.

    Returns:
        A new model with the same layer names, in the same formats; not compiled. Outputs are equal
        within float32 rounding.

    Raises:
        ModelError: the model is no layer graph.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.sparsity import remove_channels
        >>> x = keras.Input((4,))
        >>> y = layers.Dense(8, "relu", use_bias=False, name="d")(x)
        >>> model = keras.Model(x, layers.Dense(2)(y))
        >>> _ = tfxp.prune_model(model, tfxp.SparsityMap().updated({"d": "channels:0.5"}))
        >>> remove_channels(model).get_layer("d").units
        4

    References:
        Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, sec. 3.1 and 3.3.
    """
    if not is_quantized(model):
        graph = LayerGraph.from_model(model)
        _narrow(graph)
        return keep_scalings(graph.to_model(model.name), scalings_of(model))
    network = read_network(model)
    kept = _narrow(network.graph)
    rules = {}
    for name, rule in network.precision.layers.items():
        if isinstance(rule.weights, tuple) and name in kept:
            rule = dataclasses.replace(
                rule, weights=tuple(rule.weights[channel] for channel in kept[name])
            )
        rules[name] = rule
    precision = PrecisionMap(layers=rules, rounding=network.precision.rounding)
    plain = network.graph.to_model(model.name)
    return keep_scalings(quantize_model(plain, precision), scalings_of(model))


def _narrow(graph: LayerGraph) -> dict[str, np.ndarray]:
    """Take channels out of a graph; layer -> the channels that it keeps."""
    plan = ChannelPlan(graph, functools.partial(trace, preserve=True), set(OWNERS))
    for leaf, keep in _needed(plan).items():
        leaf.copies = np.flatnonzero(keep)
    _leave_uneven_groups(plan)
    result = {}
    for name, spec in graph.layers.items():
        layer = plan.layers.get(name)
        if layer is None or layer.read is None or layer.written is None:
            continue
        if spec.kind in WITH_WEIGHTS:
            spec.set_arrays(copy_weights(spec, layer))
            refresh_masks(spec)
            result[name] = axes.copies(layer.written)
        configure(spec, layer)
    return result


def _needed(plan: ChannelPlan) -> dict[Free, np.ndarray]:
    """Free channels -> which of them somebody needs; at least one."""
    values = constant_channels(plan.graph, {ref: axis.width for ref, axis in plan.tensors.items()})
    needed: dict[Free, np.ndarray] = {}
    for axis in plan.tensors.values():
        for leaf in axes.leaves(axis):
            if isinstance(leaf, Free):
                needed.setdefault(leaf, np.zeros(leaf.width, bool))
    for _, call, spec in plan.graph.in_order():
        used = rows_used(spec) if spec.kind in WITH_KERNELS else None
        if used is None:
            continue
        ref = call.refs()[0]
        wanted = used & (values[ref] != 0)
        for place, (origin, channel) in enumerate(_origins(plan.tensors[ref])):
            if isinstance(origin, Free) and wanted[place]:
                needed[origin][channel] = True
    for keep in needed.values():
        keep[0] |= not keep.any()
    return needed


def _origins(expression: Axis) -> Iterator[tuple[Axis, int]]:
    """For each channel of an axis the free or fixed channels that it is one of, and which."""
    axis = axes.resolve(expression)
    if isinstance(axis, Concat):
        for part in axis.parts:
            yield from _origins(part)
    elif isinstance(axis, Repeat):
        for origin in _origins(axis.inner):
            yield from [origin] * axis.times
    elif isinstance(axis, axes.Tile):
        for _ in range(axis.times):
            yield from _origins(axis.inner)
    else:
        yield from ((axis, channel) for channel in range(axis.width))


def _leave_uneven_groups(plan: ChannelPlan) -> None:
    """Keep all channels around convolutions whose groups would differ in size."""
    for name, layer in plan.layers.items():
        if layer.read is None or layer.written is None:
            continue
        if _is_grouped(plan.graph.layers[name]) and uneven_groups(plan.graph.layers[name], layer):
            for axis in (layer.read, layer.written):
                for part in axes.leaves(axis):
                    if isinstance(part, Free):
                        part.copies = np.arange(part.width)


def _is_grouped(spec: LayerSpec) -> bool:
    return int(spec.config.get("groups", 1)) > 1
