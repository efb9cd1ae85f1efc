"""The precision of one layer's tensors."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

from tfxp.errors import FormatError, PrecisionError, check_fields
from tfxp.formats import (
    MAX_BITS,
    FixedPointFormat,
    Format,
    Rounding,
    WrpnFormat,
    parse_format,
)

FLOAT = "float"
PLACEMENTS = ("post_activation", "pre_activation")
# Whose rounding an operator repeats, where no rounding mode is asked for.
PORTABLE, ENGINE = "portable", "engine"
ARITHMETICS = (PORTABLE, ENGINE)

# A tensor's precision: a number of bits (the format is fitted by measurement), a format, a tuple of
# formats (one per output channel), "float", or None, which says nothing and leaves the decision to
# an earlier rule or the default.
TensorPrecision = int | Format | tuple[Format, ...] | str | None

_TENSORS = {
    "weights": "weights",
    "activations": "activations",
    "bias": "weights",
    "weight_gradients": "weights",
    "activation_gradients": "weights",
    "accumulators": "weights",
}


@dataclasses.dataclass(frozen=True)
class LayerPrecision:
    """Which precision each tensor of one layer gets; None says nothing about that tensor.

    Args:
        weights: kernel.
        activations: the layer's output.
        bias: bias; None means the accumulator's grid (input scale times weight scale).
        per_channel: whether every output channel's kernel has its own fractional bits.
        placement: "post_activation" (default) or "pre_activation" (ADaPTION quantizes the signed
            value before the ReLU).
        rounding: "portable" (default of new models: the same on every runtime, where the operator
            allows it), "engine" (what LiteRT's default engine does for the operator) or a
            rounding mode.
        weight_gradients: gradient of the kernel, for fixed-point training.
        activation_gradients: gradient of the layer's output, for fixed-point training.
        accumulators: weight accumulator, for fixed-point training.

    Raises:
        PrecisionError: a field has an impossible value.

    Example:
        >>> LayerPrecision(weights=4, activations="UQ2.4").to_dict()
        {'weights': 4, 'activations': 'UQ2.4'}
    """

    weights: TensorPrecision = None
    activations: TensorPrecision = None
    bias: TensorPrecision = None
    per_channel: bool | None = None
    placement: str | None = None
    rounding: str | None = None
    weight_gradients: TensorPrecision = None
    activation_gradients: TensorPrecision = None
    accumulators: TensorPrecision = None

    def __post_init__(self) -> None:
        for name, role in _TENSORS.items():
            object.__setattr__(self, name, _tensor_precision(getattr(self, name), name, role))
        if self.per_channel is not None and not isinstance(self.per_channel, bool):
            raise PrecisionError(f"per_channel: got {self.per_channel!r}; expected true or false.")
        if self.placement is not None and self.placement not in PLACEMENTS:
            raise PrecisionError(f"placement: got {self.placement!r}; expected {PLACEMENTS}.")
        if self.rounding is not None and self.rounding not in ARITHMETICS:
            try:
                object.__setattr__(self, "rounding", Rounding.parse(self.rounding).value)
            except FormatError as error:
                raise PrecisionError(f"{error} Or 'portable' or 'engine'.") from None

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str = "layer") -> LayerPrecision:
        """From its JSON form.

        Raises:
            PrecisionError: unknown field or impossible value; the message starts with `where`.
        """
        if not isinstance(data, dict):
            raise PrecisionError(f"{where}: got {data!r}; expected an object of precisions.")
        known = [field.name for field in dataclasses.fields(cls)]
        check_fields(where, data, known, PrecisionError)
        try:
            return cls(**data)
        except PrecisionError as error:
            raise PrecisionError(f"{where}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the fields that say nothing."""
        result = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                result[field.name] = _to_json(value)
        return result

    @property
    def rounding_mode(self) -> str | None:
        """The rounding mode that is asked for by name; None where operators round as they do."""
        return None if self.rounding in ARITHMETICS else self.rounding

    def updated(self, other: LayerPrecision) -> LayerPrecision:
        """This precision with everything that `other` says put over it."""
        changes = {
            field.name: getattr(other, field.name)
            for field in dataclasses.fields(other)
            if getattr(other, field.name) is not None
        }
        return dataclasses.replace(self, **changes)


def _to_json(value: object) -> Any:
    if isinstance(value, tuple):
        return [str(fmt) for fmt in value]
    return value if isinstance(value, bool | int | str) else str(value)


def _tensor_precision(value: object, name: str, role: str) -> TensorPrecision:
    if value is None:
        return None
    if isinstance(value, str):
        if value == FLOAT:
            return FLOAT
        try:
            return parse_format(value, role)
        except FormatError as error:
            raise PrecisionError(f"precision of {name}: {error}") from None
    if isinstance(value, FixedPointFormat):
        return value
    if isinstance(value, WrpnFormat):
        if value.role != role:
            raise PrecisionError(f"precision of {name}: got {value!r}; expected a grid of {role}.")
        return value
    if isinstance(value, list | tuple) and value:
        return _per_channel(value, name, role)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise PrecisionError(
            f"precision of {name}: got {value!r}; expected bits, a format name or 'float'."
        )
    bits = int(value)
    if not 1 <= bits <= MAX_BITS:
        raise PrecisionError(f"bits of {name}: got {bits}; expected 1 to {MAX_BITS}.")
    return bits


def _per_channel(values: list[Any] | tuple[Any, ...], name: str, role: str) -> tuple[Format, ...]:
    formats = tuple(_tensor_precision(value, name, role) for value in values)
    whole = all(isinstance(fmt, FixedPointFormat | WrpnFormat) for fmt in formats)
    if not whole or len({fmt.bits for fmt in formats}) != 1:  # type: ignore[union-attr]
        raise PrecisionError(
            f"precision of {name}: got {list(values)!r}; expected bits, a format name, 'float', "
            "or full formats of one word length, one per channel."
        )
    return formats  # type: ignore[return-value]
