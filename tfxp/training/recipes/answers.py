"""The answers that a recipe's network learns: classes, yes or no, or real values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data import ModelData
from tfxp.data.metrics import choose_metric, find_metric, top_hits
from tfxp.data.paired_test import pack_hits
from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel


@dataclass(frozen=True)
class Answers:
    """The kind of a data set's answers, which decides about loss and figure of merit.

    Class numbers, one a sample or one a position, are learned by cross-entropy; zeros and ones, as
    many as the network has outputs, by binary cross-entropy; all others by the squared error.

    Args:
        metric: "accuracy", "binary_accuracy" or "mae".
        shape: of the network's outputs for one sample.
        activation: the last layer's activation function.
    """

    metric: str
    shape: tuple[int, ...]
    activation: str

    @classmethod
    def of(cls, model: KerasModel, data: ModelData) -> Answers:
        """What a network of one output is to learn of a data set.

        Raises:
            DataError: the answers do not fit the network's outputs.
        """
        shape = tuple(int(size or 1) for size in model.outputs[0].shape[1:])
        answers = cls(choose_metric((len(data), *shape), data), shape, _last_activation(model))
        answers.targets(data)
        return answers

    @property
    def figure(self) -> str:
        """The figure's name in logs."""
        return "mae" if self.metric == "mae" else "accuracy"

    def targets(self, data: ModelData, first: int = 0) -> np.ndarray:
        """Answers as the loss takes them.

        Args:
            data: samples with answers.
            first: the number of the first of them, for messages.

        Raises:
            DataError: they do not fit the network's outputs.
        """
        if self.metric == "accuracy" and len(self.shape) == 1:
            return data.labels(self.shape[-1], first)
        found = find_metric(self.metric).answers(data, (len(data), *self.shape))
        if self.metric == "accuracy":
            return found.reshape(len(data), *self.shape[:-1])
        return found.astype(np.float32).reshape(len(data), *self.shape)

    def loss(self, smoothing: float) -> Any:
        """The loss to train on.

        Raises:
            ConfigError: smoothing of answers that are no class numbers.
        """
        if self.metric == "accuracy":
            logits = self.activation != "softmax"
            if smoothing:
                return SmoothedCrossEntropy(logits, smoothing)
            return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        if smoothing:
            raise ConfigError(
                f"label_smoothing: got {smoothing:g} for answers that are no class numbers; "
                "expected 0."
            )
        if self.metric == "mae":
            return keras.losses.MeanSquaredError()
        return keras.losses.BinaryCrossentropy(from_logits=self.activation != "sigmoid")

    def figures(self) -> list[Any]:
        """The Keras metric to log."""
        if self.metric == "accuracy":
            return ["accuracy"]
        if self.metric == "mae":
            return [keras.metrics.MeanAbsoluteError(name="mae")]
        threshold = 0.5 if self.activation == "sigmoid" else 0.0
        return [keras.metrics.BinaryAccuracy(name="accuracy", threshold=threshold)]

    @property
    def decides(self) -> bool:
        """Whether every sample is one decision."""
        if self.metric == "binary_accuracy":
            return bool(np.prod(self.shape) == 1)
        return self.metric == "accuracy" and len(self.shape) == 1

    def hits(self, outputs: np.ndarray, targets: np.ndarray) -> str:
        """Which samples are decided rightly, packed, where every sample is one decision."""
        if self.metric == "accuracy":
            return pack_hits(top_hits(outputs, targets))
        threshold = 0.5 if self.activation == "sigmoid" else 0.0
        return pack_hits((outputs.ravel() > threshold) == (targets.ravel() > 0.5))


def _last_activation(model: KerasModel) -> str:
    layer = getattr(model.layers[-1], "layer", model.layers[-1])
    if type(layer).__name__ == "Softmax":
        return "softmax"
    return str(layer.get_config().get("activation"))


@keras.utils.register_keras_serializable(package="tfxp")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of class numbers, with a share s of the target spread over all classes.

        L = (1 - s) CE(y) + s mean_c CE(c)

    Args:
        from_logits: whether outputs are logits, not probabilities.
        smoothing: s.
    """

    def __init__(self, from_logits: bool, smoothing: float, **_: object) -> None:
        super().__init__(name="smoothed_cross_entropy")
        self.from_logits, self.smoothing = from_logits, smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Loss of every sample."""
        own = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)
        rows = tf.nn.log_softmax(y_pred) if self.from_logits else tf.math.log(y_pred + 1e-7)
        return (1 - self.smoothing) * own - self.smoothing * tf.reduce_mean(rows, -1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"from_logits": self.from_logits, "smoothing": self.smoothing}
