"""Statistics of BatchNormalization measured anew, where running ones lag behind the weights."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

import tensorflow as tf

from tfxp.errors import ConfigError, DataError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel


class PreciseBatchNorm(keras.callbacks.Callback):
    """Replaces running means and variances at the end of epochs, before they are evaluated.

    A weight of two or three values that flips changes what its layer computes at once; the running
    statistics of the layers behind follow over a hundred steps, and evaluations suffer. Means over
    some batches of the weights as they are do not lag. Put it in front of callbacks that evaluate
    or save; `fit` evaluates its own validation data before any callback runs.

    Args:
        data: batches as the network is trained on them, augmented: a `tf.data.Dataset` or another
            iterable that can be read again; inputs, or tuples that begin with them.
        batches: how many of them are taken.
        every: epochs between two times; the last epoch counts always.

    Raises:
        ConfigError: numbers below 1.
        DataError: there are no batches.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.BatchNormalization(input_shape=(1,))])
        >>> model.compile("sgd", "mse")
        >>> x = np.array([[1.0], [3.0]])
        >>> _ = model.fit(x, x, verbose=0, callbacks=[PreciseBatchNorm([x], batches=1)])
        >>> model.layers[0].moving_mean.numpy()
        array([2.], dtype=float32)

    References:
        Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, sec. 3. The variance here is the
        mean of the batches' own, as in Keras' running statistics; the means' spread is not added.
    """

    def __init__(self, data: Iterable[Any], batches: int = 100, every: int = 1) -> None:
        super().__init__()
        for name, number in (("batches", batches), ("every", every)):
            if number < 1:
                raise ConfigError(f"{name} of PreciseBatchNorm: got {number}; expected 1 or more.")
        self.data, self.batches, self.every = data, batches, every

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure, if this epoch is due."""
        last = epoch + 1 == self.params.get("epochs")
        if last or (epoch + 1) % self.every == 0:
            update_batch_norm(self.model, islice(iter(self.data), self.batches))


def update_batch_norm(model: KerasModel, batches: Iterable[Any]) -> None:
    """Give every trainable BatchNormalization the mean statistics of some batches.

        mean = 1/n sum of mean_b,    variance = 1/n sum of variance_b

    Weights stay; frozen layers keep their statistics, and all do if a batch cannot be run.

    Args:
        model: a Keras model, float or quantized.
        batches: inputs, or tuples that begin with them.

    Raises:
        DataError: there are none.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.BatchNormalization(input_shape=(1,))])
        >>> update_batch_norm(model, [np.array([[1.0], [3.0]]), np.array([[4.0], [6.0]])])
        >>> model.layers[0].moving_mean.numpy()
        array([3.5], dtype=float32)
    """
    layers = [
        layer
        for layer in cast(tf.Module, model).submodules
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    statistics = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    if not layers:
        return
    momentums, new = [layer.momentum for layer in layers], [v.numpy() for v in statistics]
    sums, count = [tf.zeros_like(v) for v in statistics], 0
    run = tf.function(lambda x: model(x, training=True))
    try:
        for layer in layers:
            layer.momentum = 0.0  # a batch's statistics as they are
        for batch in batches:
            run(batch[0] if isinstance(batch, tuple) else batch)
            sums = [total + v for total, v in zip(sums, statistics, strict=True)]
            count += 1
        if not count:
            raise DataError("data of PreciseBatchNorm: got no batches; expected at least one.")
        new = [total / count for total in sums]
    finally:
        for layer, momentum in zip(layers, momentums, strict=True):
            layer.momentum = momentum
        for variable, value in zip(statistics, new, strict=True):
            variable.assign(value)
