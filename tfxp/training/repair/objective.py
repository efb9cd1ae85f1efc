"""The loss of a network's outputs against answers and against its float twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.devices import is_replicated, per_replica, scope_of, strategy_of
from tfxp.errors import DataError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.sparsity.activation_penalty import ActivationPenalty
from tfxp.training.repair.answer_loss import AnswerLoss
from tfxp.training.repair.masked_losses import mask_of

# What a network reads: a tensor, or one for every input.
Inputs: TypeAlias = tf.Tensor | Sequence[tf.Tensor]


class Objective:
    """The loss of a quantized network against labels and against its float twin.

        loss = (1 - t) * (L(y, q(x)) + R) + t * L(float(x), q(x)) + P

    R is what the network adds itself: its regularizers, and losses of `add_loss`. It was chosen
    for a training on labels, and for kernels before BatchNormalization was folded into them; the
    teacher alone asks for no other output than its own. P is what was asked for with the training:
    the price of activations that are not zero. It is left out where samples are judged.

    The losses of several outputs are added up. Weights of samples and of classes multiply the
    losses of their rows, whose sum is divided by the number of rows, as Keras does. Steps that the
    mask of an output leaves out do not count, for labels and teacher alike.

    Args:
        qmodel: the quantized model.
        y: all labels or targets, or many of them, to see whether they fit; a tuple of arrays for
            several outputs; None for the teacher alone.
        teacher: the float model; None for labels alone.
        share: t where there are both, 0 to 1.
        penalty: P; None for none.
        loss: L of labels, where it is another than the output's own: see `AnswerLoss`.
        class_weight: class number -> weight of its rows, for outputs of classes.

    Raises:
        DataError: neither labels nor a teacher, or labels that do not fit the output.
        ConfigError: a loss or class weights that do not go with the outputs.
    """

    def __init__(
        self,
        qmodel: KerasModel,
        y: np.ndarray | tuple[np.ndarray, ...] | None,
        teacher: Callable[..., Any] | None,
        share: float,
        penalty: ActivationPenalty | None = None,
        loss: Any = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        if teacher is None and y is None:
            raise DataError(
                "fine-tuning: got neither labels nor a float model; expected one of them."
            )
        self._qmodel, self._teacher, self._penalty = qmodel, teacher, penalty
        self._share = 0.0 if teacher is None else 1.0 if y is None else share
        targets = y if isinstance(y, tuple) else (y,) * len(qmodel.outputs)
        self._answers = tuple(
            AnswerLoss.of(qmodel, index, part, loss, class_weight)
            for index, part in enumerate(targets)
        )
        self._labelled = y is not None
        self._strategy = strategy_of(qmodel)
        self._examine = per_replica(self._strategy, self._look)

    @property
    def is_taught(self) -> bool:
        """Whether a teacher has a share in the loss."""
        return self._share > 0

    def step(self, optimizer: keras.optimizers.Optimizer) -> Callable[[Any, tf.Tensor], tf.Tensor]:
        """A compiled training step: (inputs, labels) -> loss.

        Args:
            optimizer: made in the scope of the model's strategy; it adds up the replicas'
                gradients.
        """
        variables = self._qmodel.trainable_weights
        with scope_of(self._qmodel):
            optimizer.build(variables)
        # Nothing to add up; and the sum would keep this graph for as long as the process runs.
        alone = not is_replicated(self._qmodel)

        def step(x: Inputs, y: Any, share: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                outputs, paid = self._forward(x)
                loss = share * (self._loss(x, y, list(tf.nest.flatten(outputs))) + paid)
            gradients = tape.gradient(loss, variables)
            pairs = zip(gradients, variables, strict=True)
            optimizer.apply_gradients(pairs, skip_gradients_aggregation=alone)
            return loss

        return per_replica(self._strategy, step)

    def _forward(self, x: Inputs) -> tuple[Any, tf.Tensor]:
        """The network's outputs in training, and P."""
        if self._penalty is None:
            return self._qmodel(x, training=True), tf.constant(0.0)
        return self._penalty.run(x)

    def examine(self, x: Inputs, y: tf.Tensor) -> tuple[float, float]:
        """Decisions of a batch that are right (by the labels, or else by the teacher); its loss."""
        hits, loss = self._examine(x, y)
        return float(hits), float(loss)

    def _loss(self, x: Inputs, y: Any, outputs: list[tf.Tensor]) -> tf.Tensor:
        """The loss of a batch, right after the network has computed its outputs."""
        loss = tf.constant(0.0)
        if self._share < 1:
            own = [tf.cast(value, tf.float32) for value in self._qmodel.losses]
            answers, weights = _unpacked(y)
            triples = zip(self._answers, answers, outputs, strict=True)
            losses = [part.loss(wanted, found, weights) for part, wanted, found in triples]
            loss += (1 - self._share) * tf.add_n([*losses, *own])
        if self._share > 0:
            triples = zip(self._answers, self._taught(x), outputs, strict=True)
            for part, wanted, found in triples:
                rows = part.kind.rows(found)
                loss += self._share * part.kind.loss(wanted, rows, mask_of(found))
        return loss

    def _look(self, x: Inputs, y: Any, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self._outputs(self._qmodel, x, False)
        answers, _ = _unpacked(y)
        if self._labelled:
            wanted = [a.targets(t) for a, t in zip(self._answers, answers, strict=True)]
        else:
            wanted = self._taught(x)
        triples = zip(self._answers, wanted, outputs, strict=True)
        hits = [
            part.kind.hits(rows, part.kind.rows(found), mask_of(found))
            for part, rows, found in triples
        ]
        # A replica without a sample, behind the last batch, has no mean.
        return tf.add_n(hits), tf.math.multiply_no_nan(self._loss(x, y, outputs), share)

    def _outputs(self, model: Callable[..., Any], x: Inputs, training: bool) -> list[tf.Tensor]:
        return list(tf.nest.flatten(model(x, training=training)))

    def _taught(self, x: Inputs) -> list[tf.Tensor]:
        assert self._teacher is not None
        found = self._outputs(self._teacher, x, False)
        return [
            tf.stop_gradient(part.kind.probabilities(part.kind.rows(output)))
            for part, output in zip(self._answers, found, strict=True)
        ]


def _unpacked(y: Any) -> tuple[tuple[Any, ...], Any]:
    """The answers of every output, and the weights of samples or None."""
    weights = None
    if isinstance(y, dict):
        y, weights = y["answers"], y["weights"]
    return (y if isinstance(y, tuple) else (y,)), weights
