"""What LiteRT is known not to run, read from the file as LiteRT would read it."""

from __future__ import annotations

from tfxp.export.note import Note
from tfxp.graph import IntegerGraph, Operator, Tensor

# Operators with weights -> places of their activations and their weights.
_WEIGHTED = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}
# XNNPACK's convolutions and dense layers take accumulator steps below 2^8 output steps.
LARGEST_RATIO = 2.0**8


def litert_refusals(graph: IntegerGraph) -> list[str]:
    """Why LiteRT refuses a file, dies of it or computes it wrongly; empty if nothing is known.

    Example:
        >>> litert_refusals(IntegerGraph())
        []
    """
    return [reason for operator in graph.operators for reason in _reasons(graph, operator)]


def requantizing_notes(graph: IntegerGraph) -> list[Note]:
    """QUANTIZE operators that XNNPACK leaves to a builtin kernel, which rounds twice."""
    notes = []
    for operator in graph.operators:
        source, output = (graph.tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
        if operator.name != "QUANTIZE" or not source.scale or not output.scale:
            continue
        if source.type != output.type:  # to 16 bits and back: whole, or no ties (`sixteen_bits`)
            continue
        ratio = source.scale / output.scale
        if not 2.0**-8 <= ratio <= 2.0**7:
            text = f"one step is {ratio:g} output steps; LiteRT's builtin QUANTIZE rounds twice"
            notes.append(Note((output.name.split("_requantized")[0],), f"{text} there, +-1 LSB"))
    return notes


def _reasons(graph: IntegerGraph, operator: Operator) -> list[str]:
    if operator.name not in _WEIGHTED:
        return []
    source, weights = (graph.tensors[operator.inputs[i]] for i in _WEIGHTED[operator.name])
    output = graph.tensors[operator.outputs[0]]
    if weights.type not in ("INT8", "INT4"):
        return [
            f"{output.name}: its weights are stored as {weights.type}, and LiteRT computes with 8 "
            "bits at most; give it weights of 8 bits or fewer"
        ]
    ratio = _largest_ratio(source, weights, output)
    if output.type == "INT8" and ratio >= LARGEST_RATIO:
        return [
            f"{output.name}: one accumulator step is {ratio:g} output steps, and LiteRT takes less "
            "than 256; give its output a coarser format"
        ]
    return []


def _largest_ratio(source: Tensor, weights: Tensor, output: Tensor) -> float:
    assert weights.quantization is not None
    return float(source.scale * weights.quantization.scale.max() / output.scale)
