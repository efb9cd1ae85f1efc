"""One sentence where objects of Keras 3 are handed to a tf_keras model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tfxp.errors import ConfigError, ModelError
from tfxp.keras import is_keras3_model
from tfxp.keras_types import KerasModel

_Model = TypeVar("_Model", bound=KerasModel)
# A method of a model -> what it takes of Keras' objects, in the order of its arguments.
_COMPILE = ("optimizer", "loss", "metrics", "loss_weights", "weighted_metrics")
_METHODS = ("compile", "fit", "evaluate", "predict")


def refuse_keras3(where: str, **given: object) -> None:
    """Refuse objects of Keras 3 among arguments of training.

    Args:
        where: the function that was called, such as "compile".
        given: argument name -> what it got: an object, or lists and dictionaries of some.

    Raises:
        ConfigError: one of them is of Keras 3; the first is named.

    Example:
        >>> import keras
        >>> from tfxp.quantization.own_keras import refuse_keras3
        >>> refuse_keras3("compile", optimizer=keras.optimizers.Adam())
        Traceback (most recent call last):
        tfxp.errors.ConfigError: optimizer of compile: got Adam of Keras 3; expected one of \
tf_keras, which this model is made with. Take it from tf_keras (tfxp.keras.keras), or give its \
name as text.
    """
    for name, value in given.items():
        for part in _parts(value):
            if _is_of_keras3(part):
                kind = part.__name__ if isinstance(part, type) else type(part).__name__
                raise ConfigError(
                    f"{name} of {where}: got {kind} of Keras 3; expected one of tf_keras, which "
                    "this model is made with. Take it from tf_keras (tfxp.keras.keras)"
                    f"{'' if name == 'callbacks' else ', or give its name as text'}."
                )


def require_tf_keras(model: KerasModel, where: str) -> None:
    """Refuse a model of Keras 3 where a quantized one is expected.

    Raises:
        ModelError: it is one.
    """
    if is_keras3_model(model):
        raise ModelError(
            f"model {model.name!r} of {where}: got a model of Keras 3; expected what "
            "tfxp.quantize_model returns, which converts models of Keras 3."
        )


def guard_training(model: _Model) -> _Model:
    """The model, whose `compile`, `fit`, `evaluate` and `predict` refuse objects of Keras 3.

    tf_keras itself accepts most of them and fails later, at an attribute that they lack.
    """
    for name in _METHODS:
        method = getattr(model, name)
        # Past Keras' attribute tracking, which would look for variables in it.
        object.__setattr__(model, name, _guarded(name, method))
    return model


def _guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(*args: object, **kwargs: object) -> Any:
        known = dict(zip(_COMPILE, args, strict=False)) if name == "compile" else {}
        wanted = _COMPILE if name == "compile" else ("callbacks",)
        refuse_keras3(name, **known, **{key: kwargs[key] for key in wanted if key in kwargs})
        return method(*args, **kwargs)

    return checked


def _parts(value: object) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        yield from _parts(list(value.values()))
    else:
        yield value


def _is_of_keras3(value: object) -> bool:
    """Whether an object's class, or one that it was derived from, is defined by Keras 3."""
    kind = value if isinstance(value, type) else type(value)
    function = getattr(value, "__module__", "") if callable(value) else ""
    modules = [part.__module__ for part in kind.__mro__] + [function or ""]
    return any(module.startswith("keras.") for module in modules)
