"""LSTM: one operator for all steps, whose states are variables of the file."""

from __future__ import annotations

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.lstm_integers import LstmIntegers, lstm_integers
from tfxp.export.operators.shaping import Range, cut
from tfxp.export.operators.writers import writes
from tfxp.graph import Operator, Quantization, Tensor
from tfxp.transforms.layer_graph import Call, LayerSpec

_GATES = ("input", "forget", "cell", "output")
_NONE = -1
# Scales that LiteRT's integer LSTM has: of what goes into a gate's function, and of the cell.
_GATE_SCALE, _CELL_SCALE = 2.0**-12, 2.0**-11
_OPTIONS = {
    "fused_activation_function": "TANH",
    "cell_clip": 0.0,
    "proj_clip": 0.0,
    "time_major": False,
    "asymmetric_quantize_inputs": False,
}


@writes("LSTM", operators="UNIDIRECTIONAL_SEQUENCE_LSTM, STRIDED_SLICE")
def write_lstm(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The sequence of hidden states; a cut where only the last is wanted."""
    (source,), (ref,) = builder.read(call), call.refs()
    fmt, whole = builder.format_of(spec.name), spec.config["return_sequences"]
    numbers = lstm_integers(builder.network, spec.name)
    batch, steps, _ = builder.plan.graph.shape_of(ref)
    shape = (batch, steps, len(numbers.recurrent_kernel))
    result = builder.activation(spec.name if whole else f"{spec.name}_steps", shape, fmt)
    hidden = builder.scheme(fmt)
    inputs = [source.index, *_constants(builder, spec.name, numbers, hidden)]
    scratch = _scratch(builder, spec.name, hidden)
    operator = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    builder.graph.add_operator(
        Operator(operator, inputs, [result.index], dict(_OPTIONS), intermediates=scratch)
    )
    if not whole:
        last = builder.activation(spec.name, call.output_shapes[0], fmt)
        ranges: list[Range] = [(None, None, 1), (-1, None, 1), (None, None, 1)]
        result = cut(builder, result, last, spec.name, ranges, 1 << 1)
    builder.put(number, builder.finish(result, None, False, spec.name))


def _constants(
    builder: GraphBuilder, name: str, numbers: LstmIntegers, hidden: Quantization
) -> list[int]:
    """All inputs of the operator but the first; those of its other forms are absent."""
    recurrent = numbers.recurrent_kernel
    return [
        *_kernels(builder, f"{name}/kernel", numbers.kernel, numbers),
        *_kernels(builder, f"{name}/recurrent_kernel", recurrent, numbers),
        *[_NONE] * 3,  # peephole
        *_biases(builder, name, numbers),
        *[_NONE] * 2,  # projection
        *_states(builder, name, len(recurrent), hidden),
        *[_NONE] * 4,  # layer normalization
    ]


def _scheme(scale: float, zero_point: int = 0) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point]))


def _kernels(
    builder: GraphBuilder, name: str, codes: np.ndarray, numbers: LstmIntegers
) -> list[int]:
    """One matrix (units, inputs) per gate."""
    scheme, indices = _scheme(numbers.kernel_scale), []
    for gate, part in zip(_GATES, np.split(codes, 4, axis=1), strict=True):
        builder.tensor_formats[f"{name}/{gate}"] = str(numbers.kernel_format)
        stored = np.ascontiguousarray(part.T)
        indices.append(builder.constant(f"{name}/{gate}", stored, "INT8", scheme))
    return indices


def _biases(builder: GraphBuilder, name: str, numbers: LstmIntegers) -> list[int]:
    scheme = _scheme(numbers.input_scale * numbers.kernel_scale)
    return [
        builder.constant(f"{name}/bias/{gate}", part.astype(np.int32), "INT32", scheme)
        for gate, part in zip(_GATES, np.split(numbers.bias, 4), strict=True)
    ]


def _states(builder: GraphBuilder, name: str, units: int, hidden: Quantization) -> list[int]:
    """Hidden and cell state of one sequence."""
    cell = _scheme(_CELL_SCALE)
    tensors = [
        Tensor(f"{name}/hidden_state", (1, units), "INT8", hidden, is_variable=True),
        Tensor(f"{name}/cell_state", (1, units), "INT16", cell, is_variable=True),
    ]
    return [builder.graph.add_tensor(tensor) for tensor in tensors]


def _scratch(builder: GraphBuilder, name: str, hidden: Quantization) -> list[int]:
    """Tensors without content that state the scales inside."""
    gate = _scheme(_GATE_SCALE)
    tensors = [Tensor(f"{name}/{part}_gate", (0,), "INT16", gate) for part in _GATES]
    tensors.append(Tensor(f"{name}/hidden", (0,), "INT8", hidden))
    return [builder.graph.add_tensor(tensor) for tensor in tensors]
