"""Runs pieces of a quantized model with its weights quantized beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfxp.keras import keras, tf
from tfxp.keras_types import KerasModel
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.search.segments import Cut
from tfxp.transforms.layer_graph import Call, LayerGraph, Ref


class SegmentRunner:
    """Calls the layers of a quantized model from one cut to another, as one graph function each.

    Quantized weights lie in variables, so a model quantizes its weights once per change instead
    of once per batch; formats of activations are read from the model's own variables. Functions
    are traced at the first use of a pair of cuts and never again.

    Args:
        qmodel: what `quantize_model` returned.
        graph: its `LayerGraph`.
        cuts: where functions may begin and end.
    """

    def __init__(self, qmodel: KerasModel, graph: LayerGraph, cuts: list[Cut]) -> None:
        self._graph, self._cuts = graph, cuts
        self._calls = list(graph.calls.items())
        self._layers = {layer.name: layer for layer in qmodel.layers}
        self._weights: dict[str, dict[str, Any]] = {}
        self._functions: dict[tuple[int, int], Any] = {}
        self.refresh(self._layers)

    def refresh(self, names: Iterable[str]) -> None:
        """Quantize the weights of some layers anew."""
        for name in names:
            layer = self._layers[name]
            if not isinstance(layer, FormatWrapper):
                continue
            values = layer.quantized_weights(training=False)
            if name not in self._weights:
                self._weights[name] = {
                    path: tf.Variable(value, trainable=False) for path, value in values.items()
                }
            for path, value in values.items():
                self._weights[name][path].assign(value)

    def run(self, start: int, stop: int, tensors: list[Any]) -> list[Any]:
        """The tensors alive at cut `stop`, from those at cut `start`; cut 0 takes the inputs."""
        key = start, stop
        if key not in self._functions:
            self._functions[key] = self._compile(start, stop, tensors)
        function, carried = self._functions[key]
        made = iter(function(tensors))
        return [tensors[i] if i is not None else next(made) for i in carried]

    def _compile(self, start: int, stop: int, like: list[Any]) -> tuple[Any, list[int | None]]:
        """The function, and for each tensor alive at its end where it came from: None if made."""
        first, last = self._cuts[start], self._cuts[stop]
        known = list(self._graph.inputs) if start == 0 else list(first.alive)
        carried = [known.index(ref) if ref in known else None for ref in last.alive]
        makes = [ref for ref in last.alive if ref not in known]
        calls = self._calls[first.position : last.position]

        def forward(tensors: list[Any]) -> list[Any]:
            values = dict(zip(known, tensors, strict=True))
            for number, call in calls:
                if Ref(number) in values:
                    continue  # an input
                results = tf.nest.flatten(self._call(call, values))
                values.update({Ref(number, index): y for index, y in enumerate(results)})
            return [values[ref] for ref in makes]

        shapes = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in like]
        # Concrete: it cannot be traced again, and costs less per call.
        return tf.function(forward, autograph=False).get_concrete_function(shapes), carried

    def _call(self, call: Call, values: dict[Ref, Any]) -> Any:
        layer = self._layers[call.layer]
        args, kwargs = call.map_refs(values.__getitem__)
        if isinstance(layer, FormatWrapper):
            kwargs["training"] = False
            return layer.call_with(self._weights[layer.name], args[0], **kwargs)
        if isinstance(layer, keras.layers.Layer) and layer._expects_training_arg:
            kwargs["training"] = False
        return layer(*args, **kwargs)
