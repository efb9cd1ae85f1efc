"""A call of a function of tensors: its arguments, however they were given, and its shapes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, Shape


@dataclasses.dataclass(frozen=True)
class FunctionCall:
    """Arguments, shapes of the tensors, and whether it reads whole numbers from a network input."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Shape]
    output: Shape
    reads_integers: bool

    @classmethod
    def of(cls, graph: LayerGraph, call: Call) -> FunctionCall:
        """What a call of a graph is like."""
        refs = call.refs()
        integers = any("int" in str(graph.spec_of(ref).config.get("dtype")) for ref in refs)
        shapes = [graph.shape_of(ref) for ref in refs]
        return cls(tuple(call.args), call.kwargs, shapes, call.output_shapes[0], integers)

    def argument(self, position: int, name: str, default: object = None) -> Any:
        """An argument, however it was given; tensors are `Ref`s, constants plain values."""
        value = self.args[position] if len(self.args) > position else self.kwargs.get(name, default)
        return value.numpy() if isinstance(value, tf.Tensor) and hasattr(value, "numpy") else value

    @property
    def operands(self) -> tuple[Any, Any]:
        """The arguments of a function of two."""
        return self.argument(0, "x"), self.argument(1, "y")

    @property
    def two_tensors(self) -> bool:
        """Whether both arguments of a function of two are tensors."""
        return all(isinstance(value, Ref) for value in self.operands)

    def number(self, value: object) -> Any:
        """A number, or one per channel, as Rescaling takes it; None for other constants."""
        array = np.asarray(value, np.float64)
        if self.inputs[0] != self.output:
            return None
        if array.size == 1:
            return float(array.ravel()[0])
        per_channel = array.shape[-1] == array.size == self.output[-1]
        return array.ravel().tolist() if per_channel else None

    def axes(self, position: int, name: str = "axis") -> list[int] | None:
        """Axes of the sample that an argument names; None if the batch is among them."""
        given, rank = self.argument(position, name), len(self.inputs[0])
        if given is None or isinstance(given, Ref):
            return None
        found = sorted({int(axis) % rank for axis in np.atleast_1d(given)})
        return None if 0 in found else found


def plain_name(spec: LayerSpec) -> str:
    """`add` of "__operators__.add", "math.add" and "compat.v1.add"."""
    return str(spec.config.get("function")).split(".")[-1]


def parts_of(graph: LayerGraph, number: int) -> tuple[Call, LayerSpec, FunctionCall]:
    """A call of a graph, its layer, and its arguments."""
    call = graph.calls[number]
    return call, graph.layers[call.layer], FunctionCall.of(graph, call)
