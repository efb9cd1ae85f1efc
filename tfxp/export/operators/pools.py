"""Pools and means over positions; a sequence is an image one row high."""

from __future__ import annotations

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import Options, Value
from tfxp.export.operators.portable_mean import (
    is_product,
    mean_of_channels,
    mean_of_positions,
    reshaped,
)
from tfxp.export.operators.writers import writes
from tfxp.transforms.layer_graph import Call, LayerSpec, Shape


@writes("MaxPooling2D", operators="MAX_POOL_2D")
def write_max_pool(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The largest code of each window."""
    builder.put(number, _pool(builder, "MAX_POOL_2D", builder.read(call)[0], call, spec))


@writes("AveragePooling2D", operators="AVERAGE_POOL_2D")
def write_average_pool(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The average of each window, in the input's format."""
    builder.put(number, _pool(builder, "AVERAGE_POOL_2D", builder.read(call)[0], call, spec))


@writes("MaxPooling1D", operators="EXPAND_DIMS, MAX_POOL_2D, SQUEEZE")
@writes("AveragePooling1D", operators="EXPAND_DIMS, AVERAGE_POOL_2D, SQUEEZE")
def write_sequence_pool(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The same on an image one row high."""
    operator = "MAX_POOL_2D" if spec.kind == "MaxPooling1D" else "AVERAGE_POOL_2D"
    source = builder.as_image(builder.read(call)[0], spec.name)
    result = _pool(builder, operator, source, call, spec)
    builder.put(number, builder.as_sequence(result, spec.name))


def _pool(
    builder: GraphBuilder, operator: str, source: Value, call: Call, spec: LayerSpec
) -> Value:
    config, shape = spec.config, call.output_shapes[0]
    sizes, strides = np.atleast_1d(config["pool_size"]), np.atleast_1d(config["strides"])
    name = spec.name
    if len(sizes) == 1:
        sizes, strides = np.append(1, sizes), np.append(1, strides)
        shape, name = (shape[0], 1, *shape[1:]), f"{name}_image"
    options = {
        "padding": config["padding"].upper(),
        "stride_h": int(strides[0]),
        "stride_w": int(strides[1]),
        "filter_height": int(sizes[0]),
        "filter_width": int(sizes[1]),
        "fused_activation_function": "NONE",
    }
    output = builder.activation(name, shape, source.fmt)
    return builder.emit(operator, [source.index], output, options)


@writes("GlobalMaxPooling2D", operators="REDUCE_MAX")
@writes("GlobalMaxPooling1D", operators="EXPAND_DIMS, REDUCE_MAX")
def write_global_max(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The largest code of each channel."""
    source, shape, options = _over_positions(builder, call, spec)
    output = builder.activation(spec.name, shape, source.fmt)
    builder.emit("REDUCE_MAX", [source.index, _axes(builder)], output, options)
    builder.put(number, reshaped(builder, output, call.output_shapes[0], spec.name))


@writes(
    "GlobalAveragePooling2D",
    operators="DEPTHWISE_CONV_2D, RESHAPE; or MEAN",
    exact="sums below 2^23",
)
@writes(
    "GlobalAveragePooling1D",
    operators="EXPAND_DIMS, DEPTHWISE_CONV_2D, RESHAPE; or MEAN",
    exact="sums below 2^23",
)
def write_mean(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The average of each channel, in a format of its own."""
    source, shape, options = _over_positions(builder, call, spec)
    if is_product(builder, spec, source):
        output = mean_of_positions(builder, spec, source)
    else:
        output = builder.activation(spec.name, shape, builder.format_of(spec.name))
        builder.emit("MEAN", [source.index, _axes(builder)], output, options)
    done = _finished_mean(builder, source, output, spec)
    builder.put(number, reshaped(builder, done, call.output_shapes[0], spec.name))


@writes("tf.reduce_mean", operators="FULLY_CONNECTED, RESHAPE; or MEAN", exact="sums below 2^23")
def write_channel_mean(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The average over the channels."""
    source = builder.read(call)[0]
    if is_product(builder, spec, source):
        output = mean_of_channels(builder, spec, source)
    else:
        output = builder.output(number, spec)
        last = len(builder.shape(source)) - 1
        axis = builder.constant(f"axis_{last}", np.array([last], np.int32), "INT32")
        builder.emit("MEAN", [source.index, axis], output, {"keep_dims": call.kwargs["keepdims"]})
    done = _finished_mean(builder, source, output, spec)
    builder.put(number, reshaped(builder, done, call.output_shapes[0], spec.name))


def _finished_mean(builder: GraphBuilder, source: Value, output: Value, spec: LayerSpec) -> Value:
    """A mean held to its format."""
    relu = builder.closing_relu(spec.name)
    low_is_free = source.fmt.qmin >= 0 and relu is None
    if low_is_free:
        return builder.clamp(output, None, builder.upper(output.fmt), spec.name)
    return builder.finish(output, relu, False, spec.name)


def _axes(builder: GraphBuilder) -> int:
    axes: int = builder.constant("spatial_axes", np.array([1, 2], np.int32), "INT32")
    return axes


def _over_positions(
    builder: GraphBuilder, call: Call, spec: LayerSpec
) -> tuple[Value, Shape, Options]:
    """What to reduce, as an image; the shape of the result; options."""
    source, keep = builder.read(call)[0], bool(spec.config.get("keepdims"))
    shape = call.output_shapes[0]
    if spec.kind.endswith("1D"):
        source = builder.as_image(source, spec.name)
        shape = (shape[0], 1, *shape[1:]) if keep else shape
    return source, shape, {"keep_dims": keep}
