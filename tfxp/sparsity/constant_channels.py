"""Channels of a network's tensors that have one value whatever the input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import keras
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.linear_layers import DEPTHWISE, LINEAR_LAYERS, TRANSPOSED
from tfxp.transforms.wrpn.layer_rules import CHANNELWISE, WITH_KERNELS, is_depthwise_form

_BY_ELEMENT = {"Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Rescaling", "ThresholdedReLU"}
_JOINED: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "Add": lambda values: sum(values[1:], values[0]),
    "Average": lambda values: sum(values[1:], values[0]) / len(values),
    "Maximum": lambda values: np.maximum.reduce(values),
    "Minimum": lambda values: np.minimum.reduce(values),
    "Multiply": lambda values: np.prod(np.broadcast_arrays(*values), axis=0),
    "Subtract": lambda values: values[0] - values[1],
}


def constant_channels(graph: LayerGraph, widths: Mapping[Ref, int]) -> dict[Ref, np.ndarray]:
    """Tensor -> the value of each of its channels, NaN where it depends on the input.

    A convolution's output is constant where its weights are zero, or meet zeros only; an operation
    on elements keeps constants; padding and pooling keep zeros.

    Args:
        graph: the network.
        widths: channels of every tensor.
    """
    values: dict[Ref, np.ndarray] = {}
    for number, call, spec in graph.in_order():
        inputs = [values[ref] for ref in call.refs() if ref in values]
        unknown = np.full(widths[Ref(number)], np.nan)
        for index in range(max(1, len(call.output_shapes))):
            ref = Ref(number, index)
            if ref in widths:
                values[ref] = np.full(widths[ref], np.nan)
        found = _output(spec, inputs, unknown.size) if inputs else unknown
        if found is not None and found.shape == unknown.shape:
            values[Ref(number)] = found
    return values


def rows_used(spec: LayerSpec) -> np.ndarray | None:
    """Which input channels a layer with a kernel has weights for; None if it mixes none."""
    form = LINEAR_LAYERS.get(spec.kind)
    if form is None:  # a separable one, whose first step passes zeros on
        return np.ones(spec.arrays()["depthwise_kernel"].shape[-2], bool)
    kernel = spec.arrays()[form.kernel]
    if form is DEPTHWISE:
        return None
    axis = kernel.ndim - (1 if form is TRANSPOSED else 2)
    used = np.any(kernel != 0, axis=tuple(i for i in range(kernel.ndim) if i != axis))
    groups = int(spec.config.get("groups", 1))
    if is_depthwise_form(spec, groups * used.size):
        return None
    return used if groups == 1 else np.ones(groups * used.size, bool)


def _output(spec: LayerSpec, inputs: list[np.ndarray], width: int) -> np.ndarray | None:
    if spec.kind in WITH_KERNELS:
        return _of_kernel(spec, inputs[0])
    if spec.kind == "BatchNormalization":
        return _normalized(spec, inputs[0])
    if spec.kind in _BY_ELEMENT:
        return _by_element(spec, inputs[0])
    if spec.kind in _JOINED:
        return _JOINED[spec.kind](inputs)
    if spec.kind == "Concatenate":
        return np.concatenate(inputs)
    if spec.kind in ("Flatten", "Reshape"):  # the channels of every position, one after another
        return np.tile(inputs[0], width // max(inputs[0].size, 1))
    return np.where(inputs[0] == 0, 0.0, np.nan) if spec.kind in CHANNELWISE else None


def _of_kernel(spec: LayerSpec, read: np.ndarray) -> np.ndarray | None:
    form = LINEAR_LAYERS.get(spec.kind)
    if form is None or spec.config.get("groups", 1) != 1:
        return None
    arrays = spec.arrays()
    kernel, multiplier = arrays[form.kernel], 1
    if form is DEPTHWISE:
        multiplier = kernel.shape[-1]
        weights = kernel.reshape(-1, kernel.shape[-2] * multiplier)
        silent = ~np.any(weights != 0, 0) | np.repeat(read == 0, multiplier)
    else:
        if form is TRANSPOSED:
            kernel = np.swapaxes(kernel, -1, -2)
        silent = ~np.any((kernel != 0) & (read != 0)[:, None], tuple(range(kernel.ndim - 1)))
    bias = arrays.get("bias", np.zeros(silent.size))
    activation = keras.activations.get(spec.config.get("activation"))
    if activation in (keras.activations.softmax, getattr(tf.nn, "log_softmax", None)):
        return None
    constant = np.asarray(activation(tf.constant(bias[None], tf.float32)))[0]
    return np.where(silent, constant, np.nan)


def _normalized(spec: LayerSpec, read: np.ndarray) -> np.ndarray:
    arrays = spec.arrays()
    scale = 1 / np.sqrt(arrays["moving_variance"] + spec.config["epsilon"])
    gain = arrays.get("gamma", 1.0) * scale
    shift = arrays.get("beta", 0.0)
    result: np.ndarray = np.where(gain == 0, shift, (read - arrays["moving_mean"]) * gain + shift)
    return result


def _by_element(spec: LayerSpec, read: np.ndarray) -> np.ndarray | None:
    if spec.kind == "PReLU":
        return np.where(read == 0, 0.0, np.nan)
    if spec.config.get("activation") in ("softmax", "log_softmax"):
        return None
    layer: Any = spec.cls.from_config(spec.config)
    known = np.nan_to_num(read)[None].astype(np.float32)
    return np.where(np.isnan(read), np.nan, np.asarray(layer(tf.constant(known)))[0])
