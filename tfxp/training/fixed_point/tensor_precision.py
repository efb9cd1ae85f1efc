"""The three formats that an update step needs, and quantization in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfxp.errors import PrecisionError
from tfxp.formats import FixedPointFormat, Rounding
from tfxp.precision import FLOAT, LayerPrecision
from tfxp.quantizers.fused import compiled_if_large
from tfxp.quantizers.rounding import Seed, round_by_name

# Codes of accumulators are int32, weights must be exact in the float32 of the Keras variable.
_MAX_WEIGHT_BITS = 24
FIELDS = ("weights", "weight_gradients", "accumulators")


@dataclasses.dataclass(frozen=True)
class UpdatePrecision:
    """Formats of one variable's weight, weight gradient and accumulator; None stands for float.

    Args:
        weights: format of the weights; used where there is an accumulator.
        weight_gradients: format of the gradient.
        accumulators: format of what the weights' format leaves over. None keeps the variable
            itself in float, as the shadow that the forward pass rounds.

    Raises:
        PrecisionError: an accumulator without fixed-point weights, or weights of more than 24
            bits, which float32 does not hold.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, and the authors' train_quantized.py.
    """

    weights: FixedPointFormat | None = None
    weight_gradients: FixedPointFormat | None = None
    accumulators: FixedPointFormat | None = None

    def __post_init__(self) -> None:
        if self.accumulators is not None and self.weights is None:
            raise PrecisionError(
                "accumulators: got a format beside float weights; expected weights in fixed point, "
                "since an accumulator holds what their format leaves over."
            )
        if self.accumulators is not None and self.weights.bits > _MAX_WEIGHT_BITS:  # type: ignore[union-attr]
            raise PrecisionError(
                f"weights: got {self.weights} beside an accumulator; expected at most "
                f"{_MAX_WEIGHT_BITS} bits, which a float32 variable holds exactly."
            )

    @classmethod
    def of(cls, rule: LayerPrecision, where: str) -> UpdatePrecision:
        """From a layer's rule in a training precision map.

        Raises:
            PrecisionError: a field is no fixed-point format; the message starts with `where`.
        """
        if rule.accumulators in (None, FLOAT):
            # The forward pass has the weights' format, whatever grid that is.
            gradient = _format(rule, "weight_gradients", where)
            return cls(None, gradient, None)
        formats = [_format(rule, field, where) for field in FIELDS]
        try:
            return cls(*formats)
        except PrecisionError as error:
            raise PrecisionError(f"{where}: {error}") from None

    @classmethod
    def from_dict(cls, data: Mapping[str, str], where: str) -> UpdatePrecision:
        """From format names, as an optimizer's configuration holds them."""
        return cls.of(LayerPrecision.from_dict(dict(data), where), where)

    def to_dict(self) -> dict[str, str]:
        """Format names by field; fields in float are left out."""
        values = {field: getattr(self, field) for field in FIELDS}
        return {field: str(value) for field, value in values.items() if value is not None}


def _format(rule: LayerPrecision, field: str, where: str) -> FixedPointFormat | None:
    value: Any = getattr(rule, field)
    if value in (None, FLOAT):
        return None
    if not isinstance(value, FixedPointFormat):
        raise PrecisionError(
            f"{field} of {where}: got {value}; expected one fixed-point format such as 'Q-2.12'. "
            "Bits alone do not say the range; assign_precision --method=sakr gives formats."
        )
    return value


def quantize_exactly(
    x: tf.Tensor,
    fmt: FixedPointFormat,
    rounding: str,
    seed: Seed = None,
    let_pass: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Codes of a float64 tensor, and how many saturated.

        code = clip(round(x / s), qmin, qmax)

    Args:
        x: float64.
        fmt: the format.
        rounding: rounding mode.
        seed: seed of stochastic rounding.
        let_pass: codes that are clipped by no more than this do not count.

    Returns:
        Codes as float64, and a count as int64. NaN is no code and counts as not saturated.
    """
    if Rounding.parse(rounding) is Rounding.STOCHASTIC:
        return _quantized(x, fmt, rounding, let_pass, seed)
    return _compiled(x, fmt, rounding, let_pass)


def accumulate_exactly(
    accumulator: tf.Tensor,
    weights: tf.Tensor,
    step: tf.Tensor,
    formats: UpdatePrecision,
    rounding: str,
    seed: Seed = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """One step of weights and the residual accumulator.

        t = W + acc - step,    W = Q(t; weights),    acc = Q(t - W; accumulators)

    Args:
        accumulator: int32 codes.
        weights: float32, on the grid of their format.
        step: float64, learning rate times gradient.
        formats: formats of weights and accumulators, neither of them None.
        rounding: rounding mode of both.
        seed: seed of stochastic rounding.

    Returns:
        New weights, new codes, and how many saturated of either. Half a step of the weights, which
        ties of negative weights leave, is one code more than the accumulator has; that alone is
        no sign of a range too small and does not count.
    """
    if Rounding.parse(rounding) is Rounding.STOCHASTIC:
        return _accumulated(accumulator, weights, step, formats, rounding, seed)
    return _accumulated_in_one_pass(accumulator, weights, step, formats, rounding)


def _quantized(
    x: tf.Tensor, fmt: FixedPointFormat, rounding: str, let_pass: int, seed: Seed = None
) -> tuple[tf.Tensor, tf.Tensor]:
    codes = round_by_name(x / fmt.scale, rounding, seed)
    held = tf.clip_by_value(codes, fmt.qmin, fmt.qmax)
    return held, tf.math.count_nonzero(tf.abs(codes - held) > let_pass)


def _accumulated(
    accumulator: tf.Tensor,
    weights: tf.Tensor,
    step: tf.Tensor,
    formats: UpdatePrecision,
    rounding: str,
    seed: Seed = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    grid, finer = formats.weights, formats.accumulators
    assert grid is not None and finer is not None
    total = tf.cast(weights, tf.float64) + tf.cast(accumulator, tf.float64) * finer.scale - step
    codes, clipped = _quantized(total, grid, rounding, 0, seed)
    held = codes * grid.scale
    rest, lost = _quantized(total - held, finer, rounding, 1, _another(seed))
    return tf.cast(held, weights.dtype), tf.cast(rest, tf.int32), clipped, lost


def _another(seed: Seed) -> Seed:
    """A seed for other draws; one that is a number draws anew by itself."""
    return seed + tf.constant([0, 1], seed.dtype) if isinstance(seed, tf.Tensor) else seed


_compiled = compiled_if_large(_quantized)
_accumulated_in_one_pass = compiled_if_large(_accumulated)
