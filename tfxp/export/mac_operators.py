"""Layers with weights as TFLite operators: options, kernel layout, absorbed normalisation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfxp.export.integer_weights import IntegerLayer
from tfxp.quantization.network_formats import NetworkFormats
from tfxp.quantization.plan import QuantizationPlan
from tfxp.transforms.fold_batch_norm import affine
from tfxp.transforms.layer_graph import LayerSpec, Ref

MAC_OPERATORS = {
    "Conv2D": "CONV_2D",
    "DepthwiseConv2D": "DEPTHWISE_CONV_2D",
    "Dense": "FULLY_CONNECTED",
}


def mac_options(spec: LayerSpec) -> dict[str, Any]:
    """The option table of a layer's operator, the fused activation left out."""
    config = spec.config
    if spec.kind == "Dense":
        return {"keep_num_dims": True}
    options = {
        "padding": config["padding"].upper(),
        "stride_h": config["strides"][0],
        "stride_w": config["strides"][1],
        "dilation_h_factor": config["dilation_rate"][0],
        "dilation_w_factor": config["dilation_rate"][1],
    }
    if spec.kind == "DepthwiseConv2D":
        options["depth_multiplier"] = config["depth_multiplier"]
    return options


def tflite_kernel(spec: LayerSpec, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """Kernel in TFLite's axis order, and the axis of its output channels."""
    if spec.kind == "Conv2D":
        return np.ascontiguousarray(codes.transpose(3, 0, 1, 2)), 0
    if spec.kind == "DepthwiseConv2D":
        return np.ascontiguousarray(codes.reshape(1, *codes.shape[:2], -1)), 3
    return np.ascontiguousarray(codes.T), 0


def absorb_batch_norm(
    plan: QuantizationPlan, formats: NetworkFormats, layer: IntegerLayer
) -> IntegerLayer:
    """Put a kept BatchNormalization into per-channel scales; negative gammas flip the codes."""
    graph = plan.graph
    reader = graph.only_consumer(Ref(graph.uses(layer.name)[0]))
    if reader is None or plan.role(graph.calls[reader].layer).role != "batch_norm":
        return layer
    g, c = affine(graph.layers[graph.calls[reader].layer])
    channels = g.size
    codes = layer.weights.reshape(-1, channels) * np.where(g < 0, -1, 1)
    limits = np.iinfo(layer.weights.dtype)
    codes = np.clip(codes, limits.min, limits.max).astype(layer.weights.dtype)
    magnitude = np.where(g == 0, 1.0, np.abs(g))
    codes = np.where(g == 0, 0, codes).astype(layer.weights.dtype)
    scale = np.broadcast_to(layer.weight_scale, (channels,)) * magnitude
    source = formats[plan.input_owners(layer.name)[0]].activations
    assert source is not None
    step = source.scale * scale
    arrays = graph.layers[layer.name].arrays()
    bias = g * arrays.get("bias", np.zeros(channels)).astype(np.float64) + c
    return dataclasses.replace(
        layer,
        weights=codes.reshape(layer.weights.shape),
        weight_scale=scale,
        bias=np.rint(bias / step).astype(np.int64),
        bias_scale=step,
    )
