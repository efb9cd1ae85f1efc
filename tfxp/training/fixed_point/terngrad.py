"""TernGrad: gradient descent on gradients of three values, to compare fixed point with."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.keras import keras


@keras.utils.register_keras_serializable(package="tfxp")
class TernGrad(keras.optimizers.SGD):
    """Gradient descent whose gradients of kernels are -s, 0 or s, drawn without bias.

        g = clip(g, -c sd(g), c sd(g)),    s = max|g|
        g = s sign(g) b,    P(b = 1) = |g| / s

    Every kernel has its own s in every step. Tensors of fewer than two axes (biases, the parameters
    of BatchNormalization) keep their gradients in float.

    Args:
        learning_rate: a number or any schedule of Keras.
        clip_deviations: c, standard deviations of a kernel's gradient; 0 clips nothing.
        seed: of the draws, which follow from it, the variable and the step.
        name: the optimizer's.
        kwargs: of `keras.optimizers.SGD`.

    Raises:
        ConfigError: a negative number of deviations.

    Example:
        >>> optimizer = TernGrad(0.5)
        >>> kernel = tf.Variable(tf.zeros((2, 3)))
        >>> optimizer.build([kernel])
        >>> optimizer.update_step(tf.constant([[4.0, 0.0, -4.0], [0.0, 0.0, 4.0]]), kernel)
        >>> kernel.numpy()
        array([[-2.,  0.,  2.],
               [ 0.,  0., -2.]], dtype=float32)

    References:
        Wen et al., "TernGrad: Ternary Gradients to Reduce Communication in Distributed Deep
        Learning", NeurIPS 2017, eqs. 1, 2 and 8. There workers ternarize their gradients before
        these are averaged; here the gradient of the whole batch is ternarized once.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        clip_deviations: float = 2.5,
        seed: int = 0,
        name: str = "TernGrad",
        **kwargs: Any,
    ) -> None:
        if clip_deviations < 0:
            raise ConfigError(
                f"clip_deviations of TernGrad: got {clip_deviations}; expected 0 or more."
            )
        super().__init__(learning_rate, name=name, **kwargs)
        self.clip_deviations, self.seed = float(clip_deviations), int(seed)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """One update of one variable."""
        if variable.shape.rank > 1:
            number = self._index_dict[self._var_key(variable)]
            step = tf.cast(self.iterations, tf.int64)
            draw = tf.stack([tf.constant(self.seed << 16 | number, tf.int64), step])
            gradient = ternary_gradient(gradient, self.clip_deviations, draw)
        super().update_step(gradient, variable)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        mine = {"clip_deviations": self.clip_deviations, "seed": self.seed}
        return {**super().get_config(), **mine}


def ternary_gradient(gradient: tf.Tensor, deviations: float, seed: Any) -> tf.Tensor:
    """A gradient in three values; see `TernGrad`.

    Args:
        gradient: any shape.
        deviations: where it is clipped, in its standard deviations; 0 for nowhere.
        seed: two integers.
    """
    gradient = tf.convert_to_tensor(gradient)
    if deviations:
        limit = deviations * tf.math.reduce_std(gradient)
        gradient = tf.clip_by_value(gradient, -limit, limit)
    largest = tf.reduce_max(tf.abs(gradient))
    drawn = tf.random.stateless_uniform(gradient.shape, seed, dtype=gradient.dtype)
    kept = drawn * largest < tf.abs(gradient)  # never for 0, always for the largest
    return tf.where(kept, largest * tf.sign(gradient), tf.zeros_like(gradient))
