"""Dot and Attention layers as products of matrices.

    Dot(axes=(i, j)):  sum over axis i of one and axis j of the other
    Attention:         softmax(s q k') v
    AdditiveAttention: softmax(tanh(q + k) w) v, each step of q with each of k

Dot with normalisation divides by the length along the axis first. Scores that a mask leaves out are
lowered (`masked_scores`), and rows of queries that do not count are zero. Attention with another
score stays what it is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.function_layers import function_spec
from tfxp.transforms.normalize.masked_scores import ScoreMask, masked_scores
from tfxp.transforms.normalize.masks import mask_readers, step_masks
from tfxp.transforms.normalize.matrix_products import make_product

# (batch, size) and (batch, rows, columns).
_RANKS = (2, 3)
_SIDES = ("left", "right")
ATTENTIONS = ("Attention", "AdditiveAttention")


def dots_to_products(graph: LayerGraph) -> LayerGraph:
    """Rewrite every such layer; it keeps its name in its last part."""
    masked = mask_readers(graph)
    for number, _, spec in graph.in_order():
        if len(graph.uses(spec.name)) > 1:
            continue
        if spec.kind == "Dot":
            _rewrite_dot(graph, number, spec)
        elif spec.kind in ATTENTIONS and spec.name not in masked:
            if is_written_out(graph, number, spec):
                _rewrite_attention(graph, number, spec)
    graph.sort()
    return graph


def _rewrite_dot(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    """The product of two matrices, of which a vector is one of a single row."""
    call = graph.calls[number]
    refs = call.refs()
    shapes = [graph.shape_of(ref) for ref in refs]
    axes = [int(axis) % len(shape) for axis, shape in
            zip(np.broadcast_to(spec.config["axes"], 2), shapes, strict=True)]  # fmt: skip
    if any(len(shape) not in _RANKS for shape in shapes) or not all(axes):
        return
    if spec.config["normalize"]:
        refs = [
            _unit_rows(graph, ref, axis, f"{spec.name}_{side}")
            for ref, axis, side in zip(refs, axes, _SIDES, strict=True)
        ]
        axes = [len(shape) - 1 for shape in shapes]
    matrices = [
        _matrix(graph, ref, f"{spec.name}_{side}") for ref, side in zip(refs, _SIDES, strict=True)
    ]
    # A vector lies along the last axis of its row.
    first, second = (2 if len(shape) == 2 else axis
                     for axis, shape in zip(axes, shapes, strict=True))  # fmt: skip
    options: dict[str, Any] = {name: True for name, used in
               (("transpose_a", first == 1), ("transpose_b", second == 2)) if used}  # fmt: skip
    if matrices == refs:
        spec.become(make_product(spec.name))
        call.read(matrices[0], b=matrices[1], **options)
        return
    inner = [graph.shape_of(ref) for ref in matrices]
    shape = (None, inner[0][3 - first], inner[1][3 - second])
    product = make_product(f"{spec.name}_product")
    result = graph.append(product, matrices[0], shape=shape, b=matrices[1], **options)
    sizes = [-1 if size is None else size for size in graph.shape_of(Ref(number))[1:]]
    spec.become(layers.Reshape(sizes))
    call.read(result)


def _unit_rows(graph: LayerGraph, ref: Ref, axis: int, name: str) -> Ref:
    """A tensor divided by its length along an axis, which becomes the last one."""
    shape = graph.shape_of(ref)
    if axis != len(shape) - 1:
        swap = layers.Permute((2, 1), name=f"{name}_rows")
        ref = graph.append(swap, ref, shape=(shape[0], shape[2], shape[1]))
    return graph.append(function_spec(tf.math.l2_normalize, f"{name}_unit"), ref, axis=-1)


def _matrix(graph: LayerGraph, ref: Ref, name: str) -> Ref:
    shape = graph.shape_of(ref)
    if len(shape) == 3:
        return ref
    layer = layers.Reshape((1, shape[1]), name=name)
    return graph.append(layer, ref, shape=(None, 1, shape[1]))


def is_written_out(graph: LayerGraph, number: int, spec: LayerSpec) -> bool:
    """Whether a call of attention can be rewritten, unless an unseen mask is read."""
    if spec.config.get("score_mode", "dot") != "dot" or len(graph.uses(spec.name)) > 1:
        return False
    query, _, key = _query_value_key(graph.calls[number])
    if any(len(graph.shape_of(ref)) != 3 for ref in (query, key)):
        return False
    return _given_mask(graph, number) is not None


def _query_value_key(call: Call) -> tuple[Ref, Ref, Ref]:
    refs = [ref for ref in tf.nest.flatten(call.args) if isinstance(ref, Ref)]
    query, value, key = refs if len(refs) == 3 else (*refs, refs[1])
    return query, value, key


def _given_mask(graph: LayerGraph, number: int) -> ScoreMask | None:
    """Which scores count by the arguments of a call; None where that cannot be told."""
    call = graph.calls[number]
    query, _, key = _query_value_key(call)
    rows, columns = (graph.shape_of(ref)[1] for ref in (query, key))
    return ScoreMask.of(None, bool(call.kwargs.get("use_causal_mask")), rows, columns)


def _rewrite_attention(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    call, config, name = graph.calls[number], spec.config, spec.name
    query, value, key = _query_value_key(call)
    mask = _given_mask(graph, number)
    assert mask is not None  # checked by is_written_out
    rows, counted, *_ = step_masks(call) or (None, None)
    if counted is not None:
        batch, steps, _ = graph.shape_of(counted)
        across = layers.Reshape((1, steps), name=f"{name}_value_mask")
        counted = graph.append(across, counted, shape=(batch, 1, steps))
        mask = dataclasses.replace(mask, tensor=counted)
    find = _added_scores if spec.kind == "AdditiveAttention" else _product_scores
    scores = masked_scores(graph, name, find(graph, spec, query, key), mask)
    kept = weights = graph.append(layers.Activation("softmax", name=f"{name}_softmax"), scores)
    if config["dropout"]:
        kept = graph.append(layers.Dropout(config["dropout"], name=f"{name}_dropout"), weights)
    graph.replace(Ref(number, 1), weights)
    product = make_product(f"{name}_result" if rows else name)
    shape = graph.shape_of(Ref(number))
    spec.set_arrays({})
    if rows is None:
        spec.become(product)
        call.read(kept, b=value)
    else:
        spec.become(layers.Multiply())
        call.read([graph.append(product, kept, shape=shape, b=value), rows])
    call.output_shapes = call.output_shapes[:1]


def _product_scores(graph: LayerGraph, spec: LayerSpec, query: Ref, key: Ref) -> Ref:
    """q k', times the scale that was learned, which is a constant from now on."""
    shape = (*graph.shape_of(query)[:2], graph.shape_of(key)[1])
    scaled = spec.config["use_scale"]
    product = make_product(f"{spec.name}_{'product' if scaled else 'scores'}")
    scores = graph.append(product, query, shape=shape, b=key, transpose_b=True)
    if not scaled:
        return scores
    scale = layers.Rescaling(float(spec.arrays()["scale"]), name=f"{spec.name}_scores")
    return graph.append(scale, scores)


def _added_scores(graph: LayerGraph, spec: LayerSpec, query: Ref, key: Ref) -> Ref:
    """tanh(q + k) w for every step of one with every step of the other."""
    batch, rows, size = graph.shape_of(query)
    columns = graph.shape_of(key)[1]
    sides = []
    for ref, target, side in ((query, (rows, 1, size), "query"), (key, (1, columns, size), "key")):
        sizes = [-1 if length is None else length for length in target]
        layer = layers.Reshape(sizes, name=f"{spec.name}_{side}")
        sides.append(graph.append(layer, ref, shape=(batch, *target)))
    together = (batch, rows, columns, size)
    total = graph.append(layers.Add(name=f"{spec.name}_sum"), sides, shape=together)
    bent = graph.append(layers.Activation("tanh", name=f"{spec.name}_tanh"), total)
    weights = spec.arrays().get("scale")
    dense = spec.part(layers.Dense(1, use_bias=False, name=f"{spec.name}_score"))
    if weights is None:
        weights = np.ones(int(size or 1), np.float32)
        dense.config["trainable"] = False
    dense.set_arrays({"kernel": weights.reshape(-1, 1)})
    scored = graph.append(dense, bent, shape=(*together[:3], 1))
    sizes = [-1 if length is None else length for length in (rows, columns)]
    layer = layers.Reshape(sizes, name=f"{spec.name}_scores")
    return graph.append(layer, scored, shape=together[:3])
