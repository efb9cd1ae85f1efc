"""Results that follow from shapes and constants alone, and so are known before anything is fed.

Converters compute sizes that they do not know in the graph: SHAPE, a slice of it, products and
packs of slices, and then a RESHAPE or RESIZE of that size. LiteRT evaluates such chains when it
allocates tensors; operators that ask for constants take their ends.
"""

from __future__ import annotations

from tfxp.graph import IntegerGraph
from tfxp.interpreter.registry import Node

_WHOLE = ("INT32", "INT64")


class ShapeArithmetic:
    """Tells, operator by operator in the order they run, which results follow from shapes.

    Args:
        graph: the graph whose operators will be asked about.
    """

    def __init__(self, graph: IntegerGraph) -> None:
        self._graph = graph
        #: Tensors that follow from shapes.
        self.known: set[int] = set()
        #: Tensors whose shape may depend on what is fed.
        self._open: set[int] = set()

    def take(self, node: Node) -> bool:
        """Whether a prepared node's results follow from shapes and constants alone.

        They are constants (`Tensor.data`) by the time that later nodes are asked about. Only whole
        numbers without a scale are sizes; others are data.
        """
        follows = self._follows(node)
        if follows:
            self.known.update(node.operator.outputs)
        return follows

    def _follows(self, node: Node) -> bool:
        inputs = [index for index in node.operator.inputs if index >= 0]
        computed = [index for index in inputs if self._graph.tensors[index].data is None]
        is_open = not self._open.isdisjoint(computed)
        if node.operator.name == "SHAPE":
            return not is_open
        # a computed whole number may be a size, unless `prepare` could tell the output's shape
        sizes = any(self._graph.tensors[index].type in _WHOLE for index in computed)
        if is_open or (sizes and "output_shapes" not in node.cache):
            self._open.update(node.operator.outputs)
        whole = all(t.type in _WHOLE and t.quantization is None for t in node.outputs)
        return whole and bool(inputs) and not computed
