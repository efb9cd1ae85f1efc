"""Quantizers that repeat what an integer operator of one tensor computes from its input's codes.

LiteRT computes sigmoid, tanh, ELU, GELU, exponentials and logarithms of 8-bit tensors by a table
over all codes, LEAKY_RELU and PRELU by integer multipliers. Rounding the real function's value is
not the same; these quantizers take the input as well as the layer's real output and give the code
the operator gives. The gradient is that of the real function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.format_context import ALPHA_SCALE, INPUT_SCALE, ZERO_POINT, Constant
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables, coded
from tfxp.quantizers.rounding import round_half_away, round_half_even, round_half_up

_register = keras.utils.register_keras_serializable(package="tfxp")
# Operators whose 8-bit output has one scale only: (scale, qmin, qmax) of UQ0.8 and Q0.7.
_FIXED_GRIDS = {"sigmoid": (2.0**-8, 0.0, 255.0), "tanh": (2.0**-7, -128.0, 127.0)}
# Tables that XNNPACK rounds half to even, and those that LiteRT's own kernels round half away.
_TO_EVEN = {"sigmoid": tf.sigmoid, "tanh": tf.tanh, "elu": tf.nn.elu}
_AWAY = ("gelu", "gelu_tanh", "exponential", "log")
# Codes of wider tensors are not tabulated.
_WIDEST_TABLE = 255.0
_LEAKY_BITS = 8


class UnaryQuantizer(FormatQuantizer):
    """Base of the quantizers of this file: they also know the scale of their layer's input."""

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The scale of the input."""
        return (INPUT_SCALE,)


@_register
@dataclass(eq=False)
class TableQuantizer(UnaryQuantizer):
    """A function as LiteRT's 8-bit table.

        code = half_even(f(x) / s + z) - z,    f in float32, x on the input's grid

    GELU, EXP and LOG are rounded half away, without the zero point. LOGISTIC has the output scale
    2^-8 and TANH 2^-7, whatever is asked for; another format is reached by QUANTIZE, half up.
    Tensors wider than 8 bits are rounded to their own grid at once.

    Args:
        function: "sigmoid", "tanh", "elu", "gelu", "gelu_tanh", "exponential" or "log".

    References:
        TensorFlow Lite, lite/kernels/activations.cc, elementwise.cc and exp.cc, their 8-bit tables.
    """

    function: str

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The scale of the input, and the zero point of the output's storage."""
        return INPUT_SCALE, ZERO_POINT

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 inputs: tf.Tensor = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The function's table at the input's codes, the real function's gradient."""
        scale = weights["scale"]
        if self.function in _AWAY:
            real = _in_steps(self.function, inputs)
            if self.function == "log":  # the lowest code where there is none
                lowest = weights["qmin"] * scale
                real, outputs = (tf.where(inputs > 0, value, lowest) for value in (real, outputs))
            return coded(outputs, round_half_away(real / scale), weights)
        real = _correctly(_TO_EVEN[self.function], inputs)
        if self.function in _FIXED_GRIDS:
            fixed, low, high = _FIXED_GRIDS[self.function]
            wide = weights["qmax"] - weights["qmin"] > _WIDEST_TABLE
            table = tf.clip_by_value(round_half_even(real / fixed), low, high) * fixed
            codes = round_half_up(tf.where(wide, real, table) / scale)
        else:
            zero = weights["zero_point"]
            codes = round_half_even(real / scale + zero) - zero
        return coded(outputs, codes, weights)


def _correctly(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """A function of float32 numbers, rounded once."""
    return tf.cast(function(tf.cast(x, tf.float64)), tf.float32)


def _in_steps(function: str, x: tf.Tensor) -> tf.Tensor:
    """A function in the float32 steps of LiteRT's C++; near ties each of them counts."""
    if function == "gelu":
        return 0.5 * x * _correctly(tf.math.erfc, x * -math.sqrt(0.5))
    if function == "gelu_tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1.0 + _correctly(tf.tanh, inner))
    return _correctly(tf.exp if function == "exponential" else tf.math.log, x)


@_register
@dataclass(eq=False)
class LeakyReluQuantizer(UnaryQuantizer):
    """XNNPACK's LEAKY_RELU: multipliers with 8 fractional bits, ties up.

        code = floor((x / s_in) * m / 2^8 + 1/2),    m = half_even(2^8 * s_in / s [* alpha])

    Args:
        alpha: slope where x is negative.

    References:
        XNNPACK, its leaky ReLU of 8-bit tensors.
    """

    alpha: float

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 inputs: tf.Tensor = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The operator's code, the leaky ReLU's gradient."""
        scale, source = weights["scale"], weights["input_scale"]
        ratio = source / scale
        wide = weights["qmax"] - weights["qmin"] > _WIDEST_TABLE
        unit = 2.0**_LEAKY_BITS
        above = round_half_even(unit * ratio)
        below = round_half_even(unit * (ratio * self.alpha))
        product = round_half_even(inputs / source) * tf.where(inputs >= 0, above, below)
        codes = tf.where(wide, round_half_even(outputs / scale), round_half_up(product / unit))
        return coded(outputs, codes, weights)


@_register
class PReluQuantizer(UnaryQuantizer):
    """LiteRT's PRELU for power-of-two scales: the product is halved half up, then shifted.

        code = half_away(half_up(p / 2) * 2 r),    p = x / s_in, or alpha * x in its steps

    r is the value of one step of p in output steps; nothing is rounded where r >= 1.

    References:
        TensorFlow Lite, lite/kernels/activations.cc, PRELU of 8-bit tensors.
    """

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The scale of the input, and that of the slopes."""
        return INPUT_SCALE, ALPHA_SCALE

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 inputs: tf.Tensor = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The operator's code, the layer's gradient."""
        scale, step = weights["scale"], weights["input_scale"]
        fine = step * weights["alpha_scale"]
        positive = doubly_rounded(round_half_even(inputs / step), step / scale)
        negative = doubly_rounded(round_half_even(outputs / fine), fine / scale)
        codes = tf.where(inputs >= 0, positive, negative)
        return coded(outputs, codes, weights)


def doubly_rounded(codes: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """codes * ratio as gemmlowp's multiplier of a power of two rounds it."""
    halved = round_half_up(codes / 2.0)
    return tf.where(ratio >= 1.0, codes * ratio, round_half_away(halved * (2.0 * ratio)))
