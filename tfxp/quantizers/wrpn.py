"""WRPN's quantizers: clip, round to k bits, and a gradient that is zero outside the clip.

    weights, k > 1:  clip(w, -1, 1),  round((2^(k-1) - 1) w) / (2^(k-1) - 1)
    weights, k = 1:  sign(w) * mean|w|
    activations:     clip(a, 0, 1),   round((2^k - 1) a) / (2^k - 1)

The number of codes lies in the variable `qmax`, so k changes by assignment. Codes are counted by
multiplying with qmax, not by dividing by its rounded reciprocal, which would move the tie at 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfxp.formats import Format, WrpnFormat
from tfxp.keras import keras
from tfxp.keras_types import Training
from tfxp.quantizers.custom_gradient import custom_gradient
from tfxp.quantizers.format_quantizer import FormatQuantizer, Variables, code_limit
from tfxp.quantizers.fused import traced_by_xla
from tfxp.quantizers.quantizers import FAST_ROUNDINGS, KernelQuantizer, deterministic
from tfxp.quantizers.rounding import round_by_name
from tfxp.quantizers.straight_through import HALF_UP_NUDGE, LOG2_E, where_between

_register = keras.utils.register_keras_serializable(package="tfxp")


@_register
@dataclass(eq=False)
class WrpnWeightQuantizer(KernelQuantizer):
    """Puts a kernel on WRPN's grid of k bits; the float kernel stays the one that learns.

        Q(w) = round((2^(k-1) - 1) clip(w, -1, 1)) / (2^(k-1) - 1)    k > 1
        Q(w) = sign(w) mean|w|                                        k = 1

    The gradient passes where -1 <= w <= 1 and is zero elsewhere, as that of `tf.clip_by_value` is;
    through rounding, and through mean|w| of k = 1, it passes unchanged.

    Args:
        channel_axes, trailing, rounding, seed: see `KernelQuantizer`.
        binary: k = 1.
        per_channel: mean|w| per output channel instead of one for the kernel (k = 1 only).

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 5; k = 1 is
        Rastegari et al.'s BWN (ECCV 2016), whose per-filter mean is `per_channel`.
    """

    binary: bool = False
    per_channel: bool = False

    @property
    def one_scale_per_channel(self) -> bool:
        """Whether means are taken per channel."""
        return self.per_channel

    def formats(self, variables: Variables) -> tuple[Format, ...]:
        """WRPN's, where grids of one step would leave open which it is."""
        return (WrpnFormat(1 if self.binary else code_limit(variables["qmax"]).bit_length() + 1),)

    def __call__(self, inputs: tf.Tensor, /, training: Training, weights: Variables,
                 **_: object) -> tf.Tensor:  # fmt: skip
        """The kernel on its grid."""
        x = tf.convert_to_tensor(inputs)
        if self.binary:
            rank = len(x.shape)
            taps = [axis for axis in range(rank) if axis not in self.channels(rank)]
            return quantize_binary(x, taps if self.per_channel else None)
        rounding = deterministic(self.rounding, training)
        return quantize_unit_range(x, -1.0, weights["qmax"], rounding, self.seed)


@_register
@dataclass(eq=False)
class WrpnActivationQuantizer(FormatQuantizer):
    """Clips to [0, 1] and rounds to k bits; takes the place of a ReLU.

        Q(a) = round((2^k - 1) clip(a, 0, 1)) / (2^k - 1)

    The gradient passes where 0 <= a <= 1 and is zero elsewhere.

    Args:
        rounding: rounding mode; None is half to even. That and half up, which LiteRT's ADD does,
            take one fused kernel each way.
        seed: seed of stochastic rounding.

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 5.
    """

    rounding: str | None = None
    seed: int = 0

    @property
    def takes_relu(self) -> bool:
        """Always: the clip at 0 is one."""
        return True

    def formats(self, variables: Variables) -> tuple[Format, ...]:
        """WRPN's, where a grid of one step would leave open which it is."""
        return (WrpnFormat(code_limit(variables["qmax"]).bit_length(), "activations"),)

    def __call__(self, outputs: tf.Tensor, /, training: Training, weights: Variables,
                 relu: bool = False, **_: object) -> tf.Tensor:  # fmt: skip
        """The tensor on its grid."""
        rounding = deterministic(self.rounding or "half_even", training)
        if rounding in FAST_ROUNDINGS:
            nudge = HALF_UP_NUDGE if rounding == "half_up" else 0.0
            return quantize_unit_interval(outputs, weights["qmax"], nudge)
        return quantize_unit_range(outputs, 0.0, weights["qmax"], rounding, self.seed)


@_register
class UnitRange(keras.constraints.Constraint):
    """Keeps the float weights of a WRPN layer within [-1, 1] after every step.

    Outside the range the gradient is zero, so a weight that has left it never comes back by
    itself; and what lies outside computes as the limit does.

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 5, clips
        weights to [-1, 1] as it rounds them; the constraint is this package's.
    """

    def __call__(self, w: tf.Tensor) -> tf.Tensor:
        """The clipped weights."""
        return tf.clip_by_value(w, -1.0, 1.0)


def quantize_unit_range(
    x: tf.Tensor,
    low: float,
    levels: tf.Tensor,
    rounding: str = "half_even",
    seed: int | None = None,
) -> tf.Tensor:
    """round(levels * clip(x, low, 1)) / levels, by any rounding mode; the definition in tensors."""

    @custom_gradient
    def forward(value: tf.Tensor) -> Any:
        xla = traced_by_xla()
        clipped = tf.clip_by_value(value, low, 1.0)
        codes = round_by_name(clipped * levels, rounding, seed)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return where_between(upstream, value, tf.constant(low), tf.constant(1.0), xla)

        return codes / levels, gradient

    return forward(x)


def quantize_unit_interval(x: tf.Tensor, levels: tf.Tensor, nudge: float = 0.0) -> tf.Tensor:
    """round(levels * clip(x, 0, 1)) / levels, ties to even, fused; for activations.

    Args:
        x: float32 tensor.
        levels: 2^k - 1, a scalar tensor.
        nudge: added in steps of the grid before rounding; `HALF_UP_NUDGE` makes ties go up.
    """

    @custom_gradient
    def forward(value: tf.Tensor) -> Any:
        xla = traced_by_xla()
        bits = tf.cast(tf.math.log(levels + 1.0) * LOG2_E + 0.5, tf.int32)
        result = tf.raw_ops.QuantizeAndDequantizeV3(
            input=value + nudge / levels if nudge else value,
            input_min=0.0,
            input_max=1.0,
            num_bits=bits,
            signed_input=False,
            range_given=True,
        )

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return where_between(upstream, value, tf.constant(0.0), tf.constant(1.0), xla)

        return result, gradient

    return forward(x)


def quantize_binary(x: tf.Tensor, axes: list[int] | None = None) -> tf.Tensor:
    """sign(w) * mean|w|, with sign(0) = 1; the mean over `axes`, or over everything."""

    @custom_gradient
    def forward(value: tf.Tensor) -> Any:
        xla = traced_by_xla()
        mean = tf.reduce_mean(tf.abs(value), axes, keepdims=True)
        sign = tf.where(value >= 0, tf.ones_like(value), -tf.ones_like(value))

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return where_between(upstream, value, tf.constant(-1.0), tf.constant(1.0), xla)

        return sign * mean, gradient

    return forward(x)
