"""The loss of one output against its answers: its own, or one of Keras, with weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.training.repair.masked_losses import mask_of, masked_losses
from tfxp.training.repair.output_kind import OutputKind


@dataclass(frozen=True)
class AnswerLoss:
    """What an output is trained for.

    Args:
        kind: the meaning of the output.
        numbered: whether answers are class numbers.
        keras_loss: a function (answers, outputs) -> loss of every sample or position; None for the
            loss of the output's kind.
        class_weights: the weight of every class; None where all count the same.
        shape: the output's, without samples.
    """

    kind: OutputKind
    numbered: bool
    keras_loss: Any = None
    class_weights: tuple[float, ...] | None = None
    shape: tuple[int | None, ...] = ()

    @classmethod
    def of(
        cls,
        model: KerasModel,
        index: int,
        y: np.ndarray | None,
        loss: Any = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> AnswerLoss:
        """The loss of a model's output.

        Args:
            model: the quantized model.
            index: the output's position.
            y: its answers, or many of them, to see what they are.
            loss: a Keras loss (name, object, or function), or one for each output by its name.
            class_weight: class number -> weight; other classes count 1.

        Raises:
            ConfigError: no such loss, or class weights for what are no classes.
            DataError: answers that do not fit the output.
        """
        name = model.output_names[index]
        if isinstance(loss, Mapping):
            unknown = [key for key in loss if key not in model.output_names]
            if unknown:
                raise ConfigError(
                    f"loss: got one for {', '.join(unknown)}; expected outputs among "
                    f"{', '.join(model.output_names)}."
                )
            loss = loss.get(name)
        kind, shape = OutputKind.of(model, index), tuple(model.outputs[index].shape[1:])
        if loss is not None:
            return cls(kind.for_targets(y), False, _by_sample(loss), None, shape)
        kind = kind.for_targets(y)
        numbered = kind.are_numbers(y)
        return cls(kind, numbered, None, _table(class_weight, kind, name), shape)

    def targets(self, y: tf.Tensor) -> tf.Tensor:
        """Answers as rows of classes or of one value."""
        count = y.shape[1:].num_elements()
        other = self.keras_loss is not None and count != self.kind.elements
        if self.numbered or (other and self.kind.classes > 1):
            return tf.one_hot(tf.reshape(tf.cast(y, tf.int32), (-1,)), self.kind.classes)
        return self.kind.rows(y)

    def loss(self, y: tf.Tensor, outputs: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """The mean over rows, each times its weight, and over those that the outputs' mask counts.

        Args:
            y: answers of a batch.
            outputs: of the network.
            weights: one a sample, or None.
        """
        mask = mask_of(outputs)
        if self.keras_loss is not None:
            losses = self.keras_loss(_like(y, outputs), outputs)
            return _weighted_mean(masked_losses(losses, mask), weights)
        targets, rows = self.targets(y), self.kind.rows(outputs)
        if weights is None and self.class_weights is None:
            return self.kind.loss(targets, rows, mask)
        losses = self.kind.row_losses(targets, rows)
        if self.class_weights is not None:
            losses *= tf.linalg.matvec(targets, tf.constant(self.class_weights, tf.float32))
        losses = masked_losses(tf.reshape(losses, (tf.shape(outputs)[0], -1)), mask)
        return _weighted_mean(losses, weights)


def _by_sample(loss: Any) -> Any:
    """A Keras loss as a function that gives a loss for every sample or position."""
    try:
        found = keras.losses.get(loss)
    except ValueError as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"loss: got {loss!r}; expected a loss of Keras ({reason}).") from None
    if isinstance(found, keras.losses.Loss):
        return found.call
    return found


def _like(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Answers with a last axis of length 1 where outputs have one, as `compile` makes them."""
    if y.shape.rank is not None and y.shape.rank + 1 == outputs.shape.rank:
        return y[..., tf.newaxis]
    return y


def _weighted_mean(losses: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """The mean of losses, the samples' first axis times their weights."""
    losses = tf.cast(losses, tf.float32)
    if weights is not None:
        losses *= tf.reshape(weights, (-1, *[1] * (losses.shape.rank - 1)))
    return tf.reduce_mean(losses)


def _table(
    weights: Mapping[int, float] | None, kind: OutputKind, name: str
) -> tuple[float, ...] | None:
    if weights is None:
        return None
    wrong = [key for key in weights if not 0 <= int(key) < kind.classes]
    if kind.classes < 2 or wrong or not all(w >= 0 for w in weights.values()):
        raise ConfigError(
            f"class_weight: got {dict(weights)} for the output {name!r} of {kind.classes} classes; "
            "expected weights of 0 or more for some of its classes."
        )
    return tuple(float(weights.get(number, 1.0)) for number in range(kind.classes))
