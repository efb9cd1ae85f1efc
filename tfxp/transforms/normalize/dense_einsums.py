"""EinsumDense as a Dense layer between permutations and reshapes, where it is one.

    "abc,cd->abd",   "abc,cde->abde",   "abde,dec->abc",   "abc,bd->adc"

Axes of the input that the kernel sums over go last and become one, the kernel becomes a matrix, and
the kernel's other axes go where the result has them.
"""

from __future__ import annotations

import string
from typing import NamedTuple

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, Shape
from tfxp.transforms.training_settings import MovedWeight, carry_settings


class _Axes(NamedTuple):
    """Labels of the input, the kernel and the result; those that stay, are summed, are new."""

    given: str
    kernel: str
    result: str
    kept: str
    summed: str
    new: str


def split_einsum_dense(graph: LayerGraph) -> LayerGraph:
    """Split every such layer; the dense one keeps its name.

    What stays one layer: equations that multiply element by element along an axis, and biases along
    axes that the kernel does not have.
    """
    for name, spec in list(graph.layers.items()):
        if spec.kind != "EinsumDense":
            continue
        uses = {number: graph.input_shape(number) for number in graph.uses(name)}
        found = {_read(str(spec.config["equation"]), len(shape)) for shape in uses.values()}
        axes = found.pop()
        bias = None if axes is None else _bias(spec, axes)
        if axes is None or found or bias is None or not all(_fits(axes, s) for s in uses.values()):
            continue
        _become_dense(graph, spec, axes, bias)
        for number, shape in uses.items():
            _replace_call(graph, number, shape, axes, spec)
    graph.sort()
    return graph


def _read(equation: str, rank: int) -> _Axes | None:
    """What an equation does; None if that is no product with a matrix."""
    inputs, _, result = equation.replace(" ", "").partition("->")
    given, _, kernel = inputs.partition(",")
    if "..." in given:
        unused = [letter for letter in string.ascii_letters if letter not in equation]
        extra = "".join(unused[: rank - len(given) + len("...")])
        given, result = (part.replace("...", extra) for part in (given, result))
    if len(given) != rank or any(len(set(part)) != len(part) for part in (given, kernel, result)):
        return None
    kept = "".join(label for label in given if label in result)
    summed = "".join(label for label in kernel if label in given)
    new = "".join(label for label in kernel if label in result)
    complete = sorted(kept + summed) == sorted(given) and sorted(kept + new) == sorted(result)
    if not complete or sorted(summed + new) != sorted(kernel) or not summed:
        return None
    return _Axes(given, kernel, result, kept, summed, new) if given[0] == result[0] else None


def _fits(axes: _Axes, shape: Shape) -> bool:
    """Whether sizes are known as far as reshapes need them: all, or all but one of those kept."""
    sizes = dict(zip(axes.given, shape, strict=True))
    return [sizes[label] for label in axes.kept[1:]].count(None) <= 1


def _bias(spec: LayerSpec, axes: _Axes) -> np.ndarray | None:
    """The bias along all new axes (nothing where there is none); None if it has others too."""
    array = spec.arrays().get("bias")
    if array is None:
        return np.zeros(0, np.float32)
    labels = axes.result[len(axes.result) - array.ndim :]
    longer = [label for label, size in zip(labels, array.shape, strict=True) if size > 1]
    if any(label in axes.kept for label in longer):
        return None
    own = [label for label in labels if label in axes.new]
    sizes = dict(zip(axes.kernel, spec.arrays()["kernel"].shape, strict=True))
    array = array.reshape([n for label, n in zip(labels, array.shape, strict=True) if label in own])
    order = [label for label in axes.new if label in own]
    array = array.transpose([own.index(label) for label in order])
    array = array.reshape([array.shape[order.index(x)] if x in own else 1 for x in axes.new])
    return np.broadcast_to(array, [sizes[label] for label in axes.new]).reshape(-1)


def _become_dense(graph: LayerGraph, spec: LayerSpec, axes: _Axes, bias: np.ndarray) -> None:
    kernel, settings = spec.arrays()["kernel"], spec.config
    order = [axes.kernel.index(label) for label in axes.summed + axes.new]
    sizes = dict(zip(axes.kernel, kernel.shape, strict=True))
    rows = int(np.prod([sizes[label] for label in axes.summed]))
    arrays = {"kernel": kernel.transpose(order).reshape(rows, -1)}
    if bias.size:
        arrays["bias"] = bias
    units = arrays["kernel"].shape[1]
    spec.become(layers.Dense(units, settings["activation"], use_bias=bool(bias.size)))
    spec.set_arrays(arrays)
    moves = (
        MovedWeight("kernel", spec, "kernel", reshaped=True),
        MovedWeight("bias", spec, "bias", reshaped=True),
    )
    carry_settings(graph, spec.name, settings, moves)


def _replace_call(
    graph: LayerGraph, number: int, shape: Shape, axes: _Axes, spec: LayerSpec
) -> None:
    """Axes in order before the dense layer, and behind it."""
    name, result = spec.name, graph.shape_of(Ref(number))
    sizes = dict(zip(axes.given + axes.result, (*shape, *result), strict=True))
    kept = [sizes[label] for label in axes.kept]
    target = [-1 if size is None else size for size in kept[1:]]
    before, row = axes.kept + axes.summed, int(np.prod([sizes[x] or 1 for x in axes.summed]))
    if before != axes.given:
        turn = layers.Permute([axes.given.index(x) for x in before[1:]], name=f"{name}_turned")
        graph.insert_before(number, turn, tuple(sizes[label] for label in before))
    if len(axes.summed) > 1:
        merge = layers.Reshape([*target, row], name=f"{name}_rows")
        graph.insert_before(number, merge, (*kept, row))
    graph.calls[number].output_shapes = [(*kept, int(spec.config["units"]))]
    end, after = Ref(number), axes.kept + axes.new
    if len(axes.new) != 1:
        split = layers.Reshape([*target, *(sizes[x] or 1 for x in axes.new)], name=f"{name}_split")
        end = graph.insert_behind(end, split, tuple(sizes[label] for label in after))
    if after != axes.result:
        turn = layers.Permute([after.index(x) for x in axes.result[1:]], name=f"{name}_placed")
        graph.insert_behind(end, turn, result)
