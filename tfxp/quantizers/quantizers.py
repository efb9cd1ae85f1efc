"""tfmot Quantizers whose format lives in variables.

Every quantizer keeps `scale`, `qmin` and `qmax` as non-trainable weights of the layer it serves,
so that a built, compiled model changes precision by assignment.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import keras
from tfxp.quantizers.fused import quantize_in_one_pass
from tfxp.quantizers.rounding import round_half_even
from tfxp.quantizers.straight_through import (
    HALF_UP_NUDGE,
    quantize_by_rounding,
    quantize_half_even,
    straight_through,
)
from tfxp.tfmot import Quantizer

Variables = dict[str, tf.Variable]
# Rounding modes that quantize_half_even can do.
FAST_ROUNDINGS = ("half_even", "half_up")
_register = keras.utils.register_keras_serializable(package="tfxp")


@dataclass(eq=False)
class FormatQuantizer(Quantizer):
    """Base of tfxp's quantizers: creates the variables that hold a format.

    The settings of a quantizer are the fields of a dataclass, which is all that Keras saves of it.
    Those with the metadata "since" were added later: a model saved before lacks their variables,
    and still counts as having the same quantizer.
    """

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return False
        names = [field.name for field in fields(self) if "since" not in field.metadata]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __hash__(self) -> int:
        return hash(type(self).__name__)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Variables:
        """Create the variables; a wide 8-bit format until one is assigned."""
        shape = self.scale_shape(tensor_shape)
        return {
            "scale": float_variable(layer, f"{name}_scale", 2.0**-4, shape),
            "qmin": float_variable(layer, f"{name}_qmin", -128.0),
            "qmax": float_variable(layer, f"{name}_qmax", 127.0),
        }

    def scale_shape(self, tensor_shape: Any) -> tuple[int, ...]:
        """Shape of the scale: one number for activations."""
        return ()


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

    def scale_shape(self, tensor_shape: Any) -> tuple[int, ...]:
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

    def __call__(self, inputs: Any, training: Any, weights: Variables, **_: Any) -> tf.Tensor:
        """The kernel on its grid."""
        x = tf.convert_to_tensor(inputs)
        rounding = deterministic(self.rounding, training)
        return quantize_by_rounding(
            x,
            weights["scale"],
            weights["qmin"],
            weights["qmax"],
            rounding,
            self.saturation_gradient,
            self.seed,
        )


@_register
class BiasQuantizer(FormatQuantizer):
    """Puts a bias on the accumulator's grid: round(b / (s_input * s_kernel)), int32."""

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Variables:
        """Only a scale per channel; int32 is wide enough to need no limits."""
        return {"scale": float_variable(layer, f"{name}_scale", 2.0**-20, tuple(tensor_shape))}

    def __call__(self, inputs: Any, training: Any, weights: Variables, **_: Any) -> tf.Tensor:
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
    """

    rounding: str = "half_even"
    nonnegative: bool = False
    saturation_gradient: str = "zero"
    seed: int = 0
    wide_rounding: str | None = field(default=None, metadata={"since": "0.2"})

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Variables:
        """The format, and whether activations are stored in 16 bits."""
        variables = super().build(tensor_shape, name, layer)
        if self.wide_rounding is not None:
            variables["wide"] = float_variable(layer, f"{name}_wide", 0.0)
        return variables

    @property
    def takes_relu(self) -> bool:
        """Whether `relu=True` may be asked for."""
        return self.rounding in FAST_ROUNDINGS and self.saturation_gradient == "zero"

    def __call__(
        self, inputs: Any, training: Any, weights: Variables, relu: bool = False, **_: Any
    ) -> tf.Tensor:
        """The tensor on its grid; with `relu` that of relu(inputs), for the price of one."""
        narrow = self._narrow(inputs, training, weights, relu)
        if self.wide_rounding is None:
            return narrow
        mode, limits = self.wide_rounding, (weights["qmin"], weights["qmax"])

        def wide() -> tf.Tensor:
            """Other values, the same gradient."""
            real = tf.stop_gradient(tf.nn.relu(inputs) if relu else inputs)
            rounded = quantize_in_one_pass(real, weights["scale"], *limits, mode, self.seed)
            return narrow + tf.stop_gradient(rounded - narrow)

        return tf.cond(weights["wide"] > 0, wide, lambda: narrow)

    def _narrow(self, inputs: Any, training: Any, weights: Variables, relu: bool) -> tf.Tensor:
        """As 8-bit storage rounds."""
        scale, qmin, qmax = weights["scale"], weights["qmin"], weights["qmax"]
        rounding = deterministic(self.rounding, training)
        if rounding not in FAST_ROUNDINGS or self.saturation_gradient == "pass":
            gradient = self.saturation_gradient
            return quantize_by_rounding(inputs, scale, qmin, qmax, rounding, gradient, self.seed)
        nudge = HALF_UP_NUDGE if rounding == "half_up" else 0.0
        return quantize_half_even(inputs, scale, qmin, qmax, nudge, self.nonnegative, relu)


@_register
@dataclass(eq=False)
class AveragePoolQuantizer(FormatQuantizer):
    """Quantizes an average pool as TFLite's AVERAGE_POOL_2D does.

    It keeps its input's format and rounds the average of the stored codes half away from zero; the
    zero point is part of a stored code, so the place of the ties depends on it.

    Args:
        counts: how many elements each output position averages: a number, or one per row and
            column for "same" padding, where the border has fewer; 0 if the image's size is free,
            and known by the call only.
        window: sizes and steps of a pool with "same" padding, for free sizes.
    """

    counts: Any
    window: tuple[list[int], list[int]] | None = None

    @property
    def takes_inputs(self) -> bool:
        """Whether the size of the input says how much a window covers."""
        return self.window is not None

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Variables:
        """The format, and the zero point of its storage."""
        variables = super().build(tensor_shape, name, layer)
        return {**variables, "zero_point": float_variable(layer, f"{name}_zero_point", 0.0)}

    def __call__(
        self, outputs: Any, training: Any, weights: Variables, inputs: Any = None, **_: Any
    ) -> tf.Tensor:
        """The average on its input's grid, the gradient passed through."""
        counts = self._counts(inputs)
        scale, zero_point = weights["scale"], weights["zero_point"]
        total = round_half_even((outputs / scale) * counts)
        stored = total / counts + zero_point
        # Averages are multiples of 1 / counts; a quarter of that brings ties that the division
        # missed by an ulp back over the edge, and moves nothing else.
        nearest = tf.floor(tf.abs(stored) + 0.5 + 0.25 / counts)
        codes = tf.sign(stored) * nearest - zero_point
        return straight_through(outputs, codes * scale)

    def _counts(self, inputs: Any) -> Any:
        """Elements of each window, with an axis for the channels where they differ."""
        if self.window is None:
            counts = np.asarray(self.counts, np.float32)
            return counts[..., None] if counts.ndim else counts
        counts = tf.ones((), tf.int32)
        for axis, (size, step) in enumerate(zip(*self.window, strict=True), 1):
            counts = counts[..., None] * covered(tf.shape(inputs)[axis], size, step)
        return tf.cast(counts, tf.float32)[..., None]


def covered(length: Any, size: int, step: int) -> Any:
    """How many elements each window of a "same" pool covers along one axis.

    Args:
        length: elements of the axis, a number or a tensor.
        size, step: of the window.
    """
    outputs = -(-length // step)
    padding = tf.maximum((outputs - 1) * step + size - length, 0)
    start = tf.range(outputs) * step - padding // 2
    return tf.minimum(start + size, length) - tf.maximum(start, 0)


def deterministic(rounding: str, training: Any) -> str:
    """Stochastic rounding belongs to training; outside it the nearest code is taken."""
    if rounding == "stochastic" and training is False:
        return "half_even"
    return rounding


def float_variable(layer: Any, name: str, value: float, shape: tuple[int, ...] = ()) -> tf.Variable:
    """A float32 variable of a layer that holds part of a format; not trained."""
    return layer.add_weight(
        name=name,
        shape=shape,
        initializer=keras.initializers.Constant(value),
        trainable=False,
        dtype=tf.float32,
    )


def seed_of(name: str) -> int:
    """A seed that belongs to a layer's name, the same in every process."""
    return zlib.crc32(name.encode("utf-8")) & 0x7FFFFFFF
