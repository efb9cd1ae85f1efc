"""The precision of one layer's tensors."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfxp.errors import PrecisionError, did_you_mean
from tfxp.formats import MAX_BITS, Format, Rounding, parse_format

FLOAT = "float"
PLACEMENTS = ("post_activation", "pre_activation")

# A tensor's precision: a number of bits (the format is fitted by measurement), a format, "float",
# or None, which says nothing and leaves the decision to an earlier rule or the default.
TensorPrecision = int | Format | str | None

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
        rounding: "engine" (default: what LiteRT's default engine does for the operator) or a
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
        if self.per_channel not in (None, True, False):
            raise PrecisionError(f"per_channel: got {self.per_channel!r}; expected true or false.")
        if self.placement is not None and self.placement not in PLACEMENTS:
            raise PrecisionError(f"placement: got {self.placement!r}; expected {PLACEMENTS}.")
        if self.rounding is not None and self.rounding != "engine":
            object.__setattr__(self, "rounding", Rounding.parse(self.rounding).value)

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str = "layer") -> LayerPrecision:
        """From its JSON form.

        Raises:
            PrecisionError: unknown field or impossible value; the message starts with `where`.
        """
        if not isinstance(data, dict):
            raise PrecisionError(f"{where}: got {data!r}; expected an object of precisions.")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                hint = did_you_mean(str(key), known)
                raise PrecisionError(f"{where}: got field {key!r}; expected one of {known}.{hint}")
        try:
            return cls(**data)
        except ValueError as error:
            raise PrecisionError(f"{where}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the fields that say nothing."""
        result = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                plain = isinstance(value, bool | int | str)
                result[field.name] = value if plain else str(value)
        return result

    def updated(self, other: LayerPrecision) -> LayerPrecision:
        """This precision with everything that `other` says put over it."""
        changes = {
            field.name: getattr(other, field.name)
            for field in dataclasses.fields(other)
            if getattr(other, field.name) is not None
        }
        return dataclasses.replace(self, **changes)


def _tensor_precision(value: Any, name: str, role: str) -> TensorPrecision:
    if value is None or value == FLOAT:
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        if hasattr(value, "qmin"):
            return value
        raise PrecisionError(
            f"precision of {name}: got {value!r}; expected bits, a format name or 'float'."
        )
    if isinstance(value, str):
        return parse_format(value, role)
    if not 1 <= value <= MAX_BITS:
        raise PrecisionError(f"bits of {name}: got {value}; expected 1 to {MAX_BITS}.")
    return value
