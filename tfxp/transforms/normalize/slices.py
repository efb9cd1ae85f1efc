"""What an index such as `x[:, 1:]` cuts, however Keras kept it: as given, or as in a file."""

from __future__ import annotations

from typing import Any

from tfxp.transforms.layer_graph import Call


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
