"""Multi-head attention as dense layers, products of matrices and a softmax.

    y = concat_h( softmax(q_h k_h' / sqrt(d)) v_h ) W + c,    q, k, v = x W_i + c_i

The division by sqrt(d) goes into the weights of q. Scores that a mask leaves out are lowered
(`masked_scores`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, Shape
from tfxp.transforms.normalize.masked_scores import ScoreMask, masked_scores
from tfxp.transforms.normalize.masks import mask_readers, step_masks
from tfxp.transforms.normalize.matrix_products import make_product
from tfxp.transforms.training_settings import MovedWeight, carry_settings

_RANK = 3
# Positions of the heads and of the steps change places.
_SWAPPED = (2, 1, 3)


def split_attention(graph: LayerGraph) -> LayerGraph:
    """Split every plain attention; the last dense layer keeps the layer's name.

    What stays one layer: attention along other axes than the steps of a sequence, onto an output of
    several axes, or with a tensor as a mask, which may hold more than 1 and 0.
    """
    masked = mask_readers(graph)
    for name, spec in list(graph.layers.items()):
        if spec.kind != "MultiHeadAttention" or name in masked:
            continue
        if is_written_out(graph, spec):
            parts = _Parts(graph, spec)
            for number in graph.uses(name):
                parts.replace(number, *inputs_of(graph.calls[number]))
    graph.sort()
    return graph


def is_written_out(graph: LayerGraph, spec: LayerSpec) -> bool:
    """Whether all calls of an attention layer can be split, unless an unseen mask is read."""
    if spec.arrays()["_output_dense.kernel"].ndim != _RANK:
        return False
    for number in graph.uses(spec.name):
        given = inputs_of(graph.calls[number])
        if any(len(graph.shape_of(ref)) != _RANK for ref in given):
            return False
        if _given_mask(graph, graph.calls[number]) is None:
            return False
    return [int(axis) for axis in np.atleast_1d(spec.config["attention_axes"] or 1)] == [1]


def inputs_of(call: Call) -> tuple[Ref, Ref, Ref]:
    """Query, value and key of a call."""
    given: dict[str, Any] = _arguments(call)
    key = given.get("key")
    return given["query"], given["value"], given["value"] if key is None else key


def _arguments(call: Call) -> dict[str, Any]:
    names = ("query", "value", "key", "attention_mask")
    return {**dict(zip(names, call.args, strict=False)), **call.kwargs}


def _given_mask(graph: LayerGraph, call: Call) -> ScoreMask | None:
    """Which scores count by the arguments of a call; None where that cannot be told."""
    query, _, key = inputs_of(call)
    rows, columns = (graph.shape_of(ref)[1] for ref in (query, key))
    given = _arguments(call)
    return ScoreMask.of(
        given.get("attention_mask"), bool(given.get("use_causal_mask")), rows, columns
    )


def _mask_of_steps(graph: LayerGraph, name: str, counts: Sequence[Ref | None]) -> Ref:
    """The mask of scores that follows from those of query, value and key, of one channel each."""
    query, *others = counts
    shape_of = graph.shape_of
    columns = []
    for part, ref in zip(("value", "key"), dict.fromkeys(filter(None, others)), strict=False):
        batch, steps, _ = shape_of(ref)
        layer = layers.Reshape((1, steps), name=f"{name}_{part}_mask")
        columns.append(graph.append(layer, ref, shape=(batch, 1, steps)))
    found, *rest = [*columns, *filter(None, [query])]
    for place, ref in enumerate(rest):
        sizes = zip(shape_of(found)[1:], shape_of(ref)[1:], strict=True)
        shape = (shape_of(found)[0], *(max(int(a or 1), int(b or 1)) for a, b in sizes))
        product = layers.Multiply(name=f"{name}_mask_{place}")
        found = graph.append(product, [found, ref], shape=shape)
    return found


class _Parts:
    """The layers that one attention layer becomes; those with weights serve all its calls."""

    def __init__(self, graph: LayerGraph, spec: LayerSpec) -> None:
        self._graph, self._name = graph, spec.name
        arrays = spec.arrays()
        self._heads, self._dropout = int(spec.config["num_heads"]), float(spec.config["dropout"])
        scale = 1.0 / math.sqrt(float(spec.config["key_dim"]))
        self._dense = {
            part: self._projection(spec, arrays, part, scale if part == "query" else 1.0)
            for part in ("query", "key", "value")
        }
        kernel = arrays["_output_dense.kernel"]
        settings = spec.config
        if "_output_dense" in spec.frozen_parts:
            settings["trainable"] = False
        spec.frozen_parts = []
        spec.become(layers.Dense(kernel.shape[-1], use_bias=bool(settings["use_bias"])))
        weights = {"kernel": kernel.reshape(-1, kernel.shape[-1])}
        if "_output_dense.bias" in arrays:
            weights["bias"] = arrays["_output_dense.bias"]
        spec.set_arrays(weights)
        self._carry(spec, settings, scale)

    def _carry(self, spec: LayerSpec, settings: dict[str, Any], scale: float) -> None:
        """Regularizers and constraints, which serve all four layers."""
        for part, layer in (*self._dense.items(), ("output", spec)):
            factor = scale if part == "query" else 1.0
            moves = (
                MovedWeight("kernel", layer, "kernel", factor, reshaped=True),
                MovedWeight("bias", layer, "bias", factor, reshaped=True),
            )
            carry_settings(self._graph, spec.name, settings, moves)
        if spec.activity_regularizer is not None:
            self._graph.left_behind.append(f"activity_regularizer of projections in {spec.name!r}")

    def _projection(
        self, whole: LayerSpec, arrays: dict[str, np.ndarray], part: str, scale: float
    ) -> LayerSpec:
        """One dense layer for all heads."""
        kernel = arrays[f"_{part}_dense.kernel"]
        weights = {"kernel": kernel.reshape(kernel.shape[0], -1) * np.float32(scale)}
        if f"_{part}_dense.bias" in arrays:
            weights["bias"] = arrays[f"_{part}_dense.bias"].reshape(-1) * np.float32(scale)
        units, biased = weights["kernel"].shape[1], "bias" in weights
        layer = layers.Dense(units, use_bias=biased, name=f"{self._name}_{part}")
        spec = self._graph.add_layer(whole.part(layer))
        if f"_{part}_dense" in whole.frozen_parts:
            spec.config["trainable"] = False
        spec.set_arrays(weights)
        return spec

    def replace(self, number: int, query: Ref, value: Ref, key: Ref) -> None:
        """Put the parts in the place of one call."""
        mask = self._mask(number)
        q, k, v = (
            self._by_head(ref, part)
            for ref, part in ((query, "query"), (key, "key"), (value, "value"))
        )
        shape_of = self._graph.shape_of
        (batch, heads, steps, _), sources = shape_of(q), shape_of(k)[2]
        scores = self._product("scores", q, k, (batch, heads, steps, sources), transpose_b=True)
        shown = masked_scores(self._graph, self._name, scores, mask)
        kept = weights = self._step("softmax", layers.Activation, shown, "softmax")
        if self._dropout:
            kept = self._step("dropout", layers.Dropout, weights, self._dropout)
        size = int(shape_of(v)[3] or 1)
        context = self._product("context", kept, v, (batch, heads, steps, size))
        together = (batch, steps, heads, size)
        turned = self._step("together", layers.Permute, context, _SWAPPED, shape=together)
        merged = (-1 if steps is None else steps, self._heads * size)
        rows = self._step("merged", layers.Reshape, turned, merged, shape=(batch, steps, merged[1]))
        call = self._graph.calls[number]
        self._graph.replace(Ref(number, 1), weights)
        call.read(rows)
        call.output_shapes = call.output_shapes[:1]

    def _mask(self, number: int) -> ScoreMask:
        """Which scores of a call count, the same for all heads."""
        call = self._graph.calls[number]
        mask, counts = _given_mask(self._graph, call), step_masks(call)
        assert mask is not None  # checked by is_written_out
        if not counts:
            return mask
        tensor = _mask_of_steps(self._graph, self._name, counts)
        batch, *sizes = self._graph.shape_of(tensor)
        target = (1, *sizes)
        tensor = self._step("mask", layers.Reshape, tensor, target, shape=(batch, *target))
        return dataclasses.replace(mask, tensor=tensor)

    def _by_head(self, source: Ref, part: str) -> Ref:
        """A projection as (batch, heads, steps, size)."""
        spec = self._dense[part]
        width = int(spec.config["units"])
        batch, steps, _ = self._graph.shape_of(source)
        size = width // self._heads
        x = self._graph.add_call(spec.name, (source,), shapes=[(batch, steps, width)])
        target = (-1 if steps is None else steps, self._heads, size)
        split = (batch, steps, self._heads, size)
        x = self._step(f"{part}_heads", layers.Reshape, x, target, shape=split)
        by_head = (batch, self._heads, steps, size)
        return self._step(f"{part}_by_head", layers.Permute, x, _SWAPPED, shape=by_head)

    def _step(
        self, part: str, kind: type, source: Ref, setting: object, shape: Shape | None = None
    ) -> Ref:
        """A layer without weights."""
        layer = kind(setting, name=f"{self._name}_{part}")
        return self._graph.append(layer, source, shape=shape)

    def _product(self, part: str, a: Ref, b: Ref, shape: Shape, **options: Any) -> Ref:
        product = make_product(f"{self._name}_{part}")
        return self._graph.append(product, a, shape=shape, b=b, **options)
