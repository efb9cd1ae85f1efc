"""Rewrite a graph into the few layer forms that quantization knows.

- tensors that no input changes are computed once (`constants`);
- indices name every axis (`slices`);
- a TimeDistributed layer becomes the layer inside it, for all steps at once or one by one
  (`time_distributed`);
- masks of steps become tensors, and means over steps with a mask quotients (`mask_tensors`);
- functions of tensors (`x + y`, `tf.nn.relu(x)`) become layers (`tensor_functions`), or several of
  them (`compositions`);
- means and lengths of channels take one form each (`channel_functions`), layer normalization is
  split into such steps (`layer_norm`);
- attention becomes dense layers, products of matrices and a softmax, Dot a product (`attention`,
  `dot_layers`, `matrix_products`);
- an EinsumDense becomes a dense layer between permutations (`dense_einsums`);
- an LSTM that reads from the end reads reversed steps, and a bidirectional one becomes two
  (`bidirectional`);
- a GRU, a SimpleRNN, and an LSTM that LiteRT lacks are written out step by step, where steps are
  few (`unrolled`);
- activation functions inside layers become layers of their own, some of them composed of simpler
  ones (`activations`);
- a separable convolution becomes a depthwise and a pointwise one (`separable`);
- an Average becomes a sum and a scaling (`affine`), an Add, Multiply, Maximum or Minimum of many
  inputs a chain of two-input layers;
- a softmax along another axis than the last goes between permutations (`softmax_axis`);
- a softmax before a final Reshape or Flatten moves behind it;
- a layer without weights that is called several times becomes one layer per call, the later ones
  with a number behind the name, because each call may see another format.

Outputs stay the same, bit for bit but for the order of additions in long sums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.activations import rewrite_activations, split_activations
from tfxp.transforms.normalize.affine import averages_to_sums
from tfxp.transforms.normalize.attention import split_attention
from tfxp.transforms.normalize.bidirectional import split_directions
from tfxp.transforms.normalize.channel_functions import unify_channel_functions
from tfxp.transforms.normalize.compositions import compose_functions
from tfxp.transforms.normalize.constants import fold_constants
from tfxp.transforms.normalize.dense_einsums import split_einsum_dense
from tfxp.transforms.normalize.dot_layers import dots_to_products
from tfxp.transforms.normalize.layer_norm import split_layer_norms
from tfxp.transforms.normalize.mask_tensors import masks_to_tensors
from tfxp.transforms.normalize.matrix_products import unify_products
from tfxp.transforms.normalize.separable import split_separable
from tfxp.transforms.normalize.single_functions import unify_single_functions
from tfxp.transforms.normalize.slices import write_out_ellipses
from tfxp.transforms.normalize.softmax_axis import move_softmax_axes
from tfxp.transforms.normalize.spectral_norm import unwrap_spectral_norms
from tfxp.transforms.normalize.tensor_functions import functions_to_layers
from tfxp.transforms.normalize.time_distributed import unwrap_time_distributed
from tfxp.transforms.normalize.unrolled import unroll_recurrences
from tfxp.transforms.training_only import TRAINING_ONLY


def normalize(graph: LayerGraph) -> LayerGraph:
    """Apply all rewrites of this file.

    Args:
        graph: graph to edit.

    Returns:
        The same graph.
    """
    for rewrite in _REWRITES:
        graph = rewrite(graph)
    graph.sort()
    return graph


def _split_shared(graph: LayerGraph) -> LayerGraph:
    for number, call, spec in graph.in_order():
        first = graph.uses(spec.name)[0]
        if number == first or spec.weights or spec.kind == "InputLayer":
            continue
        copied = dataclasses.replace(spec, config=dict(spec.config), aliases=[])
        call.layer = graph.add_layer(copied).name
    return graph


def _split_long_sums(graph: LayerGraph) -> LayerGraph:
    """Chains of two-input layers; partial results have the shape of the last, or broadcast."""
    for number, call, spec in graph.in_order():
        refs = call.refs()
        if spec.kind not in _CHAINED or len(refs) < 3 or len(graph.uses(spec.name)) > 1:
            continue
        total, shape = refs[0], graph.shape_of(Ref(number))
        for position, ref in enumerate(refs[1:-1], 1):
            partial = spec.cls(name=f"{spec.name}_{position}")
            total = graph.append(partial, [total, ref], shape=shape)
        call.read([total, refs[-1]])
    graph.sort()
    return graph


def _move_softmax_last(graph: LayerGraph) -> LayerGraph:
    """Softmax over channels and a reshape that keeps them commute; logits come last that way."""
    for number, call, spec in graph.in_order():
        reader = graph.only_consumer(Ref(number)) if is_softmax(spec) else None
        if reader is None or graph.layers[graph.calls[reader].layer].kind not in _RESHAPES:
            continue
        following, source = graph.calls[reader], call.refs()[0]
        shapes = graph.shape_of(Ref(reader)), graph.shape_of(Ref(number))
        single = len(graph.uses(spec.name)) == len(graph.uses(following.layer)) == 1
        regularized = (spec, graph.layers[following.layer])
        if any(layer.activity_regularizer is not None for layer in regularized):
            continue
        if not single or shapes[0][-1] != shapes[1][-1]:
            continue
        following.read(source)
        graph.replace(Ref(reader), Ref(number))
        call.read(Ref(reader))
        call.output_shapes = following.output_shapes
    return graph


def _full_pools_to_means(graph: LayerGraph) -> LayerGraph:
    """A pool over the whole image is a mean, which may have a finer format than its input.

    AVERAGE_POOL_2D must keep its input's scale. Averages of 64 values are much smaller than the
    values, so at few bits hardly a level would be left to them; MEAN has a scale of its own.
    """
    for number, _, spec in graph.in_order():
        if spec.kind not in _GLOBAL_POOLS:
            continue
        known = [graph.input_shape(use) for use in graph.uses(spec.name)]
        shapes = {shape[1:-1] for shape in known if shape}
        window = tuple(np.atleast_1d(spec.config["pool_size"]))
        if shapes == {window} and spec.config["data_format"] in (None, "channels_last"):
            if all(size == 1 for size in graph.shape_of(Ref(number))[1:-1]):
                spec.become(_GLOBAL_POOLS[spec.kind](keepdims=True))
    return graph


# In the order in which they are applied.
_REWRITES: tuple[Callable[[LayerGraph], LayerGraph], ...] = (
    fold_constants,
    write_out_ellipses,
    unwrap_time_distributed,
    _split_shared,
    masks_to_tensors,  # before functions become layers, which hand masks on as functions do not
    unwrap_spectral_norms,
    compose_functions,
    functions_to_layers,
    unify_products,
    dots_to_products,
    split_directions,
    unroll_recurrences,
    split_attention,
    split_einsum_dense,
    split_layer_norms,
    unify_channel_functions,
    unify_single_functions,
    split_separable,
    split_activations,
    _split_shared,
    rewrite_activations,
    averages_to_sums,
    _split_long_sums,
    move_softmax_axes,
    _move_softmax_last,
    _full_pools_to_means,
)
_GLOBAL_POOLS = {
    "AveragePooling1D": layers.GlobalAveragePooling1D,
    "AveragePooling2D": layers.GlobalAveragePooling2D,
}
_CHAINED = ("Add", "Multiply", "Maximum", "Minimum")
_RESHAPES = ("Reshape", "Flatten", *TRAINING_ONLY)


def is_relu(spec: LayerSpec) -> float | None:
    """The upper limit of a ReLU layer (infinity for a plain one); None if it is none."""
    if spec.kind == "Activation":
        return {"relu": float("inf"), "relu6": 6.0}.get(str(spec.config["activation"]))
    if spec.kind == "ReLU":
        slope, threshold = spec.config["negative_slope"], spec.config["threshold"]
        if float(slope or 0) == 0 and float(threshold or 0) == 0:
            limit = spec.config["max_value"]
            return float("inf") if limit is None else float(limit)
    return None


def is_softmax(spec: LayerSpec) -> bool:
    """Whether a layer is a softmax over the last axis."""
    if spec.kind == "Activation":
        return spec.config["activation"] == "softmax"
    return spec.kind == "Softmax" and spec.config["axis"] in (-1,)
