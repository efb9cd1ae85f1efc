"""What is counted on a data set: one figure for a model's outputs and the true answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfxp.data.dataset import Dataset
from tfxp.data.model_data import ModelData
from tfxp.errors import ConfigError, DataError, did_you_mean


@dataclass(frozen=True)
class Metric:
    """A figure of merit: its function of (outputs, data) and which way is better."""

    compute: Callable[[NDArray, Dataset | ModelData], float]
    higher_is_better: bool


def evaluate_metric(name: str, outputs: NDArray, data: Dataset | ModelData) -> float:
    """One figure for a model's outputs, codes or real values alike for the accuracies.

    Args:
        name: one of METRICS: "accuracy", "top5", "mae", "mse".
        outputs: one row a sample.
        data: the true answers.

    Raises:
        ConfigError: there is no such metric.
        DataError: no labels, or labels that do not go with the outputs.

    Example:
        >>> data = Dataset(np.zeros((2, 1)), np.array([1, 0]))
        >>> evaluate_metric("accuracy", np.array([[0.1, 0.9], [0.2, 0.8]]), data)
        0.5
    """
    if name not in METRICS:
        hint = did_you_mean(name, METRICS)
        raise ConfigError(f"metric: got {name!r}; expected one of {', '.join(METRICS)}.{hint}")
    if len(outputs) != len(data):
        raise DataError(
            f"outputs on {data.name}: got {len(outputs)} rows for {len(data)} samples;"
            " expected one each."
        )
    return METRICS[name].compute(np.asarray(outputs).reshape(len(outputs), -1), data)


def top_hits(outputs: NDArray, labels: NDArray, count: int = 1) -> NDArray[np.bool_]:
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


def _top(count: int) -> Callable[[NDArray, Dataset | ModelData], float]:
    def accuracy(outputs: NDArray, data: Dataset | ModelData) -> float:
        if outputs.shape[1] == 1:  # a single output says yes or no; codes cannot say where no ends
            raise DataError(
                f"outputs on {data.name}: got one value a sample; expected one a class. Use another"
                " metric."
            )
        labels = data.labels(outputs.shape[1])
        return float(np.mean(top_hits(outputs, labels, count)))

    return accuracy


def _mean_error(power: int) -> Callable[[NDArray, Dataset | ModelData], float]:
    def error(outputs: NDArray, data: Dataset | ModelData) -> float:
        if data.y is None:
            raise DataError(f"labels of {data.name}: got none; expected targets y.")
        targets = data.y.reshape(len(data), -1)
        if targets.shape != outputs.shape:
            raise DataError(
                f"targets of {data.name}: got {targets.shape[1]} values a sample;"
                f" expected {outputs.shape[1]}, as many as the model gives."
            )
        return float(np.mean(np.abs(outputs.astype(np.float64) - targets) ** power))

    return error


METRICS = {
    "accuracy": Metric(_top(1), True),
    "top5": Metric(_top(5), True),
    "mae": Metric(_mean_error(1), False),
    "mse": Metric(_mean_error(2), False),
}
