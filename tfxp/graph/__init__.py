"""The integer graph and its `.tflite` form: IntegerGraph, read_tflite, write_tflite."""

from tfxp.graph.integer_graph import IntegerGraph, Operator, Quantization, Signature, Tensor
from tfxp.graph.reader import read_tflite
from tfxp.graph.writer import write_tflite

__all__ = [
    "IntegerGraph",
    "Operator",
    "Quantization",
    "Signature",
    "Tensor",
    "read_tflite",
    "write_tflite",
]
