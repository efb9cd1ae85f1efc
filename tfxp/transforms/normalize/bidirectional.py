"""Recurrent layers that read the sequence from its end become ones that read it from its start.

    LSTM(go_backwards)(x)      LSTM(x reversed)
    Bidirectional(LSTM)(x)     LSTM(x) and LSTM(x reversed), the latter's steps reversed, merged

The same goes for GRU and SimpleRNN inside Bidirectional. Integer operators run forwards only, and
reversing steps moves codes about. With a mask steps that stand for nothing would come first: a
layer that is written out step by step reads the sequence from its end then, others keep their form.
"""

from __future__ import annotations

from typing import Any

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.function_layers import WHOLE, slicing_spec
from tfxp.transforms.normalize.integer_lstm import setting_obstacle
from tfxp.transforms.normalize.masks import STEP_MASKS, mask_readers, step_masks
from tfxp.transforms.normalize.unrolled import can_unroll

_MERGES = {
    "concat": layers.Concatenate,
    "sum": layers.Add,
    "mul": layers.Multiply,
    "ave": layers.Average,
}
# `x[:, ::-1]` as files keep it.
_BACKWARDS = [WHOLE, {**WHOLE, "step": -1}]


def split_directions(graph: LayerGraph) -> LayerGraph:
    """Rewrite every such layer that is called once; the last part keeps its name."""
    masked = mask_readers(graph)
    for number, call, spec in graph.in_order():
        mask = next(iter(step_masks(call)), None)
        if len(graph.uses(spec.name)) > 1 or len(call.refs()) > (2 if mask else 1):
            continue
        if spec.name in masked or call.kwargs.get("mask") is not None:
            continue
        if mask is None and spec.kind == "LSTM":
            if spec.config["go_backwards"] and _runs("LSTM", spec.config):
                call.read(_reversed(graph, call.refs()[0], f"{spec.name}_reversed"))
                spec.config["go_backwards"] = False
        elif spec.kind == "Bidirectional":
            parts = parts_of(spec)
            if parts is not None:
                _split(graph, number, spec, parts, mask)
    graph.sort()
    return graph


def _runs(kind: str, config: dict[str, Any]) -> bool:
    """Whether integer operators compute a recurrent layer, but for its direction."""
    if kind == "LSTM" and setting_obstacle({**config, "go_backwards": False}) is None:
        return True
    return can_unroll(kind, config) and not config["return_state"]


def parts_of(spec: LayerSpec) -> list[LayerSpec] | None:
    """The layer of each direction of a Bidirectional; None where integer operators do not compute
    both, or nothing that does puts them together."""
    if spec.config["merge_mode"] not in _MERGES:
        return None
    forward = spec.config["layer"]
    default = {**forward, "config": {**forward["config"], "go_backwards": True}}
    backward = spec.config.get("backward_layer") or default
    found = []
    for written, side in ((forward, "forward"), (backward, "backward")):
        config = dict(written["config"])
        kind, backwards = written["class_name"], side == "backward"
        if config.get("activity_regularizer") is not None:
            return None
        if not _runs(kind, config) or config["go_backwards"] != backwards:
            return None
        prefix = f"{side}_layer."
        trainable = spec.is_trainable and config["trainable"]
        config |= {"name": f"{spec.name}_{side}", "go_backwards": False,
                   "zero_output_for_mask": config["return_sequences"],  # as Keras sets it
                   "trainable": trainable and prefix[:-1] not in spec.frozen_parts}  # fmt: skip
        part = LayerSpec(config["name"], getattr(layers, kind), config)
        part.set_arrays(
            {
                name.removeprefix(prefix): weight
                for name, weight in zip(spec.weight_names, spec.weights, strict=True)
                if name.startswith(prefix)
            }
        )
        found.append(part)
    return found


def _split(
    graph: LayerGraph, number: int, spec: LayerSpec, parts: list[LayerSpec], mask: Ref | None
) -> None:
    call = graph.calls[number]
    forward, backward = parts
    source, units = call.refs()[0], forward.config["units"]
    steps = forward.config["return_sequences"]
    shape = (*graph.shape_of(source)[:2], units) if steps else (None, units)
    given = {} if mask is None else {STEP_MASKS: [mask]}
    ahead = graph.append(forward, source, shape=shape, **given)
    if mask is not None:
        backward.config["go_backwards"] = True
    else:
        source = _reversed(graph, source, f"{spec.name}_reversed")
    back = graph.append(backward, source, shape=shape, **given)
    if steps:
        back = _reversed(graph, back, f"{backward.name}_reversed")
    spec.become(_MERGES[spec.config["merge_mode"]](name=spec.name))
    spec.set_arrays({})
    call.read([ahead, back])


def _reversed(graph: LayerGraph, ref: Ref, name: str) -> Ref:
    return graph.append(slicing_spec(name), ref, _BACKWARDS)
