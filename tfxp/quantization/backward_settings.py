"""How gradients run through a quantized model: a training matter that no precision map says."""

from __future__ import annotations

import dataclasses

from tfxp.errors import ConfigError, FormatError
from tfxp.formats import Rounding
from tfxp.quantizers.learned_step import check_rule

SATURATION_GRADIENTS = ("zero", "pass")
BACKWARD_WEIGHTS = ("rounded", "float")


@dataclasses.dataclass(frozen=True)
class BackwardSettings:
    """How gradients run through a quantized model.

    Args:
        gradient_rounding: rounding of activation gradients that have a format; "half_away" in
            Sakr and Shanbhag, "stochastic" for the baseline after Gupta.
        activation_saturation: gradient where an activation was clipped: "zero" (a clipped ReLU's
            own gradient, default) or "pass" (ADaPTION: a plain copy).
        weight_saturation: the same for weights; "pass" is what both papers do, since clipped
            weights must find back.
        backward_weights: which weights carry the gradient to a layer's input: "rounded" (default)
            or "float" (ADaPTION, whose backward pass reads the float copy); recurrent layers and
            others that hold layers have the rounded ones.
        seed: seed of stochastic rounding.
        learned_formats: rule by which binary points are trained: "tqt", "lsq" or "pact" (see
            `tfxp.quantizers.learned_step`); None leaves formats as they are.

    Raises:
        ConfigError: a value that is not in its list.

    References:
        Sakr and Shanbhag, ICLR 2019; Milde and others, "ADaPTION", 2017, and its layer
        LPConvolution.
    """

    gradient_rounding: str = "half_away"
    activation_saturation: str = "zero"
    weight_saturation: str = "pass"
    backward_weights: str = "rounded"
    seed: int = 0
    learned_formats: str | None = None

    def __post_init__(self) -> None:
        if self.learned_formats is not None:
            check_rule(self.learned_formats)
        try:
            object.__setattr__(
                self, "gradient_rounding", Rounding.parse(self.gradient_rounding).value
            )
        except FormatError as error:
            raise ConfigError(f"gradient_rounding: {error}") from None
        for name, known in (
            ("activation_saturation", SATURATION_GRADIENTS),
            ("weight_saturation", SATURATION_GRADIENTS),
            ("backward_weights", BACKWARD_WEIGHTS),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}: got {getattr(self, name)!r}; expected one of {known}.")
