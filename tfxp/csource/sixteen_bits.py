"""Sums that a portable file takes through 16 bits, as the operators of 8 bits that they stand for.

The file spends three or four operators on rounding half up, because runtimes round the sum of two
8-bit tensors in different ways (`tfxp.export.sixteen_bits`). The C kernels round it half up as it
is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor

_SUMS = ("ADD", "SUB")
_HALF = 2
# Scale ratios, in output steps, within which ADD and QUANTIZE of 8 bits round half up.
_RATIOS = {"ADD": (2.0**-10, 2.0**7), "SUB": (2.0**-10, 2.0**7), "QUANTIZE": (2.0**-8, 2.0**7)}


def without_16_bits(graph: IntegerGraph) -> IntegerGraph:
    """The graph with one 8-bit operator for each way through 16 bits; itself if there is none.

    Example:
        >>> graph = IntegerGraph()
        >>> without_16_bits(graph) is graph
        True
    """
    rewritten = _Rewriting(graph)
    for operator in graph.operators:
        rewritten.add(operator)
    return rewritten.result() if rewritten.found else graph


class _Rewriting:
    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = dataclasses.replace(graph, tensors=list(graph.tensors), operators=[])
        self._producer = {index: op for op in graph.operators for index in op.outputs}
        self.found = 0

    def add(self, operator: Operator) -> None:
        """Take an operator over, or what it ends."""
        short = self._shortened(operator)
        self.found += short is not None
        self.graph.operators.append(short or operator)

    def result(self) -> IntegerGraph:
        """The graph without operators that nothing reads."""
        read, kept = set(self.graph.outputs), []
        for operator in reversed(self.graph.operators):
            if read & set(operator.outputs):
                kept.append(operator)
                read |= {*operator.inputs, *operator.intermediates}
        self.graph.operators = kept[::-1]
        return self.graph

    def _shortened(self, operator: Operator) -> Operator | None:
        if operator.name != "QUANTIZE" or self._type(operator.inputs[0]) != "INT16":
            return None
        total = self._producer.get(operator.inputs[0])
        first = self._without_half(total)
        if total is None or (first is None and total.name not in _SUMS):
            return None
        if first is not None:
            name, parts = "QUANTIZE", [self._narrow(first)]
        else:
            first = self._without_half(self._producer.get(total.inputs[0]))
            if first is None:
                return None
            name, parts = total.name, [self._narrow(first), self._narrow(total.inputs[1])]
        inputs = [part for part in parts if part is not None]
        if len(inputs) < len(parts) or not self._within(name, inputs, operator.outputs[0]):
            return None
        options = {} if name == "QUANTIZE" else dict(total.options)
        return Operator(name, inputs, list(operator.outputs), options, 2)

    def _without_half(self, operator: Operator | None) -> int | None:
        """The tensor that an ADD of half a step reads besides the constant."""
        if operator is None or operator.name != "ADD":
            return None
        data = self.graph.tensors[operator.inputs[1]].data
        is_half = data is not None and np.asarray(data).tolist() == [_HALF]
        return operator.inputs[0] if is_half and self._type(operator.inputs[0]) == "INT16" else None

    def _narrow(self, index: int) -> int | None:
        """The 8-bit tensor that a 16-bit one was made of."""
        tensor, producer = self.graph.tensors[index], self._producer.get(index)
        if tensor.data is not None:
            return self._narrow_constant(tensor)
        made = producer is not None and producer.name == "QUANTIZE"
        source = producer.inputs[0] if made and producer is not None else None
        return source if source is not None and self._type(source) == "INT8" else None

    def _narrow_constant(self, tensor: Tensor) -> int | None:
        codes, scale = np.asarray(tensor.data, np.int64), tensor.scale
        while codes.any() and not (codes % 2).any():
            codes, scale = codes // 2, scale * 2
        if np.abs(codes).max(initial=0) > 127:
            return None
        scheme = Quantization(np.array([scale], np.float32), np.array([0]))
        narrow = Tensor(f"{tensor.name}_8", tensor.shape, "INT8", scheme, codes.astype(np.int8))
        return self.graph.add_tensor(narrow)

    def _within(self, name: str, inputs: list[int], output: int) -> bool:
        least, most = _RATIOS[name]
        scale = self.graph.tensors[output].scale
        return all(least <= self.graph.tensors[i].scale / scale <= most for i in inputs)

    def _type(self, index: int) -> str:
        return self.graph.tensors[index].type
