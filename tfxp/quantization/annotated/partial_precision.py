"""A precision map for a network that is quantized in parts, as tfmot's annotations say."""

from __future__ import annotations

import dataclasses
import re
import warnings

from tfxp.errors import PrecisionError
from tfxp.precision import FLOAT, LayerPrecision, ModelStats, PrecisionMap
from tfxp.quantization.annotated.annotations import Annotations
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.transforms.layer_spec import Treatment


def foreign_configs(plan: QuantizationPlan, annotations: Annotations) -> list[str]:
    """Layers whose own QuantizeConfig tfxp's wrapper cannot follow."""
    return [n for n, (_, config) in annotations.items() if config and n not in plan.own_configs]


def in_parts(plan: QuantizationPlan, precision: PrecisionMap) -> PrecisionMap:
    """The map without rules for layers that are left alone, and with what annotations say.

    Raises:
        PrecisionError: the map makes a tensor float that an own QuantizeConfig quantizes.
    """
    graph = plan.graph
    alone = [n for n, spec in graph.layers.items() if spec.treatment is not Treatment.DEFAULT]
    if not alone and not plan.own_configs:
        return precision
    known = [*plan.points, *plan.aliases]
    rules = {
        key: rule
        for key, rule in precision.layers.items()
        if key.startswith("@") or _matches(key, known) or not _matches(key, alone)
    }
    resolved = dataclasses.replace(precision, layers=rules).resolve(
        list(plan.points), plan.aliases, plan.selected()
    )
    for name, config in plan.own_configs.items():
        rules[name] = _own_rule(plan, name, config, resolved[name])
    return dataclasses.replace(precision, layers=rules)


def _matches(key: str, names: list[str]) -> bool:
    return key in names or any(re.fullmatch(key, name) for name in names)


def _own_rule(
    plan: QuantizationPlan, name: str, config: TensorQuantizeConfig, rule: LayerPrecision
) -> LayerPrecision:
    """What is float because a layer's own config does not quantize it."""
    bias, kernels = plan.role(name).bias, dict(config.weight_quantizers)
    has_bias = kernels.pop(str(bias), None) is not None
    for tensor, quantized in (("weights", kernels), ("activations", config.output_quantizer)):
        if quantized and getattr(rule, tensor) == FLOAT:
            raise PrecisionError(
                f"{tensor} of {name!r}: got float in the map beside a QuantizeConfig that "
                "quantizes them; expected bits or a format."
            )
    return rule.updated(
        LayerPrecision(
            weights=None if kernels else FLOAT,
            activations=None if config.output_quantizer else FLOAT,
            bias=None if has_bias else FLOAT,
        )
    )


def measured_in_whole(plan: QuantizationPlan, whole: QuantizationPlan, stats: ModelStats) -> bool:
    """Whether statistics are those of the whole network, and not of its annotated part."""
    measured = {name for name, layer in stats.layers.items() if layer.activations}
    return measured <= set(whole.points) and not measured <= set(plan.points)


def of_closing_layers(whole: QuantizationPlan, stats: ModelStats) -> ModelStats:
    """Statistics of a whole network, also under the names of layers that close others."""
    closing = {point.layer: name for name, point in whole.points.items()}
    more = {name: stats.layers[owner] for name, owner in closing.items() if owner in stats.layers}
    return dataclasses.replace(stats, layers={**more, **stats.layers})


def require_own_measurements(
    plan: QuantizationPlan, whole: QuantizationPlan, stats: ModelStats, precision: PrecisionMap
) -> PrecisionMap:
    """The map, such that no tensor takes the statistics of one that lies further behind.

    Args:
        plan: the network, quantized in parts.
        whole: the same network, quantized as a whole, which was measured.
        stats: what was measured.
        precision: the map.

    Raises:
        PrecisionError: a layer was measured behind a BatchNormalization that is not annotated.
    """
    rules = dict(precision.layers)
    resolved = precision.resolve(list(plan.points), plan.aliases, plan.selected())
    for name in plan.points:
        behind = _included(whole, name) - _included(plan, name) - {name}
        layer = stats.layers.get(name)
        if not behind or layer is None or not isinstance(resolved[name].activations, int):
            continue
        text = (
            f"activations of {name!r}: got statistics of what {', '.join(sorted(behind))} behind "
            "it returns, which is not annotated; expected its own. Measure the annotated model, "
            "tfxp.measure_model(annotated, data), or annotate that too."
        )
        if not behind <= {whole.points[name].layer}:  # a scale and an offset lie between
            raise PrecisionError(text)
        if layer.pre_activations is None:  # the positive half of the range is the same
            warnings.warn(text, stacklevel=2)
        rules[name] = resolved[name].updated(LayerPrecision(placement="pre_activation"))
    return dataclasses.replace(precision, layers=rules)


def _included(plan: QuantizationPlan, owner: str) -> set[str]:
    """Layers of the user's that went into a tensor: folded ones, and the one that closes it."""
    names = {name for name, into in plan.aliases.items() if into == owner}
    layers = plan.graph.layers
    final = {name for name in names & set(layers) if plan.role(name).role.is_final}
    inner = {name for name in names if name.startswith(f"{owner}_")}  # split off by tfxp
    return names - final - inner
