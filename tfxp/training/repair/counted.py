"""Losses of sequences in which some steps do not count, as Keras' mask of the outputs says."""

from __future__ import annotations

import tensorflow as tf


def mask_of(outputs: tf.Tensor) -> tf.Tensor | None:
    """Keras' mask of a tensor, True for a step that counts; None where all do."""
    return getattr(outputs, "_keras_mask", None)


def of_counted(losses: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Losses whose mean is that of the steps that count.

        l <- l m N / sum m

    Args:
        losses: one for every step, or several behind each other, in the order of the steps.
        mask: of the N steps, the samples first; None leaves the losses as they are.

    Example:
        >>> losses, mask = tf.constant([[2.0, 4.0, 9.0]]), tf.constant([[True, True, False]])
        >>> float(tf.reduce_mean(of_counted(losses, mask)))
        3.0
    """
    if mask is None:
        return losses
    counts = tf.reshape(tf.cast(mask, tf.float32), (-1, 1))
    share = tf.math.divide_no_nan(tf.cast(tf.size(counts), tf.float32), tf.reduce_sum(counts))
    rows = tf.reshape(losses, (tf.size(counts), -1)) * counts * share
    return tf.reshape(rows, tf.shape(losses))
