"""The training set of whatever a fine-tuning is given, and how its images are varied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data import ModelData, Source, input_shapes
from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ConfigError, DataError
from tfxp.keras_types import KerasModel, Samples
from tfxp.streams import open_data
from tfxp.streams.stream import Stream
from tfxp.streams.tf_dataset import is_small
from tfxp.training.repair.settings import FineTuneSettings
from tfxp.training.repair.training_set import (
    ArraySamples,
    Order,
    StreamSamples,
    Tensors,
    TrainingSet,
    answers_in_order,
    weighted,
)

_CROP_PIXELS = 4
Answers = np.ndarray | tuple[np.ndarray, ...] | Mapping[str, np.ndarray] | None


def training_set(
    model: KerasModel,
    x: Samples,
    y: Answers,
    weights: np.ndarray | None,
    settings: FineTuneSettings,
) -> tuple[TrainingSet, Any]:
    """The samples of a fine-tuning, and answers that show what kind of answers they are.

    Args:
        model: the model in training.
        x: inputs, or a stream that brings answers and weights.
        y: answers of inputs that are arrays.
        weights: of their samples.
        settings: batch size, share that is held back, augmentation, seed.

    Raises:
        DataError: answers or weights twice, fewer samples than a batch, or what does not fit.
        ConfigError: augmentation of what are no images.
    """
    fixed = InputSignature.of(model).batch is not None
    order = Order(settings.batch_size, settings.held_back, settings.seed, fixed)
    if isinstance(x, Source) or (hasattr(x, "element_spec") and not is_small(x)):
        source = open_data(x, input_shapes(model))
        _check_answered_once(y, source.has_answers)
        if isinstance(source, Stream):
            if y is not None or weights is not None:
                raise DataError(
                    "training data: got a stream, and answers or weights as arrays; expected the "
                    "stream to bring them."
                )
            return _of_stream(model, source, settings, order)
        held = source.in_memory()
        x, labels = held.x, held.y
    else:
        x, labels = InputSignature.of(model).labelled(x, "training data")
        _check_answered_once(y, labels is not None)
    y = labels if y is None else y
    answers = answers_in_order(y, model.output_names) if y is not None else None
    if isinstance(answers, tuple):
        return _of_several(model, x, answers, weights, settings, order)
    answers = None if answers is None else np.asarray(answers)
    data = ModelData.of((x, answers), model.input_names, "training data")
    data = data.shaped(input_shapes(model))
    check_samples(settings, data)
    weights = _checked_weights(weights, len(data))

    def batches(arrays: Any, y: Any, weights: Any, epoch: int) -> Iterator[Tensors]:
        return shuffled_batches(arrays, y, weights, settings, epoch)

    return ArraySamples(data, weights, order, batches), answers


def _check_answered_once(y: Answers, in_batches: bool) -> None:
    if y is not None and in_batches:
        raise DataError("training data: got labels in the batches and as y; expected one of them.")


def _of_stream(
    model: KerasModel, source: Stream, settings: FineTuneSettings, order: Order
) -> tuple[TrainingSet, Any]:
    """A stream that brings answers and weights, and the first of its answers."""
    check_augmentation(settings.augment, [tensor.shape[1:] for tensor in model.inputs])
    stream = StreamSamples(source, order, model.output_names, _varied(settings))
    return stream, stream.peek


def _of_several(
    model: KerasModel,
    x: Any,
    answers: tuple[np.ndarray, ...],
    weights: np.ndarray | None,
    settings: FineTuneSettings,
    order: Order,
) -> tuple[TrainingSet, Any]:
    """Arrays with answers for several outputs, as a stream of their rows."""
    data = ModelData.of((x, None), model.input_names, "training data").shaped(input_shapes(model))
    check_samples(settings, data)
    parts = tuple(part.x for part in data.parts)
    columns: tuple[Any, ...] = (parts, tuple(np.asarray(part) for part in answers))
    if weights is not None:
        columns = (*columns, _checked_weights(weights, len(data)))
    lengths = {len(part) for part in columns[1]}
    if lengths != {len(data)}:
        raise DataError(
            f"answers of the training data: got {sorted(lengths)} for {len(data)} samples; "
            "expected one each."
        )
    rows = tf.data.Dataset.from_tensor_slices(columns)
    source = open_data(rows, input_shapes(model))
    assert isinstance(source, Stream)
    return StreamSamples(source, order, model.output_names, _varied(settings)), answers


def check_samples(settings: FineTuneSettings, data: Source) -> None:
    """Complain, before any long work, about data that a fine-tuning cannot use.

    Raises:
        DataError: less than a batch of samples.
        ConfigError: augmentation of several inputs, or of what are no images.
    """
    if data.samples is not None and data.samples < settings.batch_size:
        raise DataError(
            f"training data: got {data.samples} samples; expected at least a batch of "
            f"{settings.batch_size}."
        )
    if isinstance(data, ModelData):
        check_augmentation(settings.augment, [part.x.shape[1:] for part in data.parts])


def check_augmentation(augment: str, shapes: Sequence[Sequence[int | None]]) -> None:
    """Complain about augmentation of what are no images.

    Raises:
        ConfigError: several inputs, or other shapes.
    """
    if augment == "none":
        return
    if len(shapes) > 1:
        raise ConfigError(f"augment: got {augment!r} for {len(shapes)} inputs; expected none.")
    if len(shapes[0]) != 3:
        raise ConfigError(f"augment: got inputs of shape {tuple(shapes[0])}; expected images.")


def _checked_weights(weights: np.ndarray | None, samples: int) -> np.ndarray | None:
    if weights is None:
        return None
    found = np.asarray(weights, np.float32)
    if found.shape != (samples,) or not np.isfinite(found).all() or found.min() < 0:
        raise DataError(
            f"sample_weight: got shape {found.shape}; expected {samples} finite numbers of 0 or "
            "more, one a sample."
        )
    return found


def _varied(settings: FineTuneSettings) -> Any:
    """Images of a batch, varied by draws of its epoch and step; None for none."""
    if settings.augment == "none":
        return None

    def vary(images: np.ndarray, epoch: int, step: int) -> np.ndarray:
        draws = np.random.default_rng((settings.seed, epoch, step))
        return augmented(images, settings.augment, draws)

    return vary


def shuffled_batches(
    x: Sequence[np.ndarray],
    y: np.ndarray | None,
    weights: np.ndarray | None,
    settings: FineTuneSettings,
    epoch: int,
) -> Iterator[Tensors]:
    """Shuffled and augmented batches of one epoch, the same ones for the same seed and epoch.

    Args:
        x: one array per input.
        y: labels, or None.
        weights: of the samples, or None.
        settings: batch size, augmentation, seed.
        epoch: which epoch.
    """
    count = len(x[0])
    labels = np.zeros(count, np.int64) if y is None else np.asarray(y)
    data = tf.data.Dataset.from_tensor_slices(np.arange(count))
    data = data.shuffle(count, seed=settings.seed + epoch).batch(settings.batch_size, True)
    draws = np.random.default_rng((settings.seed, epoch))
    for index in data.as_numpy_iterator():
        parts = [np.asarray(part[index], np.float32) for part in x]
        if not all(np.isfinite(part).all() for part in parts):
            # quantizers would turn NaN into an ordinary code
            raise DataError("training data: got values that are NaN or infinite; expected numbers.")
        if settings.augment != "none":
            parts = [augmented(parts[0], settings.augment, draws)]
        tensors = [tf.constant(part) for part in parts]
        part = None if weights is None else weights[index]
        answers = weighted(tf.constant(labels[index]), part)
        yield tensors if len(tensors) > 1 else tensors[0], answers


def augmented(images: np.ndarray, how: str, draws: np.random.Generator) -> np.ndarray:
    """Images, half of them flipped; with "flip_crop" each also cropped out of a frame of zeros."""
    flipped = draws.random(len(images)) < 0.5
    images = np.where(flipped[:, None, None, None], images[:, :, ::-1], images)
    if how == "flip":
        return images
    size, pad = images.shape[1:3], _CROP_PIXELS
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    tops, lefts = draws.integers(0, 2 * pad + 1, (2, len(images)))
    crops = [
        image[top : top + size[0], left : left + size[1]]
        for image, top, left in zip(padded, tops, lefts, strict=True)
    ]
    return np.stack(crops)
