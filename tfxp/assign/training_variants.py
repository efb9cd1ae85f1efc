"""Other configurations beside one that was assigned: what C_o is compared with.

The range of an accumulator belongs to the weights beside it: what a weight format leaves over is at
most half its step, r_acc = r_W 2^-B_W (criterion AS). A weight that gives up a bit without a wider
accumulator would stop learning, since what it leaves over saturates before it makes up a step. So
here that range follows the weights, while every other range stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from tfxp.assign.sakr import TENSORS, perturbed
from tfxp.errors import PrecisionError
from tfxp.formats import FixedPointFormat
from tfxp.precision import FLOAT, LayerPrecision, PrecisionMap


def with_more_bits(pmap: PrecisionMap, bits: int, tensors: Iterable[str] = TENSORS) -> PrecisionMap:
    """The same map with all steps 2^-bits as large; accumulators cover what weights leave over.

    Args:
        pmap: a training precision map.
        bits: how many bits more or, if negative, fewer.
        tensors: which of the five.

    Raises:
        PrecisionError: a tensor would have no bits left, or too many; an unknown tensor.

    Example:
        >>> pmap = PrecisionMap(LayerPrecision("Q0.11", "UQ1.5", accumulators="Q-12.20"))
        >>> with_more_bits(pmap, -1).default.to_dict()
        {'weights': 'Q0.10', 'activations': 'UQ1.4', 'accumulators': 'Q-11.19'}
    """
    return _following(pmap, perturbed(pmap, bits, tensors), keep_bits=False)


def with_bits(pmap: PrecisionMap, bits: int, tensors: Iterable[str] = TENSORS) -> PrecisionMap:
    """The same map with one word length for all, every tensor's range unchanged.

        B_T = bits,  D_T = r_T 2^-(B-1) if signed, r_T 2^-B if not

    Args:
        pmap: a training precision map.
        bits: word length, at least 2.
        tensors: which of the five.

    Raises:
        PrecisionError: an impossible word length, or an unknown tensor.

    Example:
        >>> pmap = PrecisionMap(LayerPrecision("Q0.11", "UQ1.5", weight_gradients="Q-3.12"))
        >>> with_bits(pmap, 8).default.to_dict()
        {'weights': 'Q0.7', 'activations': 'UQ1.7', 'weight_gradients': 'Q-3.10'}
    """

    def change(value: Any) -> Any:
        if not isinstance(value, FixedPointFormat):
            return value
        fraction = value.fractional_bits + bits - value.bits
        return FixedPointFormat.of_bits(bits, fraction, value.signed, value.symmetric)

    return _following(pmap, _changed(pmap, change, tensors), keep_bits=True)


def in_float(pmap: PrecisionMap, tensors: Iterable[str]) -> PrecisionMap:
    """The same map with some of the five tensors in float.

    Float accumulators make dual-copy training of it: a float shadow, rounded forward.

    Args:
        pmap: a training precision map.
        tensors: which of the five.

    Raises:
        PrecisionError: an unknown tensor.

    Example:
        >>> pmap = PrecisionMap(LayerPrecision("Q0.11", "UQ1.5", accumulators="Q-12.20"))
        >>> in_float(pmap, ["accumulators"]).default.accumulators
        'float'
    """
    return _changed(pmap, lambda value: None if value is None else FLOAT, tensors)


def _following(before: PrecisionMap, after: PrecisionMap, keep_bits: bool) -> PrecisionMap:
    """`after` with the ranges of accumulators moved as the weights' steps were."""

    def follow(old: LayerPrecision, new: LayerPrecision) -> LayerPrecision:
        held = new.accumulators
        formats = (old.weights, new.weights, held)
        if not all(isinstance(fmt, FixedPointFormat) for fmt in formats):
            return new
        finer = new.weights.fractional_bits - old.weights.fractional_bits  # type: ignore[union-attr]
        fraction = held.fractional_bits + (finer if keep_bits else 0)  # type: ignore[union-attr]
        moved = FixedPointFormat(held.integer_bits - finer, fraction)  # type: ignore[union-attr]
        return dataclasses.replace(new, accumulators=moved)

    try:
        rules = {key: follow(before.layers[key], rule) for key, rule in after.layers.items()}
        default = follow(before.default, after.default)
    except ValueError as error:
        raise PrecisionError(f"accumulators: {error}") from None
    return dataclasses.replace(after, default=default, layers=rules)


def _changed(
    pmap: PrecisionMap, change: Callable[[Any], Any], tensors: Iterable[str]
) -> PrecisionMap:
    tensors = tuple(tensors)
    unknown = [tensor for tensor in tensors if tensor not in TENSORS]
    if unknown:
        raise PrecisionError(f"tensor: got {unknown[0]!r}; expected one of {TENSORS}.")

    def layer(key: str, rule: LayerPrecision) -> LayerPrecision:
        if key == "@inputs":  # data, not a choice of the configuration
            return rule
        return dataclasses.replace(rule, **{t: change(getattr(rule, t)) for t in tensors})

    rules = {key: layer(key, rule) for key, rule in pmap.layers.items()}
    return dataclasses.replace(pmap, default=layer("default", pmap.default), layers=rules)
