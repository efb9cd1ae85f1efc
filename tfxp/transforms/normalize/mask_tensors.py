"""Masks of steps as tensors of 1 and 0, which layers that can be written out are given.

    Embedding(mask_zero)    a table of the vocabulary's size: 0 for token 0, else 1
    Masking                 max(max s, -min s) over the signs s of a step's numbers
    GlobalAveragePooling1D  mean(m x) / mean(m)

Keras hands masks on unseen; integer operators know none. A layer that makes a mask keeps it where
one that reads it cannot be written out. An output that carries a mask, where losses look at it, is
given it back (`StepMask`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, make_spec
from tfxp.transforms.normalize import attention, dot_layers
from tfxp.transforms.normalize.bidirectional import parts_of
from tfxp.transforms.normalize.function_layers import WHOLE, function_spec, slicing_spec
from tfxp.transforms.normalize.masks import (
    STEP_MASKS,
    hands_on_one_mask,
    joins_masks,
    mask_makers,
    mask_readers,
    reads_mask,
)
from tfxp.transforms.normalize.step_mask import StepMask
from tfxp.transforms.normalize.unrolled import UNROLLED, steps_to_write

_Names = tuple[str, ...]
_Makers = Mapping[Ref, _Names]


def masks_to_tensors(graph: LayerGraph) -> LayerGraph:
    """Give masks as arguments to the layers that read them; means are written out at once."""
    makers, readers = mask_makers(graph), mask_readers(graph)
    kept = _kept(graph, makers, readers)
    counts: dict[_Names, Ref | None] = {(): None}
    for number, call, spec in graph.in_order():
        masks = [makers.get(ref, ()) for ref in _read_with_masks(call, spec)]
        if spec.name in readers and any(masks) and kept.isdisjoint(itertools.chain(*masks)):
            _give(graph, number, [_counted(graph, names, counts) for names in masks])
    if kept:
        _end_masks(graph, readers)
    given = set(itertools.chain(*counts))
    for place, ref in enumerate(graph.outputs):
        names = makers.get(ref, ())
        if not given.isdisjoint(names):
            _mask_output(graph, place, _counted(graph, names, counts))
    shown = {name for ref in graph.outputs for name in makers.get(ref, ())}
    for maker in {name for names in makers.values() for name in names} - kept:
        if maker in given or maker not in shown:
            _silence(graph, maker)
    graph.sort()
    return graph


def _read_with_masks(call: Call, spec: LayerSpec) -> Sequence[Ref]:
    """The tensors of a call whose masks matter, in the layer's own order."""
    return attention.inputs_of(call) if spec.kind == "MultiHeadAttention" else call.refs()


def _kept(graph: LayerGraph, makers: _Makers, readers: Collection[str]) -> set[str]:
    """Layers that go on making masks: somebody needs them in Keras' way."""
    kept = {name for names in makers.values() for name in names if not _can_count(graph, name)}
    asked = [set(makers.get(ref, ())) for ref in graph.outputs]
    for number, call, spec in graph.in_order():
        names = {name for ref in call.refs() for name in makers.get(ref, ())}
        if spec.name in readers and _can_be_given(graph, number, spec):
            asked.append(names)
        elif spec.name in readers or (names and joins_masks(spec, call)):
            kept |= names
    grown = -1
    while grown != len(kept):  # a reader of two masks keeps both
        grown = len(kept)
        for names in asked:
            kept |= names if names & kept else set()
    return kept


def _can_count(graph: LayerGraph, maker: str) -> bool:
    """Whether the mask that a layer makes can be computed beside it."""
    spec = graph.layers[maker]
    number, *others = graph.uses(maker)
    if others or None in graph.input_shape(number)[1:]:
        return False
    if spec.kind == "Masking":  # another value may be none that the input's format has
        return spec.config["mask_value"] == 0 and len(graph.input_shape(number)) == 3
    return spec.kind == "Embedding" and len(graph.input_shape(number)) == 2


def _can_be_given(graph: LayerGraph, number: int, spec: LayerSpec) -> bool:
    """Whether a layer that reads masks is written out if it is given tensors instead."""
    call = graph.calls[number]
    if call.kwargs.get("mask") is not None:
        return False
    if spec.kind in UNROLLED or spec.kind == "Bidirectional":
        parts = [spec] if spec.kind in UNROLLED else parts_of(spec)
        # an initial state is not what stands before a first step that is left out
        single = len(graph.uses(spec.name)) == len(call.refs()) == 1
        return bool(single and parts and steps_to_write(graph, number, parts))
    if spec.kind == "GlobalAveragePooling1D":
        last = spec.config["data_format"] in (None, "channels_last")
        return last and graph.input_shape(number)[1] is not None
    if spec.kind == "MultiHeadAttention":
        return attention.is_written_out(graph, spec)
    return spec.kind in dot_layers.ATTENTIONS and dot_layers.is_written_out(graph, number, spec)


def _end_masks(graph: LayerGraph, readers: Collection[str]) -> None:
    """Cut the whole of what other layers read that could look at masks: a slice has none.

    Functions of tensors have none either, but they become layers, which hand masks on.
    """
    for _, call, spec in graph.in_order():
        if reads_mask(spec) and spec.name not in readers:
            _cut_inputs(graph, call)


def _cut_inputs(graph: LayerGraph, call: Call) -> None:
    cuts = {}
    for ref in dict.fromkeys(call.refs()):
        whole = [WHOLE] * len(graph.shape_of(ref))
        cuts[ref] = graph.append(slicing_spec(f"{call.layer}_read"), ref, whole)
    call.redirect(lambda ref: cuts[ref])


def _counted(graph: LayerGraph, makers: _Names, known: dict[_Names, Ref | None]) -> Ref | None:
    """1 for a step that counts, and 0 for others, in a tensor of one channel; None if all do."""
    if makers not in known:
        if len(makers) > 1:
            parts = [_counted(graph, (name,), known) for name in makers]
            known[makers] = graph.append(layers.Multiply(name=f"{makers[0]}_masks"), parts)
        else:
            known[makers] = _counted_by(graph, makers[0])
    return known[makers]


def _counted_by(graph: LayerGraph, name: str) -> Ref:
    """The same for one layer that makes a mask."""
    spec, number = graph.layers[name], graph.uses(name)[0]
    source = graph.calls[number].refs()[0]
    shape = (*graph.shape_of(source)[:2], 1)
    if spec.kind == "Embedding":
        table = np.ones((int(spec.config["input_dim"]), 1), np.float32)
        table[0] = 0
        lookup = make_spec(layers.Embedding(len(table), 1, name=f"{name}_mask"))
        lookup.config["trainable"] = False
        lookup.set_arrays({"embeddings": table})
        return graph.append(lookup, source, shape=shape)
    signs = graph.append(function_spec(tf.sign, f"{name}_signs"), source)
    sides = []
    for part, function in (("most", tf.reduce_max), ("least", tf.reduce_min)):
        found = function_spec(function, f"{name}_{part}")
        sides.append(graph.append(found, signs, shape=shape, axis=-1, keepdims=True))
    sides[1] = graph.append(layers.Rescaling(-1.0, name=f"{name}_negative"), sides[1])
    return graph.append(layers.Maximum(name=f"{name}_mask"), sides)


def _give(graph: LayerGraph, number: int, counts: list[Ref | None]) -> None:
    """Give a reader the masks of the tensors that it reads, None where all steps count."""
    call = graph.calls[number]
    spec = graph.layers[call.layer]
    if spec.kind == "GlobalAveragePooling1D":
        _write_mean(graph, number, counts[0])
    else:
        call.read(*call.args, **call.kwargs, **{STEP_MASKS: counts})


def _write_mean(graph: LayerGraph, number: int, counts: Ref | None) -> None:
    """The mean of the steps that count: that of all, over the share of them; 0 where none does."""
    call = graph.calls[number]
    spec, source = graph.layers[call.layer], call.refs()[0]
    name, settings = spec.name, {"keepdims": bool(spec.config["keepdims"])}
    shape, (batch, *_) = graph.shape_of(Ref(number)), graph.shape_of(source)
    shown = graph.append(layers.Multiply(name=f"{name}_shown"), [source, counts])
    means: list[Any] = []
    for part, ref, channels in (("sum", shown, shape[-1]), ("share", counts, 1)):
        layer = layers.GlobalAveragePooling1D(**settings, name=f"{name}_{part}")
        means.append(graph.append(layer, ref, shape=(batch, *shape[1:-1], channels)))
    means[1] = graph.append(function_spec(tf.math.reciprocal_no_nan, f"{name}_inverse"), means[1])
    spec.become(layers.Multiply())
    call.read(means)


def _mask_output(graph: LayerGraph, place: int, counts: Ref | None) -> None:
    """Give an output its mask back: in front of the layer that it comes from, if that hands it on,
    so that a softmax stays the last layer."""
    ref = graph.outputs[place]
    call, spec = graph.calls[ref.call], graph.spec_of(ref)
    mask = StepMask(name=f"{spec.name}_steps")
    if call.refs() and hands_on_one_mask(spec, call):
        source = call.refs()[0]
        shown = graph.append(mask, [source, counts])
        call.redirect(lambda r: shown if r == source else r)
        return
    graph.output_names = graph.result_names
    graph.outputs[place] = graph.append(mask, [ref, counts])


def _silence(graph: LayerGraph, maker: str) -> None:
    """A layer whose mask is a tensor now makes none; what Masking sets to zero is zero already."""
    spec = graph.layers[maker]
    if spec.kind == "Masking":
        graph.bypass(graph.uses(maker)[0])
    else:
        spec.config["mask_zero"] = False
