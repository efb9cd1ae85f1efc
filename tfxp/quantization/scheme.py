"""tfxp's quantization as a tfmot scheme, for code that is built around `quantize_apply`."""

from __future__ import annotations

from typing import Any

from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization.quantize_model import quantize_model
from tfxp.tfmot import QuantizeLayoutTransform, QuantizeRegistry, QuantizeScheme
from tfxp.transforms.layer_graph import LayerGraph


class FormatScheme(QuantizeScheme):
    """A QuantizeScheme that gives every tensor the format its precision map says.

    `tfxp.quantize_model` needs no scheme; this one serves code that calls tfmot:

        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        quantized = tfmot.quantization.keras.quantize_apply(annotated, FormatScheme("w4a4", stats))
        quantized = rebuild(quantized)

    tfmot hard-codes its own wrapper, so the layout transform returns layers that are wrapped
    already, which tfmot passes through; and it reuses those layers in a second graph, so the model
    is built once more by `rebuild` before it is saved or exported.

    Args:
        precision: precision map or shorthand.
        stats: measurements, as for `quantize_model`.
        fold_batch_norm: as for `quantize_model`.
        fit: as for `quantize_model`.
    """

    def __init__(
        self,
        precision: PrecisionMap | str,
        stats: ModelStats | None = None,
        *,
        fold_batch_norm: bool = True,
        fit: str = "mse",
    ) -> None:
        self._arguments = (precision, stats)
        self._options: dict[str, Any] = {"fold_batch_norm": fold_batch_norm, "fit": fit}

    def get_layout_transformer(self) -> QuantizeLayoutTransform:
        """The transform that prepares and wraps the network."""
        return _WrapLayers(self._arguments, self._options)

    def get_quantize_registry(self) -> QuantizeRegistry:
        """A registry with nothing left to do."""
        return _NothingLeft()


class _WrapLayers(QuantizeLayoutTransform):
    def __init__(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._arguments, self._options = arguments, options

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The quantized network, and a map without layers for tfmot to wrap."""
        return quantize_model(model, *self._arguments, **self._options), {}


class _NothingLeft(QuantizeRegistry):
    def supports(self, layer: Any) -> bool:
        """No layer: all that can be wrapped is."""
        return False

    def get_quantize_config(self, layer: Any) -> None:
        """None, for the same reason."""
        return None


def rebuild(model: Any) -> Any:
    """The same model with layers of its own, formats and weights kept."""
    return LayerGraph.from_model(model).to_model(model.name)
