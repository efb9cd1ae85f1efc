"""Rounding to whole numbers as TensorFlow operations, exact for every float32 and float64."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.formats import Rounding

Seed: TypeAlias = int | tf.Tensor | None

# The largest number below one half. Added to a tie it still reaches the next integer, because the
# sum rounds up; added to the number below a tie (0.49999997 is one) it does not.
_BELOW_HALF = {
    tf.float32: float(np.nextafter(np.float32(0.5), np.float32(0))),
    tf.float64: float(np.nextafter(0.5, 0.0)),
}


def round_half_even(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties to even."""
    return tf.round(v)


def round_half_up(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties towards plus infinity; floor(v + 0.5) would be wrong at 0.49999997."""
    below = tf.floor(v)
    return below + tf.cast(v - below >= 0.5, v.dtype)


def round_half_away(v: tf.Tensor) -> tf.Tensor:
    """Nearest integer, ties away from zero; float32 and float64."""
    return tf.sign(v) * tf.floor(tf.abs(v) + _BELOW_HALF[v.dtype])


def round_stochastic(v: tf.Tensor, seed: Seed) -> tf.Tensor:
    """Up with the probability of the fraction."""
    return round_up_below(v, uniform_draws(v, seed))


def uniform_draws(v: tf.Tensor, seed: Seed) -> tf.Tensor:
    """A number from 0 to below 1 for every element of `v`; others at every call with a number.

    Args:
        v: whose shape and type the draws have.
        seed: a number, or a tensor of two that alone decides, on every device and replica.
    """
    if isinstance(seed, tf.Tensor):
        return tf.random.stateless_uniform(tf.shape(v), seed, dtype=v.dtype, alg="philox")
    return tf.random.uniform(tf.shape(v), seed=seed, dtype=v.dtype)


def round_up_below(v: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Up where the draw is less than the fraction, else down."""
    below = tf.floor(v)
    return below + tf.cast(draws < v - below, v.dtype)


def round_by_name(v: tf.Tensor, rounding: str, seed: Seed = None) -> tf.Tensor:
    """Round by any of the modes of `tfxp.formats.Rounding`."""
    mode = Rounding.parse(rounding)
    if mode is Rounding.STOCHASTIC:
        return round_stochastic(v, seed)
    return {
        Rounding.HALF_EVEN: round_half_even,
        Rounding.HALF_UP: round_half_up,
        Rounding.HALF_AWAY: round_half_away,
        Rounding.FLOOR: tf.floor,
    }[mode](v)
