"""Dot and Attention layers as products of matrices.

    Dot(axes=(i, j)):  sum over axis i of one and axis j of the other
    Attention:         softmax(q k') v

Dot with normalisation, and Attention with a mask, a scale or another score, stay what they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.masks import mask_readers
from tfxp.transforms.normalize.matrix_products import make_product

Shape = tuple[int | None, ...]


def dots_to_products(graph: LayerGraph) -> None:
    """Rewrite every such layer; it keeps its name in its last part."""
    masked = mask_readers(graph)
    for number, _, spec in graph.in_order():
        if len(graph.uses(spec.name)) > 1:
            continue
        if spec.kind == "Dot" and not spec.config["normalize"]:
            _rewrite_dot(graph, number, spec)
        elif spec.kind == "Attention" and spec.name not in masked:
            _rewrite_attention(graph, number, spec)
    graph.sort()


def _rewrite_dot(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    call = graph.calls[number]
    refs = call.refs()
    shapes = [graph.calls[ref.call].output_shapes[ref.index] for ref in refs]
    ranks = {len(shape) for shape in shapes}
    axes = spec.config["axes"]
    first, second = (
        int(axis) % len(shape)
        for axis, shape in zip(np.broadcast_to(axes, 2), shapes, strict=True)
    )
    if ranks == {3} and first and second:
        options = {name: True for name, used in
                   (("transpose_a", first == 1), ("transpose_b", second == 2)) if used}  # fmt: skip
        product = make_product(spec.name)
        spec.cls, spec.config = product.cls, product.config
        call.args, call.kwargs = (refs[0],), {"b": refs[1], **options}
    elif ranks == {2} and first and second:
        _rewrite_vectors(graph, number, spec, refs, int(shapes[0][1] or 0))


def _rewrite_vectors(
    graph: LayerGraph, number: int, spec: LayerSpec, refs: list[Ref], size: int
) -> None:
    """The product of two vectors is that of matrices one row high."""
    call = graph.calls[number]
    rows = []
    for ref, part in zip(refs, ("left", "right"), strict=True):
        layer = layers.Reshape((1, size))
        rows.append(_step(graph, f"{spec.name}_{part}", layer, ref, (None, 1, size)))
    product = graph.add_layer(make_product(f"{spec.name}_product"))
    result = graph.add_call(product.name, (rows[0],), {"b": rows[1], "transpose_b": True})
    graph.calls[result.call].output_shapes = [(None, 1, 1)]
    last = layers.Reshape((1,), name=spec.name)
    spec.cls, spec.config = type(last), last.get_config()
    call.args, call.kwargs = (result,), {}


def _rewrite_attention(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    call, config = graph.calls[number], spec.config
    refs = call.refs()
    query, value, key = refs if len(refs) == 3 else (*refs, refs[1])
    if config["use_scale"] or config["score_mode"] != "dot" or call.kwargs.get("use_causal_mask"):
        return
    shapes = [graph.calls[ref.call].output_shapes[ref.index] for ref in (query, key)]
    if any(len(shape) != 3 for shape in shapes):
        return
    shape = (*shapes[0][:2], shapes[1][1])
    scores = graph.add_layer(make_product(f"{spec.name}_scores"))
    weights = graph.add_call(scores.name, (query,), {"b": key, "transpose_b": True})
    graph.calls[weights.call].output_shapes = [shape]
    name = f"{spec.name}_softmax"
    weights = _step(graph, name, layers.Activation("softmax"), weights, shape)
    kept = weights
    if config["dropout"]:
        dropout = layers.Dropout(config["dropout"])
        kept = _step(graph, f"{spec.name}_dropout", dropout, weights, shape)
    graph.replace(Ref(number, 1), weights)
    product = make_product(spec.name)
    spec.cls, spec.config = product.cls, product.config
    call.args, call.kwargs = (kept,), {"b": value}
    call.output_shapes = call.output_shapes[:1]


def _step(graph: LayerGraph, name: str, layer: Any, source: Ref, shape: Shape) -> Ref:
    """A layer without weights behind a tensor."""
    spec = graph.add_layer(LayerSpec(name, type(layer), layer.get_config()))
    result = graph.add_call(spec.name, (source,))
    graph.calls[result.call].output_shapes = [shape]
    return result
