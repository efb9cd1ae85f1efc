"""Which tensors of a file are the same on every runtime, judged by the integers in the file.

Runtimes part where a requantization meets a tie, or rounds twice on the way. LiteRT's default
engine rounds float32 products half to even, its builtin kernels and TFLM round fixed-point products
twice, half up and then half away from zero. What is whole, or can meet no tie, is the same in all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tfxp.formats import MEAN_WEIGHT, portable_mean_bias
from tfxp.graph import IntegerGraph, Operator, Tensor

# Below this, float32 and fixed-point products keep what decides about rounding; sums beyond it
# saturate, unless more bits are shifted out.
_WHOLE_SUMS = 2**23
_MOST_SHIFT = 15
# The mantissa of a scale that fixed-point multipliers take without a rounding of their own.
_JUST_BELOW = 1 - 2.0**-24
# Scale ratios of ADD and SUB that LiteRT's default engine takes.
_SUM_RATIOS = (2.0**-10, 2.0**8)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is known of one computed tensor.

    Args:
        tensor: its name in the file.
        operator: what computes it.
        reason: why runtimes may differ; empty if the tensor is the same on all.
    """

    tensor: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.tensor} ({self.operator}): {self.reason or 'the same on every runtime'}"


@dataclasses.dataclass(frozen=True)
class OperatorVerdict:
    """What holds for all uses of an operator with 8-bit tensors and power-of-two scales.

    Args:
        condition: when it is the same everywhere; "" stands for always, None for never.
        otherwise: what runtimes do where it is not.
        reason: why one use of it may differ; empty if it cannot.
    """

    condition: str | None
    otherwise: str
    reason: Callable[[IntegerGraph, Operator], str]


def portability(graph: IntegerGraph) -> list[Verdict]:
    """A verdict on every tensor that a file computes, in order.

    Example:
        >>> portability(IntegerGraph())
        []
    """
    return [
        Verdict(graph.tensors[index].name, operator.name, _reason(graph, operator))
        for operator in graph.operators
        for index in operator.outputs
    ]


def not_portable(graph: IntegerGraph) -> list[Verdict]:
    """The tensors on which runtimes may differ, whatever comes before them."""
    return [verdict for verdict in portability(graph) if verdict.reason]


def _reason(graph: IntegerGraph, operator: Operator) -> str:
    known = OPERATORS.get(operator.name)
    return known.reason(graph, operator) if known else "nothing is known of this operator"


def _same(graph: IntegerGraph, operator: Operator) -> str:
    return ""


def _differs(text: str) -> Callable[[IntegerGraph, Operator], str]:
    return lambda graph, operator: text


def _codes(graph: IntegerGraph, operator: Operator) -> str:
    """Operators that hand on or compare codes."""
    output = graph.tensors[operator.outputs[0]]
    computed = [graph.tensors[i] for i in operator.inputs if i >= 0]
    scaled = [t for t in computed if t.scale and t.type == output.type]
    if any(t.scale != output.scale or t.zero_point != output.zero_point for t in scaled):
        return "it changes the format of codes on its way, and runtimes round that otherwise"
    return ""


# --- sums of products -------------------------------------------------------------------------

_PLACES = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


def _products(graph: IntegerGraph, operator: Operator) -> str:
    """Convolutions and dense layers: whole, or an odd number of half steps before the last bits."""
    output = graph.tensors[operator.outputs[0]]
    source, weights = (graph.tensors[operator.inputs[i]] for i in _PLACES[operator.name][:2])
    if weights.type != "INT8" or source.type != "INT8" or weights.data is None:
        kinds = f"{source.type} activations and {weights.type} weights"
        return f"{kinds} are rounded twice in some runtimes, once in others"
    codes, bias = _per_channel(graph, operator, weights)
    assert weights.quantization is not None
    ratios = source.scale * weights.quantization.scale.astype(np.float64) / output.scale
    ratios = np.broadcast_to(ratios, bias.shape)
    if _is_mean(codes, bias, ratios[0]):
        return ""
    mantissas = np.frexp(ratios)[0]
    if not np.isin(mantissas, (0.5, _JUST_BELOW)).all():
        return "a step of its sums is no power of two of its output's"
    shift = -np.rint(np.log2(ratios))
    modulus = np.gcd.reduce(codes, axis=0)
    whole = _divides(modulus, bias, np.exp2(np.maximum(shift, 0)).astype(np.int64))
    # Sums of 4 a + 2, or of 2 a + 1 with a scale just below a power of two; where no more bits
    # than these are shifted out, they are the ties.
    bits = np.where(mantissas == 0.5, 4, 2)
    between = (modulus % bits == 0) & (bias % bits == bits // 2) & (2.0**shift > bits)
    sums = 255 * np.abs(codes).sum(axis=0) + np.abs(bias)
    exact = (shift <= _MOST_SHIFT) | (sums < _WHOLE_SUMS)
    if np.all((whole | between) & exact):
        return ""
    return "its sums meet ties; weights of at most 7 bits and portable rounding avoid them"


def _per_channel(
    graph: IntegerGraph, operator: Operator, weights: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Weight codes as (taps, channels), and the bias of every channel."""
    axis = 3 if operator.name == "DEPTHWISE_CONV_2D" else 0
    data = np.moveaxis(np.asarray(weights.data, np.int64), axis, -1)
    codes = data.reshape(-1, data.shape[-1])
    place = _PLACES[operator.name][2]
    index = operator.inputs[place] if len(operator.inputs) > place else -1
    if index < 0 or graph.tensors[index].data is None:
        return codes, np.zeros(codes.shape[1], np.int64)
    return codes, np.asarray(graph.tensors[index].data, np.int64)


def _divides(modulus: np.ndarray, bias: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Channels whose sums are multiples of the divisor."""
    return (modulus % divisor == 0) & (bias % divisor == 0)


def _is_mean(codes: np.ndarray, bias: np.ndarray, ratio: float) -> bool:
    """Whether an operator is a mean that is known to round half up: `portable_mean_bias`."""
    if not (codes == MEAN_WEIGHT).all() or not (bias == bias[0]).all():
        return False
    count = len(codes)
    steps = 2.0 ** round(math.log2(ratio * MEAN_WEIGHT * count))
    close = abs(ratio * MEAN_WEIGHT * count / steps - 1) < 1e-6
    return close and portable_mean_bias(count, steps) == bias[0]


# --- sums and changes of format ---------------------------------------------------------------


def _sum(graph: IntegerGraph, operator: Operator) -> str:
    """ADD and SUB: ties below zero are rounded up by one engine and away from zero by others."""
    output = graph.tensors[operator.outputs[0]]
    inputs = [graph.tensors[i] for i in operator.inputs]
    if output.type == "INT32":
        return ""
    ratios = [tensor.scale / output.scale for tensor in inputs]
    if output.type == "INT16" and all(ratio == 1 for ratio in ratios):
        return ""
    if output.type != "INT8" or any(math.frexp(ratio)[0] != 0.5 for ratio in ratios):
        return "its scales are no powers of two apart"
    if not all(_SUM_RATIOS[0] <= ratio < _SUM_RATIOS[1] for ratio in ratios):
        return "its steps are too far apart for LiteRT's default engine"
    clipped = operator.options.get("fused_activation_function") in ("RELU", "RELU6")
    if min(ratios) >= 1 or clipped or output.zero_point == -128:
        return ""
    return "ties below zero go up in LiteRT's default engine, away from zero elsewhere"


def _quantize(graph: IntegerGraph, operator: Operator) -> str:
    """QUANTIZE: exact towards finer steps; towards coarser ones if it meets no tie."""
    source, output = (graph.tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
    if not source.scale or math.frexp(source.scale / output.scale)[0] != 0.5:
        return "its scales are no powers of two apart"
    ratio = source.scale / output.scale
    if ratio >= 1:
        return ""
    modulus, residue = _residue(graph, operator.inputs[0])
    divisor = round(1 / ratio)
    between = modulus % 4 == 0 and residue % 4 == 2 and divisor > 4
    if between or (modulus % divisor, residue % divisor) == (0, 0):
        return ""
    return "runtimes round what gets coarser otherwise"


def _residue(graph: IntegerGraph, index: int) -> tuple[int, int]:
    """(m, r): every code of a 16-bit tensor is r plus a multiple of m, as far as is known."""
    tensor = graph.tensors[index]
    if tensor.type != "INT16":
        return 1, 0
    if tensor.data is not None:
        codes = np.asarray(tensor.data, np.int64).ravel()
        return int(np.gcd.reduce(codes - codes[0])), int(codes[0])
    producer = next((op for op in graph.operators if index in op.outputs), None)
    if producer is None or producer.name not in ("QUANTIZE", "ADD", "SUB"):
        return 1, 0
    if producer.name == "QUANTIZE":
        ratio = graph.tensors[producer.inputs[0]].scale / tensor.scale
        return (round(ratio), 0) if ratio >= 1 and ratio == round(ratio) else (1, 0)
    (m, r), (n, s) = (_residue(graph, i) for i in producer.inputs)
    return math.gcd(m, n), r - s if producer.name == "SUB" else r + s


# --- functions ---------------------------------------------------------------------------------

# Finest and coarsest step of the input, a power of two, at which the tables of all runtimes are the
# same: enumerated in tests/export/test_portable.py. Outside TFLM's differ by up to 5 LSB.
INPUT_STEPS = {"LOGISTIC": (2.0**-6, 1.0), "TANH": (2.0**-7, 4.0)}


_ROUNDS_TWICE = "builtin kernels and TFLM round its fixed-point product twice: 1 LSB"
_TABLES = "every runtime has a table or an approximation of its own"


def function_differs(operator: str, read: float, written: float, alpha: float = 0.0) -> str:
    """Why runtimes may differ in a function of 8-bit codes; empty if they do not.

    Args:
        operator: its name.
        read, written: the steps of its input and its output.
        alpha: the slope of LEAKY_RELU.

    Example:
        >>> function_differs("TANH", 2.0**-4, 2.0**-7)
        ''
    """
    if math.frexp(read)[0] != 0.5:
        return "its input's step is no power of two"
    if operator in INPUT_STEPS:
        finest, coarsest = INPUT_STEPS[operator]
        text = f"TFLM's codes are its own where an input step is not {finest:g} to {coarsest:g}"
        return "" if finest <= read <= coarsest else text
    if operator == "LEAKY_RELU":
        ratio = read / written
        return "" if ratio % 1 == (ratio * alpha) % 1 == 0 else _ROUNDS_TWICE
    return _TABLES


def _function(graph: IntegerGraph, operator: Operator) -> str:
    source, output = (graph.tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
    if source.type != "INT8":
        return f"{source.type} activations are computed otherwise in every runtime"
    alpha = operator.options.get("alpha", 0.0)
    return function_differs(operator.name, source.scale, output.scale, alpha)


_PRODUCTS = OperatorVerdict(
    "whole sums, or weights of at most 7 bits with portable rounding", _ROUNDS_TWICE, _products
)
_SUMS = OperatorVerdict(
    "an output step not coarser than the finest input step, or no negative outputs",
    "ties below zero go up in LiteRT's default engine, away from zero elsewhere: 1 LSB",
    _sum,
)
_CODES = OperatorVerdict("", "", _codes)
_ALWAYS = OperatorVerdict("", "", _same)


def _never(text: str) -> OperatorVerdict:
    return OperatorVerdict(None, text, _differs(text))


OPERATORS: dict[str, OperatorVerdict] = {
    **dict.fromkeys(_PLACES, _PRODUCTS),
    "ADD": _SUMS,
    "SUB": _SUMS,
    "QUANTIZE": OperatorVerdict(
        "finer steps, or 16-bit sums that meet no tie", _ROUNDS_TWICE, _quantize
    ),
    **dict.fromkeys(
        (
            "AVERAGE_POOL_2D", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "MAXIMUM",
            "MAX_POOL_2D", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2", "REDUCE_MAX",
            "REDUCE_MIN", "RELU", "RELU6", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE",
            "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE",
            "UNPACK",
        ),
        _CODES,
    ),
    "CAST": _ALWAYS,
    "GATHER": _ALWAYS,
    "SHAPE": _ALWAYS,
    "MEAN": _never("runtimes multiply by a rounded 1 / n and round otherwise: 1 LSB"),
    "MUL": _never(_ROUNDS_TWICE),
    "LEAKY_RELU": OperatorVerdict(
        "steps of the input, and of the slope times it, are whole output steps",
        _ROUNDS_TWICE,
        _function,
    ),
    "PRELU": _never(_ROUNDS_TWICE),
    "BATCH_MATMUL": _never(_ROUNDS_TWICE),
    "RESIZE_BILINEAR": _never("weights have 10 or 11 bits, and ties go elsewhere: 1 LSB"),
    "L2_NORMALIZATION": _never(_TABLES),
    **dict.fromkeys(("ELU", "EXP", "GELU", "LOG"), _never(_TABLES)),
    "LOGISTIC": OperatorVerdict(
        "an input step of 2^-6 to 1", "TFLM's table is its own: up to 5 LSB", _function
    ),
    "TANH": OperatorVerdict(
        "an input step of 2^-7 to 4", "TFLM's table is its own: 1 LSB", _function
    ),
    "SOFTMAX": _never(_TABLES),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _never(_ROUNDS_TWICE),
}  # fmt: skip
