"""Multi-head attention as dense layers, products of matrices and a softmax.

    y = concat_h( softmax(q_h k_h' / sqrt(d)) v_h ) W + c,    q, k, v = x W_i + c_i

The division by sqrt(d) goes into the weights of q. Masked attention stays one layer.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, make_spec
from tfxp.transforms.normalize.masks import mask_readers
from tfxp.transforms.normalize.matrix_products import make_product

Shape = tuple[int | None, ...]
_RANK = 3
# Positions of the heads and of the steps change places.
_SWAPPED = (2, 1, 3)


def split_attention(graph: LayerGraph) -> None:
    """Split every plain attention; the last dense layer keeps the layer's name.

    What stays one layer: attention with a mask, along other axes than the steps of a sequence, or
    onto an output of several axes.
    """
    masked = mask_readers(graph)
    for name, spec in list(graph.layers.items()):
        if spec.kind != "MultiHeadAttention" or name in masked:
            continue
        uses = {number: _inputs(graph.calls[number]) for number in graph.uses(name)}
        if all(_is_plain(graph, spec, given) for given in uses.values()):
            parts = _Parts(graph, spec)
            for number, given in uses.items():
                assert given is not None  # checked by _is_plain
                parts.replace(number, given)
    graph.sort()


def _inputs(call: Call) -> tuple[Ref, Ref, Ref] | None:
    """Query, value and key of a call; None if it has a mask."""
    names = ("query", "value", "key", "attention_mask")
    given: dict[str, Any] = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    if given.get("attention_mask") is not None or given.get("use_causal_mask"):
        return None
    key = given.get("key")
    return given["query"], given["value"], given["value"] if key is None else key


def _is_plain(graph: LayerGraph, spec: LayerSpec, given: tuple[Ref, Ref, Ref] | None) -> bool:
    arrays = spec.arrays()
    if given is None or arrays["_output_dense.kernel"].ndim != _RANK:
        return False
    shapes = [graph.calls[ref.call].output_shapes for ref in given]
    if not all(shape and len(shape[ref.index]) == _RANK
               for shape, ref in zip(shapes, given, strict=True)):  # fmt: skip
        return False
    return [int(axis) for axis in np.atleast_1d(spec.config["attention_axes"] or 1)] == [1]


@dataclasses.dataclass
class _Tensor:
    """A tensor of the graph with its shape."""

    ref: Ref
    shape: Shape


class _Parts:
    """The layers that one attention layer becomes; those with weights serve all its calls."""

    def __init__(self, graph: LayerGraph, spec: LayerSpec) -> None:
        self._graph, self._name = graph, spec.name
        arrays = spec.arrays()
        self._heads, self._dropout = int(spec.config["num_heads"]), float(spec.config["dropout"])
        scale = 1.0 / math.sqrt(float(spec.config["key_dim"]))
        self._dense = {
            part: self._projection(arrays, part, scale if part == "query" else 1.0)
            for part in ("query", "key", "value")
        }
        kernel = arrays["_output_dense.kernel"]
        last = layers.Dense(
            kernel.shape[-1], use_bias=bool(spec.config["use_bias"]), name=spec.name
        )
        spec.cls, spec.config = type(last), last.get_config()
        weights = {"kernel": kernel.reshape(-1, kernel.shape[-1])}
        if "_output_dense.bias" in arrays:
            weights["bias"] = arrays["_output_dense.bias"]
        spec.set_arrays(weights)

    def _projection(self, arrays: dict[str, np.ndarray], part: str, scale: float) -> LayerSpec:
        """One dense layer for all heads."""
        kernel = arrays[f"_{part}_dense.kernel"]
        weights = {"kernel": kernel.reshape(kernel.shape[0], -1) * np.float32(scale)}
        if f"_{part}_dense.bias" in arrays:
            weights["bias"] = arrays[f"_{part}_dense.bias"].reshape(-1) * np.float32(scale)
        units, biased = weights["kernel"].shape[1], "bias" in weights
        layer = layers.Dense(units, use_bias=biased, name=f"{self._name}_{part}")
        spec = make_spec(layer)
        spec.set_arrays(weights)
        return self._graph.add_layer(spec)

    def replace(self, number: int, given: tuple[Ref, Ref, Ref]) -> None:
        """Put the parts in the place of one call."""
        query, value, key = given
        q, k, v = (
            self._by_head(ref, part)
            for ref, part in ((query, "query"), (key, "key"), (value, "value"))
        )
        scores = self._product(q, k, "scores", (*q.shape[:3], k.shape[2]), transpose_b=True)
        weights = self._step(scores, layers.Activation("softmax"), "softmax", scores.shape)
        kept = weights
        if self._dropout:
            kept = self._step(weights, layers.Dropout(self._dropout), "dropout", scores.shape)
        context = self._product(kept, v, "context", (*q.shape[:3], v.shape[3]))
        steps, size = q.shape[2], v.shape[3]
        turned = self._step(
            context, layers.Permute(_SWAPPED), "together", (q.shape[0], steps, self._heads, size)
        )
        width = self._heads * int(size or 1)
        shape = (q.shape[0], steps, width)
        merged = self._step(
            turned, layers.Reshape((-1 if steps is None else steps, width)), "merged", shape
        )
        call = self._graph.calls[number]
        self._graph.replace(Ref(number, 1), weights.ref)
        call.args, call.kwargs = (merged.ref,), {}
        call.output_shapes = call.output_shapes[:1]

    def _by_head(self, source: Ref, part: str) -> _Tensor:
        """A projection as (batch, heads, steps, size)."""
        spec = self._dense[part]
        width, shape = spec.config["units"], self._graph.calls[source.call].output_shapes
        batch, steps, _ = shape[source.index]
        size = width // self._heads
        x = self._call(spec.name, source, (batch, steps, width))
        target = (-1 if steps is None else steps, self._heads, size)
        x = self._step(x, layers.Reshape(target), f"{part}_heads", (batch, steps, *target[1:]))
        shape_by_head = (batch, self._heads, steps, size)
        return self._step(x, layers.Permute(_SWAPPED), f"{part}_by_head", shape_by_head)

    def _step(self, x: _Tensor, layer: Any, part: str, shape: Shape) -> _Tensor:
        """A layer without weights."""
        spec = self._graph.add_layer(
            LayerSpec(f"{self._name}_{part}", type(layer), layer.get_config())
        )
        return self._call(spec.name, x.ref, shape)

    def _product(self, a: _Tensor, b: _Tensor, part: str, shape: Shape, **kwargs: Any) -> _Tensor:
        spec = self._graph.add_layer(make_product(f"{self._name}_{part}"))
        return self._call(spec.name, a.ref, shape, b=b.ref, **kwargs)

    def _call(self, layer: str, source: Ref, shape: Shape, **kwargs: Any) -> _Tensor:
        ref = self._graph.add_call(layer, (source,), kwargs)
        self._graph.calls[ref.call].output_shapes = [shape]
        return _Tensor(ref, shape)
