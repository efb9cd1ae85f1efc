"""ReLUs that stand alone, functions by table or multiplier, and the final softmax."""

from __future__ import annotations

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import Options, Value
from tfxp.export.operators.function_tables import must_be_table, write_function
from tfxp.export.operators.writers import writes
from tfxp.formats import FixedPointFormat, Format
from tfxp.graph import Quantization, Tensor
from tfxp.transforms.activation_functions import GELU_TANH
from tfxp.transforms.layer_graph import Call, LayerSpec
from tfxp.transforms.normalize.activations import TABULATED, unary_of
from tfxp.transforms.normalize.normalize import is_relu

# The one format of the output of these operators, by storage type.
_FIXED_OUTPUT: dict[tuple[str, str], Format] = {
    ("LOGISTIC", "INT8"): FixedPointFormat.of_bits(8, 8, signed=False),
    ("TANH", "INT8"): FixedPointFormat.of_bits(8, 7),
    ("LOGISTIC", "INT16"): FixedPointFormat.of_bits(16, 15),
    ("TANH", "INT16"): FixedPointFormat.of_bits(16, 15),
    ("L2_NORMALIZATION", "INT8"): FixedPointFormat.of_bits(8, 7),
    ("SOFTMAX", "INT8"): FixedPointFormat.of_bits(8, 8, signed=False),
    ("SOFTMAX", "INT16"): FixedPointFormat.of_bits(16, 15),
}


@writes("ReLU", operators="fused, or MAXIMUM, MINIMUM")
def write_relu(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Nothing where it closes the layer before, else the limits in codes."""
    source = builder.read(call)[0]
    owner = builder.plan.aliases.get(spec.name)
    closes = owner is not None and builder.plan.points[owner].layer == spec.name
    limit = is_relu(spec)
    unlimited = limit is not None and not np.isfinite(limit)
    if closes or (unlimited and source.fmt.qmin >= 0):
        builder.put(number, source)
        return
    high = None if unlimited else _limit(source.fmt, float(limit or 0))
    low = 0 if source.fmt.qmin < 0 else None
    builder.put(number, builder.clamp(source, low, high, spec.name))


def _limit(fmt: Format, limit: float) -> int | None:
    code = int(np.rint(np.float32(limit) * np.float32(fmt.inverse_scale)))
    return code if code < fmt.qmax else None


@writes("sigmoid", operators="LOGISTIC, QUANTIZE")
@writes("tanh", operators="TANH, QUANTIZE")
def write_table(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """A table over all codes with one output format, and a step to the format asked for."""
    unary = unary_of(spec)
    assert unary is not None
    operator = TABULATED[unary.function]
    if must_be_table(builder, call, spec, operator):
        write_function(builder, number, call, spec)
    else:
        _write_fixed(builder, number, call, spec, operator, {})


def _write_fixed(
    builder: GraphBuilder, number: int, call: Call, spec: LayerSpec, operator: str, options: Options
) -> None:
    """An operator with one output format, and a step to the format asked for."""
    source, wanted = builder.read(call)[0], builder.format_of(spec.name)
    shape = call.output_shapes[0]
    output = builder.activation(spec.name, shape, _FIXED_OUTPUT[operator, builder.storage])
    builder.emit(operator, [source.index], output, options)
    builder.put(number, builder.requantized(output, wanted, f"{spec.name}_requantized"))


@writes("l2_normalize", operators="L2_NORMALIZATION, QUANTIZE")
def write_length(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Rows divided by their lengths."""
    options = {"fused_activation_function": "NONE"}
    _write_fixed(builder, number, call, spec, "L2_NORMALIZATION", options)


@writes("elu", operators="ELU")
@writes("gelu", GELU_TANH, operators="GELU")
@writes("exponential", operators="EXP")
@writes("log", operators="LOG")
def write_scaled_table(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """A table over all codes, in any output format."""
    unary = unary_of(spec)
    assert unary is not None
    options = {"approximate": True} if unary.function == GELU_TANH else {}
    _write_unary(builder, number, call, spec, TABULATED[unary.function], [], options)


@writes("leaky_relu", operators="LEAKY_RELU", exact="steps of input and output 2^-8 to 2^7 apart")
def write_leaky_relu(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Two multipliers with 8 fractional bits."""
    unary = unary_of(spec)
    assert unary is not None
    _write_unary(builder, number, call, spec, "LEAKY_RELU", [], {"alpha": unary.alpha})


@writes("prelu", operators="PRELU")
def write_prelu(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """A slope per channel or element, on the grid of the layer's weights."""
    layer = builder.integers(spec.name)
    scheme = Quantization(layer.weight_scale.astype(np.float32), np.zeros(1, np.int64))
    builder.tensor_formats[f"{spec.name}/alpha"] = str(layer.weight_formats[0])
    slopes = builder.constant(f"{spec.name}/alpha", layer.weights, "INT8", scheme)
    _write_unary(builder, number, call, spec, "PRELU", [slopes], {})


def _write_unary(
    builder: GraphBuilder,
    number: int,
    call: Call,
    spec: LayerSpec,
    operator: str,
    constants: list[int],
    options: Options,
) -> None:
    if not constants and must_be_table(builder, call, spec, operator):
        write_function(builder, number, call, spec)
        return
    source, output = builder.read(call)[0], builder.output(number, spec)
    builder.emit(operator, [source.index, *constants], output, options)
    builder.put(number, builder.finish(output, None, False, spec.name))


@writes("Softmax", operators="SOFTMAX, QUANTIZE")
def write_softmax(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """A softmax inside the network: weights of a sum, or a gate."""
    _write_fixed(builder, number, call, spec, "SOFTMAX", {"beta": 1.0})


@writes("final softmax", operators="SOFTMAX on request", exact="a table of LiteRT's own")
def write_final_softmax(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Left out, so that the file returns logits, unless it is asked for."""
    source = builder.read(call)[0]
    if not builder.with_softmax:
        builder.put(number, source)
        return
    shape = builder.shape(source)
    int8 = builder.storage == "INT8"
    scheme = Quantization(
        np.array([2.0 ** (-8 if int8 else -15)], np.float32), np.array([-128 if int8 else 0])
    )
    free = builder.signature(builder.free_shape(source))
    tensor = Tensor(spec.name, shape, builder.storage, scheme, shape_signature=free)
    output = Value(builder.graph.add_tensor(tensor), source.fmt)
    builder.put(number, builder.emit("SOFTMAX", [source.index], output, {"beta": 1.0}))
