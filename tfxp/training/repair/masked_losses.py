"""Losses of sequences in which some steps do not count, as Keras' mask of the outputs says."""

from __future__ import annotations

import tensorflow as tf


def mask_of(outputs: tf.Tensor) -> tf.Tensor | None:
    """Keras' mask of a tensor, True for a step that counts; None where all do."""
    return getattr(outputs, "_keras_mask", None)


def masked(values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Values with zeros for the steps that do not count.

    Args:
        values: one for every step, or several behind each other, in the order of the steps.
        mask: of the steps, the samples first; None leaves the values as they are.
    """
    if mask is None:
        return values
    counts = tf.reshape(tf.cast(mask, tf.float32), (-1, 1))
    return tf.reshape(tf.reshape(values, (tf.size(counts), -1)) * counts, tf.shape(values))


def masked_losses(losses: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Losses whose mean is that of the steps that count.

        l <- l m N / sum m

    Args:
        losses: as the values of `masked`.
        mask: of the N steps; None leaves the losses as they are.

    Example:
        >>> losses, mask = tf.constant([[2.0, 4.0, 9.0]]), tf.constant([[True, True, False]])
        >>> float(tf.reduce_mean(masked_losses(losses, mask)))
        3.0
    """
    if mask is None:
        return losses
    share = tf.math.reciprocal_no_nan(tf.reduce_mean(tf.cast(mask, tf.float32)))
    return masked(losses, mask) * share
