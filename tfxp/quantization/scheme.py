"""tfxp's quantization as a tfmot scheme, for code that is built around `quantize_apply`."""

from __future__ import annotations

from typing import Any

from tfxp.errors import UnsupportedLayerError
from tfxp.keras_types import KerasModel
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization.annotations import Annotation
from tfxp.quantization.partial_precision import (
    foreign_configs,
    in_parts,
    measured_in_whole,
    of_closing_layers,
    require_own_measurements,
)
from tfxp.quantization.plan import QuantizationPlan, prepare, prepare_graph
from tfxp.quantization.quantize_model import quantize_plan
from tfxp.tfmot import QuantizeLayoutTransform, QuantizeRegistry, QuantizeScheme
from tfxp.transforms.layer_graph import KerasLayer, LayerGraph

# What tfmot knows of a layer that is to be quantized, by the layer's name.
LayerMap = dict[str, dict[str, Any]]


class FormatScheme(QuantizeScheme):
    """A QuantizeScheme that gives every annotated layer the formats its precision map says.

    `tfxp.quantize_model` needs no scheme; this one serves code that calls tfmot:

        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        quantized = tfmot.quantization.keras.quantize_apply(annotated, FormatScheme("w4a4", stats))
        quantized = rebuild(quantized)

    Annotations mean what they mean to tfmot. Layers that are not annotated stay as they are, but
    the one that alone feeds an annotated layer has its output quantized, and so have inputs. A
    QuantizeConfig that a layer was annotated with decides about its quantizers. If all of them are
    tfxp's, the map gives them formats, and the layer can be exported; otherwise the layer is left
    to tfmot, whose wrapper it gets, and an export refuses it by name.

    tfmot hard-codes its own wrapper, so the layout transform returns layers that are wrapped
    already, which tfmot passes through; and it reuses those layers in a second graph, so the model
    is built once more by `rebuild` before it is saved or exported.

    Args:
        precision: precision map or shorthand.
        stats: measurements, as for `quantize_model`; of the annotated model, if layers lie between
            annotated ones that are not.
        fold_batch_norm: as for `quantize_model`; where both layers are annotated.
        fit: as for `quantize_model`.

    Raises:
        PrecisionError: in `quantize_apply`: as for `quantize_model`, or a layer was measured behind
            others that are not annotated.
        UnsupportedLayerError: in `quantize_apply`: an annotated layer is not supported.
    """

    def __init__(
        self,
        precision: PrecisionMap | str,
        stats: ModelStats | None = None,
        *,
        fold_batch_norm: bool = True,
        fit: str = "mse",
    ) -> None:
        parsed = PrecisionMap.parse(precision) if isinstance(precision, str) else precision
        self._precision, self._stats = parsed, stats
        self._fold, self._fit = fold_batch_norm, fit

    def get_layout_transformer(self) -> QuantizeLayoutTransform:
        """The transform that prepares and wraps the network."""
        return _WrapLayers(self._precision, self._stats, self._fold, self._fit)

    def get_quantize_registry(self) -> QuantizeRegistry:
        """A registry with nothing left to do."""
        return _NothingLeft()


class _WrapLayers(QuantizeLayoutTransform):
    def __init__(
        self, precision: PrecisionMap, stats: ModelStats | None, fold: bool, fit: str
    ) -> None:
        self._precision, self._stats, self._fold, self._fit = precision, stats, fold, fit

    def apply(self, model: KerasModel, layer_quantize_map: LayerMap) -> tuple[Any, LayerMap]:
        """The quantized network, and the layers that are left for tfmot to wrap."""
        annotations = {
            name: Annotation(model.get_layer(name), entry["quantize_config"])
            for name, entry in layer_quantize_map.items()
            if "quantize_config" in entry  # tfmot lists inputs too
        }
        plan = prepare_graph(LayerGraph.from_model(model), annotations, self._fold)
        precision, stats = in_parts(plan, self._precision), self._stats
        whole = None if stats is None else _whole_plan(model, self._fold)
        if stats is not None and whole is not None and measured_in_whole(plan, whole, stats):
            precision = require_own_measurements(plan, whole, stats, precision)
            stats = of_closing_layers(whole, stats)
        quantized = quantize_plan(plan, precision, stats, fit=self._fit)
        left = foreign_configs(plan, annotations)
        return quantized, {name: layer_quantize_map[name] for name in left}


def _whole_plan(model: KerasModel, fold: bool) -> QuantizationPlan | None:
    """The plan of the same network without annotations; None if some layers cannot be quantized."""
    try:
        return prepare(model, fold)
    except UnsupportedLayerError:
        return None


class _NothingLeft(QuantizeRegistry):
    def supports(self, layer: KerasLayer) -> bool:
        """No layer: all that can be wrapped is."""
        return False

    def get_quantize_config(self, layer: KerasLayer) -> None:
        """None, for the same reason."""
        return None


def rebuild(model: KerasModel) -> KerasModel:
    """The same model with layers of its own, formats and weights kept."""
    return LayerGraph.from_model(model).to_model(model.name)
