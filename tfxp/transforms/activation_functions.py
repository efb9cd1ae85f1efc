"""Activation functions as Keras writes them down: its own by name, users' by registered name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfxp.errors import ModelError
from tfxp.keras import keras, tf
from tfxp.keras_types import KerasLayer

# A name, or the configuration of a registered function, object or layer.
ActivationConfig = str | dict[str, Any] | None

GELU_TANH = "gelu_tanh"
_SETTINGS = ("activation", "recurrent_activation")
_OWNERS = ("tf_keras.", "keras.", "tensorflow.", "jax.", "torch.")
_REGISTER = (
    "Decorate it with @tfxp.keras.keras.utils.register_keras_serializable(package=...), so that it "
    "has a name under which it is found again"
)


@keras.utils.register_keras_serializable("tfxp")
def gelu_tanh(x: tf.Tensor) -> tf.Tensor:
    """GELU by its approximation with tanh, as an activation function that models keep by name."""
    return tf.nn.gelu(x, approximate=True)


def function_name(function: ActivationConfig) -> str:
    """The name of an activation: "relu" for Keras' own, "package>name" for a registered one.

    Example:
        >>> from tfxp.transforms.activation_functions import function_name
        >>> function_name({"class_name": "function", "config": "wild>squared_relu"})
        'wild>squared_relu'
    """
    if function is None:
        return "linear"
    if not isinstance(function, dict):
        return str(function)
    config = function.get("config")
    named = config if isinstance(config, str) else function.get("registered_name")
    return str(named or function.get("class_name") or "<lambda>")


def is_keras_function(function: ActivationConfig) -> bool:
    """Whether Keras itself defines an activation."""
    return function is None or isinstance(function, str)


def layer_of(function: ActivationConfig) -> type | None:
    """The class of a Keras layer that serves as an activation; None for functions."""
    if not isinstance(function, dict):
        return None
    kind = getattr(keras.layers, str(function.get("class_name")), None)
    return kind if isinstance(kind, type) else None


def read_config(layer: KerasLayer) -> dict[str, Any]:
    """A layer's configuration, from which the layer can be built again with all its activations.

    Raises:
        ModelError: a function in it has no name under which Keras finds it.
    """
    try:
        config = layer.get_config()
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}): got a configuration that Keras cannot "
            f"write down ({reason}); expected functions and objects that are registered. "
            f"{_REGISTER}, and write get_config for a class of your own."
        ) from error
    complaints = [found for function in _functions(config) if (found := _complaint(function))]
    if "activation" in str(config):
        complaints += [_unregistered(function) for function in shadowing(layer)]
    if complaints:
        raise ModelError(
            f"activation of layer {layer.name!r} ({type(layer).__name__}): got {complaints[0]}."
        )
    return config


def _functions(config: Any) -> Iterator[ActivationConfig]:
    """All activations of a configuration, those of layers inside the layer included."""
    if isinstance(config, dict):
        for key, value in config.items():
            if str(key) in _SETTINGS and layer_of(value) is None:
                yield value
            else:
                yield from _functions(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _functions(value)


def _complaint(function: ActivationConfig) -> str:
    """Why Keras does not find a function by what it wrote down, or ""; lambdas have no name."""
    if isinstance(function, dict) and function.get("class_name") in ("method", "__lambda__"):
        return _unregistered(function)
    try:
        return "" if callable(keras.activations.get(function)) else _unregistered(function)
    except (TypeError, ValueError) as error:
        name = function_name(function)
        if keras.utils.get_registered_object(name) is None:
            return _unregistered(function)
        reason = " ".join(str(error).split())[:200].rstrip(".")
        return (
            f"{name!r}, which is registered but cannot be made again ({reason}); expected a class "
            "whose from_config takes what its get_config returns"
        )


def _unregistered(function: ActivationConfig) -> str:
    return (
        f"the unregistered function {function_name(function)!r}; expected the name of a Keras "
        f"function or a registered one. {_REGISTER}"
    )


def shadowing(layer: KerasLayer) -> list[ActivationConfig]:
    """Users' functions with names of Keras' own, which Keras would call in their place."""
    found: list[ActivationConfig] = []
    for part in layer._flatten_layers():
        for key in _SETTINGS:
            function = getattr(part, key, None)
            module = f"{getattr(function, '__module__', '')}."
            if callable(function) and not module.startswith(_OWNERS):
                name = part.get_config().get(key)
                found += [name] if isinstance(name, str) else []
    return found
