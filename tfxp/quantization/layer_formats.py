"""The formats of one layer's tensors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tfxp.errors import PrecisionError
from tfxp.formats import FixedPointFormat, Format, WrpnFormat
from tfxp.precision import LayerPrecision


@dataclasses.dataclass(frozen=True)
class LayerFormats:
    """Formats of one layer; None stands for float.

    Args:
        rule: what the precision map says of the layer.
        activations: format of the output.
        weights: one format, or one per output channel; empty if the kernel stays float or there
            is none.
        activation_gradients: format of the output's gradient.
    """

    rule: LayerPrecision
    activations: Format | None
    weights: tuple[Format, ...] = ()
    activation_gradients: FixedPointFormat | None = None

    @property
    def code_rounding(self) -> str:
        """The rounding mode that turns weights into codes; a stochastic one belongs to training."""
        rounding = self.rule.rounding
        return "half_even" if rounding in (None, "engine", "stochastic") else str(rounding)

    @property
    def is_binary(self) -> bool:
        """Whether the kernel has two values, whose scale is a mean of its weights."""
        return bool(self.weights) and getattr(self.weights[0], "is_binary", False)


NetworkFormats = dict[str, LayerFormats]


def format_of_scale(scale: float, qmin: int, qmax: int) -> Format:
    """The format that has these numbers; the inverse of reading a format's properties.

    Raises:
        PrecisionError: no format has them.

    Example:
        >>> format_of_scale(0.125, -8, 7)
        FixedPointFormat('Q0.3')
    """
    mantissa, exponent = math.frexp(scale)
    signed, codes = qmin < 0, qmax + 1
    bits = codes.bit_length() - 1 + int(signed)
    if mantissa == 0.5 and codes & (codes - 1) == 0:
        return FixedPointFormat.of_bits(bits, 1 - exponent, signed, signed and qmin == -qmax)
    wrpn = WrpnFormat(bits, "weights" if signed else "activations")
    if np.float32(wrpn.scale) == np.float32(scale) and wrpn.qmin == qmin:
        return wrpn
    raise PrecisionError(f"scale {scale} with codes {qmin} to {qmax}: belongs to no known format.")
