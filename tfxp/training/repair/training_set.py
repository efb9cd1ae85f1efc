"""The samples of a fine-tuning: batches to learn from, in an order of every epoch's own, and others
to judge by. Arrays are one kind, streams another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.data import Batch, ModelData
from tfxp.errors import DataError
from tfxp.streams.stream import Stream

# Inputs and answers of a batch as a step takes them. Several inputs are a list, answers for several
# outputs a tuple; weights of samples make a dict {"answers": ..., "weights": ...} of the answers.
Tensors: TypeAlias = tuple[Any, Any]
_LOOK = 1024  # samples whose labels tell what kind of labels there are


class TrainingSet(Protocol):
    """Samples to learn from, and samples to judge by.

    Args:
        steps: whole batches in an epoch.
        samples: how many there are in all.
        held: how many of them judge.
    """

    steps: int
    samples: int
    held: int

    def epoch(self, number: int, start: int = 0) -> Iterator[Tensors]:
        """The batches of an epoch, the same for the same number; from step `start` on."""

    def judging(self) -> Iterator[tuple[Tensors, int]]:
        """Batches to judge by, each with the number of its samples."""


def split(samples: int, batch_size: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample numbers to train on and to judge by; all for both where none can be spared.

    Example:
        >>> learned, held = split(100, 32, 0.1, seed=0)
        >>> len(learned), len(held), len({*learned, *held})
        (90, 10, 100)
    """
    count = min(round(share * samples), samples - batch_size)
    if count < 1:
        return np.arange(samples), np.arange(samples)
    order = np.random.default_rng(seed).permutation(samples)
    return np.sort(order[count:]), np.sort(order[:count])


@dataclasses.dataclass(frozen=True)
class Order:
    """What decides which samples a step sees.

    Args:
        batch_size: samples a step.
        held_back: share of the samples that judge.
        seed: of all draws.
        fixed: whether the network takes batches of this size only.
    """

    batch_size: int
    held_back: float
    seed: int
    fixed: bool = False


class ArraySamples:
    """Arrays in memory, shuffled by tf.data, held back by a draw.

    Args:
        data: all samples.
        weights: of the samples, or None.
        order: which samples a step sees.
        batches: (arrays, labels, weights, epoch) -> the epoch's batches.
    """

    def __init__(
        self,
        data: ModelData,
        weights: np.ndarray | None,
        order: Order,
        batches: Callable[..., Iterator[Tensors]],
    ) -> None:
        arrays, y = [part.x for part in data.parts], data.y
        learned, held = split(len(data), order.batch_size, order.held_back, order.seed)
        self._order, self._batches = order, batches
        self._arrays, self._y, self._rows = arrays, y, held
        self._weights = weights
        self._training = (
            [part[learned] for part in arrays],
            None if y is None else y[learned],
            None if weights is None else weights[learned],
        )
        self.samples, self.held = len(data), len(held)
        self.steps = len(learned) // order.batch_size

    def epoch(self, number: int, start: int = 0) -> Iterator[Tensors]:
        """The batches of an epoch."""
        for step, batch in enumerate(self._batches(*self._training, number)):
            if step >= start:
                yield batch

    def judging(self) -> Iterator[tuple[Tensors, int]]:
        """Batches to judge by; a network of a fixed batch gets the last one filled up."""
        size = self._order.batch_size
        y = np.zeros(self.samples, np.int64) if self._y is None else self._y
        for start in range(0, len(self._rows), size):
            rows = self._rows[start : start + size]
            filled = np.resize(rows, size) if len(rows) < size and self._order.fixed else rows
            parts = [tf.constant(part[filled], tf.float32) for part in self._arrays]
            weights = None if self._weights is None else self._weights[filled]
            x = parts if len(parts) > 1 else parts[0]
            yield (x, weighted(tf.constant(y[filled]), weights)), len(filled)


class StreamSamples:
    """A stream: the first samples judge, the others are shuffled and read again in every epoch.

    Args:
        source: all samples.
        order: which samples a step sees.
        augment: images -> images, drawn for (epoch, step); None for none.
        outputs: the names of the network's outputs.

    Raises:
        DataError: fewer samples than one batch.
    """

    def __init__(
        self,
        source: Stream,
        order: Order,
        outputs: Sequence[str],
        augment: Callable[[np.ndarray, int, int], np.ndarray] | None = None,
    ) -> None:
        source = source.with_count()
        assert source.count is not None
        self._order, self._augment, self._outputs = order, augment, outputs
        self.samples = source.count
        if self.samples < order.batch_size:
            raise DataError(
                f"training data: got {self.samples} samples; expected at least a batch of "
                f"{order.batch_size}."
            )
        held = min(round(order.held_back * self.samples), self.samples - order.batch_size)
        self.held = held if held > 0 else self.samples
        self._held = source.take(self.held)
        self._learned = source.skip(held) if held > 0 else source
        self.steps = (self.samples - max(held, 0)) // order.batch_size
        self.peek = _answers_of(source.take(_LOOK).batches(256), outputs)

    def epoch(self, number: int, start: int = 0) -> Iterator[Tensors]:
        """The batches of an epoch, from a step on: its order follows from seed and number."""
        size = self._order.batch_size
        batches = self._learned.shuffled(size, self._order.seed + number, start * size)
        for step, batch in enumerate(batches, start):
            if self._augment is not None:
                inputs = [self._augment(batch.inputs[0], number, step)]
                batch = dataclasses.replace(batch, inputs=inputs)
            yield _tensors(batch, self._outputs)

    def judging(self) -> Iterator[tuple[Tensors, int]]:
        """Batches to judge by; a network of a fixed batch gets whole ones only."""
        size = self._order.batch_size
        for batch in self._held.batches(size):
            if len(batch) == size or not self._order.fixed:
                yield _tensors(batch, self._outputs), len(batch)


def answers_in_order(y: Any, outputs: Sequence[str]) -> Any:
    """Answers for each output, in order: a tuple where there are several, else one array.

    Raises:
        DataError: other answers than outputs.
    """
    if len(outputs) == 1:
        if isinstance(y, Mapping) and len(y) == 1:
            return next(iter(y.values()))
        if isinstance(y, (tuple, list)) and len(y) == 1:
            return y[0]
        if not isinstance(y, Mapping):
            return y
    if isinstance(y, Mapping) and set(y) == set(outputs):
        return tuple(y[name] for name in outputs)
    if isinstance(y, (tuple, list)) and len(y) == len(outputs):
        return tuple(y)
    got = ", ".join(map(str, y)) if isinstance(y, Mapping) else "other answers"
    raise DataError(
        f"answers of the training data: got {got}; expected one for each of {', '.join(outputs)}, "
        "by name or in this order."
    )


def _answers_of(batches: Iterator[Batch], outputs: Sequence[str]) -> Any:
    found = [answers_in_order(b.y, outputs) for b in batches if b.y is not None]
    if not found:
        return None
    if isinstance(found[0], tuple):
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
    return np.concatenate(found)


def _tensors(batch: Batch, outputs: Sequence[str]) -> Tensors:
    parts = [tf.constant(part, tf.float32) for part in batch.inputs]
    y = np.zeros(len(batch), np.int64) if batch.y is None else answers_in_order(batch.y, outputs)
    labels = tuple(map(tf.constant, y)) if isinstance(y, tuple) else tf.constant(y)
    return (parts if len(parts) > 1 else parts[0]), weighted(labels, batch.weights)


def weighted(answers: Any, weights: np.ndarray | None) -> Any:
    """Answers as a step takes them, with the weights of their samples where there are any."""
    if weights is None:
        return answers
    return {"answers": answers, "weights": tf.constant(weights, tf.float32)}
