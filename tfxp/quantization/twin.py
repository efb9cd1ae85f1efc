"""A quantized network and its float twin, run side by side on the same variables."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxp.keras_types import KerasLayer
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.recurrent_state import clear_state, state_variables
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.transforms.layer_graph import Ref

Tensors = dict[Ref, tf.Tensor]


class TwinNetwork:
    """Every tensor of a quantized model, with quantizers and without.

    The twin is the network that the wrappers hold: the same layers on the float weights as they
    are at the time, so it follows a training and takes no memory of its own.

    Args:
        network: what `read_network` made of a model.
    """

    def __init__(self, network: QuantizedNetwork) -> None:
        self.plan = network.plan
        self._layers, self._inputs = network.layers, network.input_quantizers
        self._states = state_variables(network.layers.values())

    def quantized(self, batch: list[tf.Tensor]) -> Tensors:
        """Tensors of the network on its grids; to be called inside a graph function."""
        return self._run(batch, lambda layer: layer, self._inputs)

    def floats(self, batch: list[tf.Tensor]) -> Tensors:
        """Tensors of the float twin; to be called inside a graph function."""
        return self._run(batch, _inner, {})

    def _run(
        self, batch: list[tf.Tensor], choose: Callable[[Any], Any], inputs: dict[str, Any]
    ) -> Tensors:
        graph = self.plan.graph
        clear_state(self._states)
        given = dict(zip(graph.inputs, batch, strict=True))
        tensors: Tensors = {}
        for number, call, spec in graph.in_order():
            if spec.kind == "InputLayer":
                value = given[Ref(number)]
                tensors[Ref(number)] = inputs[spec.name](value) if spec.name in inputs else value
                continue
            args, kwargs = call.map_refs(tensors.__getitem__)
            layer = choose(self._layers[spec.name])
            if "training" in inspect.signature(layer.call).parameters:
                kwargs = {"training": False, **kwargs}  # augmentation trains unless told otherwise
            results = tf.nest.flatten(layer(*args, **kwargs))
            tensors.update({Ref(number, index): value for index, value in enumerate(results)})
        return tensors


def power_and_noise(wanted: tf.Tensor, have: tf.Tensor) -> tf.Tensor:
    """[sum w^2, sum (h - w)^2] of two tensors of one shape, in float64.

    Example:
        >>> import tensorflow as tf
        >>> power_and_noise(tf.constant([3.0, 4.0]), tf.constant([3.0, 4.5])).numpy().tolist()
        [25.0, 0.25]
    """
    exact = tf.cast(wanted, tf.float64)
    return tf.stack(
        [
            tf.reduce_sum(tf.square(exact)),
            tf.reduce_sum(tf.square(tf.cast(have, tf.float64) - exact)),
        ]
    )


def _inner(layer: KerasLayer) -> Any:
    return layer.layer if isinstance(layer, FormatWrapper) else layer
