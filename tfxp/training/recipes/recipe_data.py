"""The samples of a recipe's training: arrays in memory, or a stream that every epoch reads anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.data import Batch, Dataset, ModelData, Source
from tfxp.data.source import Shapes
from tfxp.errors import DataError
from tfxp.keras_types import KerasModel
from tfxp.streams import open_data
from tfxp.streams.stream import Stream
from tfxp.streams.tf_dataset import is_small
from tfxp.training.recipes.answers import Answers
from tfxp.training.recipes.batches import (
    check_augmentation,
    evaluation_batches,
    prepared,
    training_batches,
    training_options,
)
from tfxp.training.recipes.build_network import network_inputs
from tfxp.training.recipes.recipe import TrainingRecipe

Examples: TypeAlias = Source | Dataset | tf.data.Dataset | str | tuple[Any, Any]
_LOOK = 1024  # samples of a stream whose answers tell what kind of answers there are
_EVALUATED = 250  # samples a step


class Position(NamedTuple):
    """Where a training stands in its samples: whole epochs, and steps of the next one.

    The order of an epoch follows from the recipe's seed and the epoch's number, so this says which
    samples are still to come.
    """

    epoch: int = 0
    step: int = 0


def recipe_data(recipe: TrainingRecipe, data: Any) -> HeldData | StreamedData:
    """Samples in any form, for a recipe whose network is not made yet.

    Args:
        recipe: whose network says which inputs there are, where there are several.
        data: a source, a `Dataset`, a pair of inputs and answers, a path, a `tf.data.Dataset`;
            one of less than 64 MiB is held in memory.
    """
    if isinstance(data, tuple) and isinstance(data[0], list | tuple | Mapping):
        return HeldData(ModelData.of(data, list(network_inputs(recipe))))
    if isinstance(data, Dataset | tuple):
        return HeldData(ModelData.of(data))
    if isinstance(data, Source) or not hasattr(data, "element_spec"):
        source = open_data(data)
    else:
        source = open_data(data, network_inputs(recipe))
        source = source.in_memory() if is_small(data) else source
    if isinstance(source, Stream):
        return StreamedData(source)
    return HeldData(source.in_memory())


class HeldData:
    """Arrays in memory."""

    def __init__(self, data: ModelData) -> None:
        self.data, self.name, self.samples = data, data.name, len(data)

    def first(self, count: int) -> ModelData:
        """The first samples."""
        return self.data.take(count)

    def looked_at(self) -> ModelData:
        """Samples that show what kind of answers there are: all."""
        return self.data

    def check(self, shapes: Shapes) -> None:
        """Complain about inputs of other shapes than the network's."""
        self.data.shaped(shapes)

    def training(self, recipe: TrainingRecipe, answers: Answers, at: Position) -> tf.data.Dataset:
        """Batches of all epochs from a position on."""
        return training_batches(recipe, self.data.x, answers.targets(self.data), *at)

    def evaluation(self, recipe: TrainingRecipe, answers: Answers) -> tf.data.Dataset:
        """Batches in their order."""
        return evaluation_batches(recipe, self.data.x, answers.targets(self.data))

    def hits(self, model: KerasModel, recipe: TrainingRecipe, answers: Answers) -> str | None:
        """Which samples are decided rightly, packed; None where a sample is no decision."""
        if not answers.decides:
            return None
        outputs = model.predict(self.evaluation(recipe, answers), verbose=0)
        return answers.hits(outputs, answers.targets(self.data))

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Nothing can fail in reading what is in memory."""
        yield


class StreamedData:
    """A stream; every epoch is shuffled by its own number, and read again.

    Args:
        source: all samples.

    Raises:
        DataError: they cannot be counted.
    """

    def __init__(self, source: Stream) -> None:
        self.source = source.with_count()
        assert self.source.count is not None
        self.name, self.samples = source.name, self.source.count
        self._error: Exception | None = None

    def first(self, count: int) -> ModelData:
        """The first samples, as arrays."""
        return self.source.in_memory(count)

    def looked_at(self) -> ModelData:
        """Samples that show what kind of answers there are: the first ones."""
        return self.source.in_memory(_LOOK)

    def check(self, shapes: Shapes) -> None:
        """Take the network's shapes, or complain about others."""
        self.source = self.source.shaped(shapes)

    def training(self, recipe: TrainingRecipe, answers: Answers, at: Position) -> tf.data.Dataset:
        """Batches of all epochs from a position on."""
        size, steps = recipe.batch_size, recipe.steps_per_epoch(self.samples)

        def batches() -> Iterator[Any]:
            for epoch in range(at.epoch, recipe.epochs):
                first = at.step if epoch == at.epoch else 0
                found, done = self.source.shuffled(size, recipe.seed + epoch, first * size), first
                for done, batch in enumerate(found, first + 1):
                    yield self._row(batch, answers)
                    if done == steps:
                        break
                if done < steps:
                    raise DataError(
                        f"{self.name}: ended after {done * size} samples of epoch {epoch + 1}; "
                        f"expected {self.samples}. Make the set again, or state fewer steps."
                    )

        data = self._data_set(batches, answers, size)
        check_augmentation(recipe, [spec.shape[1:] for spec in data.element_spec[0]])
        numbered = data.enumerate(at.epoch * steps + at.step)
        rows = numbered.map(lambda number, row: (prepared(row[0], recipe, number), row[1]))
        return rows.with_options(training_options()).prefetch(2)

    def evaluation(
        self, recipe: TrainingRecipe, answers: Answers, seen: list[np.ndarray] | None = None
    ) -> tf.data.Dataset:
        """Batches in their order; targets are added to `seen` as they pass."""

        def batches() -> Iterator[Any]:
            for batch in self.source.batches(_EVALUATED):
                row = self._row(batch, answers)
                if seen is not None:
                    seen.append(row[1])
                yield row

        data = self._data_set(batches, answers, None).with_options(training_options())
        return data.map(lambda inputs, targets: (prepared(inputs, recipe), targets))

    def hits(self, model: KerasModel, recipe: TrainingRecipe, answers: Answers) -> str | None:
        """Which samples are decided rightly, packed; None where a sample is no decision."""
        if not answers.decides:
            return None
        seen: list[np.ndarray] = []
        with self.explained():
            outputs = model.predict(self.evaluation(recipe, answers, seen), verbose=0)
        return answers.hits(outputs, np.concatenate(seen))

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of reading in their own words, which tf.data would wrap.

        Raises:
            DataError: a sample cannot be read, or has no fitting answer; it is named.
        """
        self._error = None
        try:
            yield
        except tf.errors.OpError:
            if self._error is not None:
                raise self._error from None
            raise

    def _data_set(self, batches: Any, answers: Answers, size: int | None) -> tf.data.Dataset:
        """What a generator gives, whose errors are kept for `explained`."""

        def kept() -> Iterator[Any]:
            try:
                yield from batches()
            except DataError as error:
                self._error = error
                raise

        inputs, targets = self._row(next(iter(self.source.batches(1))), answers)
        shapes = [tf.TensorSpec((size, *part.shape[1:]), part.dtype) for part in inputs]
        answered = tf.TensorSpec((size, *targets.shape[1:]), targets.dtype)
        return tf.data.Dataset.from_generator(kept, output_signature=(tuple(shapes), answered))

    def _row(self, batch: Batch, answers: Answers) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Inputs and targets of a batch."""
        try:
            return tuple(batch.inputs), answers.targets(_as_data(batch, self.name))
        except DataError:
            self._name_the_sample(answers)
            raise

    def _name_the_sample(self, answers: Answers) -> None:
        """Read in order, where samples have their numbers, until an answer does not fit."""
        for number, batch in enumerate(self.source.batches(1)):
            answers.targets(_as_data(batch, self.name), self.source.first + number)


def _as_data(batch: Batch, name: str) -> ModelData:
    if batch.y is None:
        raise DataError(f"labels of {name}: got none; expected some.")
    if isinstance(batch.y, Sequence | Mapping):
        raise DataError(f"labels of {name}: got several; expected one array of them.")
    return ModelData.of((batch.inputs[0], batch.y), (), name)
