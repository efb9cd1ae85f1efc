"""Which tensors of a layer are quantized, as a tfmot QuantizeConfig."""

from __future__ import annotations

from typing import Any

from tfxp.keras import keras
from tfxp.keras_types import KerasLayer
from tfxp.quantizers import FormatQuantizer
from tfxp.tfmot import QuantizeConfig

_register = keras.utils.register_keras_serializable(package="tfxp")


@_register
class TensorQuantizeConfig(QuantizeConfig):
    """Quantizers by attribute path for a layer's weights, and one for its output.

    Args:
        weight_quantizers: attribute path ("kernel", "bias", "cell.kernel") -> quantizer.
        output_quantizer: quantizer of the output, or None.
        gradient_quantizer: quantizer of the output's gradient, or None.
        backward_weights: "rounded" or "float": which weights carry the gradient to the input.
        portable: whether sums of products carry half an accumulator step where their output is
            coarser, so that rounding never meets a tie: half up on every runtime.
    """

    def __init__(
        self,
        weight_quantizers: dict[str, FormatQuantizer] | None = None,
        output_quantizer: FormatQuantizer | None = None,
        gradient_quantizer: FormatQuantizer | None = None,
        backward_weights: str = "rounded",
        portable: bool = False,
    ) -> None:
        self.weight_quantizers = dict(weight_quantizers or {})
        self.output_quantizer = output_quantizer
        self.gradient_quantizer = gradient_quantizer
        self.backward_weights = backward_weights
        self.portable = portable

    def get_weights_and_quantizers(self, layer: KerasLayer) -> list[tuple[Any, FormatQuantizer]]:
        """tfmot's view of the weights."""
        return [(_attribute(layer, path), q) for path, q in self.weight_quantizers.items()]

    def get_activations_and_quantizers(self, layer: KerasLayer) -> list[Any]:
        """None: activation functions are layers of their own."""
        return []

    def set_quantize_weights(self, layer: KerasLayer, quantize_weights: list[Any]) -> None:
        """Put quantized tensors in the places of the weights."""
        for path, value in zip(self.weight_quantizers, quantize_weights, strict=True):
            *parents, name = path.split(".")
            setattr(_attribute(layer, ".".join(parents)) if parents else layer, name, value)

    def set_quantize_activations(self, layer: KerasLayer, quantize_activations: list[Any]) -> None:
        """Nothing to set."""

    def get_output_quantizers(self, layer: KerasLayer) -> list[FormatQuantizer]:
        """The output's quantizer, in a list as tfmot wants it."""
        return [] if self.output_quantizer is None else [self.output_quantizer]

    def get_config(self) -> dict[str, Any]:
        """JSON form."""
        output, gradient = self.output_quantizer, self.gradient_quantizer
        return {
            "weight_quantizers": {p: _serialize(q) for p, q in self.weight_quantizers.items()},
            "output_quantizer": None if output is None else _serialize(output),
            "gradient_quantizer": None if gradient is None else _serialize(gradient),
            "backward_weights": self.backward_weights,
            "portable": self.portable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TensorQuantizeConfig:
        """From its JSON form."""
        weights = {path: _deserialize(q) for path, q in config["weight_quantizers"].items()}
        output, gradient = config["output_quantizer"], config.get("gradient_quantizer")
        return cls(
            weights,
            None if output is None else _deserialize(output),
            None if gradient is None else _deserialize(gradient),
            config.get("backward_weights", "rounded"),
            config.get("portable", False),
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorQuantizeConfig)
            and self.weight_quantizers == other.weight_quantizers
            and self.output_quantizer == other.output_quantizer
            and self.gradient_quantizer == other.gradient_quantizer
            and self.backward_weights == other.backward_weights
            and self.portable == other.portable
        )

    def __hash__(self) -> int:
        return hash(tuple(self.weight_quantizers))


def _attribute(layer: KerasLayer, path: str) -> Any:
    for name in path.split("."):
        layer = getattr(layer, name)
    return layer


def _serialize(value: object) -> dict[str, Any]:
    return keras.utils.legacy.serialize_keras_object(value)


def _deserialize(config: object) -> Any:
    if isinstance(config, FormatQuantizer):
        return config
    return keras.utils.legacy.deserialize_keras_object(config)
