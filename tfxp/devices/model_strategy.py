"""Where a model lives: the strategy in whose scope it was made."""

from __future__ import annotations

import contextlib
from typing import Any

from tfxp.errors import ConfigError
from tfxp.keras import tf
from tfxp.keras_types import KerasModel


def strategy_of(model: KerasModel) -> tf.distribute.Strategy:
    """The strategy of a model; TensorFlow's default one, with a single replica, for all others.

    Args:
        model: a tf_keras model.

    Example:
        >>> from tfxp.devices import strategy_of
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,))])
        >>> strategy_of(model).num_replicas_in_sync
        1
    """
    found = getattr(model, "distribute_strategy", None)
    return found if found is not None else tf.distribute.get_strategy()


def is_replicated(model: KerasModel) -> bool:
    """Whether several replicas of a model train together.

    Args:
        model: a tf_keras model.
    """
    return bool(strategy_of(model).num_replicas_in_sync > 1)


def scope_of(model: KerasModel) -> contextlib.AbstractContextManager[Any]:
    """What a model is made in that goes on from another one: the same devices.

    A scope that the caller has entered stands: who loads a model without a strategy and rewrites
    it inside of one wants the result there.

    Args:
        model: the model that is gone on from.
    """
    if tf.distribute.has_strategy():
        return contextlib.nullcontext()
    return strategy_of(model).scope()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of a training: all do but the later of several workers.

    Args:
        strategy: the strategy of the model that is trained.
    """
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    if has_chief:
        return resolver.task_type == "chief"
    return resolver.task_type == "worker" and resolver.task_id == 0


def require_one_replica(model: KerasModel, what: str, instead: str) -> None:
    """Refuse, by name, to work on a model of several replicas.

    Args:
        model: the model.
        what: who refuses, such as "GradientProbe".
        instead: a sentence that says what to do.

    Raises:
        ConfigError: the model has several replicas.
    """
    if is_replicated(model):
        strategy = strategy_of(model)
        raise ConfigError(
            f"{what} under {type(strategy).__name__}: got {strategy.num_replicas_in_sync} "
            f"replicas; expected one. {instead}"
        )
