"""Inputs that hold indices of embeddings: plain integers, which have no scale."""

from __future__ import annotations

from tfxp.errors import ExportError
from tfxp.formats import FixedPointFormat, Format
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork

# What stands for "an index" among formats: whole numbers of 32 bits.
INDICES = FixedPointFormat.of_bits(32, 0)


def input_formats(network: QuantizedNetwork) -> list[Format]:
    """Formats of the network's inputs, in order; `INDICES` for those that embeddings read.

    Raises:
        ExportError: an input is float.
    """
    result: list[Format] = []
    for ref in network.graph.inputs:
        name = network.graph.calls[ref.call].layer
        fmt = network.formats[name].activations if name in network.formats else INDICES
        if fmt is None:
            raise ExportError(f"input {name!r}: got float; expected a format. Give it a precision.")
        result.append(fmt)
    return result


def mixed_indices(plan: QuantizationPlan) -> list[str]:
    """Complaints about embeddings whose indices are quantized, because others read them too."""
    found = []
    for _, call, spec in plan.graph.in_order():
        sources = [plan.sources[ref] for ref in call.refs() if ref in plan.sources]
        if spec.kind == "Embedding" and sources:
            found.append(
                f"{spec.name} (Embedding): its indices come from {sources[0]}, which is quantized "
                "because other layers read it as a number; give the indices an input of their own"
            )
    return found
