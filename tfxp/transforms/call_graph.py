"""Layers and their calls, and what is connected to what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfxp.transforms.layer_spec import LayerSpec

# Sizes with the batch in front; None is any size.
Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, order=True)
class Ref:
    """A tensor: output number `index` of call number `call`."""

    call: int
    index: int = 0


@dataclasses.dataclass
class Call:
    """One use of a layer; tensors among the arguments are `Ref`s.

    `output_shapes` are the shapes Keras inferred when the graph was read, batch included;
    `CallGraph.shape_of` reads them. Arguments change by `read` and `redirect` only.
    """

    layer: str
    args: Any
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    output_shapes: list[Shape] = dataclasses.field(default_factory=list)
    _refs: list[Ref] | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def read(self, *args: Any, **kwargs: Any) -> None:
        """Call the layer with these arguments from now on."""
        self.args, self.kwargs, self._refs = args, kwargs, None

    def redirect(self, function: Callable[[Ref], Any]) -> None:
        """Read `function(ref)` in the place of every tensor."""
        self.args, self.kwargs = self.map_refs(function)
        self._refs = None

    def refs(self) -> list[Ref]:
        """The tensors this call reads, in order; not to be changed."""
        if self._refs is None:  # who reads a tensor is asked of all calls, for every tensor
            flat = tf.nest.flatten((self.args, self.kwargs))
            self._refs = [value for value in flat if isinstance(value, Ref)]
        return self._refs

    def map_refs(self, function: Callable[[Ref], Any]) -> tuple[Any, dict[str, Any]]:
        """Arguments with every tensor replaced by `function(ref)`."""
        return tf.nest.map_structure(
            lambda value: function(value) if isinstance(value, Ref) else value,
            (self.args, self.kwargs),
        )


class CallGraph:
    """Layers and calls of a functional model; calls are numbered and kept in execution order.

    Attributes:
        name: the model's name.
        layers: layer name -> `LayerSpec`.
        calls: call number -> `Call`, in topological order.
        inputs, outputs: tensors.
        output_structure: how the model nests its outputs; None for a single one.
        output_names: what the model calls its outputs, whatever layers they come from; None for
            the layers' names.
        loss_calls, loss_layers: calls that lead to what `model.add_loss` and `model.add_metric`
            were given, and to no output; their numbers are negative.
        model_class: the user's class of functional models, if it trains or tests its own way.
        attributes: what the user's code stored in the model.
        left_behind: what of the training could not be carried over, in words.
    """

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self.layers: dict[str, LayerSpec] = {}
        self.calls: dict[int, Call] = {}
        self.inputs: list[Ref] = []
        self.outputs: list[Ref] = []
        self.output_structure: Any = None
        self.output_names: list[str] | None = None
        self.loss_calls: dict[int, Call] = {}
        self.loss_layers: dict[str, LayerSpec] = {}
        self.model_class: type | None = None
        self.attributes: dict[str, Any] = {}
        self.left_behind: list[str] = []
        self._next = 0

    def take_settings(self, other: CallGraph, moved: Mapping[Ref, Ref]) -> None:
        """Take over what belongs to the model as a whole, and to none of its layers.

        Args:
            other: the graph that this one was made of.
            moved: its tensors -> this graph's.
        """
        self.output_structure, self.output_names = other.output_structure, other.output_names
        self.model_class, self.attributes = other.model_class, other.attributes
        self.left_behind, self.loss_layers = other.left_behind, other.loss_layers
        for number, call in other.loss_calls.items():
            args, kwargs = call.map_refs(lambda ref: moved.get(ref, ref))
            self.loss_calls[number] = Call(call.layer, args, kwargs)

    @property
    def result_names(self) -> list[str]:
        """The names of the outputs, in order: keys where the model returns a dict."""
        if isinstance(self.output_structure, dict) and len(self.output_structure) == len(
            self.outputs
        ):
            return [str(key) for key in sorted(self.output_structure)]
        return self.output_names or [self.calls[ref.call].layer for ref in self.outputs]

    def add_layer(self, spec: LayerSpec) -> LayerSpec:
        """Add a layer; its name is made unique."""
        base, number = spec.name, 1
        while spec.name in self.layers or spec.name in self.loss_layers:
            spec.name = f"{base}_{number}"
            number += 1
        spec.config["name"] = spec.name
        self.layers[spec.name] = spec
        return spec

    def add_call(
        self,
        layer: str,
        args: Any,
        kwargs: dict[str, Any] | None = None,
        shapes: Sequence[Shape] = (),
    ) -> Ref:
        """Call a layer at the end of the graph and return its first output.

        Args:
            layer: its name.
            args: positional arguments.
            kwargs: named ones.
            shapes: shapes of the outputs.
        """
        number = self._next
        self._next += 1
        self.calls[number] = Call(layer, args, kwargs or {}, list(shapes))
        return Ref(number)

    def spec_of(self, ref: Ref) -> LayerSpec:
        """The layer that produces a tensor."""
        return self.layers[self.calls[ref.call].layer]

    def shape_of(self, ref: Ref) -> Shape:
        """A tensor's shape, batch included; empty where it is not known."""
        shapes = self.calls[ref.call].output_shapes
        return tuple(shapes[ref.index]) if ref.index < len(shapes) else ()

    def input_shape(self, number: int) -> Shape:
        """The shape of the first tensor that a call reads."""
        return self.shape_of(self.calls[number].refs()[0])

    def uses(self, layer: str) -> list[int]:
        """The numbers of all calls of a layer."""
        return [number for number, call in self.calls.items() if call.layer == layer]

    def consumers(self, ref: Ref) -> list[int]:
        """The numbers of all calls that read a tensor."""
        return [number for number, call in self.calls.items() if ref in call.refs()]

    def is_output(self, ref: Ref) -> bool:
        """Whether the model returns this tensor."""
        return ref in self.outputs

    def loss_refs(self) -> list[Ref]:
        """Tensors of the network that losses and metrics of the model read."""
        return [ref for call in self.loss_calls.values() for ref in call.refs() if ref.call >= 0]

    def only_consumer(self, ref: Ref) -> int | None:
        """The call that alone reads a tensor which no output or loss is made of; else None."""
        consumers = self.consumers(ref)
        if len(consumers) != 1 or self.is_output(ref) or ref in self.loss_refs():
            return None
        return consumers[0]

    def aliases(self) -> dict[str, str]:
        """Folded layer -> the layer it went into."""
        return {alias: name for name, spec in self.layers.items() for alias in spec.aliases}

    def in_order(self) -> Iterator[tuple[int, Call, LayerSpec]]:
        """(number, call, layer) of every call, in execution order."""
        for number, call in list(self.calls.items()):
            if number in self.calls:
                yield number, call, self.layers[call.layer]
