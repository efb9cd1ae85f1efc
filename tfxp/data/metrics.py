"""What is counted on a data set: one figure for a model's outputs and the true answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.data.dataset import Dataset, class_numbers
from tfxp.data.model_data import ModelData
from tfxp.errors import ConfigError, DataError, did_you_mean

AUTO = "auto"


@dataclass(frozen=True)
class Metric:
    """A figure of merit: a mean over samples.

    Args:
        answers: the true answers of a data set, as `per_sample` takes them, for outputs of a shape
            (samples, ...).
        per_sample: the figure of every sample, from outputs and answers.
        higher_is_better: which way is better.
        threshold: outputs above it say yes, where outputs say yes or no.
    """

    answers: Callable[[Dataset | ModelData, tuple[int, ...]], NDArray[Any]]
    per_sample: Callable[[NDArray[Any], NDArray[Any], float], NDArray[Any]]
    higher_is_better: bool
    threshold: float = 0.5

    def compute(self, outputs: NDArray[Any], data: Dataset | ModelData) -> float:
        """The mean over all samples.

        Raises:
            DataError: no labels, or labels that do not go with the outputs.
        """
        answers = self.answers(data, outputs.shape)
        return float(np.mean(self.fitted(outputs).scores(outputs, answers)))

    def scores(self, outputs: NDArray[Any], answers: NDArray[Any]) -> NDArray[Any]:
        """The figure of every sample."""
        return self.per_sample(outputs, answers, self.threshold)

    def fitted(self, outputs: NDArray[Any]) -> Metric:
        """The metric for outputs like these: logits say yes above 0, probabilities above 1/2."""
        probabilities = outputs.size > 0 and 0 <= outputs.min() and outputs.max() <= 1
        return replace(self, threshold=0.5 if probabilities else 0.0)


def evaluate_metric(name: str, outputs: NDArray[Any], data: Dataset | ModelData) -> float:
    """One figure for a model's outputs, codes or real values alike for accuracy and top5.

    Args:
        name: one of METRICS: "accuracy", "top5", "binary_accuracy", "mae", "mse"; "auto" takes
            what `choose_metric` says.
        outputs: one row a sample; classes along the last axis.
        data: the true answers.

    Raises:
        ConfigError: there is no such metric.
        DataError: no labels, or labels that do not go with the outputs.

    Example:
        >>> data = Dataset(np.zeros((2, 1)), np.array([1, 0]))
        >>> evaluate_metric("accuracy", np.array([[0.1, 0.9], [0.2, 0.8]]), data)
        0.5
        >>> evaluate_metric("binary_accuracy", np.array([[0.9], [0.2]]), data)
        1.0
    """
    outputs = np.asarray(outputs)
    if len(outputs) != len(data):
        raise DataError(
            f"outputs on {data.name}: got {len(outputs)} rows for {len(data)} samples;"
            " expected one each."
        )
    return find_metric(choose_metric(outputs.shape, data) if name == AUTO else name).compute(
        outputs, data
    )


def find_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        ConfigError: there is no such metric.
    """
    if name not in METRICS:
        hint = did_you_mean(name, METRICS)
        raise ConfigError(f"metric: got {name!r}; expected one of {', '.join(METRICS)}.{hint}")
    return METRICS[name]


def choose_metric(shape: tuple[int, ...], data: Dataset | ModelData) -> str:
    """The metric that fits a network's outputs and the answers.

    Class numbers, or one-hot rows, for outputs of several classes, at every position if there are
    positions: "accuracy". Zeros and ones, as many as outputs: "binary_accuracy". Else "mae".

    Args:
        shape: of the outputs, (samples, ...), or of one batch.
        data: the answers.

    Raises:
        DataError: there are none.

    Example:
        >>> choose_metric((4, 1), Dataset(np.zeros((4, 2)), np.array([0, 1, 1, 0])))
        'binary_accuracy'
        >>> choose_metric((4, 1), Dataset(np.zeros((4, 2)), np.array([0.5, 1.5, 7.0, 2.0])))
        'mae'
        >>> choose_metric((4, 8, 8, 3), Dataset(np.zeros((4, 2)), np.ones((4, 8, 8), int)))
        'accuracy'
    """
    y = _flat_answers(data)
    classes, count = _classes(shape), math.prod(shape[1:])
    if classes > 1:
        whole = np.array_equal(y, np.trunc(y)) and y.min() >= 0
        if whole and y.shape[1] * classes == count:
            return "accuracy"
        if y.shape[1] == count and _one_hot(y.reshape(-1, classes)):
            return "accuracy"
    return "binary_accuracy" if np.isin(y, (0, 1)).all() else "mae"


def top_hits(outputs: NDArray[Any], labels: NDArray[Any], count: int = 1) -> NDArray[np.bool_]:
    """Whether the true class is among the `count` largest outputs of each sample.

    As argmax does, the first of equal outputs wins.

    Args:
        outputs: (samples, classes).
        labels: class numbers.
        count: how many of the largest outputs count.

    Example:
        >>> top_hits(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 1]))
        array([ True, False])
    """
    outputs = outputs.reshape(len(outputs), -1)
    own = np.take_along_axis(outputs, labels[:, np.newaxis], axis=1)
    before = np.arange(outputs.shape[1]) < labels[:, np.newaxis]
    rank = np.sum((outputs > own) | ((outputs == own) & before), axis=1)
    return rank < count


def _classes(shape: tuple[int, ...]) -> int:
    """The length of the last axis that is longer than one; 1 for a single value."""
    return next((size for size in reversed(shape[1:]) if size > 1), 1)


def _one_hot(rows: NDArray[Any]) -> bool:
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())


def _flat_answers(data: Dataset | ModelData) -> NDArray[Any]:
    if data.y is None:
        raise DataError(f"labels of {data.name}: got none; expected an array y.")
    return data.y.reshape(len(data), -1)


def _class_numbers(data: Dataset | ModelData, shape: tuple[int, ...]) -> NDArray[Any]:
    """(samples, positions) class numbers."""
    classes, count = _classes(shape), math.prod(shape[1:])
    if classes == 1:  # codes cannot say where no ends
        raise DataError(
            f"outputs on {data.name}: got one value a sample; expected one a class. Use"
            " --metric=binary_accuracy, mae or mse."
        )
    if classes == count:
        return data.labels(classes)[:, np.newaxis]
    y = _flat_answers(data)
    if y.shape[1] == count and _one_hot(y.reshape(-1, classes)):
        return y.reshape(len(y), -1, classes).argmax(axis=-1)
    numbers = class_numbers(y, classes, data.name)
    if y.shape[1] * classes != count:
        raise DataError(
            f"labels of {data.name}: got {y.shape[1]} a sample; expected {count // classes}, one a"
            " position."
        )
    return numbers


def _yes_or_no(data: Dataset | ModelData, shape: tuple[int, ...]) -> NDArray[Any]:
    y = _values(data, shape)
    if not np.isin(y, (0, 1)).all():
        raise DataError(f"labels of {data.name}: got {y.min():g} to {y.max():g}; expected 0 and 1.")
    return y


def _values(data: Dataset | ModelData, shape: tuple[int, ...]) -> NDArray[Any]:
    y, count = _flat_answers(data), math.prod(shape[1:])
    if y.shape[1] != count:
        raise DataError(
            f"targets of {data.name}: got {y.shape[1]} values a sample; expected {count}, as many"
            " as the model gives."
        )
    return y


def _hits(count: int) -> Callable[[NDArray[Any], NDArray[Any], float], NDArray[Any]]:
    def hits(outputs: NDArray[Any], numbers: NDArray[Any], _: float) -> NDArray[Any]:
        found = top_hits(outputs.reshape(numbers.size, -1), numbers.ravel(), count)
        return np.asarray(found.reshape(numbers.shape).mean(axis=1))

    return hits


def _agreement(outputs: NDArray[Any], answers: NDArray[Any], threshold: float) -> NDArray[Any]:
    decisions = outputs.reshape(answers.shape) > threshold
    return np.asarray((decisions == (answers == 1)).mean(axis=1))


def _errors(power: int) -> Callable[[NDArray[Any], NDArray[Any], float], NDArray[Any]]:
    def errors(outputs: NDArray[Any], answers: NDArray[Any], _: float) -> NDArray[Any]:
        differences = outputs.reshape(answers.shape).astype(np.float64) - answers
        return np.asarray((np.abs(differences) ** power).mean(axis=1))

    return errors


METRICS = {
    "accuracy": Metric(_class_numbers, _hits(1), True),
    "top5": Metric(_class_numbers, _hits(5), True),
    "binary_accuracy": Metric(_yes_or_no, _agreement, True),
    "mae": Metric(_values, _errors(1), False),
    "mse": Metric(_values, _errors(2), False),
}
