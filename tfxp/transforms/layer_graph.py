"""A Keras model as data: layers with their weights, calls, and what is connected to what.

Every transform has the same contract: it takes a `LayerGraph`, edits and returns it, and never
touches the Keras model the graph was read from.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ModelError
from tfxp.keras import keras
from tfxp.transforms.keras3.from_keras3 import as_tf_keras


@dataclasses.dataclass(frozen=True, order=True)
class Ref:
    """A tensor: output number `index` of call number `call`."""

    call: int
    index: int = 0


@dataclasses.dataclass
class LayerSpec:
    """A layer, ready to be built again: class, configuration and weights.

    `weights` holds the variables of the original layer until a transform replaces them by arrays;
    `arrays()` reads either. A wrapper takes the weights of the layer it wraps from `wraps`.
    `is_read` says whether any layer reads an output of it; `LayerGraph.sort` keeps it true.
    """

    name: str
    cls: Any
    config: dict[str, Any]
    weights: list[Any] = dataclasses.field(default_factory=list)
    weight_names: list[str] = dataclasses.field(default_factory=list)
    aliases: list[str] = dataclasses.field(default_factory=list)
    wraps: LayerSpec | None = None
    is_read: bool = True

    @property
    def kind(self) -> str:
        """The class name, such as "Conv2D"."""
        return self.cls.__name__

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights by name ("kernel", "bias", "gamma", …), in the layer's order; not to be written
        to, since they may be the variables' own memory."""
        values = [np.asarray(value_of(weight)) for weight in self.weights]
        return dict(zip(self.weight_names, values, strict=True))

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace all weights; the order of `arrays` must be the layer's own."""
        self.weights = list(arrays.values())
        self.weight_names = list(arrays)

    def absorb(self, other: LayerSpec) -> None:
        """Remember that `other` was folded into this layer."""
        self.aliases += [other.name, *other.aliases]


@dataclasses.dataclass
class Call:
    """One use of a layer; tensors among the arguments are `Ref`s.

    `output_shapes` are the shapes Keras inferred when the graph was read, batch included; empty
    for a call that a transform added.
    """

    layer: str
    args: Any
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    output_shapes: list[tuple[int | None, ...]] = dataclasses.field(default_factory=list)

    def refs(self) -> list[Ref]:
        """The tensors this call reads, in order."""
        flat = tf.nest.flatten((self.args, self.kwargs))
        return [value for value in flat if isinstance(value, Ref)]

    def map_refs(self, function: Callable[[Ref], Any]) -> tuple[Any, dict[str, Any]]:
        """Arguments with every tensor replaced by `function(ref)`."""
        return tf.nest.map_structure(
            lambda value: function(value) if isinstance(value, Ref) else value,
            (self.args, self.kwargs),
        )


class LayerGraph:
    """Layers and calls of a functional model; calls are numbered and kept in execution order.

    Attributes:
        name: the model's name.
        layers: layer name -> `LayerSpec`.
        calls: call number -> `Call`, in topological order.
        inputs, outputs: tensors.
    """

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self.layers: dict[str, LayerSpec] = {}
        self.calls: dict[int, Call] = {}
        self.inputs: list[Ref] = []
        self.outputs: list[Ref] = []
        self.output_structure: Any = None
        self._next = 0

    @classmethod
    def from_model(cls, model: Any) -> LayerGraph:
        """Read a Sequential or functional model; nested models are flattened, Keras 3's converted.

        Raises:
            ModelError: the model is subclassed, or a Sequential without a known input shape, or
                one of Keras 3 with layers that tf_keras lacks.
        """
        model = as_tf_keras(model)
        _require_graph(model)
        graph = cls(model.name)
        known = _Reader(graph).read(model, {})
        graph.inputs = [known[_key(tensor)] for tensor in model.inputs]
        graph.outputs = [known[_key(tensor)] for tensor in model.outputs]
        single = not isinstance(model.output, list | tuple | dict)
        graph.output_structure = None if single else model.output
        graph.sort()
        return graph

    def to_model(self, name: str | None = None, outputs: list[Ref] | None = None) -> Any:
        """Build a Keras model from the graph, weights set.

        Args:
            name: its name; the graph's if none is given.
            outputs: tensors that it returns instead of the graph's outputs, as a list.
        """
        from tfxp.transforms.build_model import build_model

        graph = self
        if outputs is not None:
            graph = copy.copy(self)
            graph.outputs, graph.output_structure = outputs, outputs
        return build_model(graph, name or self.name)

    def add_layer(self, spec: LayerSpec) -> LayerSpec:
        """Add a layer; its name is made unique."""
        base, number = spec.name, 1
        while spec.name in self.layers:
            spec.name = f"{base}_{number}"
            number += 1
        spec.config["name"] = spec.name
        self.layers[spec.name] = spec
        return spec

    def add_call(self, layer: str, args: Any, kwargs: dict[str, Any] | None = None) -> Ref:
        """Call a layer at the end of the graph and return its first output."""
        number = self._next
        self._next += 1
        self.calls[number] = Call(layer, args, kwargs or {})
        return Ref(number)

    def spec_of(self, ref: Ref) -> LayerSpec:
        """The layer that produces a tensor."""
        return self.layers[self.calls[ref.call].layer]

    def uses(self, layer: str) -> list[int]:
        """The numbers of all calls of a layer."""
        return [number for number, call in self.calls.items() if call.layer == layer]

    def consumers(self, ref: Ref) -> list[int]:
        """The numbers of all calls that read a tensor."""
        return [number for number, call in self.calls.items() if ref in call.refs()]

    def is_output(self, ref: Ref) -> bool:
        """Whether the model returns this tensor."""
        return ref in self.outputs

    def only_consumer(self, ref: Ref) -> int | None:
        """The call that alone reads a tensor which the model does not return; else None."""
        consumers = self.consumers(ref)
        if len(consumers) != 1 or self.is_output(ref):
            return None
        return consumers[0]

    def replace(self, old: Ref, new: Ref, keep: tuple[int, ...] = ()) -> None:
        """Make every reader of `old`, and the outputs, read `new`; calls in `keep` stay."""
        for number, call in self.calls.items():
            if number not in keep and old in call.refs():
                call.args, call.kwargs = call.map_refs(lambda r: new if r == old else r)
        self.outputs = [new if ref == old else ref for ref in self.outputs]

    def remove_call(self, number: int) -> None:
        """Remove a call nobody reads, and its layer if that was its only call."""
        layer = self.calls.pop(number).layer
        if not self.uses(layer):
            del self.layers[layer]

    def bypass(self, number: int) -> None:
        """Remove a call with one input: its readers read that input instead."""
        call = self.calls[number]
        self.replace(Ref(number), call.refs()[0])
        self.remove_call(number)

    def sort(self) -> None:
        """Put calls into topological order and drop those that lead to no output."""
        order: dict[int, Call] = {}
        for start in [ref.call for ref in self.inputs + self.outputs]:
            stack = [(start, False)]
            while stack:
                number, ready = stack.pop()
                if number in order:
                    continue
                if ready:
                    order[number] = self.calls[number]
                    continue
                stack.append((number, True))
                stack += [(r.call, False) for r in reversed(self.calls[number].refs())]
        self.calls = order
        used = dict.fromkeys(call.layer for call in order.values())
        self.layers = {name: self.layers[name] for name in used}
        read = {order[ref.call].layer for call in order.values() for ref in call.refs()}
        for name, spec in self.layers.items():
            spec.is_read = name in read

    def aliases(self) -> dict[str, str]:
        """Folded layer -> the layer it went into."""
        return {alias: name for name, spec in self.layers.items() for alias in spec.aliases}

    def in_order(self) -> Iterator[tuple[int, Call, LayerSpec]]:
        """(number, call, layer) of every call, in execution order."""
        for number, call in list(self.calls.items()):
            if number in self.calls:
                yield number, call, self.layers[call.layer]


def make_spec(layer: Any) -> LayerSpec:
    """The spec of a fresh Keras layer without weights of its own yet."""
    return LayerSpec(layer.name, type(layer), layer.get_config())


def weight_name(variable: Any) -> str:
    """The last part of a variable's name: "kernel" of "block/conv/kernel:0"."""
    return variable.name.split("/")[-1].split(":")[0]


def weight_names(layer: Any) -> list[str]:
    """Where a layer keeps each of its weights, as paths of attributes.

    A layer's own weights are "kernel" or "bias", those of layers inside it "cell.kernel". Weights
    that no attribute holds directly (those of layers in lists) go by the end of their variable's
    name, as much of it as tells them apart.
    """
    found: dict[int, str] = {}
    _find_attributes(layer, "", found, 4)
    names: list[str] = []
    for variable in layer.weights:
        parts = variable.name.split(":")[0].split("/")
        size = 1
        name = found.get(id(variable), parts[-1])
        while name in names and size < len(parts):
            size += 1
            name = "/".join(parts[-size:])
        names.append(name)
    return names


def _find_attributes(owner: Any, prefix: str, found: dict[int, str], depth: int) -> None:
    inner = []
    for key, value in vars(owner).items():
        if isinstance(value, tf.Variable):
            found.setdefault(id(value), f"{prefix}{key}")
        elif isinstance(value, keras.layers.Layer) and not isinstance(value, keras.Model):
            inner.append((key, value))
    for key, value in inner if depth else []:
        _find_attributes(value, f"{prefix}{key}.", found, depth - 1)


def _require_graph(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"model: got {type(model).__module__}.{type(model).__name__}; expected a tf_keras "
            "Sequential or functional model. Load it with tfxp.load_model."
        )
    if getattr(model, "inputs", None) and getattr(model, "outputs", None):
        if isinstance(model, keras.Sequential) or getattr(model, "_is_graph_network", False):
            return
    raise ModelError(
        f"model {model.name!r}: got a {type(model).__name__} without a layer graph; expected a "
        "functional model or a Sequential with a known input shape. Call model.build(...) or "
        "rewrite a subclassed model with the functional API."
    )


class _Reader:
    """Copies a model's calls into a graph, flattening nested models on the way."""

    def __init__(self, graph: LayerGraph) -> None:
        self._graph = graph
        self._names: dict[int, str] = {}

    def read(self, model: Any, given: dict[tuple[int, int, int], Ref]) -> dict[Any, Ref]:
        """Add every call of `model`; `given` are its inputs where it is nested in another."""
        known = dict(given)
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                keys = [_key(tensor) for tensor in tf.nest.flatten(node.outputs)]
                if keys[0] in given:
                    continue
                refs = self._add(node, known)
                known.update(zip(keys, refs, strict=True))
        return known

    def _add(self, node: Any, known: dict[tuple[int, int, int], Ref]) -> list[Ref]:
        if isinstance(node.layer, keras.Model):
            return self._add_nested(node, known)
        args, kwargs = tf.nest.map_structure(
            lambda value: known[_key(value)] if _is_symbolic(value) else value,
            (tuple(node.call_args or ()), dict(node.call_kwargs or {})),
        )
        number = self._graph.add_call(self._spec(node.layer), args, kwargs).call
        outputs = tf.nest.flatten(node.outputs)
        self._graph.calls[number].output_shapes = [tuple(t.shape) for t in outputs]
        return [Ref(number, index) for index in range(len(outputs))]

    def _add_nested(self, node: Any, known: dict[tuple[int, int, int], Ref]) -> list[Ref]:
        inner = node.layer
        _require_graph(inner)
        read = [known[_key(tensor)] for tensor in tf.nest.flatten(node.keras_inputs)]
        given = {_key(t): ref for t, ref in zip(inner.inputs, read, strict=True)}
        inside = self.read(inner, given)
        return [inside[_key(tensor)] for tensor in inner.outputs]

    def _spec(self, layer: Any) -> str:
        if id(layer) not in self._names:
            spec = LayerSpec(layer.name, type(layer), layer.get_config(), list(layer.weights))
            spec.weight_names = weight_names(layer)
            self._names[id(layer)] = self._graph.add_layer(spec).name
        return self._names[id(layer)]


def _key(tensor: Any) -> tuple[int, int, int]:
    layer, node_index, tensor_index = tensor._keras_history[:3]
    return id(layer), node_index, tensor_index


def _is_symbolic(value: Any) -> bool:
    return hasattr(value, "_keras_history")


def value_of(weight: Any) -> Any:
    """A weight's value without a copy: a tensor for variables."""
    return weight.read_value() if isinstance(weight, tf.Variable) else weight
