"""The quantizer that repeats LiteRT's integer LSTM, step by step, inside the Keras layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfxp.interpreter.numerics import fixed_point_math
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, Training
from tfxp.quantizers.format_context import INPUT_SCALE, KERNEL_SCALE, Constant
from tfxp.quantizers.format_quantizer import Variables
from tfxp.quantizers.fused import on_grid
from tfxp.quantizers.quantizers import ActivationQuantizer
from tfxp.quantizers.rounding import round_half_away
from tfxp.quantizers.straight_through import straight_through
from tfxp.quantizers.unary import doubly_rounded

#: Fractional bits of what goes into a gate's function, of what comes out, and of the cell state.
GATE_BITS, FUNCTION_BITS, CELL_BITS = 12, 15, 11
_LOW, _HIGH = -32768.0, 32767.0
_INT8_CODES = 255.0


@keras.utils.register_keras_serializable(package="tfxp")
@dataclass(eq=False)
class LstmQuantizer(ActivationQuantizer):
    """Runs an LSTM as LiteRT's UNIDIRECTIONAL_SEQUENCE_LSTM does (8-bit in and out, 16-bit cell).

        z = sat16(r(X W + b) + r(H U))                   gates i, f, g, o, in Q3.12
        c = sat16(half_away(f c) + half_away(i g))       in Q4.11
        h = clip(r(o tanh(c)))                           in the output's format

    X, W, b, H and U are integer codes, b in steps of the input's times the kernels'. r is the
    doubly rounded change of scale; sigmoid and tanh go from 16 bits to Q0.15 by gemmlowp's fixed
    point functions. h is what the next step reads: at the top it stops at the format's largest
    code, at the bottom where the file's int8 does; the output's own limit follows behind the layer.
    Sums of products are exact below 2^24, where Keras' float32 is. The gradient is that of the real
    functions at the rounded values.

    Args:
        rounding, nonnegative, saturation_gradient, seed: as in `ActivationQuantizer`.

    References:
        TensorFlow Lite, lite/kernels/lstm_eval.cc, the integer LSTM with 16-bit cell state, without
        layer normalization, projection and peephole.
    """

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The scales of the input and of both kernels."""
        return *super().constants, INPUT_SCALE, KERNEL_SCALE

    def run_layer(self, layer: KerasLayer, inputs: tf.Tensor, variables: Variables,
                  training: Training = None, **_: object) -> tf.Tensor:  # fmt: skip
        """The layer's output on the output's grid.

        Args:
            layer: an LSTM, its kernels on their grid.
            inputs: (batch, steps, channels) on their grid.
            variables: what `build` returned.
            training: whether dropout inside the layer is active.
        """
        cell = layer.cell
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        dropped = cell.get_dropout_mask_for_cell(inputs[:, 0], training, count=4)
        inputs = inputs if dropped is None else inputs * dropped[0][:, None]
        states = [tf.zeros((tf.shape(inputs)[0], cell.units)) for _ in range(2)]
        last, outputs, _ = keras.backend.rnn(
            _Steps(cell, variables, training),
            _from_inputs(cell, inputs, variables),
            states,
            unroll=layer.unroll,
            input_length=inputs.shape[1],
        )
        return outputs if layer.return_sequences else last


class _Steps:
    """One time step, as Keras' loop calls it.

    Args:
        cell: the layer's cell, its kernels on their grid.
        variables: formats.
        training: whether dropout is active.
    """

    def __init__(self, cell: KerasLayer, variables: Variables, training: Training) -> None:
        self._cell, self._training = cell, training
        self._kernel = tf.convert_to_tensor(cell.recurrent_kernel)
        self._scale, self._high = variables["scale"], variables["qmax"]
        self._low = tf.minimum(variables["qmin"], self._high - _INT8_CODES)
        self._product_scale = self._scale * variables["kernel_scale"]

    def __call__(
        self, gates: tuple[tf.Tensor, tf.Tensor], states: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(what inputs add to the gates, [h, c]) -> (h, [h, c]), all as real values."""
        hidden, cell = states
        i, f, g, o = self._gates(gates, hidden)
        cell = _next_cell(i, f, g, cell)
        activated = _function(tf.tanh, cell, cell, CELL_BITS)
        hidden = self._next_hidden(o, activated)
        return hidden, [hidden, cell]

    def _gates(self, gates: tuple[tf.Tensor, tf.Tensor], hidden: tf.Tensor) -> list[tf.Tensor]:
        real, fixed = gates
        dropped = self._cell.get_recurrent_dropout_mask_for_cell(hidden, self._training, count=4)
        product = tf.matmul(hidden if dropped is None else hidden * dropped[0], self._kernel)
        codes = tf.round(product / self._product_scale)
        total = fixed + doubly_rounded(codes, self._product_scale * 2.0**GATE_BITS)
        total = tf.clip_by_value(total, _LOW, _HIGH) * 2.0**-GATE_BITS
        real += product
        i, f, _, o = tf.split(_function(tf.sigmoid, real, total, GATE_BITS), 4, axis=-1)
        third = slice(2 * self._cell.units, 3 * self._cell.units)
        return [i, f, _function(tf.tanh, real[:, third], total[:, third], GATE_BITS), o]

    def _next_hidden(self, opened: tf.Tensor, activated: tf.Tensor) -> tf.Tensor:
        scale = tf.cast(self._scale, tf.float64)
        steps = tf.cast(opened, tf.float64) * tf.cast(activated, tf.float64)
        steps *= 2.0 ** (2 * FUNCTION_BITS)
        codes = doubly_rounded(steps, 2.0 ** (-2 * FUNCTION_BITS) / scale)
        rounded = on_grid(tf.cast(codes, tf.float32), self._scale, self._low, self._high)
        real = opened * activated
        held = tf.clip_by_value(real, self._low * self._scale, self._high * self._scale)
        return straight_through(held, rounded)


def _from_inputs(
    cell: KerasLayer, inputs: tf.Tensor, variables: Variables
) -> tuple[tf.Tensor, tf.Tensor]:
    """What the inputs of all steps add to the gates: real values, and codes in Q3.12."""
    step = variables["input_scale"] * variables["kernel_scale"]
    real = tf.tensordot(inputs, tf.convert_to_tensor(cell.kernel), 1)
    codes = tf.round(real / step)
    if cell.use_bias:
        bias = tf.convert_to_tensor(cell.bias)
        codes += tf.round(bias / step)
        real += bias
    fixed = doubly_rounded(codes, step * 2.0**GATE_BITS)
    return real, tf.stop_gradient(tf.clip_by_value(fixed, _LOW, _HIGH))


def _next_cell(i: tf.Tensor, f: tf.Tensor, g: tf.Tensor, cell: tf.Tensor) -> tf.Tensor:
    """f * c + i * g, each product rounded to the cell's grid; float64 holds them exactly."""
    total = tf.zeros_like(cell)
    for a, b in ((f, cell), (i, g)):
        product = tf.cast(a, tf.float64) * tf.cast(b, tf.float64)
        total += tf.cast(round_half_away(product * 2.0**CELL_BITS), tf.float32)
    codes = tf.clip_by_value(total, _LOW, _HIGH)
    return straight_through(f * cell + i * g, codes * 2.0**-CELL_BITS)


def _function(function: Callable[[tf.Tensor], tf.Tensor], smooth: tf.Tensor, exact: tf.Tensor,
              fraction_bits: int) -> tf.Tensor:  # fmt: skip
    """The 16-bit table at `exact`, the gradient of the real function at `smooth`."""
    codes = tf.cast(exact * 2.0**fraction_bits - _LOW, tf.int32)
    table = tf.constant(function_table(function is tf.tanh, FUNCTION_BITS - fraction_bits))
    return straight_through(function(smooth), tf.gather(table, codes))


@functools.cache
def function_table(is_tanh: bool, integer_bits: int) -> np.ndarray:
    """Sigmoid or tanh of all 16-bit codes with so many integer bits, as real values of Q0.15.

    Example:
        >>> from tfxp.quantizers.lstm import function_table
        >>> function_table(False, 3)[[0, 32768, 65535]].tolist()
        [0.000335693359375, 0.5, 0.9996337890625]
    """
    codes = fixed_point_math.word_table("tanh" if is_tanh else "logistic", integer_bits)
    return (codes * 2.0**-FUNCTION_BITS).astype(np.float32)
