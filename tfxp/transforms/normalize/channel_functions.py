"""Functions along the last axis that have operators of their own, in one form each.

    tf.reduce_mean(x, axis=-1)      the mean of the channels
    tf.math.l2_normalize(x, -1)     x / |x|, which UnitNormalization is too
    tf.pad(x, ..., constant_values) a frame of a number other than 0

They stay functions of tensors in Keras, which any Keras loads. The tensor is their only positional
argument; what has another axis, or options without an operator, keeps another name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec
from tfxp.transforms.normalize.function_layers import function_spec
from tfxp.transforms.refusals import NOT_READ, naming

MEAN, LENGTH, PAD = "math.reduce_mean", "math.l2_normalize", "pad"
LOGARITHM = "math.log"
# Smaller sums of squares are no rows of codes but rows of zeros.
_LARGEST_GUARD = 1e-6

Options = dict[str, Any]


def function_of(spec: LayerSpec) -> str | None:
    """The function of tensors that a layer is made of."""
    return str(spec.config.get("function")) if spec.kind == "TFOpLambda" else None


def unify_channel_functions(graph: LayerGraph) -> LayerGraph:
    """Give every such call its one form."""
    for _, call, spec in graph.in_order():
        if spec.kind == "UnitNormalization" and call.output_shapes:
            _from_layer(call, spec)
        function = function_of(spec)
        if function not in _FORMS or not call.output_shapes:
            continue
        original, name, form = _FORMS[function]
        with naming(spec.name, spec.kind, NOT_READ):
            bound = inspect.signature(original).bind(*call.args, **call.kwargs)
            bound.apply_defaults()
            rank = len(graph.shape_of(call.refs()[0]))
            options = form(bound.arguments, rank) if len(call.refs()) == 1 else None
        first = next(iter(bound.arguments))
        spec.config["function"] = name if options is not None else f"{name} of another kind"
        if options is not None:
            call.read(bound.arguments[first], **options)
    return graph


def _from_layer(call: Call, spec: LayerSpec) -> None:
    """UnitNormalization as the function."""
    axis = spec.config["axis"]
    spec.become(function_spec(tf.math.l2_normalize, spec.name))
    call.read(call.refs()[0], axis=axis)


def _is_last(axis: int | Sequence[int] | None, rank: int) -> bool:
    return axis is not None and [int(a) % rank for a in np.atleast_1d(axis)] == [rank - 1]


def _mean(given: Options, rank: int) -> Options | None:
    if not _is_last(given["axis"], rank):
        return None
    return {"axis": -1, "keepdims": bool(given["keepdims"])}


def _length(given: Options, rank: int) -> Options | None:
    fits = _is_last(given["axis"], rank) and float(given["epsilon"]) <= _LARGEST_GUARD
    return {"axis": -1, "epsilon": float(given["epsilon"])} if fits else None


def _pad(given: Options, rank: int) -> Options | None:
    pads, value = np.asarray(given["paddings"]).tolist(), given["constant_values"]
    if given["mode"] != "CONSTANT" or pads[0] != [0, 0] or np.size(value) != 1:
        return None
    return {"paddings": pads, "constant_values": float(value)}


# Function -> itself, the one name, and what the call must be like.
_FORMS: dict[str | None, tuple[Any, str, Callable[[Options, int], Options | None]]] = {
    MEAN: (tf.reduce_mean, MEAN, _mean),
    LENGTH: (tf.math.l2_normalize, LENGTH, _length),
    PAD: (tf.pad, PAD, _pad),
    "compat.v1.pad": (tf.compat.v1.pad, PAD, _pad),  # what tf.pad calls
}
