"""Why a layer that has no line in the table of layers is refused, in the middle of a sentence."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tfxp.errors import ModelError, UnsupportedLayerError
from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.channel_functions import function_of
from tfxp.transforms.refusals import BEFORE_MODELS, TO_THE_DATA

# Layers that are rewritten where they can be: class -> settings that decide, and what is taken.
_TAKEN: dict[str, tuple[tuple[str, ...], str]] = {
    "Normalization": (("axis",), "axes of known size, adapted or given a mean and a variance"),
    "Rescaling": (("scale", "offset"), "one number, or one per channel"),
    "Dot": (("axes",), "tensors of rank 2 or 3, and axes behind the batch"),
    "Attention": (("score_mode",), "scores by products, and masks that are written out"),
    "AdditiveAttention": (("use_scale",), "masks that are written out"),
    "UnitNormalization": (("axis",), "the last axis"),
    "SeparableConv1D": (("data_format",), "channels_last"),
    "SeparableConv2D": (("data_format",), "channels_last"),
    "CenterCrop": (("height", "width"), "an image of known size that is larger"),
}
_OTHER_FORM = " of another kind"


def reason_against(graph: LayerGraph, number: int, spec: LayerSpec) -> str:
    """What is wrong with a layer, and what would be taken instead."""
    if spec.kind in BEFORE_MODELS:
        return TO_THE_DATA
    if spec.kind in _TAKEN:
        settings, expected = _TAKEN[spec.kind]
        given = ", ".join(f"{key}={plain(spec.config.get(key))}" for key in settings)
        return f"{given}; expected {expected}"
    if spec.kind == "Lambda":
        return "code of your own inside; write a layer class and tfxp.register_layer"
    function = function_of(spec)
    if function is not None and function.endswith(_OTHER_FORM):
        return f"called with {_arguments(graph, number)}, which no form that tfxp knows has"
    if function is not None:
        return "unknown function"
    own = getattr(layers, spec.kind, None)
    return "Keras' layer has no rule in tfxp" if own is spec.cls else "unknown class"


def check_inputs(graph: LayerGraph) -> None:
    """Refuse inputs of strings before anything is computed from them.

    Raises:
        UnsupportedLayerError: an input takes strings; the layers that read it are named.
    """
    strings = [ref for ref in graph.inputs if graph.spec_of(ref).config.get("dtype") == "string"]
    if not strings:
        return
    names = ", ".join(graph.spec_of(ref).name for ref in strings)
    readers = [graph.layers[graph.calls[n].layer] for ref in strings for n in graph.consumers(ref)]
    named = ", ".join(dict.fromkeys(f"{spec.name} ({spec.kind})" for spec in readers))
    raise UnsupportedLayerError(
        f"model {graph.name!r}: input {names} takes strings, read by {named}; expected numbers. "
        "Apply these layers to the data, and build the model from the numbers that they give."
    )


def check_weights(graph: LayerGraph) -> None:
    """Refuse weights that are no numbers before they reach every tensor behind them.

    Raises:
        ModelError: some weights are NaN or infinite; all are named.
    """
    found = []
    for name, spec in graph.layers.items():
        for key, values in spec.arrays().items():
            if np.issubdtype(values.dtype, np.floating):
                wrong = int(values.size - np.isfinite(values).sum())
                found += [f"{name}/{key} ({wrong:,} of {values.size:,})"] if wrong else []
    if found:
        raise ModelError(
            f"weights of model {graph.name!r}: got NaN or infinity in {', '.join(found)}; expected "
            "finite numbers. Take the weights from before training failed."
        )


def plain(value: object) -> object:
    """A setting without Keras' own list classes."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return np.asarray(value).tolist()
    return value


def _arguments(graph: LayerGraph, number: int) -> str:
    """The constants of a call."""
    call = graph.calls[number]
    rest = [value for value in call.args if not isinstance(value, Ref)]
    named = {k: v for k, v in call.kwargs.items() if v is not None and not isinstance(v, Ref)}
    listed = [*map(str, rest), *(f"{key}={value}" for key, value in named.items())]
    return ", ".join(text if len(text) < 60 else f"{text[:60]}…" for text in listed) or "no numbers"
