"""How many bits a tensor of a given precision takes."""

from __future__ import annotations

from tfxp.precision import FLOAT, LayerPrecision, TensorPrecision

FLOAT_BITS = 32
# What a float32 multiplication is charged as: the stored mantissa (Sakr and Shanbhag, 2019).
FLOAT_MANTISSA_BITS = 23
# A bias without a precision of its own lies on the accumulator's grid, int32 in every engine.
ACCUMULATOR_BITS = 32


def tensor_bits(precision: TensorPrecision, float_bits: int = FLOAT_BITS) -> int:
    """Bits per element: the number itself, the format's word length, or float's.

    Args:
        precision: bits, a format, "float", or None (which counts as float).
        float_bits: what float counts as: 32 in memory, 23 in a multiplier.

    Example:
        >>> from tfxp.formats import parse_format
        >>> tensor_bits(6), tensor_bits(parse_format("UQ2.4")), tensor_bits("float")
        (6, 6, 32)
    """
    if precision is None or precision == FLOAT:
        return float_bits
    if isinstance(precision, tuple):  # one format per channel, all of one word length
        precision = precision[0]
    return precision if isinstance(precision, int) else precision.bits  # type: ignore[union-attr]


def bias_bits(precision: LayerPrecision) -> int:
    """Bits per bias of a layer."""
    return ACCUMULATOR_BITS if precision.bias is None else tensor_bits(precision.bias)


def is_float(precision: TensorPrecision) -> bool:
    """Whether a tensor is left in floating point."""
    return precision is None or precision == FLOAT
