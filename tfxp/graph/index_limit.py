"""How large the indices in a tensor may be."""

from __future__ import annotations

from tfxp.graph.integer_graph import IntegerGraph

# Indices pass these as they are.
_PASSING = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "CAST")


def index_limit(graph: IntegerGraph, index: int) -> int | None:
    """Rows of the smallest table that GATHER reads at the indices in a tensor; None if none does.

    Args:
        graph: the network.
        index: number of the tensor.

    Example:
        >>> from tfxp.graph import Operator, Tensor
        >>> table, ids = Tensor("t", (50, 4), "INT8"), Tensor("i", (1, 7), "INT32")
        >>> graph = IntegerGraph([table, ids, Tensor("y", (1, 7, 4), "INT8")])
        >>> graph.add_operator(Operator("GATHER", [0, 1], [2], {"axis": 0, "batch_dims": 0}, 1))
        >>> index_limit(graph, 1)
        50
    """
    reached, sizes = {index}, []
    for operator in graph.operators:
        if operator.name == "GATHER" and operator.inputs[1] in reached:
            shape = graph.tensors[operator.inputs[0]].shape
            sizes.append(shape[int(operator.options.get("axis") or 0)])
        elif operator.name in _PASSING and operator.inputs[0] in reached:
            reached.update(operator.outputs)
    return min(sizes, default=None)
