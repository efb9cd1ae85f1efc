"""Networks whose inputs or outputs are real numbers, as the integer network between them.

A C program takes and gives codes. QUANTIZE behind a float input, DEQUANTIZE before a float output,
and a float SOFTMAX behind that change no decision; they are left to the caller, whom model.h tells
the scale.
"""

from __future__ import annotations

import dataclasses

from tfxp.graph import IntegerGraph


def without_float_ends(graph: IntegerGraph) -> IntegerGraph:
    """The graph from the first codes to the last; itself if its ends are codes.

    Example:
        >>> from tfxp.graph import Operator, Quantization, Tensor
        >>> codes = Quantization([0.5], [0])
        >>> graph = IntegerGraph()
        >>> x = graph.add_tensor(Tensor("x", (1, 4), "FLOAT32"))
        >>> y = graph.add_tensor(Tensor("y", (1, 4), "INT8", codes))
        >>> z = graph.add_tensor(Tensor("z", (1, 4), "INT8", codes))
        >>> graph.add_operator(Operator("QUANTIZE", [x], [y]))
        >>> graph.add_operator(Operator("RELU", [y], [z]))
        >>> graph.inputs, graph.outputs = [x], [z]
        >>> [graph.tensors[i].name for i in without_float_ends(graph).inputs]
        ['y']
    """
    operators = list(graph.operators)
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    for place, tensor in enumerate(inputs):
        readers = [op for op in operators if tensor in op.inputs]
        if _is_float(graph, tensor) and [op.name for op in readers] == ["QUANTIZE"]:
            operators = [op for op in operators if op is not readers[0]]
            inputs[place] = readers[0].outputs[0]
    for place, tensor in enumerate(outputs):
        while _is_float(graph, tensor):
            writers = [op for op in operators if tensor in op.outputs]
            readers = [op for op in operators if tensor in op.inputs]
            if readers or not writers or writers[0].name not in ("DEQUANTIZE", "SOFTMAX"):
                break
            operators = [op for op in operators if op is not writers[0]]
            tensor = outputs[place] = writers[0].inputs[0]
    if len(operators) == len(graph.operators):
        return graph
    return dataclasses.replace(
        graph, operators=operators, inputs=inputs, outputs=outputs, signatures=[]
    )


def _is_float(graph: IntegerGraph, tensor: int) -> bool:
    return graph.tensors[tensor].type == "FLOAT32"
