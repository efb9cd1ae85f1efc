"""Quantizers of kernels, biases, and tensors whose operators only round."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tfxp.formats import Format
from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.format_context import WIDE, Constant, FormatContext
from tfxp.quantizers.format_quantizer import (
    FormatQuantizer,
    VariableOwner,
    Variables,
    float_variable,
)
from tfxp.quantizers.fused import quantize_in_one_pass
from tfxp.quantizers.rounding import round_half_even
from tfxp.quantizers.straight_through import (
    HALF_UP_NUDGE,
    Alternative,
    quantize_by_rounding,
    quantize_half_even,
    straight_through,
)

# Rounding modes that quantize_half_even can do.
FAST_ROUNDINGS = ("half_even", "half_up")
_register = keras.utils.register_keras_serializable(package="tfxp")


@dataclass(eq=False)
class KernelQuantizer(FormatQuantizer):
    """Base of the quantizers of kernels: they know which axes number output channels.

    Args:
        channel_axes: how many axes of the kernel number output channels, the last ones of it.
        trailing: how many axes follow those of the output channels (transposed convolutions).
        rounding: rounding mode.
        seed: seed of stochastic rounding.
    """

    channel_axes: int = 1
    trailing: int = 0
    rounding: str = "half_even"
    seed: int = 0

    @property
    def one_scale_per_channel(self) -> bool:
        """Whether channels differ in scale without differing in format."""
        return False

    def wanted_formats(self, context: FormatContext) -> tuple[Format, ...]:
        """Those of the layer's kernels."""
        return context.weights

    def scale_shape(self, tensor_shape: tf.TensorShape) -> tuple[int, ...]:
        """One scale per output channel, broadcast over the axes behind them."""
        channels = [tensor_shape[axis] for axis in self.channels(len(tensor_shape))]
        return (*channels, *(1,) * self.trailing)

    def channels(self, rank: int) -> range:
        """The axes of a kernel of this rank that number output channels."""
        end = rank - self.trailing
        return range(end - self.channel_axes, end)


@_register
@dataclass(eq=False)
class WeightQuantizer(KernelQuantizer):
    """Quantizes a kernel, one scale per output channel (all equal when the map says so).

    Forward clip(round(w / s), qmin, qmax) * s; the gradient passes, or is zero where w saturates.

    Args:
        channel_axes, trailing, rounding, seed: see `KernelQuantizer`.
        saturation_gradient: "pass" (ADaPTION) or "zero".
    """

    saturation_gradient: str = "pass"

    def __call__(self, inputs: tf.Tensor, /, training: Training, weights: Variables,
                 **_: object) -> tf.Tensor:  # fmt: skip
        """The kernel on its grid."""
        x = tf.convert_to_tensor(inputs)
        rounding = deterministic(self.rounding, training)
        step = self.step(weights)
        return quantize_by_rounding(
            x,
            weights["scale"] if step is None else step.scale,
            weights["qmin"],
            weights["qmax"],
            rounding,
            self.saturation_gradient,
            self.seed,
            step,
        )


@_register
class BiasQuantizer(FormatQuantizer):
    """Puts a bias on the accumulator's grid: round(b / (s_input * s_kernel)), int32."""

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: VariableOwner) -> Variables:
        """Only a scale per channel; int32 is wide enough to need no limits."""
        return {"scale": float_variable(layer, f"{name}_scale", 2.0**-20, tuple(tensor_shape))}

    def assign(self, variables: Variables, context: FormatContext) -> None:
        """The accumulator's step, whatever format the output has."""
        if context.accumulator_step is not None:
            scale = variables["scale"]
            scale.assign(np.broadcast_to(context.accumulator_step.ravel(), scale.shape))

    @property
    def follows(self) -> bool:
        """The accumulator's step is that of the input and the kernel."""
        return True

    def following(self, variables: Variables, context: FormatContext) -> Variables:
        """The accumulator's step as it is now."""
        step, scale = context.accumulator_step, variables["scale"]
        if step is None:
            return variables
        return {"scale": tf.broadcast_to(tf.reshape(step, (-1,)), scale.shape)}

    def formats(self, variables: Variables) -> tuple[Format, ...]:
        """None of its own: the grid follows from those of the input and the kernel."""
        return ()

    def __call__(self, inputs: tf.Tensor, /, training: Training, weights: Variables,
                 **_: object) -> tf.Tensor:  # fmt: skip
        """The bias on the grid, the gradient passed through."""
        x = tf.convert_to_tensor(inputs)
        scale = weights["scale"]
        return straight_through(x, round_half_even(x / scale) * scale)


@_register
@dataclass(eq=False)
class ActivationQuantizer(FormatQuantizer):
    """Quantizes a layer's output.

    Args:
        rounding: rounding mode; `half_even` and `half_up` take the fast path.
        nonnegative: whether the input is known to be >= 0, by a ReLU for instance.
        saturation_gradient: "zero" or "pass" where the value is clipped.
        seed: seed of stochastic rounding.
        wide_rounding: rounding mode while activations are stored in 16 bits; None if it is the
            same, and in models saved by version 0.1.
        no_value: whether the lowest code stands where a function has no value (NaN), such as the
            root of a negative number; otherwise NaN stays.
    """

    rounding: str = "half_even"
    nonnegative: bool = False
    saturation_gradient: str = "zero"
    seed: int = 0
    wide_rounding: str | None = field(default=None, metadata={"since": "0.2"})
    no_value: bool = field(default=False, metadata={"since": "0.2"})

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Whether activations are stored in 16 bits."""
        return () if self.wide_rounding is None else (WIDE,)

    @property
    def takes_relu(self) -> bool:
        """Where the kernels that round also clip."""
        return self.rounding in FAST_ROUNDINGS and self.saturation_gradient == "zero"

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 relu: bool = False, **_: object) -> tf.Tensor:  # fmt: skip
        """The tensor on its grid; with `relu` that of relu(outputs), for the price of one."""
        step = self.step(weights)
        if step is not None:
            weights = {**weights, "scale": step.scale}
        grid = weights["scale"], weights["qmin"], weights["qmax"]
        if self.no_value:
            lowest = weights["qmin"] * weights["scale"]
            outputs = tf.where(tf.math.is_nan(outputs), lowest, outputs)
        rounding, wide = deterministic(self.rounding, training), self._wide(weights)
        if rounding in FAST_ROUNDINGS and self.saturation_gradient == "zero":
            nudge = HALF_UP_NUDGE if rounding == "half_up" else 0.0
            return quantize_half_even(
                outputs, *grid, nudge, self.nonnegative, relu, wide, step=step
            )
        gradient, seed = self.saturation_gradient, self.seed
        narrow = quantize_by_rounding(outputs, *grid, rounding, gradient, seed, step)
        if wide is None:
            return narrow
        real = tf.stop_gradient(outputs)
        values = tf.cond(
            wide.chosen,
            lambda: quantize_in_one_pass(real, *grid, wide.rounding),
            lambda: tf.stop_gradient(narrow),
        )
        return narrow + tf.stop_gradient(values - narrow)

    def _wide(self, weights: Variables) -> Alternative | None:
        """How 16-bit storage rounds, if that differs."""
        if self.wide_rounding is None:
            return None
        return Alternative(weights["wide"] > 0, self.wide_rounding)


def deterministic(rounding: str, training: Training) -> str:
    """Stochastic rounding belongs to training; outside it the nearest code is taken."""
    if rounding == "stochastic" and training is False:
        return "half_even"
    return rounding


def seed_of(name: str) -> int:
    """A seed that belongs to a layer's name, the same in every process.

    Args:
        name: of the layer.
    """
    return zlib.crc32(name.encode("utf-8")) & 0x7FFFFFFF
