"""Keras' layer around a function of tensors, TFOpLambda, made on purpose."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxp.keras import keras
from tfxp.transforms.layer_graph import LayerSpec, make_spec

#: A whole axis in the index of a slicing layer, as files keep it.
WHOLE: dict[str, int | None] = {"start": None, "stop": None, "step": None}


def function_spec(function: Callable[..., Any], name: str) -> LayerSpec:
    """A layer that calls a TensorFlow function, which any Keras loads.

    Example:
        >>> from tfxp.keras import tf
        >>> from tfxp.transforms.normalize.function_layers import function_spec
        >>> function_spec(tf.linalg.matmul, "product").config["function"]
        'linalg.matmul'
    """
    return make_spec(_lambda_class()(function, name=name))


def slicing_spec(name: str) -> LayerSpec:
    """A layer that cuts a tensor as `x[index]` does."""
    layer = _slicing_layer()
    return LayerSpec(name, type(layer), {**layer.get_config(), "name": name})


@functools.cache
def _lambda_class() -> Any:
    """The layer's class, which Keras does not export."""
    x = keras.Input((1, 1))
    layer, _, _ = tf.linalg.matmul(x, x)._keras_history
    return type(layer)


@functools.cache
def _slicing_layer() -> Any:
    return keras.Input((1, 1))[:, :1]._keras_history[0]
