"""tfxp's quantization as a tfmot scheme, for code that is built around `quantize_apply`."""

from __future__ import annotations

from typing import Any

from tfxp.errors import UnsupportedLayerError
from tfxp.keras_types import KerasLayer, KerasModel
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization.annotated.annotations import Annotation
from tfxp.quantization.annotated.partial_precision import (
    foreign_configs,
    in_parts,
    measured_in_whole,
    of_closing_layers,
    require_own_measurements,
)
from tfxp.quantization.plan import QuantizationPlan, prepare, prepare_graph
from tfxp.quantization.quantize_model import quantize_plan
from tfxp.tfmot import (
    QuantizeConfig,
    QuantizeLayoutTransform,
    QuantizeRegistry,
    QuantizeScheme,
    quantize_scope,
)
from tfxp.transforms.layer_graph import LayerGraph

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
        self.precision, self.stats = PrecisionMap.of(precision), stats
        self.fold_batch_norm, self.fit = fold_batch_norm, fit

    def get_layout_transformer(self) -> QuantizeLayoutTransform:
        """The transform that prepares and wraps the network."""
        return _WrapLayers(self)

    def get_quantize_registry(self) -> QuantizeRegistry:
        """A registry without exceptions; a subclass may return one whose configs have precedence
        over the map, for annotated layers without a config of their own."""
        return _NoExceptions()


class _WrapLayers(QuantizeLayoutTransform):
    def __init__(self, scheme: FormatScheme) -> None:
        self._scheme = scheme

    def apply(self, model: KerasModel, layer_quantize_map: LayerMap) -> tuple[Any, LayerMap]:
        """The quantized network, and the layers that are left for tfmot to wrap."""
        scheme, registry = self._scheme, self._scheme.get_quantize_registry()
        annotations = {
            name: _annotation(model.get_layer(name), entry["quantize_config"], registry)
            for name, entry in layer_quantize_map.items()
            if "quantize_config" in entry  # tfmot lists inputs too
        }
        plan = prepare_graph(LayerGraph.from_model(model), annotations, scheme.fold_batch_norm)
        precision, stats = in_parts(plan, scheme.precision), scheme.stats
        whole = None if stats is None else _whole_plan(model, scheme.fold_batch_norm)
        if stats is not None and whole is not None and measured_in_whole(plan, whole, stats):
            precision = require_own_measurements(plan, whole, stats, precision)
            stats = of_closing_layers(whole, stats)
        quantized = quantize_plan(plan, precision, stats, fit=scheme.fit)
        left = foreign_configs(plan, annotations)
        return quantized, {name: layer_quantize_map[name] for name in left}


def _annotation(
    layer: KerasLayer, config: QuantizeConfig | None, registry: QuantizeRegistry
) -> Annotation:
    """A layer's annotation, or what a registry of the user's own says of it."""
    if config is None and registry.supports(layer):
        config = registry.get_quantize_config(layer)
    return Annotation(layer, config)


def _whole_plan(model: KerasModel, fold: bool) -> QuantizationPlan | None:
    """The plan of the same network without annotations; None if some layers cannot be quantized."""
    try:
        return prepare(model, fold)
    except UnsupportedLayerError:
        return None


class _NoExceptions(QuantizeRegistry):
    def supports(self, layer: KerasLayer) -> bool:
        """No layer: the precision map says of all what to do, and nothing is left to tfmot."""
        return False

    def get_quantize_config(self, layer: KerasLayer) -> None:
        """None, for the same reason."""
        return None


def rebuild(model: KerasModel) -> KerasModel:
    """The same model with layers of its own, formats and weights kept.

    Args:
        model: a model of tfmot's scheme, quantized by tfxp.
    """
    with quantize_scope():
        return LayerGraph.from_model(model).to_model(model.name)
