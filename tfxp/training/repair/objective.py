"""The loss of a network's output and the decisions it stands for, read off its last activation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data import Dataset, choose_metric
from tfxp.errors import DataError, ModelError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.quantization.read_network import is_quantized, plan_of
from tfxp.sparsity.activation_penalty import ActivationPenalty
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import is_softmax
from tfxp.transforms.training_only import TRAINING_ONLY

_KEEP_VALUES = ("Reshape", "Flatten", *TRAINING_ONLY)


@dataclass(frozen=True)
class OutputKind:
    """The meaning of a network's output.

    Args:
        activation: "softmax" (one class of several at every position), "logits" (the same before a
            softmax), "sigmoid" (yes or no for every element) or "none" (real values).
        classes: classes of a softmax or of logits; 1 for the others.
        elements: values a sample, where they are known.
        last: the length of the last axis.
    """

    activation: str
    classes: int = 1
    elements: int | None = None
    last: int = 1

    @classmethod
    def of(cls, model: KerasModel) -> OutputKind:
        """The kind of a model's output, whatever shape layers follow its activation.

        Raises:
            ModelError: the model has several outputs.
        """
        if len(model.outputs) != 1:
            raise ModelError(
                f"fine-tuning of {model.name!r}: got {len(model.outputs)} outputs; expected one. "
                "Use your own fit instead."
            )
        graph = plan_of(model).graph if is_quantized(model) else LayerGraph.from_model(model)
        ref = graph.outputs[0]
        while graph.spec_of(ref).kind in _KEEP_VALUES:
            ref = graph.calls[ref.call].refs()[0]
        spec, shape = graph.spec_of(ref), model.outputs[0].shape[1:]
        elements = shape.num_elements() if shape.is_fully_defined() else None
        activation = str(spec.config.get("activation"))
        if is_softmax(spec) or activation == "softmax":
            return cls("softmax", graph.shape_of(ref)[-1] or 1, elements, shape[-1] or 1)
        return cls("sigmoid" if "sigmoid" in activation else "none", 1, elements, shape[-1] or 1)

    def for_targets(self, y: np.ndarray | None) -> OutputKind:
        """The kind that targets reveal: values that are to be classes are logits."""
        if y is None or not len(y) or self.activation != "none" or self.elements is None:
            return self
        answers = Dataset(np.zeros(len(y)), y, "training targets")
        is_class = choose_metric((len(y), self.elements // self.last, self.last), answers)
        if is_class != "accuracy":
            return self
        return dataclasses.replace(self, activation="logits", classes=self.last)

    def are_numbers(self, y: np.ndarray | None) -> bool:
        """Whether targets are class numbers, one for a row of classes.

        Raises:
            DataError: another number of values a sample, or no such class.
        """
        if y is None:
            return False
        count = y.size // max(len(y), 1)
        if self.elements is None:
            numbered = self.classes > 1 and y.shape[-1:] != (self.classes,)
        else:
            numbered = self.classes > 1 and count * self.classes == self.elements
            if not numbered and count != self.elements:
                rows = self.elements // self.classes
                wanted = f"{rows} (or one-hot rows)" if self.classes > 1 else str(self.elements)
                raise DataError(f"training targets: got {count} a sample; expected {wanted}.")
        if numbered and len(y) and not 0 <= y.min() <= y.max() < self.classes:
            raise DataError(
                f"labels of the training data: got {y.min()} to {y.max()}; expected 0 to "
                f"{self.classes - 1}."
            )
        return numbered

    def rows(self, values: tf.Tensor) -> tf.Tensor:
        """Outputs, or targets like them, as rows of classes or of one value."""
        return tf.reshape(tf.cast(values, tf.float32), (-1, self.classes))

    def loss(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Mean over rows: cross-entropy, or the squared error of real values."""
        if self.activation == "none":
            return tf.reduce_mean(tf.square(targets - outputs))
        if self.activation == "sigmoid":
            return tf.reduce_mean(keras.losses.binary_crossentropy(targets, outputs))
        logits = self.activation == "logits"
        return tf.reduce_mean(keras.losses.categorical_crossentropy(targets, outputs, logits))

    def hits(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The number of decisions that agree; 0 where the output decides nothing."""
        if self.activation == "none":
            return tf.constant(0.0)
        if self.activation == "sigmoid":
            agree = tf.equal(outputs > 0.5, targets > 0.5)
        else:
            agree = tf.equal(tf.argmax(outputs, -1), tf.argmax(targets, -1))
        return tf.reduce_sum(tf.cast(agree, tf.float32))


class Objective:
    """The loss of a quantized network against labels and against its float twin.

        loss = (1 - t) * (L(y, q(x)) + R) + t * L(float(x), q(x)) + P

    R is what the network adds itself: its regularizers, and losses of `add_loss`. It was chosen
    for a training on labels, and for kernels before BatchNormalization was folded into them; the
    teacher alone asks for no other output than its own. P is what was asked for with the training:
    the price of activations that are not zero. It is left out where samples are judged.

    Args:
        qmodel: the quantized model.
        y: all labels or targets, to see whether they fit; None for the teacher alone.
        teacher: the float model; None for labels alone.
        share: t where there are both, 0 to 1.
        penalty: P; None for none.

    Raises:
        DataError: neither labels nor a teacher, or labels that do not fit the output.
        ModelError: several outputs.
    """

    def __init__(
        self,
        qmodel: KerasModel,
        y: np.ndarray | None,
        teacher: Callable[..., Any] | None,
        share: float,
        penalty: ActivationPenalty | None = None,
    ) -> None:
        if teacher is None and y is None:
            raise DataError(
                "fine-tuning: got neither labels nor a float model; expected one of them."
            )
        self._qmodel, self._teacher, self._penalty = qmodel, teacher, penalty
        self._share = 0.0 if teacher is None else 1.0 if y is None else share
        self.kind = OutputKind.of(qmodel).for_targets(y)
        self._labelled, self._numbered = y is not None, self.kind.are_numbers(y)
        self._examine = tf.function(self._look, reduce_retracing=True)

    def step(self, optimizer: Any) -> Callable[[Any, tf.Tensor], tf.Tensor]:
        """A compiled training step: (inputs, labels) -> loss."""
        variables = self._qmodel.trainable_weights
        optimizer.build(variables)

        @tf.function(reduce_retracing=True)
        def step(x: Any, y: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                outputs, paid = self._forward(x)
                loss = self._loss(x, y, self.kind.rows(outputs)) + paid
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        return step

    def _forward(self, x: Any) -> tuple[Any, tf.Tensor]:
        """The network's outputs in training, and P."""
        if self._penalty is None:
            return self._qmodel(x, training=True), tf.constant(0.0)
        return self._penalty.run(x)

    def examine(self, x: Any, y: tf.Tensor) -> tuple[float, float]:
        """Decisions of a batch that are right (by the labels, or else by the teacher); its loss."""
        hits, loss = self._examine(x, y)
        return float(hits), float(loss)

    def _loss(self, x: Any, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The loss of a batch, right after the network has computed its outputs."""
        loss = tf.constant(0.0)
        if self._share < 1:
            own = [tf.cast(value, tf.float32) for value in self._qmodel.losses]
            labelled = tf.add_n([self.kind.loss(self._targets(y), outputs), *own])
            loss += (1 - self._share) * labelled
        if self._share > 0:
            loss += self._share * self.kind.loss(self._taught(x), outputs)
        return loss

    def _look(self, x: Any, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self.kind.rows(self._qmodel(x, training=False))
        wanted = self._targets(y) if self._labelled else self._taught(x)
        return self.kind.hits(wanted, outputs), self._loss(x, y, outputs)

    def _targets(self, y: tf.Tensor) -> tf.Tensor:
        if self._numbered:
            numbers = tf.reshape(tf.cast(y, tf.int32), (-1,))
            return tf.one_hot(numbers, self.kind.classes)
        return self.kind.rows(y)

    def _taught(self, x: Any) -> tf.Tensor:
        assert self._teacher is not None
        rows = self.kind.rows(self._teacher(x, training=False))
        return tf.stop_gradient(tf.nn.softmax(rows) if self.kind.activation == "logits" else rows)
