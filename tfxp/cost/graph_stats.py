"""Sizes and work of a `.tflite` graph, and the precision of its tensors, without running it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from tfxp.errors import ModelError
from tfxp.formats import MAX_BITS, parse_format
from tfxp.graph import IntegerGraph, Operator, Tensor
from tfxp.precision import (
    FLOAT,
    LayerKind,
    LayerPrecision,
    LayerStats,
    ModelStats,
    TensorPrecision,
)

METADATA = "tfxp"
_KINDS = {
    "CONV_2D": LayerKind.CONV,
    "DEPTHWISE_CONV_2D": LayerKind.DEPTHWISE_CONV,
    "TRANSPOSE_CONV": LayerKind.TRANSPOSED_CONV,
    "CONV_3D": LayerKind.CONV,
    "FULLY_CONNECTED": LayerKind.DENSE,
    **dict.fromkeys(("EMBEDDING_LOOKUP", "GATHER"), LayerKind.EMBEDDING),
    "BATCH_MATMUL": LayerKind.MATMUL,
    "ADD": LayerKind.ADD,
    "SUB": LayerKind.SUBTRACT,
    "MUL": LayerKind.MULTIPLY,
    "DIV": LayerKind.DIVIDE,
    "MAXIMUM": LayerKind.MAXIMUM,
    "MINIMUM": LayerKind.MINIMUM,
    **dict.fromkeys(("CONCATENATION", "PACK"), LayerKind.CONCATENATE),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "REDUCE_MAX", "REDUCE_MIN"), LayerKind.POOL),
    "MEAN": LayerKind.MEAN,
    "SUM": LayerKind.SUM,
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), LayerKind.RESHAPE),
    **dict.fromkeys(
        ("TRANSPOSE", "REVERSE_V2", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), LayerKind.TRANSPOSE
    ),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK"), LayerKind.SLICE),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), LayerKind.PAD),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TILE"), LayerKind.RESIZE),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"), LayerKind.ACTIVATION),
    **dict.fromkeys(
        ("LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU", "PRELU", "ELU", "GELU", "EXP", "LOG"),
        LayerKind.LOOKUP,
    ),
    "SOFTMAX": LayerKind.SOFTMAX,
    "L2_NORMALIZATION": LayerKind.L2_NORMALIZE,
    "LOCAL_RESPONSE_NORMALIZATION": LayerKind.NORMALIZATION,
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST"), LayerKind.QUANTIZE),
}
_RECURRENT = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF")
_KINDS |= dict.fromkeys(_RECURRENT, LayerKind.RECURRENT)
# Operators whose constant operand is learned data, not a shape, an axis or a padding.
_WITH_WEIGHTS = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED",
    "BATCH_MATMUL", "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "PRELU", "GATHER",
    "EMBEDDING_LOOKUP", *_RECURRENT,
}  # fmt: skip
_WITH_BIAS = {"CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
_BITS = {
    "INT2": 2, "INT4": 4, "UINT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16,
    "FLOAT16": 16, "BFLOAT16": 16, "INT32": 32, "UINT32": 32, "BOOL": 8,
}  # fmt: skip


def graph_stats(graph: IntegerGraph) -> ModelStats:
    """Sizes and multiply-accumulates of a graph's operators.

    A layer is an operator, named by its first output tensor; network inputs are layers of kind
    "input". All counts are per sample: the leading dimension of the first input is the batch.

    Args:
        graph: what `read_tflite` gives.
    """
    batch = _batch(graph)
    names = _names(graph)
    layers: dict[str, LayerStats] = {}
    for index in graph.inputs:
        shape = _sample_shape(graph.tensors[index], batch)
        layers[names[index]] = LayerStats(names[index], LayerKind.INPUT, (), shape)
    produced = set(graph.inputs)
    for operator in graph.operators:
        if not operator.outputs:
            continue
        out = operator.outputs[0]
        kernel, bias_count = _parameters(graph, operator)
        layers[names[out]] = LayerStats(
            names[out],
            _kind(operator, kernel),
            tuple(dict.fromkeys(names[i] for i in operator.inputs if i in produced)),
            _sample_shape(graph.tensors[out], batch),
            kernel,
            _macs(graph, operator) // batch,
            bias_count,
        )
        produced.update(operator.outputs)
        for other in operator.outputs[1:]:
            names[other] = names[out]
    outputs = tuple(dict.fromkeys(names[i] for i in graph.outputs if i in produced))
    return ModelStats(layers, outputs)


def _kind(operator: Operator, kernel: tuple[int, ...]) -> LayerKind:
    kind = _KINDS.get(operator.name, LayerKind.OTHER)
    if kind != LayerKind.EMBEDDING or len(kernel) > 1:
        return kind
    # Without a table of its own, GATHER picks from activations; numbers are a function's values.
    return LayerKind.LOOKUP if kernel else LayerKind.SLICE


def graph_precision(graph: IntegerGraph, containers: bool = True) -> dict[str, LayerPrecision]:
    """The precision of every layer of `graph_stats`.

    Args:
        graph: what `read_tflite` gives.
        containers: whether a 6-bit tensor in an INT8 container counts as 8 bits, as it does in
            memory. Otherwise files that tfxp exported count the word lengths that they say they
            use; those of others do not say.

    Raises:
        ModelError: the file's own note of its formats cannot be read.
    """
    names = _names(graph)
    noted = {} if containers else _noted_bits(graph)

    def _bits(tensor: Tensor) -> TensorPrecision:
        return noted.get(tensor.name, _container_bits(tensor))

    result = {}
    for index in graph.inputs:
        result[names[index]] = LayerPrecision(FLOAT, _bits(graph.tensors[index]))
    for operator in graph.operators:
        if not operator.outputs:
            continue
        constants = _constants(graph, operator)
        bias = constants[1] if operator.name in _WITH_BIAS and len(constants) > 1 else None
        result[names[operator.outputs[0]]] = LayerPrecision(
            weights=_bits(constants[0]) if constants else FLOAT,
            activations=_bits(graph.tensors[operator.outputs[0]]),
            bias=_bits(bias) if bias is not None else None,
        )
    return result


def _names(graph: IntegerGraph) -> dict[int, str]:
    """Tensor index -> its name, made unique by its index where a file repeats or omits names."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for index, tensor in enumerate(graph.tensors):
        name = tensor.name or f"tensor_{index}"
        names[index] = f"{name}_{index}" if name in taken else name
        taken.add(names[index])
    return names


def _noted_bits(graph: IntegerGraph) -> dict[str, int]:
    """Tensor name -> word length, as the exporter wrote it into the file's metadata."""
    if METADATA not in graph.metadata:
        return {}
    try:
        formats = json.loads(graph.metadata[METADATA])["tensors"]
        # Kernels with a format per channel list them all; they share one word length.
        return {name: parse_format(text.split(",")[0]).bits for name, text in formats.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"metadata {METADATA!r} of the model: {error}; expected the formats of its tensors. "
            "Export the model again, or price its containers."
        ) from None


def _container_bits(tensor: Tensor) -> TensorPrecision:
    if tensor.type in ("FLOAT32", "FLOAT64"):
        return FLOAT
    return _BITS.get(tensor.type, MAX_BITS)


def _batch(graph: IntegerGraph) -> int:
    if not graph.inputs:
        return 1
    shape = graph.tensors[graph.inputs[0]].shape
    return max(shape[0], 1) if len(shape) > 1 else 1


def _sample_shape(tensor: Tensor, batch: int) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) > 1 and shape[0] == batch:
        return shape[1:]
    return shape or (1,)


def _constants(graph: IntegerGraph, operator: Operator) -> list[Tensor]:
    """The learned operands, the kernel first."""
    if operator.name not in _WITH_WEIGHTS:
        return []
    tensors = [graph.tensors[index] for index in operator.inputs if index >= 0]
    learned = [tensor for tensor in tensors if tensor.data is not None and not tensor.is_variable]
    if operator.name == "TRANSPOSE_CONV":  # its first operand is the output shape
        learned = [tensor for tensor in learned if tensor is not tensors[0]]
    if operator.name == "GATHER":  # its second operand holds indices
        learned = [tensor for tensor in learned if tensor is tensors[0]]
    return learned


def _parameters(graph: IntegerGraph, operator: Operator) -> tuple[tuple[int, ...], int]:
    learned = _constants(graph, operator)
    if not learned:
        return (), 0
    if operator.name in _WITH_BIAS:
        kernel = learned[0]
        return tuple(kernel.shape), sum(tensor.size for tensor in learned[1:])
    if operator.name in _RECURRENT:
        kernels = [tensor for tensor in learned if len(tensor.shape) > 1]
        biases = sum(tensor.size for tensor in learned if len(tensor.shape) == 1)
        return (sum(tensor.size for tensor in kernels),), biases
    return tuple(learned[0].shape), 0


def _macs(graph: IntegerGraph, operator: Operator) -> int:
    """Multiply-accumulates over the whole batch, padding taps included."""
    count: dict[str, Callable[[IntegerGraph, Operator], int]] = {
        "CONV_2D": _conv_macs,
        "CONV_3D": _conv_macs,
        "DEPTHWISE_CONV_2D": _depthwise_macs,
        "TRANSPOSE_CONV": _transposed_macs,
        "FULLY_CONNECTED": _dense_macs,
        "BATCH_MATMUL": _matmul_macs,
        **dict.fromkeys(_RECURRENT, _recurrent_macs),
    }
    return count[operator.name](graph, operator) if operator.name in count else 0


def _operand(graph: IntegerGraph, operator: Operator, index: int) -> Tensor:
    return graph.tensors[operator.inputs[index]]


def _conv_macs(graph: IntegerGraph, operator: Operator) -> int:
    kernel = _operand(graph, operator, 1)
    out = graph.tensors[operator.outputs[0]]
    channels = kernel.shape[0] if operator.name == "CONV_2D" else kernel.shape[-1]
    return out.size * kernel.size // max(channels, 1)


def _depthwise_macs(graph: IntegerGraph, operator: Operator) -> int:
    kernel = _operand(graph, operator, 1)
    return graph.tensors[operator.outputs[0]].size * kernel.size // max(kernel.shape[-1], 1)


def _transposed_macs(graph: IntegerGraph, operator: Operator) -> int:
    kernel, data = _operand(graph, operator, 1), _operand(graph, operator, 2)
    return data.size * kernel.size // max(kernel.shape[-1], 1)


def _dense_macs(graph: IntegerGraph, operator: Operator) -> int:
    kernel = _operand(graph, operator, 1)
    return graph.tensors[operator.outputs[0]].size * kernel.shape[-1]


def _matmul_macs(graph: IntegerGraph, operator: Operator) -> int:
    left = _operand(graph, operator, 0)
    inner = left.shape[-2] if operator.options.get("adj_x") else left.shape[-1]
    return graph.tensors[operator.outputs[0]].size * inner


def _recurrent_macs(graph: IntegerGraph, operator: Operator) -> int:
    """Every kernel entry once per sample and time step."""
    data = _operand(graph, operator, 0)
    kernels = [t for t in _constants(graph, operator) if len(t.shape) > 1]
    steps = math.prod(data.shape[:-1])
    return steps * sum(tensor.size for tensor in kernels)
