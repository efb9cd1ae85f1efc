"""How large a computed tensor may be: a damaged shape must exhaust neither memory nor patience."""

from __future__ import annotations

from tfxp.graph import IntegerGraph

#: Elements that a tensor may have in any file, and for each element of its constants.
_ANY, _PER_CONSTANT = 2**24, 64


def largest_tensor(graph: IntegerGraph) -> int:
    """Elements that a computed tensor of a graph may have unless the user allows more.

    A damaged file states sizes that nothing in it accounts for; files of real networks with large
    images hold many weights.

    Example:
        >>> largest_tensor(IntegerGraph())
        16777216
    """
    return max(_ANY, _PER_CONSTANT * sum(t.data.size for t in graph.tensors if t.data is not None))
