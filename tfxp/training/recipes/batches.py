"""Training batches as a tf.data stream whose every draw follows from a seed and an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.training.recipes.recipe import TrainingRecipe

# One array, or one per input.
Inputs = np.ndarray | Sequence[np.ndarray]
# The same numbers on every device and in every version: "auto_select" promises neither.
_ALGORITHM = "philox"


def training_batches(
    recipe: TrainingRecipe, x: Inputs, y: np.ndarray, first_epoch: int = 0, first_step: int = 0
) -> tf.data.Dataset:
    """Batches (inputs, labels) of all epochs from `first_epoch` on, one behind the other.

    Order and augmentation of epoch e are functions of (seed, e) alone: the stream from epoch e on
    is the end of the stream from the beginning.

    Args:
        recipe: batch size, augmentation, input scale, seed.
        x: inputs (samples, ...), in the data's own units and type; a list of arrays where there
            are several.
        y: labels (samples,).
        first_epoch: where to begin.
        first_step: steps of that epoch to leave out.

    Raises:
        DataError: less than a batch of samples.
        ConfigError: augmentation of several inputs, or of what are no images.
    """
    parts, samples = _parts(x), len(y)
    steps = recipe.steps_per_epoch(samples)
    check_augmentation(recipe, [part.shape[1:] for part in parts])
    inputs, labels = [tf.constant(part) for part in parts], tf.constant(y)

    def batch(number: tf.Tensor, order: tf.Tensor) -> Any:
        tensors = [tf.gather(part, order) for part in inputs]
        return prepared(tensors, recipe, number), tf.gather(labels, order)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(samples), (tf.cast(recipe.seed, tf.int64), number), _ALGORITHM
        )
        order = tf.reshape(order[: steps * recipe.batch_size], (steps, recipe.batch_size))
        rows = tf.data.Dataset.from_tensor_slices(order)
        done = tf.where(number == first_epoch, tf.constant(first_step, tf.int64), 0)
        return rows.enumerate(number * steps).skip(done).map(batch)

    stream = tf.data.Dataset.range(first_epoch, recipe.epochs).flat_map(epoch)
    return stream.with_options(training_options()).prefetch(4)


def training_options() -> tf.data.Options:
    """One thread, in one order; every worker gets a part of every batch."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def check_augmentation(recipe: TrainingRecipe, shapes: Sequence[Sequence[int | None]]) -> None:
    """Complain about augmentation of what are no images.

    Raises:
        ConfigError: several inputs, or other shapes.
    """
    if recipe.augment != "none" and (len(shapes) > 1 or len(shapes[0]) != 3):
        listed = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ConfigError(f"augment: got inputs of shape {listed}; expected images, one a sample.")


def evaluation_batches(
    recipe: TrainingRecipe, x: Inputs, y: np.ndarray, batch_size: int = 250
) -> tf.data.Dataset:
    """Batches of a data set in its own order, scaled as for training, not augmented."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    pairs = tf.data.Dataset.from_tensor_slices((tuple(_parts(x)), y)).batch(batch_size)
    pairs = pairs.with_options(options)
    return pairs.map(lambda tensors, labels: (prepared(tensors, recipe), labels))


def prepared(
    tensors: Sequence[tf.Tensor], recipe: TrainingRecipe, number: tf.Tensor | None = None
) -> Any:
    """What the model takes: a tensor, or a tuple of several, which `ModelData` does not scale.

    Args:
        tensors: a batch, in the data's own units.
        recipe: augmentation, scale and shift.
        number: the batch's number over all epochs of a training; None leaves augmentation out.
    """
    if recipe.augment != "none" and number is not None:
        tensors = [augmented(tensors[0], recipe, number)]
    real = [tf.cast(part, tf.float32) * recipe.input_scale + recipe.input_shift for part in tensors]
    return tuple(real) if len(real) > 1 else real[0]


def augmented(images: tf.Tensor, recipe: TrainingRecipe, number: tf.Tensor) -> tf.Tensor:
    """Flip half of a batch; with "pad_crop_flip" also crop each image out of a frame of zeros.

    Args:
        images: (batch, height, width, channels) before scaling, so zeros are the data's zeros.
        recipe: which augmentation, padding and seed.
        number: the batch's number over all epochs.
    """
    shape = tf.shape(images)
    count, height, width = shape[0], shape[1], shape[2]
    pad = recipe.pad if recipe.augment == "pad_crop_flip" else 0
    # Three columns of draws: top, left, flip. The seed's second half must not meet the shuffle's.
    seed = (tf.cast(recipe.seed, tf.int64), -1 - tf.cast(number, tf.int64))
    draws = tf.random.stateless_uniform((count, 3), seed, alg=_ALGORITHM)
    tops, lefts = (tf.cast(draws[:, i] * (2 * pad + 1), tf.int32) for i in (0, 1))
    flip = draws[:, 2:3] < 0.5
    columns = tf.range(width)[None, :]
    columns = tf.where(flip, width - 1 - columns, columns) + lefts[:, None]
    if pad:
        images = tf.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        rows = tops[:, None] + tf.range(height)[None, :]
        images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _parts(x: Inputs) -> list[np.ndarray]:
    """The arrays of all inputs."""
    return [x] if isinstance(x, np.ndarray) else list(x)
