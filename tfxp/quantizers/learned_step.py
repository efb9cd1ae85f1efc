"""A step that is trained: a power of two forward, a published gradient backward.

With y = clip(round(x / s), qmin, qmax) * s, dy the incoming gradient and dx the one that goes on
(dy where x is not clipped, else 0), every rule is made of

    dL/ds = sum(dy * r),    r = round(x / s) - x / s, or qmin, or qmax where x is clipped
          = (sum(dy * y) - sum(dx * x)) / s

    rule    trained variable    log2 s forward              gradient of the variable
    tqt     t = log2 threshold  ceil(t) - log2 levels       s ln 2 * dL/ds
    lsq     v, the step         round(log2 v)               dL/ds / sqrt(N * qmax)
    pact    a, clipping point   ceil(log2 a) - log2 levels  sum of dy where x is clipped, * sign

`levels` is qmax + 1, and N the number of elements that share a step, of one sample. Rounding the
exponent passes the gradient straight through.

References:
    tqt: Jain et al., "Trained Quantization Thresholds", MLSys 2020, eq. 7. lsq: Esser et al.,
    "Learned Step Size Quantization", ICLR 2020, eq. 3 and sec. 2.2, whose step is no power of two.
    pact: Choi et al., "PACT", 2018, eq. 3; there for activations, here with the sign for weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError

Rule = Literal["tqt", "lsq", "pact"]
LEARNING_RULES: tuple[Rule, ...] = ("tqt", "lsq", "pact")
_LN_2 = math.log(2.0)
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23
# Within what formats can say.
_LARGEST_EXPONENT = 40
# One step of the averages that freezing looks at.
AVERAGE_SHARE = 0.01


@dataclass(frozen=True)
class LearnedStep:
    """The trained step of one tensor, or of one tensor's channels.

    Args:
        rule: "tqt", "lsq" or "pact".
        variables: "trained", the variable of the rule; "scale", the step of those that are
            frozen, and of the last training step; "frozen", 1 for these and else 0; "average" and
            "slope", running means of the trained variable and of its gradient; "qmax".
        sample_axis: whether the first axis of the tensor numbers samples.
    """

    rule: Rule
    variables: Mapping[str, tf.Variable]
    sample_axis: bool

    @property
    def scale(self) -> tf.Tensor:
        """The step of the forward pass; no gradient runs through it."""
        frozen = self.variables["frozen"] > 0
        return tf.stop_gradient(tf.where(frozen, self.variables["scale"], self._step("trained")))

    @property
    def is_settled(self) -> tf.Tensor:
        """Whether the trained variable stands for the same step as its running mean."""
        return tf.equal(self._step("trained"), self._step("average"))

    def hold(self, indices: np.ndarray) -> None:
        """Keep some steps as they are from now on.

        Args:
            indices: their numbers, from 0.
        """
        shape = self.variables["frozen"].shape
        frozen = self.variables["frozen"].numpy().ravel()
        frozen[indices] = 1.0
        self.variables["scale"].assign(self.scale)
        self.variables["frozen"].assign(frozen.reshape(shape))

    def gradient(
        self, upstream: tf.Tensor, inside: tf.Tensor, x: tf.Tensor, y: tf.Tensor, scale: tf.Tensor
    ) -> tf.Tensor:
        """Gradient of the trained variable; notes it for `FreezeFormats`.

        Args:
            upstream: gradient of the output.
            inside: the same, zero where the input is clipped.
            x: the input.
            y: the output.
            scale: the step that made the output of the input.
        """
        trained = self.variables["trained"]
        if self.rule == "pact":
            slope = _dot(upstream - inside, tf.sign(y), trained.shape)
        else:
            slope = _dot(upstream, y, trained.shape) - _dot(inside, x, trained.shape)
            slope = slope * (_LN_2 if self.rule == "tqt" else self._share(x) / scale)
        free = 1.0 - self.variables["frozen"]
        self.variables["scale"].assign(scale)  # for those who watch
        share = AVERAGE_SHARE * free
        for name, value in (("slope", slope), ("average", trained)):
            mean = self.variables[name]
            mean.assign_add(share * (value - mean))
        return slope * free

    def _step(self, name: str) -> tf.Tensor:
        return step_of(self.rule, self.variables[name], self.variables["qmax"] + 1.0)

    def _share(self, x: tf.Tensor) -> tf.Tensor:
        """LSQ's gradient scale, 1 / sqrt(N * qmax)."""
        count = tf.cast(tf.size(x), tf.float32)
        if self.sample_axis:
            count /= tf.cast(tf.shape(x)[0], tf.float32)
        count /= max(self.variables["trained"].shape.num_elements(), 1)
        return tf.math.rsqrt(tf.maximum(count * self.variables["qmax"], 1.0))


def check_rule(rule: str) -> Rule:
    """A rule by its name.

    Raises:
        ConfigError: there is no such rule.
    """
    for known in LEARNING_RULES:
        if rule == known:
            return known
    raise ConfigError(f"learned formats: got {rule!r}; expected one of {LEARNING_RULES}.")


def step_of(rule: Rule, trained: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    """The power of two that a trained variable stands for, exact.

    Args:
        rule: which variable it is.
        trained: its values.
        levels: qmax + 1, a power of two.
    """
    floor = 2.0**-_LARGEST_EXPONENT
    if rule == "lsq":
        return power_of_two(tf.round(_log2(tf.maximum(trained, floor))))
    log2 = trained if rule == "tqt" else _log2(tf.maximum(trained, floor))
    return power_of_two(tf.math.ceil(log2) - tf.round(_log2(levels)))


def trained_from(rule: Rule, scale: np.ndarray, levels: float) -> np.ndarray:
    """The middle of the values that stand for a step, as far from one neighbour as the other.

    Example:
        >>> from tfxp.quantizers.learned_step import trained_from
        >>> trained_from("tqt", np.array([0.25, 0.5]), 8.0).tolist()
        [0.5, 1.5]
    """
    if rule == "lsq":
        return np.asarray(scale, np.float32)
    middle = np.log2(np.asarray(scale, np.float64) * levels) - 0.5
    return np.asarray(middle if rule == "tqt" else 2.0**middle, np.float32)


def power_of_two(exponent: tf.Tensor) -> tf.Tensor:
    """2^exponent of whole numbers, float32, exact: `tf.pow` need not be.

    Example:
        >>> from tfxp.quantizers.learned_step import power_of_two
        >>> power_of_two(np.array([-3.0, 0.0, 4.0], np.float32)).numpy().tolist()
        [0.125, 1.0, 16.0]
    """
    held = tf.clip_by_value(exponent, -float(_LARGEST_EXPONENT), float(_LARGEST_EXPONENT))
    bits = tf.bitwise.left_shift(tf.cast(held, tf.int32) + _EXPONENT_BIAS, _MANTISSA_BITS)
    return tf.bitcast(bits, tf.float32)


def _log2(x: tf.Tensor) -> tf.Tensor:
    return tf.math.log(x) / _LN_2


def _dot(a: tf.Tensor, b: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Sum of products, of everything or of each channel, as `shape` says; one pass over both."""
    if shape.num_elements() == 1:
        # Both as rows: a third of the time of a row times a column (docs/performance.md).
        product = tf.matmul(tf.reshape(a, (1, -1)), tf.reshape(b, (1, -1)), transpose_b=True)
        return tf.reshape(product, shape)
    before = len(a.shape) - len(shape)
    axes = [*range(before), *(before + i for i, size in enumerate(shape) if size == 1)]
    return tf.reshape(tf.reduce_sum(a * b, axes), shape)
