"""Layers that read several tensors: sums, products, extremes, concatenation."""

from __future__ import annotations

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import Value
from tfxp.export.operators.fusing import fused
from tfxp.export.operators.writers import writes
from tfxp.export.sixteen_bits import needs_room, write_half_up
from tfxp.graph import Quantization
from tfxp.quantizers.straight_through import HALF_UP_NUDGE
from tfxp.transforms.layer_graph import Call, LayerSpec

_OPERATORS = {
    "AddConstant": "ADD",
    "SubtractFromConstant": "SUB",
    "MultiplyConstant": "MUL",
    "Add": "ADD",
    "Subtract": "SUB",
    "Multiply": "MUL",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
}
_ORDER = {"SubtractFromConstant": -1}


@writes("Add", operators="ADD, or QUANTIZE and ADD in 16 bits")
@writes("Subtract", operators="SUB, or QUANTIZE and SUB in 16 bits")
def write_sum(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The two tensors keep their formats; the operator brings them to the sum's."""
    _write_sum(builder, number, builder.read(call), spec)


@writes("AddConstant", operators="ADD, or QUANTIZE and ADD in 16 bits")
@writes("SubtractFromConstant", operators="SUB, or QUANTIZE and SUB in 16 bits")
def write_constant_sum(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The constant is a tensor with codes on its own grid."""
    constant = Value(_constant(builder, call, spec), builder.integers(spec.name).weight_formats[0])
    values = [builder.read(call)[0], constant]
    _write_sum(builder, number, values[:: _ORDER.get(spec.kind, 1)], spec)


def _write_sum(builder: GraphBuilder, number: int, values: list[Value], spec: LayerSpec) -> None:
    """One operator, or several in 16 bits where runtimes round ties below zero otherwise."""
    values = values * 2 if len(values) == 1 else values
    output, relu = builder.output(number, spec), builder.closing_relu(spec.name)
    operator = _OPERATORS[spec.kind]
    signed = output.fmt.qmin < 0 and relu is None
    if signed and needs_room(builder, values, output):
        write_half_up(builder, values, output, spec.name, operator)
    else:
        options = {"pot_scale_int16": False, "fused_activation_function": fused(relu)}
        builder.emit(operator, [value.index for value in values], output, options)
    builder.put(number, builder.finish(output, relu, True, spec.name))


@writes("MultiplyConstant", operators="MUL")
def write_constant_product(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Likewise."""
    inputs = [builder.read(call)[0].index, _constant(builder, call, spec)]
    _write_product(builder, number, inputs, spec)


def _constant(builder: GraphBuilder, call: Call, spec: LayerSpec) -> int:
    """The tensor of a layer's constant, as wide as the activations, of their rank."""
    layer = builder.integers(spec.name)
    scheme = Quantization(layer.weight_scale.astype(np.float32), np.zeros(1, np.int64))
    shape = layer.weights.shape
    codes = layer.weights.reshape((1,) * (len(call.output_shapes[0]) - len(shape)) + shape)
    name = f"{spec.name}/constant"
    builder.tensor_formats[name] = str(layer.weight_formats[0])
    stored = codes.astype(np.int8 if builder.storage == "INT8" else np.int16)
    return builder.constant(name, stored, builder.storage, scheme)


@writes("Multiply", operators="MUL")
def write_product(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The product of codes, scaled once."""
    _write_product(builder, number, [value.index for value in builder.read(call)], spec)


def _write_product(builder: GraphBuilder, number: int, inputs: list[int], spec: LayerSpec) -> None:
    inputs = inputs * 2 if len(inputs) == 1 else inputs
    output, relu = builder.output(number, spec), builder.closing_relu(spec.name)
    options = {"fused_activation_function": fused(relu)}
    builder.emit("MUL", inputs, output, options)
    builder.put(number, builder.finish(output, relu, True, spec.name))


@writes("Maximum", operators="QUANTIZE, MAXIMUM")
@writes("Minimum", operators="QUANTIZE, MINIMUM")
def write_extreme(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Codes are compared, so both tensors are brought to one format first."""
    output = builder.output(number, spec)
    parts = _parts(builder, call, spec, output)
    builder.emit(_OPERATORS[spec.kind], [part.index for part in parts], output)
    _close(builder, number, spec, output)


@writes("Concatenate", operators="QUANTIZE, CONCATENATION")
def write_concatenation(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Parts are brought to one format first."""
    output = builder.output(number, spec)
    parts = _parts(builder, call, spec, output)
    axis = spec.config["axis"] % len(builder.shape(output))
    options = {"axis": axis, "fused_activation_function": "NONE"}
    builder.emit("CONCATENATION", [part.index for part in parts], output, options)
    _close(builder, number, spec, output)


@writes("tf.pad", operators="QUANTIZE, PADV2")
def write_frame(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """A frame of a number, which is brought to the output's format as the tensor is."""
    output = builder.output(number, spec)
    (part,) = _parts(builder, call, spec, output)
    fmt, scale = output.fmt, np.float32(output.fmt.scale)
    # The quantizer rounds half up by this nudge, and so must its only value that is on no grid.
    value = np.float32(call.kwargs["constant_values"]) + np.float32(HALF_UP_NUDGE) * scale
    code = int(np.clip(np.rint(value / scale), fmt.qmin, fmt.qmax)) + builder.zero_point(fmt)
    tensor = builder.graph.tensors[output.index]
    pads = builder.constant(
        f"{spec.name}/paddings", np.array(call.kwargs["paddings"], np.int32), "INT32"
    )
    number_of_frame = builder.constant(
        f"{spec.name}/value", np.array([code], tensor.dtype), builder.storage, tensor.quantization
    )
    builder.emit("PADV2", [part.index, pads, number_of_frame], output)
    _close(builder, number, spec, output)


def _parts(builder: GraphBuilder, call: Call, spec: LayerSpec, output: Value) -> list[Value]:
    name = f"{spec.name}_part"
    return [builder.requantized(value, output.fmt, name) for value in builder.read(call)]


def _close(builder: GraphBuilder, number: int, spec: LayerSpec, output: Value) -> None:
    """Parts are inside the format already; only a ReLU is left to do."""
    relu = builder.closing_relu(spec.name)
    needed = relu is not None and output.fmt.qmin < 0
    limited = relu is not None and np.isfinite(relu)
    if needed or limited:
        output = builder.finish(output, relu, False, spec.name)
    builder.put(number, output)
