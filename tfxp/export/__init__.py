"""Quantized Keras models to integer files, verified against Keras, interpreter and LiteRT."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.export.export_tflite import ExportReport, export_tflite, integer_graph_of
from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import Value
from tfxp.export.integer_weights import (
    c_header,
    integer_weights,
    save_c_header,
    save_npz,
    steps_or_reason,
)
from tfxp.export.nullhop import (
    NullhopLayer,
    NullhopNetwork,
    check_nullhop,
    load_nullhop,
    nullhop_network,
    run_nullhop,
    save_nullhop,
)
from tfxp.export.operators import Write
from tfxp.export.qonnx_model import export_qonnx
from tfxp.export.steps import Step, network_steps
from tfxp.export.trace_keras import KerasTracer
from tfxp.export.verify import Verification, verify_graph
from tfxp.quantization.integer_layer import IntegerLayer

__all__ = [
    "ExportReport",
    "GraphBuilder",
    "IntegerLayer",
    "KerasTracer",
    "NullhopLayer",
    "NullhopNetwork",
    "Step",
    "Value",
    "Verification",
    "Write",
    "c_header",
    "check_nullhop",
    "export_qonnx",
    "export_tflite",
    "integer_graph_of",
    "integer_weights",
    "load_nullhop",
    "network_steps",
    "nullhop_network",
    "run_nullhop",
    "save_c_header",
    "save_npz",
    "save_nullhop",
    "steps_or_reason",
    "verify_graph",
]
