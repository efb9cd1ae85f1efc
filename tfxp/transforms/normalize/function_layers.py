"""Keras' layer around a function of tensors, TFOpLambda, made on purpose."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfxp.keras import keras
from tfxp.transforms.layer_graph import LayerSpec


def function_spec(function: Any, name: str) -> LayerSpec:
    """A layer that calls a TensorFlow function, which any Keras loads.

    Example:
        >>> from tfxp.keras import tf
        >>> from tfxp.transforms.normalize.function_layers import function_spec
        >>> function_spec(tf.linalg.matmul, "product").config["function"]
        'linalg.matmul'
    """
    kind = _lambda_class()
    return LayerSpec(name, kind, kind(function, name=name).get_config())


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
