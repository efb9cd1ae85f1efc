"""Every layer of a network into its integer graph, in order, by the writer that knows how."""

from __future__ import annotations

from tfxp.errors import ExportError
from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.operators import Write, writer_of
from tfxp.graph import IntegerGraph
from tfxp.quantization.layer_roles import role_of
from tfxp.transforms.layer_graph import LayerSpec


def write_layers(builder: GraphBuilder) -> IntegerGraph:
    """Write all layers of the builder's network.

    Raises:
        ExportError: a layer has no writer; `check_exportable` lists all such layers beforehand.
    """
    for number, call, spec in builder.plan.graph.in_order():
        _write_of(spec)(builder, number, call, spec)
    return builder.close()


def _write_of(spec: LayerSpec) -> Write:
    """How a layer is written: as its role says, for layers of users' own, else as the table."""
    own, known = role_of(spec).write, writer_of(spec)
    if own is not None:
        return own
    if known is None:
        raise ExportError(f"layer {spec.name!r} ({spec.kind}): has no integer operator.")
    return known.write
