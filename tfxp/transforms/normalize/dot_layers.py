"""Dot and Attention layers as products of matrices.

    Dot(axes=(i, j)):  sum over axis i of one and axis j of the other
    Attention:         softmax(q k') v

Dot with normalisation, and Attention with a mask, a scale or another score, stay what they are.
"""

from __future__ import annotations

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.masks import mask_readers
from tfxp.transforms.normalize.matrix_products import make_product


def dots_to_products(graph: LayerGraph) -> LayerGraph:
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
    return graph


def _rewrite_dot(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    call = graph.calls[number]
    refs = call.refs()
    shapes = [graph.shape_of(ref) for ref in refs]
    ranks = {len(shape) for shape in shapes}
    axes = spec.config["axes"]
    first, second = (
        int(axis) % len(shape) for axis, shape in zip(np.broadcast_to(axes, 2), shapes, strict=True)
    )
    if ranks == {3} and first and second:
        options = {name: True for name, used in
                   (("transpose_a", first == 1), ("transpose_b", second == 2)) if used}  # fmt: skip
        spec.become(make_product(spec.name))
        call.read(refs[0], b=refs[1], **options)
    elif ranks == {2} and first and second:
        _rewrite_vectors(graph, number, spec, refs, int(shapes[0][1] or 0))


def _rewrite_vectors(
    graph: LayerGraph, number: int, spec: LayerSpec, refs: list[Ref], size: int
) -> None:
    """The product of two vectors is that of matrices one row high."""
    call = graph.calls[number]
    rows = []
    for ref, part in zip(refs, ("left", "right"), strict=True):
        layer = layers.Reshape((1, size), name=f"{spec.name}_{part}")
        rows.append(graph.append(layer, ref, shape=(None, 1, size)))
    product = make_product(f"{spec.name}_product")
    options = {"b": rows[1], "transpose_b": True}
    result = graph.append(product, rows[0], shape=(None, 1, 1), **options)
    spec.become(layers.Reshape((1,)))
    call.read(result)


def _rewrite_attention(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    call, config = graph.calls[number], spec.config
    refs = call.refs()
    query, value, key = refs if len(refs) == 3 else (*refs, refs[1])
    if config["use_scale"] or config["score_mode"] != "dot" or call.kwargs.get("use_causal_mask"):
        return
    shapes = [graph.shape_of(ref) for ref in (query, key)]
    if any(len(shape) != 3 for shape in shapes):
        return
    shape = (*shapes[0][:2], shapes[1][1])
    product = make_product(f"{spec.name}_scores")
    scores = graph.append(product, query, shape=shape, b=key, transpose_b=True)
    softmax = layers.Activation("softmax", name=f"{spec.name}_softmax")
    kept = weights = graph.append(softmax, scores)
    if config["dropout"]:
        dropout = layers.Dropout(config["dropout"], name=f"{spec.name}_dropout")
        kept = graph.append(dropout, weights)
    graph.replace(Ref(number, 1), weights)
    spec.become(make_product(spec.name))
    call.read(kept, b=value)
    call.output_shapes = call.output_shapes[:1]
