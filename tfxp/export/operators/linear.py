"""Layers that multiply by weights: convolutions of one and two dimensions, transposed ones, Dense.

A sequence goes through LiteRT's operators for images as an image one row high.
"""

from __future__ import annotations

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import Value
from tfxp.export.mac_operators import mac_operator, mac_options, tflite_kernel
from tfxp.export.operators.fusing import fused
from tfxp.export.operators.writers import UNKNOWN_SIZE, writes
from tfxp.graph import Quantization
from tfxp.quantization.integer_layer import IntegerLayer
from tfxp.transforms.layer_graph import Call, LayerSpec


def _refuse_other_axes(spec: LayerSpec, call: Call) -> str | None:
    rank, wanted = len(call.output_shapes[0]), 4 if spec.kind.endswith("2D") else 3
    if rank == wanted:
        return None
    return f"is called with a tensor of {rank} axes, and its operator takes {wanted}; reshape it"


@writes("Conv2D", operators="CONV_2D", refuses=_refuse_other_axes)
@writes("DepthwiseConv2D", operators="DEPTHWISE_CONV_2D")
@writes("Dense", operators="FULLY_CONNECTED")
def write_linear(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """One operator with the bias and the ReLU behind it."""
    output = builder.output(number, spec)
    builder.put(number, _operator(builder, spec, builder.read(call)[0], output, []))


@writes("Conv1D", operators="EXPAND_DIMS, CONV_2D, SQUEEZE", refuses=_refuse_other_axes)
@writes("DepthwiseConv1D", operators="EXPAND_DIMS, DEPTHWISE_CONV_2D, SQUEEZE")
def write_sequence(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The same on an image one row high; a causal convolution pads the front."""
    source = builder.as_image(builder.read(call)[0], spec.name)
    if spec.config["padding"] == "causal":
        source = _padded_front(builder, source, spec)
    output = _row_output(builder, call, spec)
    result = _operator(builder, spec, source, output, [])
    builder.put(number, builder.as_sequence(result, spec.name))


def _refuse_transposed(spec: LayerSpec, call: Call) -> str | None:
    config, shape = spec.config, call.output_shapes[0]
    if any(step != 1 for step in config["dilation_rate"]):
        return f"dilation_rate {config['dilation_rate']}; TRANSPOSE_CONV has none"
    return UNKNOWN_SIZE if None in shape[1:] else None


@writes("Conv2DTranspose", operators="TRANSPOSE_CONV", refuses=_refuse_transposed)
def write_transposed(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The operator states the size of its output, so the file takes one image at a time."""
    output = builder.output(number, spec)
    builder.put(number, _transposed(builder, spec, builder.read(call)[0], output))


@writes(
    "Conv1DTranspose",
    operators="EXPAND_DIMS, TRANSPOSE_CONV, SQUEEZE",
    refuses=_refuse_transposed,
)
def write_transposed_sequence(
    builder: GraphBuilder, number: int, call: Call, spec: LayerSpec
) -> None:
    """The same on an image one row high."""
    source = builder.as_image(builder.read(call)[0], spec.name)
    result = _transposed(builder, spec, source, _row_output(builder, call, spec))
    builder.put(number, builder.as_sequence(result, spec.name))


@writes("BatchNormalization", operators="absorbed", exact="1 LSB where it is kept")
def write_batch_norm(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Nothing: the layer before has it in its scales."""
    builder.put(number, builder.read(call)[0])


def _transposed(builder: GraphBuilder, spec: LayerSpec, source: Value, output: Value) -> Value:
    shape = np.array(builder.shape(output), np.int32)
    size = builder.constant(f"{spec.name}/output_shape", shape, "INT32")
    return _operator(builder, spec, source, output, [size])


def _operator(
    builder: GraphBuilder, spec: LayerSpec, source: Value, output: Value, before: list[int]
) -> Value:
    """Emit a layer's operator; `before` are inputs in front, the activations then come third."""
    layer, relu = builder.integers(spec.name), builder.closing_relu(spec.name)
    weights, bias = _kernel(builder, spec, layer), _bias(builder, spec, layer, source)
    inputs = [source.index, weights, bias]
    if before:
        inputs = [*before, weights, source.index, bias]
    options = {**mac_options(spec), "fused_activation_function": fused(relu)}
    result = builder.emit(mac_operator(spec), inputs, output, options)
    return builder.finish(result, relu, True, spec.name)


def _row_output(builder: GraphBuilder, call: Call, spec: LayerSpec) -> Value:
    shape = call.output_shapes[0]
    fmt = builder.format_of(spec.name)
    return builder.activation(f"{spec.name}_image", (shape[0], 1, *shape[1:]), fmt)


def _padded_front(builder: GraphBuilder, source: Value, spec: LayerSpec) -> Value:
    config = spec.config
    before = int(config["dilation_rate"][0] * (config["kernel_size"][0] - 1))
    pads = np.array([(0, 0), (0, 0), (before, 0), (0, 0)], np.int32)
    constant = builder.constant(f"{spec.name}/paddings", pads, "INT32")
    batch, rows, steps, channels = builder.free_shape(source)
    shape = (batch, rows, None if steps is None else steps + before, channels)
    output = builder.activation(f"{spec.name}_padded", shape, source.fmt)
    return builder.emit("PAD", [source.index, constant], output)


def _kernel(builder: GraphBuilder, spec: LayerSpec, layer: IntegerLayer) -> int:
    codes, axis = tflite_kernel(spec, layer.weights)
    wide = {1: "INT8", 2: "INT16", 4: "INT32"}[codes.dtype.itemsize]
    kind = "INT4" if builder.packs(layer) else wide
    scheme = Quantization(
        layer.weight_scale.astype(np.float32),
        np.zeros(layer.weight_scale.size, np.int64),
        axis if layer.weight_scale.size > 1 else 0,
    )
    formats = dict.fromkeys(str(fmt) for fmt in layer.weight_formats)
    builder.tensor_formats[f"{spec.name}/kernel"] = ", ".join(formats)
    return builder.constant(f"{spec.name}/kernel", codes, kind, scheme)


def _bias(builder: GraphBuilder, spec: LayerSpec, layer: IntegerLayer, source: Value) -> int:
    scale, wide = source.fmt.scale * layer.weight_scale, builder.storage == "INT16"
    if layer.bias is None or layer.bias_scale is None:
        if spec.kind == "Dense" and not wide:
            return -1
        # LiteRT's convolutions want a bias, whatever the schema says. Its dense layers of 16-bit
        # activations add up in 64 bits, and round once, beside a bias of 64 bits only.
        codes, ratio = np.zeros(layer.channels, np.int64), np.ones(1)
    else:
        ratio = np.broadcast_to(layer.bias_scale / scale, layer.bias.shape)
        codes = np.rint(layer.bias * ratio).astype(np.int64)
    key = f"{spec.name}/bias" if np.all(ratio == 1) else f"{spec.name}/bias_{source.fmt}"
    scheme = Quantization(scale.astype(np.float32), np.zeros(scale.size, np.int64), 0)
    stored = codes if wide else codes.astype(np.int32)
    return builder.constant(key, stored, "INT64" if wide else "INT32", scheme)
