"""The formats of one layer's tensors."""

from __future__ import annotations

import dataclasses

from tfxp.formats import FixedPointFormat, Format
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
        rounding = self.rule.rounding_mode
        return "half_even" if rounding in (None, "stochastic") else str(rounding)

    @property
    def is_binary(self) -> bool:
        """Whether the kernel has two values, whose scale is a mean of its weights."""
        return bool(self.weights) and getattr(self.weights[0], "is_binary", False)


NetworkFormats = dict[str, LayerFormats]
