"""A network in TensorBoard's GRAPHS dashboard: a node per layer, its figures as attributes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tfxp.files import check_writable
from tfxp.report.layer_figures import LayerFigures
from tfxp.report.live_data import figure_text, used_keys

_FORMATS = (("weight_format", "format of weights"), ("activation_format", "format of activations"))


def write_tensorboard_graph(folder: str | os.PathLike[str], layers: Sequence[LayerFigures]) -> None:
    """Write the layers of a network as a graph that `tensorboard --logdir=<folder>` shows.

    Args:
        folder: where the file of events is made.
        layers: as `layer_figures` gives them; edges are their inputs.

    Raises:
        OutputError: the folder takes no files.

    Example:
        >>> write_tensorboard_graph("runs/w4a4", figures.layers)   # doctest: +SKIP
    """
    check_writable(os.path.join(folder, "events"))
    from tensorboard.compat.proto.event_pb2 import Event  # loads TensorFlow where there is one
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(os.fspath(folder))
    writer.add_event(Event(graph_def=layer_graph(layers).SerializeToString()))
    writer.close()


def layer_graph(layers: Sequence[LayerFigures]) -> Any:
    """The layers as a GraphDef: operation, inputs, output shape, and every figure as text.

    Example:
        >>> a, b = LayerFigures("a", "input"), LayerFigures("b", "conv", ("a",), weight_bits=4)
        >>> node = layer_graph([a, b]).node[1]
        >>> node.op, list(node.input), node.attr["bits of weights"].s
        ('conv', ['a'], b'4')
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph, keys = GraphDef(), used_keys(layers)
    for layer in layers:
        node = graph.node.add(name=layer.name, op=layer.kind, input=list(layer.inputs))
        if layer.output_shape:
            shape = node.attr["_output_shapes"].list.shape.add()
            for size in (-1, *layer.output_shape):
                shape.dim.add(size=size)
        for key, label in _FORMATS:
            if getattr(layer, key):
                node.attr[label].s = getattr(layer, key).encode()
        for figure in keys:
            value = getattr(layer, figure.key)
            if value is not None:
                node.attr[figure.label].s = figure_text(figure, value).encode()
    return graph
