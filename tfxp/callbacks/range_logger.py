"""Ranges and magnitudes of weights and activations while a model trains."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxp.callbacks.observer import Observer
from tfxp.callbacks.tensor_taps import Grid, Tap
from tfxp.formats.tensor_stats import LOG2_HIGH, LOG2_LOW


class RangeLogger(Observer):
    """Logs minimum, maximum, mean, deviation and the histogram of log2|x| of every tensor.

    `octaves` counts floor(log2|x|) of what is not zero, one number per octave from 2^-40 to 2^39
    (what is beyond goes into the last ones); TensorBoard shows it as a histogram over exponents,
    the axis on which formats are chosen. Works on float models too.

    Args:
        data, log_dir, options: as in `Observer`.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
        >>> model.compile("sgd", "mse")
        >>> ranges = RangeLogger(np.ones((4, 3)))
        >>> _ = model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0, callbacks=[ranges])
        >>> sorted(ranges.records[0]["tensors"]["d"]["weights"])
        ['max', 'mean', 'min', 'octaves', 'std']
    """

    name = "ranges"

    def reduce(self, values: tf.Tensor, grid: Grid, tap: Tap) -> dict[str, Any]:
        """Range, moments and octaves of one tensor."""
        mean = tf.reduce_mean(values)
        return {
            "min": tf.reduce_min(values),
            "max": tf.reduce_max(values),
            "mean": mean,
            "std": tf.sqrt(tf.reduce_mean(tf.square(values - mean))),
            "octaves": octaves(values),
        }


def octaves(values: tf.Tensor) -> Any:
    """Counts of floor(log2|x|) from 2^-40 to 2^39, zeros left out.

    The exponent is read from the bits of the float32, since a logarithm would put some powers of
    two, which grids are full of, into the octave below.

    Example:
        >>> import tensorflow as tf
        >>> octaves(tf.constant([0.0, 0.5, 1.0, -1.5])).numpy()[39:41].tolist()
        [1, 2]
    """
    flat = tf.reshape(values, [-1])
    bits = tf.bitcast(tf.abs(flat), tf.int32)
    exponents = tf.bitwise.right_shift(bits, 23) - 127
    count = LOG2_HIGH - LOG2_LOW
    places = tf.where(flat == 0.0, count, tf.clip_by_value(exponents - LOG2_LOW, 0, count - 1))
    return tf.math.bincount(places, minlength=count + 1, maxlength=count + 1)[:count]
