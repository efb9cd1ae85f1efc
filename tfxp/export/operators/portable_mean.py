"""Means as sums of products, which every runtime rounds alike.

MEAN multiplies the sum by a rounded 1 / n, and rounds, otherwise in each runtime. A convolution
with equal weights over all positions, or a dense layer over all channels, rounds once; its bias
keeps the sum from ties (`tfxp.formats.portable_mean_bias`). The price is n bytes of weights for
each channel.
"""

from __future__ import annotations

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import Value, zero_centred
from tfxp.formats import MEAN_WEIGHT, portable_mean_bias
from tfxp.precision import PORTABLE
from tfxp.quantization.registry import mean_count
from tfxp.transforms.layer_graph import LayerSpec, Shape


def is_product(builder: GraphBuilder, spec: LayerSpec, source: Value) -> bool:
    """Whether a mean was trained to round half up, and can be written so."""
    portable = builder.formats[spec.name].rule.rounding == PORTABLE and builder.storage == "INT8"
    return portable and _bias(builder, spec, source) is not None


def mean_of_positions(builder: GraphBuilder, spec: LayerSpec, source: Value) -> Value:
    """The mean over rows and columns, as an image of one position."""
    _, rows, columns, channels = builder.shape(source)
    shape = (None, 1, 1, channels)
    output = builder.activation(spec.name, shape, builder.format_of(spec.name))
    options = {
        "padding": "VALID",
        "stride_h": 1,
        "stride_w": 1,
        "depth_multiplier": 1,
        "dilation_h_factor": 1,
        "dilation_w_factor": 1,
        "fused_activation_function": "NONE",
    }
    constants = _constants(builder, spec, source, (1, rows, columns, channels), channels)
    return builder.emit("DEPTHWISE_CONV_2D", [source.index, *constants], output, options)


def mean_of_channels(builder: GraphBuilder, spec: LayerSpec, source: Value) -> Value:
    """The mean over the last axis, which becomes 1."""
    shape = builder.free_shape(source)
    output = builder.activation(spec.name, (*shape[:-1], 1), builder.format_of(spec.name))
    options = {"keep_num_dims": True, "fused_activation_function": "NONE"}
    constants = _constants(builder, spec, source, (1, builder.shape(source)[-1]), 1)
    return builder.emit("FULLY_CONNECTED", [source.index, *constants], output, options)


def reshaped(builder: GraphBuilder, value: Value, shape: Shape, name: str) -> Value:
    """A tensor without the axes of one element that its layer's output has not."""
    if len(builder.shape(value)) == len(shape):
        return value
    result = builder.activation(f"{name}_reshaped", shape, value.fmt)
    sizes = np.array(builder.signature(shape), np.int32)
    target = builder.constant(f"{name}/shape", sizes, "INT32")
    return builder.emit("RESHAPE", [value.index, target], result, {"new_shape": sizes})


def _bias(builder: GraphBuilder, spec: LayerSpec, source: Value) -> int | None:
    count = mean_count(builder.plan.graph, spec.name)
    return portable_mean_bias(count, source.fmt.scale / builder.format_of(spec.name).scale)


def _constants(
    builder: GraphBuilder, spec: LayerSpec, source: Value, shape: tuple[int, ...], channels: int
) -> list[int]:
    """Equal weights of 64 / (64 n), and a bias that turns ties up."""
    scale = 1 / (MEAN_WEIGHT * mean_count(builder.plan.graph, spec.name))
    weights = np.full(shape, MEAN_WEIGHT, np.int8)
    bias = np.full(channels, _bias(builder, spec, source), np.int32)
    step = zero_centred(scale * source.fmt.scale)
    return [
        builder.constant(f"{spec.name}/mean", weights, "INT8", zero_centred(scale)),
        builder.constant(f"{spec.name}/half", bias, "INT32", step),
    ]
