"""One figure of merit for the outputs of a network, added up batch by batch.

A scorer is made of a name of `tfxp.data.METRICS`, a Keras metric, a function of the user's, or one
of these for each output.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np

from tfxp.data import METRICS, Batch, Dataset, ModelData, choose_metric, evaluate_metric
from tfxp.data.dataset import class_numbers
from tfxp.data.metrics import AUTO, Metric, find_metric
from tfxp.errors import ConfigError, DataError, did_you_mean
from tfxp.keras import keras, tf

# A name, a Keras metric, a function, or one of these by the output's name.
MetricLike: TypeAlias = str | Callable[..., Any] | Mapping[str, Any]

_DIRECTIONS = {"max": True, "min": False}
_HIGHER = (
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryIoU", "CategoricalAccuracy", "CosineSimilarity",
    "F1Score", "FBetaScore", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "Precision",
    "PrecisionAtRecall", "R2Score", "Recall", "RecallAtPrecision", "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy", "SpecificityAtSensitivity",
    "TopKCategoricalAccuracy",
)  # fmt: skip
_LOWER = (
    "BinaryCrossentropy", "CategoricalCrossentropy", "CategoricalHinge", "FalseNegatives",
    "FalsePositives", "Hinge", "KLDivergence", "LogCoshError", "MeanAbsoluteError",
    "MeanAbsolutePercentageError", "MeanRelativeError", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Poisson", "RootMeanSquaredError",
    "SparseCategoricalCrossentropy", "SquaredHinge",
)  # fmt: skip
# What these are given must be shares from 0 to 1.
_PROBABILITIES = (
    "AUC", "F1Score", "FBetaScore", "Precision", "PrecisionAtRecall", "Recall",
    "RecallAtPrecision", "SensitivityAtSpecificity", "SpecificityAtSensitivity",
)  # fmt: skip


class Scorer(Protocol):
    """Adds up a figure over batches.

    Args:
        name: of the figure.
    """

    name: str

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""

    def reset(self) -> None:
        """Forget all batches."""

    def add(self, outputs: Sequence[np.ndarray], batch: Batch) -> None:
        """Take the outputs for a batch, one array each."""

    def value(self) -> float:
        """The figure of all batches since the last `reset`."""


def is_scorer(metric: MetricLike | Scorer) -> TypeGuard[Scorer]:
    """Whether it adds up by itself. `isinstance` would ask "auto" for a direction it has not yet.

    Example:
        >>> is_scorer(make_scorer("auto")), is_scorer("auto")
        (True, False)
    """
    return hasattr(type(metric), "add") and hasattr(type(metric), "reset")


def make_scorer(
    metric: MetricLike, outputs: Sequence[str] = ("output",), direction: str | None = None
) -> Scorer:
    """A scorer of whatever says what counts.

    Args:
        metric: a name ("accuracy", "mae", "anomaly_auc", ...), the name or an object of a Keras
            metric, a function (outputs, targets) -> number, or (outputs, targets, inputs), or one
            of these for each output by its name, whose mean counts.
        outputs: the names of the network's outputs, in order.
        direction: "max" or "min", which way is better; needed where nobody knows.

    Raises:
        ConfigError: no such metric, or a direction is missing.

    Example:
        >>> scorer = make_scorer("mean_absolute_error")
        >>> answers = Batch([np.zeros((2, 1))], np.array([[1.0], [4.0]]))
        >>> scorer.add([np.array([[1.0], [2.0]])], answers)
        >>> scorer.value(), scorer.higher_is_better
        (1.0, False)
    """
    if direction is not None and direction not in _DIRECTIONS:
        raise ConfigError(f"direction: got {direction!r}; expected max or min.")
    if isinstance(metric, Mapping):
        return _Several.of(metric, outputs, direction)
    if len(outputs) > 1 and (isinstance(metric, str) or _is_keras(metric)):
        return _Several.of(dict.fromkeys(outputs, metric), outputs, direction)
    if isinstance(metric, str):
        return _by_name(metric, direction)
    if _is_keras(metric):
        return _KerasScorer(metric, _direction(type(metric).__name__, direction))
    if not callable(metric):
        raise ConfigError(f"metric: got {metric!r}; expected a name, a Keras metric or a function.")
    name = getattr(metric, "__name__", type(metric).__name__)
    if direction is None:
        raise ConfigError(
            f"metric: got the function {name!r} without a direction; expected max or min, which "
            "way is better."
        )
    return _FunctionScorer(metric, name, _DIRECTIONS[direction])


def _by_name(name: str, direction: str | None) -> Scorer:
    if name == AUTO or name in METRICS:
        return NamedScorer(name)
    if name == "anomaly_auc":
        return _FunctionScorer(anomaly_auc, name, True)
    known = {title.lower(): title for title in (*_HIGHER, *_LOWER)}
    title = known.get(name.lower().replace("_", ""), name)
    found = getattr(keras.metrics, title, None)
    if not inspect.isclass(found):
        names = [*METRICS, "anomaly_auc", *_HIGHER, *_LOWER]
        hint = did_you_mean(name, names)
        raise ConfigError(
            f"metric: got {name!r}; expected one of {', '.join(METRICS)}, anomaly_auc, or a metric "
            f"of Keras.{hint}"
        )
    try:
        made = found()
    except TypeError as error:
        raise ConfigError(f"metric {name!r}: {error}. Give an object of it from Python.") from None
    return _KerasScorer(made, _direction(title, direction))


def _direction(name: str, direction: str | None) -> bool:
    if direction is not None:
        return _DIRECTIONS[direction]
    if name in _HIGHER or name in _LOWER:
        return name in _HIGHER
    raise ConfigError(
        f"metric: got {name!r} without a direction; expected max or min, which way is better."
    )


def _is_keras(metric: object) -> bool:
    return hasattr(metric, "update_state") and hasattr(metric, "result")


class NamedScorer:
    """A mean over samples, as `tfxp.data.METRICS` define it; of one output.

    Args:
        name: one of METRICS, or "auto".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._metric: Metric | None = None
        self.reset()

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        return self.metric.higher_is_better

    @property
    def metric(self) -> Metric:
        """The definition; "auto" has none before the first batch."""
        if self._metric is None:
            self._metric = find_metric(self.name)
        return self._metric

    def fit(self, outputs: np.ndarray, batch: Batch) -> None:
        """Choose by a first batch: the metric for "auto", and whether outputs are logits."""
        if self.name == AUTO:
            self.name = choose_metric(outputs.shape, _answers(batch))
        if self.name == "binary_accuracy":
            self._metric = find_metric(self.name).fitted(outputs)

    def of_all(self, outputs: np.ndarray, data: ModelData) -> float:
        """The figure of outputs and answers that are all in memory."""
        if self.name == AUTO:
            self.name = choose_metric(outputs.shape, data)
        return evaluate_metric(self.name, outputs, data)

    def reset(self) -> None:
        """Forget all batches."""
        self._sum, self._count = 0.0, 0

    def add(self, outputs: Sequence[np.ndarray], batch: Batch) -> None:
        """Take the outputs for a batch."""
        if self.name == AUTO or (self.name == "binary_accuracy" and self._metric is None):
            self.fit(outputs[0], batch)
        scores = self.scores(outputs[0], batch)
        self._sum, self._count = self._sum + float(scores.sum()), self._count + len(scores)

    def scores(self, outputs: np.ndarray, batch: Batch) -> np.ndarray:
        """The figure of every sample."""
        return self.metric.scores(outputs, self.answers(outputs, batch))

    def answers(self, outputs: np.ndarray, batch: Batch) -> np.ndarray:
        """The true answers as the metric takes them, checked."""
        return self.metric.answers(_answers(batch), outputs.shape)

    def value(self) -> float:
        """The mean over all samples."""
        return self._sum / max(self._count, 1)


class _KerasScorer:
    """A metric of Keras. Class numbers become one-hot rows where it wants rows."""

    def __init__(self, metric: keras.metrics.Metric, higher_is_better: bool) -> None:
        self._keras, self.higher_is_better = metric, higher_is_better
        self.name = re.sub(r"_\d+$", "", str(metric.name))  # Keras numbers equal names
        self._logits: bool | None = None

    def reset(self) -> None:
        """Forget all batches."""
        self._keras.reset_state()

    def add(self, outputs: Sequence[np.ndarray], batch: Batch) -> None:
        """Take the outputs for a batch."""
        found, wanted = np.asarray(outputs[0]), _required(batch)
        kind = type(self._keras).__name__
        classes = found.shape[-1] if found.ndim > 1 else 1
        rows = classes > 1 and wanted.size * classes == found.size
        if rows and not kind.startswith("Sparse"):
            numbers = class_numbers(wanted.reshape(len(wanted), -1), classes, "the data")
            wanted = np.eye(classes, dtype=np.float32)[numbers].reshape(found.shape)
        elif not rows:
            wanted = wanted.reshape(found.shape)
        if kind in _PROBABILITIES:
            found = self._as_probabilities(found)
        self._keras.update_state(wanted, found, batch.weights)

    def value(self) -> float:
        """The figure of all batches; the mean of a figure with one value a class."""
        return float(np.mean(self._keras.result()))

    def _as_probabilities(self, found: np.ndarray) -> np.ndarray:
        """Shares from 0 to 1; the first batch tells whether outputs are logits."""
        if self._logits is None:
            self._logits = bool(found.min() < 0 or found.max() > 1)
        if not self._logits:
            return found
        rows = found.ndim > 1 and found.shape[-1] > 1
        return np.asarray(tf.nn.softmax(found) if rows else tf.nn.sigmoid(found))


class _FunctionScorer:
    """A function of all outputs and targets, which are kept until the end."""

    def __init__(self, function: Callable[..., Any], name: str, higher_is_better: bool) -> None:
        self._function, self.name = function, name
        self.higher_is_better = higher_is_better
        self._wants_inputs = len(inspect.signature(function).parameters) > 2
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._seen: list[tuple[Any, Any, Any]] = []

    def add(self, outputs: Sequence[np.ndarray], batch: Batch) -> None:
        """Keep the outputs for a batch."""
        if batch.y is None:
            _required(batch)
        inputs = batch.inputs if self._wants_inputs else None
        self._seen.append((list(outputs), batch.y, inputs))

    def value(self) -> float:
        """What the function makes of all of it."""
        outputs, targets, inputs = (_joined(parts) for parts in zip(*self._seen, strict=True))
        values = [outputs, targets, inputs] if self._wants_inputs else [outputs, targets]
        found = float(self._function(*values))
        if not np.isfinite(found):
            raise DataError(f"metric {self.name!r}: got {found}; expected a finite number.")
        return found


@dataclasses.dataclass
class _Several:
    """The mean over the scorers of several outputs."""

    parts: list[tuple[int, str, Scorer]]
    name: str
    higher_is_better: bool

    @classmethod
    def of(
        cls, metrics: Mapping[str, Any], outputs: Sequence[str], direction: str | None
    ) -> _Several:
        unknown = [name for name in metrics if name not in outputs]
        if unknown or not metrics:
            raise ConfigError(
                f"metric: got figures for {', '.join(metrics) or 'nothing'}; expected outputs "
                f"among {', '.join(outputs)}."
            )
        parts = []
        for name, metric in metrics.items():
            own = metric if isinstance(metric, str) or not _is_keras(metric) else _copy(metric)
            parts.append((list(outputs).index(name), name, make_scorer(own, [name], direction)))
        ways = {scorer.higher_is_better for _, _, scorer in parts}
        if len(ways) > 1:
            raise ConfigError(
                "metric: got figures of which some are better high and some low; expected one "
                "direction. Give a function of all outputs."
            )
        title = ", ".join(f"{scorer.name} of {name}" for _, name, scorer in parts)
        return cls(parts, f"mean of {title}", ways.pop())

    def reset(self) -> None:
        for _, _, scorer in self.parts:
            scorer.reset()

    def add(self, outputs: Sequence[np.ndarray], batch: Batch) -> None:
        for index, name, scorer in self.parts:
            y = batch.y
            if isinstance(y, Mapping):
                y = y[name]
            elif isinstance(y, (tuple, list)):
                y = y[index]
            scorer.add([outputs[index]], dataclasses.replace(batch, y=y))

    def value(self) -> float:
        return float(np.mean([scorer.value() for _, _, scorer in self.parts]))


def anomaly_auc(outputs: np.ndarray, targets: np.ndarray, inputs: np.ndarray) -> float:
    """How well an autoencoder's error tells anomalies (1) from normal samples (0).

        AUC of  mean over a sample of (output - input)^2

    Args:
        outputs: what the autoencoder makes of the inputs, of their size.
        targets: 0 or 1 a sample.
        inputs: what it was given.

    Raises:
        DataError: targets of one kind only.

    Example:
        >>> anomaly_auc(np.zeros((3, 2)), np.array([0, 0, 1]), np.array([[0, 1], [0, 0], [3, 3]]))
        1.0
    """
    from sklearn.metrics import roc_auc_score

    marks = np.asarray(targets).reshape(len(targets))
    if set(np.unique(marks)) != {0, 1}:
        raise DataError(f"targets of anomaly_auc: got {np.unique(marks)[:5]}; expected 0 and 1.")
    difference = outputs.reshape(len(outputs), -1) - inputs.reshape(len(inputs), -1)
    return float(roc_auc_score(marks, np.mean(np.square(difference, dtype=np.float64), axis=1)))


def _copy(metric: keras.metrics.Metric) -> Any:
    return type(metric).from_config(metric.get_config())


def _answers(batch: Batch) -> Dataset:
    return Dataset(np.zeros(len(batch)), _required(batch), "the data")


def _required(batch: Batch) -> np.ndarray:
    if batch.y is None:
        raise DataError("labels of the data: got none; expected some to score by.")
    if isinstance(batch.y, (Mapping, tuple, list)):
        raise DataError("labels of the data: got several answers a sample; expected one.")
    return np.asarray(batch.y)


def _joined(parts: Sequence[Any]) -> Any:
    """All batches in one; a list of one array is that array."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        return {key: np.concatenate([part[key] for part in parts]) for key in first}
    if isinstance(first, (list, tuple)):
        arrays = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return arrays if len(arrays) > 1 else arrays[0]
    return np.concatenate(parts)
