"""A Keras model built anew from other layers, with the weights of the old ones; Keras 2 and 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Convert = Callable[[Any, bool], list[Any]]


def rebuild(model: Any, convert: Convert) -> Any:
    """The same graph, each layer replaced by a chain of layers.

    Args:
        model: a functional model in which each layer is called once.
        convert: called with a layer, and whether its output enters a sum; returns the layers that
            stand for it, the one that takes over its weights first.
    """
    import tensorflow as tf

    old_input = model.inputs[0]
    new_input = tf.keras.Input(old_input.shape[1:])
    tensors = {id(old_input): new_input}
    summed = {id(t) for layer in model.layers if is_sum(layer) for t in layer.input}
    taken = []
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        several = isinstance(layer.input, list)
        given = [tensors[id(t)] for t in layer.input] if several else tensors[id(layer.input)]
        chain = convert(layer, id(layer.output) in summed)
        for new in chain:
            given = new(given)
        tensors[id(layer.output)] = given
        taken.append((layer, chain))
    result = tf.keras.Model(new_input, tensors[id(model.outputs[0])], name="student")
    for layer, chain in taken:
        _take_weights(chain, layer)
    return result


def is_sum(layer: Any) -> bool:
    """Whether a layer adds tensors."""
    return type(layer).__name__ == "Add"


def plain(layer: Any) -> Any:
    """A layer of the same class and settings."""
    return type(layer).from_config(layer.get_config())


def arguments(layer: Any, *left_out: str) -> dict[str, Any]:
    """The settings of a layer without regularizers, which would count in folded kernels."""
    config = layer.get_config()
    drop = {"dtype", *left_out} | {key for key in config if key.endswith("_regularizer")}
    return {key: value for key, value in config.items() if key not in drop}


def _take_weights(chain: list[Any], layer: Any) -> None:
    if not layer.weights:
        return
    if hasattr(layer, "kernel"):
        chain[0].kernel.assign(layer.kernel)
        chain[0].bias.assign(layer.bias)
    else:
        chain[0].set_weights(layer.get_weights())
