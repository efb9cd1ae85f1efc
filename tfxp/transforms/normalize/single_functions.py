"""Functions of one tensor that stay functions, in one form each: the tensor, then named numbers.

Those that move codes about have operators, those that compute element by element become tables.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.normalize.channel_functions import PAD, function_of
from tfxp.transforms.refusals import NOT_READ, naming

Options = dict[str, Any]
_OTHER = " of another kind"

MIRROR = "compat.v1.pad"  # the same function as tf.pad, by another name, with a mode
DEPTH_TO_SPACE, SPACE_TO_DEPTH = "nn.depth_to_space", "nn.space_to_depth"
LARGEST, SMALLEST = "math.reduce_max", "math.reduce_min"
LOG_SOFTMAX = "nn.log_softmax"
ELEMENT_WISE: dict[str, Any] = {
    f"math.{name}": getattr(tf.math, name) for name in (
        "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "erfc",
        "expm1", "floor", "log", "log1p", "log_sigmoid", "pow", "reciprocal", "reciprocal_no_nan",
        "rint", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "tan",
    )
}  # fmt: skip
# Function -> its name in the table of layers.
TABLE_NAMES = {
    MIRROR: "tf.pad by mirror",
    DEPTH_TO_SPACE: "tf.nn.depth_to_space",
    SPACE_TO_DEPTH: "tf.nn.space_to_depth",
    LARGEST: "tf.reduce_max",
    SMALLEST: "tf.reduce_min",
    LOG_SOFTMAX: "tf.nn.log_softmax",
    **dict.fromkeys(ELEMENT_WISE, "tf.math"),
}


def unify_single_functions(graph: LayerGraph) -> LayerGraph:
    """Give every such call its one form; what does not fit keeps another name."""
    for _, call, spec in graph.in_order():
        function = function_of(spec)
        known = _FORMS.get(function) if call.output_shapes else None
        if known is None or len(call.refs()) != 1:
            continue
        with naming(spec.name, spec.kind, NOT_READ):
            bound = inspect.signature(known[0]).bind(*call.args, **call.kwargs)
            bound.apply_defaults()
            options = known[2](dict(bound.arguments), len(graph.shape_of(call.refs()[0])))
        first = next(iter(bound.arguments))
        if not isinstance(bound.arguments[first], Ref) or options is None:
            spec.config["function"] = f"{str(function).removesuffix(_OTHER)}{_OTHER}"
            continue
        spec.config["function"] = known[1]
        call.read(bound.arguments[first], **options)
    return graph


def _numbers(given: Options, rank: int) -> Options | None:
    """All that is given besides the tensor and the name."""
    rest = {key: value for key, value in list(given.items())[1:] if key != "name"}
    return {key: value for key, value in rest.items() if value is not None}


def _block(given: Options, rank: int) -> Options | None:
    return {"block_size": int(given["block_size"])} if given["data_format"] == "NHWC" else None


def _reduced(given: Options, rank: int) -> Options | None:
    if given["axis"] is None:
        return None
    axes = sorted({int(axis) % rank for axis in np.atleast_1d(given["axis"])})
    return None if 0 in axes else {"axis": axes, "keepdims": bool(given["keepdims"])}


def _mirrored(given: Options, rank: int) -> Options | None:
    pads, mode = np.asarray(given["paddings"]).tolist(), str(given["mode"]).upper()
    if mode not in ("REFLECT", "SYMMETRIC") or pads[0] != [0, 0]:
        return None
    return {"paddings": pads, "mode": mode}


# Function -> itself, the one name, and what the call must be like.
_FORMS: dict[str | None, tuple[Any, str, Callable[[Options, int], Options | None]]] = {
    f"{PAD}{_OTHER}": (tf.compat.v1.pad, MIRROR, _mirrored),
    DEPTH_TO_SPACE: (tf.nn.depth_to_space, DEPTH_TO_SPACE, _block),
    SPACE_TO_DEPTH: (tf.nn.space_to_depth, SPACE_TO_DEPTH, _block),
    LARGEST: (tf.reduce_max, LARGEST, _reduced),
    SMALLEST: (tf.reduce_min, SMALLEST, _reduced),
    LOG_SOFTMAX: (tf.nn.log_softmax, LOG_SOFTMAX, _numbers),
    **{name: (function, name, _numbers) for name, function in ELEMENT_WISE.items()},
}
