"""The identity whose gradient is quantized: activation gradients in fixed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfxp.formats import Format
from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.custom_gradient import custom_gradient
from tfxp.quantizers.format_context import FormatContext
from tfxp.quantizers.format_quantizer import FormatQuantizer, VariableOwner, Variables
from tfxp.quantizers.fused import quantize_in_one_pass
from tfxp.quantizers.replica_variables import summed_over_replicas

COUNT_EVERY = 16
_register = keras.utils.register_keras_serializable(package="tfxp")


@_register
@dataclass(eq=False)
class GradientQuantizer(FormatQuantizer):
    """Passes a tensor on as it is and quantizes the gradient that comes back.

        y = x,    dL/dx = clip(round((dL/dy) / s), qmin, qmax) * s

    Saturated elements are counted on every `count_every`-th backward pass, because counting takes
    as long as quantizing does.

    Args:
        rounding: rounding mode; "half_away" in the paper, "stochastic" for the baseline.
        seed: seed of stochastic rounding.
        count_every: backward passes from one count to the next.

    Example:
        >>> from tfxp.keras import layers
        >>> quantizer, layer = GradientQuantizer(), layers.Layer()
        >>> grid = quantizer.build((None, 2), "gradient", layer)
        >>> grid["scale"].assign(0.25); grid["qmin"].assign(-4); grid["qmax"].assign(3)
        ... # doctest: +ELLIPSIS
        <tf.Variable...>
        >>> x = tf.constant([0.1, 0.2])
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(x)
        ...     y = quantizer(x, True, grid) * tf.constant([0.3, 7.0])
        >>> tape.gradient(y, x).numpy().tolist()
        [0.25, 0.75]

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019. The authors' operation clips from above only; here both ends
        saturate, as the format says.
    """

    rounding: str = "half_away"
    seed: int = 0
    count_every: int = COUNT_EVERY

    def wanted_formats(self, context: FormatContext) -> tuple[Format, ...]:
        """That of the output's gradient."""
        return () if context.gradient is None else (context.gradient,)

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: VariableOwner) -> Variables:
        """The format, and what was counted: passes, elements looked at, saturated, not finite."""
        counts = layer.add_weight(
            name=f"{name}_counts",
            shape=(4,),
            dtype=tf.int64,
            initializer="zeros",
            **summed_over_replicas(),
        )
        return {**super().build(tensor_shape, name, layer), "counts": counts}

    def __call__(self, inputs: tf.Tensor, /, training: Training, weights: Variables,
                 **_: object) -> tf.Tensor:  # fmt: skip
        """The same tensor; its gradient will lie on the grid."""
        scale, qmin, qmax = weights["scale"], weights["qmin"], weights["qmax"]

        @custom_gradient
        def forward(value: tf.Tensor) -> Any:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                self._count(upstream, weights)
                return quantize_in_one_pass(upstream, scale, qmin, qmax, self.rounding, self.seed)

            return tf.identity(value), gradient

        return forward(tf.convert_to_tensor(inputs))

    def _count(self, upstream: tf.Tensor, weights: Variables) -> None:
        def look() -> tf.Tensor:
            codes = upstream / weights["scale"]
            # As rounding half away does; a stochastic draw may clip one that this does not.
            inside = (codes > weights["qmin"] - 0.5) & (codes < weights["qmax"] + 0.5)
            kept = tf.math.count_nonzero(inside)
            size = tf.size(codes, tf.int64)
            finite = tf.math.count_nonzero(tf.math.is_finite(codes))
            # NaN lies nowhere, so it must not count as saturated too.
            nan = tf.math.count_nonzero(tf.math.is_nan(codes))
            return tf.stack([tf.ones((), tf.int64), size, size - kept - nan, size - finite])

        def pass_by() -> tf.Tensor:
            return tf.constant([1, 0, 0, 0], tf.int64)

        counts = weights["counts"]
        due = tf.equal(counts[0] % self.count_every, 0)
        counts.assign_add(tf.cond(due, look, pass_by))


@dataclass(frozen=True)
class GradientCounts:
    """What a gradient quantizer counted.

    Args:
        passes: backward passes.
        elements: elements looked at, in the passes that were counted.
        saturated: those of them that were clipped.
        not_finite: those of them that were NaN or infinite.
    """

    passes: int
    elements: int
    saturated: int
    not_finite: int

    @classmethod
    def read(cls, variables: Variables) -> GradientCounts:
        """The counts so far."""
        return cls(*(int(value) for value in variables["counts"].numpy()))

    @property
    def share(self) -> float:
        """Saturated share of the elements looked at."""
        return self.saturated / self.elements if self.elements else 0.0
