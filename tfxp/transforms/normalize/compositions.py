"""Functions of tensors, and layers, that several simpler ones compute together.

    max(x, c) = relu(x - c) + c            min(x, c) = c - relu(c - x)
    |x| = max(x, -x)                       x^2 = x * x,  (x - y)^2 likewise
    sum(x) = n * mean(x)                   c / x = c * reciprocal(x)
    variance(x) = mean((x - mean(x))^2)

What does nothing is left out. The last layer keeps the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.normalize.applications import APPLICATION_LAYERS
from tfxp.transforms.normalize.averages import mean_steps
from tfxp.transforms.normalize.einsum import einsum_to_product
from tfxp.transforms.normalize.function_calls import parts_of, plain_name
from tfxp.transforms.normalize.function_layers import function_spec
from tfxp.transforms.normalize.other_axes import (
    layer_norm_of_several_axes,
    normalization_of_other_axes,
)
from tfxp.transforms.normalize.pieces import (
    gather,
    repeat,
    reverse,
    roll,
    split,
    stack,
    tile,
    unstack,
)
from tfxp.transforms.normalize.running_sums import cumsum
from tfxp.transforms.normalize.selections import COMPARISONS, gate, where
from tfxp.transforms.normalize.steps import Rewrite, Step, follow
from tfxp.transforms.refusals import NOT_READ, naming

_LARGEST_POWER = 4
_INFINITY = float("inf")


def compose_functions(graph: LayerGraph) -> LayerGraph:
    """Rewrite every call that the tables of this file know."""
    for number, call, spec in graph.in_order():
        by_name, name = (
            (_FUNCTIONS, plain_name(spec)) if spec.kind == "TFOpLambda" else (_LAYERS, spec.kind)
        )
        if name in by_name and call.output_shapes and len(graph.uses(spec.name)) == 1:
            with naming(spec.name, spec.kind, NOT_READ):
                by_name[name](graph, number)
    graph.sort()
    return graph


# --- limits --------------------------------------------------------------------------------------


def _limits(name: str, low: Any, high: Any) -> list[Any]:
    """Layers that hold a tensor between two limits, of which one may be infinite."""
    if np.isscalar(low) and low == -_INFINITY:
        mirrored = layers.Rescaling(-1.0, high, name=f"{name}_mirrored")
        return [mirrored, layers.ReLU(name=f"{name}_limit"), layers.Rescaling(-1.0, high)]
    limit = None if high == _INFINITY else high - low
    relu = layers.ReLU(limit, name=f"{name}_limits")
    if np.isscalar(low) and low == 0:
        return [relu]
    shifted = layers.Rescaling(1.0, np.negative(low).tolist(), name=f"{name}_shifted")
    return [shifted, relu, layers.Rescaling(1.0, low)]


def _limit(low: bool) -> Rewrite:
    """tf.maximum or tf.minimum of a tensor and numbers."""

    def rewrite(graph: LayerGraph, number: int) -> None:
        _, spec, use = parts_of(graph, number)
        if use.two_tensors:
            return
        value = use.number(next(v for v in use.operands if not isinstance(v, Ref)))
        if value is not None:
            bounds = (value, _INFINITY) if low else (-_INFINITY, value)
            follow(graph, number, _all(graph, number, _limits(spec.name, *bounds)))

    return rewrite


def _clip(graph: LayerGraph, number: int) -> None:
    _, spec, use = parts_of(graph, number)
    given = use.argument(1, "clip_value_min"), use.argument(2, "clip_value_max")
    if any(isinstance(value, Ref) or np.size(value) != 1 for value in given):
        return
    low, high = (float(np.ravel(value)[0]) for value in given)
    if low < high and low < _INFINITY and (low, high) != (-_INFINITY, _INFINITY):
        follow(graph, number, _all(graph, number, _limits(spec.name, low, high)))


def _relu_layer(graph: LayerGraph, number: int) -> None:
    """A ReLU with a slope and a limit: one after the other."""
    spec = graph.layers[graph.calls[number].layer]
    slope, most = float(spec.config["negative_slope"] or 0), spec.config["max_value"]
    if slope and most is not None and not float(spec.config["threshold"] or 0):
        leaky = layers.LeakyReLU(slope, name=f"{spec.name}_leaky")
        steps = [leaky, *_limits(spec.name, -_INFINITY, float(most))]
        follow(graph, number, _all(graph, number, steps))


def _all(graph: LayerGraph, number: int, steps: Sequence[Any]) -> list[Step]:
    """Steps that all have the shape of the call's output."""
    return [Step(layer, graph.shape_of(Ref(number))) for layer in steps]


# --- powers, quotients ---------------------------------------------------------------------------


def _product_of(graph: LayerGraph, number: int, factors: int) -> None:
    call, spec, _ = parts_of(graph, number)
    source = call.refs()[0]
    spec.become(layers.Multiply())
    call.read([source] * factors)


def _power(graph: LayerGraph, number: int) -> None:
    call, spec, use = parts_of(graph, number)
    base, exponent = use.operands
    if use.two_tensors or np.size(exponent) != 1:
        return
    if isinstance(exponent, Ref):
        if np.size(base) == 1 and float(np.ravel(base)[0]) > 0:
            line = layers.Rescaling(float(np.log(np.ravel(base)[0])), name=f"{spec.name}_line")
            steps = [line, layers.Activation("exponential")]
            follow(graph, number, _all(graph, number, steps))
        return
    value = float(np.ravel(exponent)[0])
    if value == 1:
        graph.bypass(number)
    elif value.is_integer() and 2 <= value <= _LARGEST_POWER:
        _product_of(graph, number, int(value))
    else:
        call.read(base, y=value)


def _absolute(graph: LayerGraph, number: int) -> None:
    call, spec, _ = parts_of(graph, number)
    source = call.refs()[0]
    negative = graph.append(layers.Rescaling(-1.0, name=f"{spec.name}_negative"), source)
    spec.become(layers.Maximum())
    call.read([source, negative])


def _quotient(graph: LayerGraph, number: int) -> None:
    """By a tensor: its reciprocal times the rest."""
    call, spec, use = parts_of(graph, number)
    first, second = use.operands
    if not isinstance(second, Ref):
        return
    inverse = function_spec(tf.math.reciprocal, f"{spec.name}_reciprocal")
    if isinstance(first, Ref):
        found = graph.append(inverse, second)
        spec.become(layers.Multiply())
        call.read([first, found])
        return
    scale = use.number(first)
    if scale is not None:
        follow(graph, number, _all(graph, number, [inverse, layers.Rescaling(scale)]))


# --- sums and means ------------------------------------------------------------------------------


def _average(total: bool) -> Rewrite:
    """tf.reduce_sum, or tf.reduce_mean, along any axes of the sample."""

    def rewrite(graph: LayerGraph, number: int) -> None:
        _, spec, use = parts_of(graph, number)
        axes, shape, output = use.axes(1), use.inputs[0], graph.shape_of(Ref(number))
        if axes is None or (total and any(shape[axis] is None for axis in axes)):
            return
        steps = mean_steps(spec.name, shape, axes, output)
        if steps and total:
            count = float(np.prod([shape[axis] or 1 for axis in axes]))
            steps.append(Step(layers.Rescaling(count), output))
        if steps:
            follow(graph, number, steps)

    return rewrite


def _spread(root: bool) -> Rewrite:
    """tf.math.reduce_variance, or tf.math.reduce_std, along any axes of the sample."""

    def rewrite(graph: LayerGraph, number: int) -> None:
        call, spec, use = parts_of(graph, number)
        axes, shape, output = use.axes(1), use.inputs[0], graph.shape_of(Ref(number))
        kept = tuple(1 if axis in (axes or ()) else size for axis, size in enumerate(shape))
        name = spec.name
        centre = mean_steps(f"{name}_centre", shape, axes, kept) if axes else []
        steps = mean_steps(name, shape, axes, output) if axes else []
        if not centre or not steps:
            return
        source = mean = call.refs()[0]
        for step in centre:
            mean = graph.append(step.layer, mean, shape=step.shape, **step.options)
        distance = layers.Subtract(name=f"{name}_distance")
        found = graph.append(distance, [source, mean], shape=shape)
        call.read(graph.append(layers.Multiply(name=f"{name}_square"), [found, found], shape=shape))
        if root:
            steps.append(Step(function_spec(tf.sqrt, name), output))
        follow(graph, number, steps)

    return rewrite


def _join(graph: LayerGraph, number: int) -> None:
    """tf.add_n."""
    call, spec, _ = parts_of(graph, number)
    refs = call.refs()
    spec.become(layers.Add())
    call.read(refs)


def _squared_difference(graph: LayerGraph, number: int) -> None:
    call, spec, use = parts_of(graph, number)
    difference = function_spec(tf.subtract, f"{spec.name}_difference")
    found = graph.append(difference, *use.operands, shape=graph.shape_of(Ref(number)))
    spec.become(layers.Multiply())
    call.read([found, found])


def _both_signs(graph: LayerGraph, number: int) -> None:
    """tf.nn.crelu: relu(x) and relu(-x) side by side."""
    call, spec, use = parts_of(graph, number)
    source, shape = call.refs()[0], use.inputs[0]
    axis = int(use.argument(1, "axis", -1)) % len(shape)
    if axis == 0:
        return
    negative = graph.append(layers.Rescaling(-1.0, name=f"{spec.name}_negative"), source)
    pair = [
        graph.append(layers.ReLU(name=f"{spec.name}_{part}"), ref, shape=shape)
        for part, ref in (("above", source), ("below", negative))
    ]
    spec.become(layers.Concatenate(axis))
    call.read(pair)


def _random_crop(graph: LayerGraph, number: int) -> None:
    """At inference: the middle part of the shape that is asked for, enlarged or reduced."""
    spec, sizes = graph.layers[graph.calls[number].layer], graph.input_shape(number)[1:3]
    wanted = int(spec.config["height"]), int(spec.config["width"])
    if None in sizes:
        return
    height, width = (size or 0 for size in sizes)
    kept = (
        min(height, int(np.float32(width * wanted[0]) / np.float32(wanted[1]))),
        min(width, int(np.float32(height * wanted[1]) / np.float32(wanted[0]))),
    )
    rest = height - kept[0], width - kept[1]
    crops = [(both // 2, both - both // 2) for both in rest]
    shape, steps = graph.input_shape(number), list[Step]()
    if any(rest):
        cropping = layers.Cropping2D(crops, name=f"{spec.name}_middle")
        steps.append(Step(cropping, (shape[0], *kept, *shape[3:])))
    if kept != wanted:
        steps.append(Step(layers.Resizing(*wanted), graph.shape_of(Ref(number))))
    follow(graph, number, steps or [Step(layers.Activation("linear"), shape)])


def _center_crop(graph: LayerGraph, number: int) -> None:
    spec = graph.layers[graph.calls[number].layer]
    wanted = int(spec.config["height"]), int(spec.config["width"])
    sizes = [size or 0 for size in graph.input_shape(number)[1:3]]  # 0: unknown
    rest = [have - want for have, want in zip(sizes, wanted, strict=True)]
    if min(rest) >= 0:
        spec.become(layers.Cropping2D([(both // 2, both - both // 2) for both in rest]))


def _nothing(graph: LayerGraph, number: int) -> None:
    """Leave out what does nothing, unless it is all there is between an input and an output."""
    kind = graph.spec_of(graph.calls[number].refs()[0]).kind
    if kind != "InputLayer" or not graph.is_output(Ref(number)):
        graph.bypass(number)


def _real(graph: LayerGraph, number: int) -> None:
    """A cast of real numbers, which are of one type everywhere (`data_types`)."""
    _, _, use = parts_of(graph, number)
    source = graph.spec_of(graph.calls[number].refs()[0])
    whole = use.reads_integers or plain_name(source) in COMPARISONS
    if tf.as_dtype(use.argument(1, "dtype")).is_floating and not whole:
        _nothing(graph, number)


_FUNCTIONS: dict[str, Rewrite] = {
    "maximum": _limit(low=True),
    "minimum": _limit(low=False),
    "clip_by_value": _clip,
    "square": lambda graph, number: _product_of(graph, number, 2),
    "pow": _power,
    "abs": _absolute,
    "truediv": _quotient,
    "divide": _quotient,
    "multiply": gate,
    "mul": gate,
    "where": where,
    "squared_difference": _squared_difference,
    "crelu": _both_signs,
    "cumsum": cumsum,
    "reduce_sum": _average(total=True),
    "reduce_mean": _average(total=False),
    "reduce_variance": _spread(root=False),
    "reduce_std": _spread(root=True),
    "add_n": _join,
    "split": split,
    "unstack": unstack,
    "reverse": reverse,
    "stack": stack,
    "tile": tile,
    "repeat": repeat,
    "gather": gather,
    "roll": roll,
    "einsum": einsum_to_product,
    "identity": _nothing,
    "stop_gradient": _nothing,
    "real": _nothing,
    "conj": _nothing,
    "cast": _real,
}
_LAYERS: dict[str, Rewrite] = {
    "ReLU": _relu_layer,
    "CenterCrop": _center_crop,
    "RandomCrop": _random_crop,
    "Normalization": normalization_of_other_axes,
    "LayerNormalization": layer_norm_of_several_axes,
    "Identity": _nothing,
    **APPLICATION_LAYERS,
}
