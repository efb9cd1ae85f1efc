"""Other configurations beside one that was assigned: what C_o is compared with.

The range of an accumulator belongs to the weights beside it: what a weight format leaves over is at
most half its step, r_acc = r_W 2^-B_W (criterion AS). A weight that gives up a bit without a wider
accumulator would stop learning, since what it leaves over saturates before it makes up a step. So
here that range follows the weights, while every other range stays.

"One bit less everywhere" can be read in three ways, which differ in the accumulators only:

    reading    range           step    bits
    "range"    r_W 2^-B_W      x 4     B - 1     criterion AS, and one bit less like all others
    "step"     r_W 2^-B_W      x 2     B         criterion AS, and a step like all others
    "literal"  as it was       x 2     B - 1     the authors' script: every precision one less
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from tfxp.assign.sakr import TENSORS
from tfxp.errors import PrecisionError
from tfxp.formats import FixedPointFormat
from tfxp.precision import FLOAT, LayerPrecision, PrecisionMap

READINGS = ("range", "step", "literal")


def with_more_bits(
    pmap: PrecisionMap,
    bits: int,
    tensors: Iterable[str] = TENSORS,
    accumulators: str = "range",
) -> PrecisionMap:
    """The same map with more bits, or fewer, for some tensors: C_+1 and C_-1.

    Args:
        pmap: a training precision map.
        bits: how many bits more or, if negative, fewer.
        tensors: which of the five. Where accumulators are not among them, their step stays and
            their range follows the weights.
        accumulators: how the accumulators take part, one of `READINGS`.

    Raises:
        PrecisionError: a tensor would have no bits left, or too many; an unknown tensor or reading.

    Example:
        >>> pmap = PrecisionMap(LayerPrecision("Q0.11", "UQ1.5", accumulators="Q-12.20"))
        >>> for reading in READINGS:
        ...     print(with_more_bits(pmap, -1, accumulators=reading).default.to_dict())
        {'weights': 'Q0.10', 'activations': 'UQ1.4', 'accumulators': 'Q-11.18'}
        {'weights': 'Q0.10', 'activations': 'UQ1.4', 'accumulators': 'Q-11.19'}
        {'weights': 'Q0.10', 'activations': 'UQ1.4', 'accumulators': 'Q-12.19'}

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, whose check that C_o is nearly minimal trains these.
    """
    if accumulators not in READINGS:
        raise PrecisionError(f"accumulators: got {accumulators!r}; expected one of {READINGS}.")
    tensors = tuple(tensors)
    changed = perturbed(pmap, bits, tensors)
    if accumulators == "literal":
        return changed
    keep_bits = accumulators == "range" and "accumulators" in tensors
    return _following(pmap, changed, keep_bits)


def perturbed(pmap: PrecisionMap, bits: int, tensors: Iterable[str] = TENSORS) -> PrecisionMap:
    """The same map with some tensors a few bits wider or narrower, their ranges unchanged.

    The authors' C_+1 and C_-1 are `perturbed(C_o, 1)` and `perturbed(C_o, -1)`.

    Args:
        pmap: a training precision map.
        bits: how many bits more (or, if negative, fewer).
        tensors: which of the five.

    Raises:
        PrecisionError: a tensor would have no bits left, or too many; an unknown tensor.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, whose check that C_o is nearly minimal trains these.
    """
    tensors = _known(tensors)
    rules = {key: _perturbed_layer(key, rule, bits, tensors) for key, rule in pmap.layers.items()}
    default = _perturbed_layer("default", pmap.default, bits, tensors)
    return dataclasses.replace(pmap, default=default, layers=rules)


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

    def change(value: object) -> Any:
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


def _perturbed_layer(
    key: str, rule: LayerPrecision, bits: int, tensors: tuple[str, ...]
) -> LayerPrecision:
    changes: dict[str, Any] = {}
    for tensor in tensors:
        value = getattr(rule, tensor)
        # The network's input is data, not a choice of the configuration.
        if key == "@inputs" or value is None or value == FLOAT:
            continue
        try:
            if isinstance(value, FixedPointFormat):
                changes[tensor] = FixedPointFormat.of_bits(
                    value.bits + bits, value.fractional_bits + bits, value.signed, value.symmetric
                )
            elif isinstance(value, int):
                changes[tensor] = LayerPrecision(weights=value + bits).weights
        except ValueError as error:
            raise PrecisionError(f"{tensor} of {key!r} with {bits:+d} bits: {error}") from None
    return dataclasses.replace(rule, **changes)


def _changed(
    pmap: PrecisionMap, change: Callable[[Any], Any], tensors: Iterable[str]
) -> PrecisionMap:
    tensors = _known(tensors)

    def layer(key: str, rule: LayerPrecision) -> LayerPrecision:
        if key == "@inputs":  # data, not a choice of the configuration
            return rule
        return dataclasses.replace(rule, **{t: change(getattr(rule, t)) for t in tensors})

    rules = {key: layer(key, rule) for key, rule in pmap.layers.items()}
    return dataclasses.replace(pmap, default=layer("default", pmap.default), layers=rules)


def _known(tensors: Iterable[str]) -> tuple[str, ...]:
    tensors = tuple(tensors)
    for tensor in tensors:
        if tensor not in TENSORS:
            raise PrecisionError(f"tensor: got {tensor!r}; expected one of {TENSORS}.")
    return tensors
