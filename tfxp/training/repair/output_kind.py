"""The meaning of a network's outputs, read off their last activations."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfxp.data import Dataset, choose_metric
from tfxp.errors import DataError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.quantization.read_network import is_quantized, plan_of
from tfxp.training.repair.masked_losses import masked, masked_losses
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
    def of(cls, model: KerasModel, index: int = 0) -> OutputKind:
        """The kind of one of a model's outputs, whatever shape layers follow its activation."""
        graph = plan_of(model).graph if is_quantized(model) else LayerGraph.from_model(model)
        ref = graph.outputs[index]
        while graph.spec_of(ref).kind in _KEEP_VALUES:
            ref = graph.calls[ref.call].refs()[0]
        spec, shape = graph.spec_of(ref), model.outputs[index].shape[1:]
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

    def row_losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The loss of every row, whose mean is `loss`."""
        if self.activation == "none":
            return tf.reduce_mean(tf.square(targets - outputs), -1)
        if self.activation == "sigmoid":
            return keras.losses.binary_crossentropy(targets, outputs)
        logits = self.activation == "logits"
        return keras.losses.categorical_crossentropy(targets, outputs, logits)

    def loss(
        self, targets: tf.Tensor, outputs: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Mean over rows that count: cross-entropy, or the squared error of real values."""
        return tf.reduce_mean(masked_losses(self.row_losses(targets, outputs), mask))

    def probabilities(self, rows: tf.Tensor) -> tf.Tensor:
        """What outputs mean as targets."""
        return tf.nn.softmax(rows) if self.activation == "logits" else rows

    def hits(
        self, targets: tf.Tensor, outputs: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The number of decisions that agree, of those that count; 0 where none is made."""
        if self.activation == "none":
            return tf.constant(0.0)
        if self.activation == "sigmoid":
            agree = tf.equal(outputs > 0.5, targets > 0.5)
        else:
            agree = tf.equal(tf.argmax(outputs, -1), tf.argmax(targets, -1))
        return tf.reduce_sum(masked(tf.cast(agree, tf.float32), mask))
