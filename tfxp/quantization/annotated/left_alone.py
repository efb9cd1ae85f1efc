"""Which layers of a model that was quantized in parts were left alone, found from the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tfxp.quantization.layer_roles import role_of, table_name
from tfxp.quantization.layer_table import LAYERS
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.layer_spec import Treatment
from tfxp.transforms.normalize.normalize import is_relu, is_softmax


def is_foreign(spec: LayerSpec) -> bool:
    """Whether a layer without a wrapper of tfxp's is none that `quantize_model` leaves.

    It has a class or settings that cannot be quantized, or an activation function inside.
    """
    if spec.kind == "InputLayer" or is_softmax(spec):
        return False
    if table_name(spec) not in LAYERS or role_of(spec).accepts(spec):
        return True
    return role_of(spec).role.adds_up and spec.config.get("activation", "linear") != "linear"


def leave_alone(
    plan: QuantizationPlan, wrappers: Mapping[str, FormatWrapper], quantized: Collection[str]
) -> bool:
    """Mark layers that have no quantizers, and would have some had they not been left alone.

    Args:
        plan: the network as if all its layers were quantized.
        wrappers: layers that carry quantizers.
        quantized: owners whose tensors are on grids.

    Returns:
        Whether there is any.
    """
    found = False
    for _, call, spec in plan.graph.in_order():
        on_grid = any(plan.sources.get(ref) in quantized for ref in call.refs())
        if on_grid and not _has_quantizers(wrappers.get(spec.name)):
            if _needs_quantizer(plan.graph, spec, wrappers):
                spec.treatment, found = Treatment.UNTOUCHED, True
    return found


def _has_quantizers(wrapper: FormatWrapper | None) -> bool:
    """Whether a wrapper quantizes something; some keep a regularizer only."""
    config = None if wrapper is None else wrapper.quantize_config
    return config is not None and bool(config.weight_quantizers or config.output_quantizer)


def _needs_quantizer(
    graph: LayerGraph, spec: LayerSpec, wrappers: Mapping[str, FormatWrapper]
) -> bool:
    """Whether a layer computes something in the format of its input."""
    role, limit = role_of(spec).role, is_relu(spec)
    if role.is_absorbed:  # it closes the layer before, if that is not quantized by itself
        before = graph.spec_of(graph.calls[graph.uses(spec.name)[0]].refs()[0]).name
        return before in wrappers and wrappers[before].quantize_config.output_quantizer is not None
    limited = limit is not None and limit != float("inf")
    return role.computes and (limited or not role.closes)
