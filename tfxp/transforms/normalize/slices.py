"""What an index such as `x[:, 1:]` cuts, however Keras kept it: as given, or as in a file."""

from __future__ import annotations

from typing import Any

from tfxp.transforms.layer_graph import Call, LayerGraph, Shape


def write_out_ellipses(graph: LayerGraph) -> LayerGraph:
    """Replace every `...` by the slices it stands for, which `.keras` files can hold."""
    for number, call, spec in graph.in_order():
        if spec.kind == "SlicingOpLambda":
            index, shape = index_of(call), graph.input_shape(number)
            if shape and any(item is Ellipsis for item in index):
                call.read(call.refs()[0], slice_spec=_written_out(index, shape))
    return graph


def _written_out(index: list[Any], shape: Shape) -> list[Any]:
    place = next(i for i, item in enumerate(index) if item is Ellipsis)
    missing = len(shape) - sum(item is not None and item is not Ellipsis for item in index)
    items = [*index[:place], *[slice(None)] * missing, *index[place + 1 :]]
    return [
        {"start": item.start, "stop": item.stop, "step": item.step}
        if isinstance(item, slice) else item
        for item in items
    ]  # fmt: skip


def index_of(call: Call) -> list[Any]:
    """The items of the index that a SlicingOpLambda layer is called with: numbers, slices, …

    Example:
        >>> from tfxp.transforms.layer_graph import Call, Ref
        >>> from tfxp.transforms.normalize.slices import index_of
        >>> index_of(Call("cut", (Ref(0), {"start": 1, "stop": None, "step": None})))
        [slice(1, None, None)]
    """
    given = call.args[1] if len(call.args) > 1 else call.kwargs["slice_spec"]
    items = given if isinstance(given, tuple | list) else (given,)
    return [
        slice(item["start"], item["stop"], item["step"]) if isinstance(item, dict) else item
        for item in items
    ]
