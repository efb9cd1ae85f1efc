"""The integer graph and its `.tflite` form: IntegerGraph, read_tflite, write_tflite."""

from tfxp.graph.index_limit import index_limit
from tfxp.graph.integer_graph import IntegerGraph, Operator, Quantization, Signature, Tensor
from tfxp.graph.reader import read_tflite
from tfxp.graph.writer import write_tflite

__all__ = [
    "IntegerGraph",
    "Operator",
    "Quantization",
    "Signature",
    "Tensor",
    "index_limit",
    "read_tflite",
    "write_tflite",
]
