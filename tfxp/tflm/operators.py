"""Which operators TFLM has, and how its resolver calls them."""

from __future__ import annotations

from tfxp.errors import UnsupportedOpError
from tfxp.graph import IntegerGraph

#: Custom code of the operator that decodes weights.
DECODE = "TFLM_DECODE"
#: Operators of integer files that TFLM has kernels of, as tflite-micro registers them.
_KNOWN = """
    ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D
    DEQUANTIZE DIV ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FULLY_CONNECTED GATHER
    GATHER_ND GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION LEAKY_RELU LESS LESS_EQUAL
    LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN
    SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE
    SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
    UNPACK ZEROS_LIKE
""".split()
#: Words that its method names do not write as capital and small letters.
_WORDS = {"MATMUL": "MatMul", "LSTM": "LSTM", "PADV2": "PadV2"}


def resolver_calls(graph: IntegerGraph) -> list[str]:
    """Methods of `MicroMutableOpResolver` that register the operators of a file, sorted.

    Args:
        graph: what `read_tflite` returned.

    Raises:
        UnsupportedOpError: TFLM has no kernel of an operator; all are named.

    Example:
        >>> from tfxp.graph import Operator
        >>> names = ["CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"]
        >>> resolver_calls(IntegerGraph(operators=[Operator(name, [], []) for name in names]))
        ['AddBatchMatMul', 'AddConv2D', 'AddFullyConnected']
    """
    names = {operator.custom_code or operator.name for operator in graph.operators}
    missing = sorted(names - {*_KNOWN, DECODE})
    if missing:
        raise UnsupportedOpError(
            f"operators of the file: got {', '.join(missing)}; expected some that LiteRT for "
            "Microcontrollers has. Leave out the layers that need them."
        )
    return sorted("Add" + _in_capitals(name.removeprefix("TFLM_")) for name in names)


def _in_capitals(name: str) -> str:
    return "".join(_WORDS.get(word, word.title()) for word in name.split("_"))
