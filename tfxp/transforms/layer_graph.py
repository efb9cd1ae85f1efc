"""A Keras model as data that transforms edit.

Every transform has the same contract: it takes a `LayerGraph`, edits it in place and returns it,
and never touches the Keras model the graph was read from.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

from tfxp.keras_types import KerasLayer, KerasModel
from tfxp.transforms.build_model import build_model
from tfxp.transforms.call_graph import Call, CallGraph, Ref, Shape
from tfxp.transforms.layer_spec import (
    LayerSpec,
    make_spec,
    value_of,
    weight_name,
    weight_names,
)
from tfxp.transforms.read_model import read_model

__all__ = [
    "Call",
    "LayerGraph",
    "LayerSpec",
    "Ref",
    "Shape",
    "make_spec",
    "value_of",
    "weight_name",
    "weight_names",
]


class LayerGraph(CallGraph):
    """The calls of a model with the verbs that edit them; from a Keras model, and back to one.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.transforms.layer_graph import LayerGraph
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="scores")])
        >>> graph = LayerGraph.from_model(model)
        >>> _ = graph.insert_behind(graph.outputs[0], layers.ReLU(name="limit"))
        >>> [layer.name for layer in graph.to_model().layers[1:]]
        ['scores', 'limit']
    """

    @classmethod
    def from_model(cls, model: KerasModel) -> LayerGraph:
        """Read a Sequential or functional model; nested models are flattened, Keras 3's converted.

        Raises:
            ModelError: the model is subclassed, or a Sequential without a known input shape, or
                one of Keras 3 with layers that tf_keras lacks.
        """
        graph = cls()
        read_model(model, graph)
        graph.sort()
        return graph

    def to_model(self, name: str | None = None, outputs: list[Ref] | None = None) -> Any:
        """Build a Keras model from the graph, weights set.

        Args:
            name: its name; the graph's if none is given.
            outputs: tensors that it returns instead of the graph's outputs, as a list.
        """
        graph = self
        if outputs is not None:
            graph = copy.copy(self)
            graph.outputs, graph.output_structure, graph.output_names = outputs, outputs, None
            graph.loss_calls, graph.model_class = {}, None
        elif self.left_behind:
            _warn_of_losses(self.name, self.left_behind)
        return build_model(graph, name or self.name)

    def append(
        self,
        layer: KerasLayer | LayerSpec,
        *args: Any,
        shape: Shape | None = None,
        **kwargs: Any,
    ) -> Ref:
        """Add a layer and call it; its first output.

        Args:
            layer: a fresh Keras layer, or a spec; its name is made unique, unless it is a layer of
                the graph, which is called once more then.
            args, kwargs: what it is called with; tensors are `Ref`s.
            shape: of its output; that of the first tensor it reads if none is given.
        """
        spec = layer if isinstance(layer, LayerSpec) else make_spec(layer)
        if self.layers.get(spec.name) is not spec:
            self.add_layer(spec)
        ref = self.add_call(spec.name, args, kwargs)
        known = self.input_shape(ref.call) if shape is None else shape
        self.calls[ref.call].output_shapes = [known] if known or shape is not None else []
        return ref

    def insert_behind(
        self, ref: Ref, layer: KerasLayer | LayerSpec, shape: Shape | None = None
    ) -> Ref:
        """Put a layer without further inputs behind a tensor: whoever read that reads its output.

        Args:
            ref: the tensor.
            layer: a fresh Keras layer, or a spec.
            shape: of the layer's output; the tensor's if none is given.
        """
        result = self.append(layer, ref, shape=shape)
        self.replace(ref, result, keep=(result.call,))
        return result

    def insert_before(
        self, number: int, layer: KerasLayer | LayerSpec, shape: Shape | None = None
    ) -> Ref:
        """Put a layer between a call and the one tensor that it reads."""
        call = self.calls[number]
        result = self.append(layer, call.refs()[0], shape=shape)
        call.read(result)
        return result

    def replace(self, old: Ref, new: Ref, keep: tuple[int, ...] = ()) -> None:
        """Make every reader of `old`, and the outputs, read `new`; calls in `keep` stay."""
        for number, call in (*self.calls.items(), *self.loss_calls.items()):
            if number not in keep and old in call.refs():
                call.redirect(lambda r: new if r == old else r)
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
        for start in [ref.call for ref in self.inputs + self.outputs + self.loss_refs()]:
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


def _warn_of_losses(model: str, lost: Sequence[str]) -> None:
    """Say which settings of the training a rewritten model does not have."""
    listed = ", ".join(dict.fromkeys(lost))
    warnings.warn(
        f"training settings of model {model!r}: got {listed}; the rewritten network has no place "
        "for them, so a training that needs them has to set them anew. Outputs are not affected.",
        stacklevel=4,
    )
