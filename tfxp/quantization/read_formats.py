"""The formats of a quantized model, read back from its variables."""

from __future__ import annotations

from typing import Any

from tfxp.precision import ENGINE, FLOAT, PORTABLE, LayerPrecision
from tfxp.quantization.layer_formats import LayerFormats, NetworkFormats
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.role import INPUT, Role
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.quantizers import FormatQuantizer, KernelQuantizer, MeanQuantizer, Variables


def read_formats(network: QuantizedNetwork) -> NetworkFormats:
    """Owner -> formats of its tensors, read back from the variables."""
    plan, weighted = network.plan, set(network.plan.weighted)
    found: dict[str, dict[str, Any]] = {
        name: {"activations": FLOAT, **({"weights": FLOAT} if name in weighted else {})}
        for name in plan.points
    }
    for layer in network.layers.values():
        if isinstance(layer, QuantizeInput):
            formats = layer.quantizer.formats(layer.output_variables)
            found[layer.owner]["activations"] = formats[0]
            _read_rounding(layer.quantizer, INPUT, found[layer.owner])
        elif isinstance(layer, FormatWrapper):
            _read_wrapper(layer, plan, found)
    return {name: _layer_formats(LayerPrecision(**fields)) for name, fields in found.items()}


def _layer_formats(rule: LayerPrecision) -> LayerFormats:
    """Formats as export and calibration want them: None and () stand for float."""
    activations: Any = None if rule.activations == FLOAT else rule.activations
    kept: Any = () if rule.weights in (None, FLOAT) else rule.weights
    weights = kept if isinstance(kept, tuple) else (kept,)
    gradients: Any = rule.activation_gradients
    return LayerFormats(rule, activations, weights, gradients)


def _read_wrapper(
    layer: FormatWrapper, plan: QuantizationPlan, found: dict[str, dict[str, Any]]
) -> None:
    config = layer.quantize_config
    for path, quantizer in config.weight_quantizers.items():
        if isinstance(quantizer, KernelQuantizer):
            _read_kernel(quantizer, layer.weight_variables[path], found[layer.name])
            bias = str(plan.role(layer.name).bias)
            has_bias = getattr(layer.layer, bias, None) is not None
            if has_bias and bias not in layer.weight_variables:
                found[layer.name]["bias"] = FLOAT
    if layer.name in found and plan.role(layer.name).role.adds_up:
        found[layer.name].setdefault("rounding", PORTABLE if config.portable else ENGINE)
    if layer.gradient_variables is not None:
        gradients = config.gradient_quantizer.formats(layer.gradient_variables)
        found[layer.owner]["activation_gradients"] = gradients[0]
    quantizer = config.output_quantizer
    if quantizer is not None and layer.owner in plan.points:
        found[layer.owner]["activations"] = quantizer.formats(layer.output_variables)[0]
        _read_rounding(quantizer, plan.points[layer.owner].role, found[layer.owner])
        if isinstance(quantizer, MeanQuantizer):
            found[layer.owner]["rounding"] = PORTABLE if quantizer.portable else ENGINE
        if layer.owner == layer.name and layer.name in plan.before_activation:
            found[layer.owner]["placement"] = "pre_activation"


def _read_kernel(quantizer: KernelQuantizer, variables: Variables, found: dict[str, Any]) -> None:
    formats = quantizer.formats(variables)
    same = all(fmt == formats[0] for fmt in formats)
    found["weights"] = formats[0] if same else formats
    found["per_channel"] = not same or quantizer.one_scale_per_channel
    if quantizer.rounding != "half_even":
        found["rounding"] = quantizer.rounding


def _read_rounding(quantizer: FormatQuantizer, role: Role, found: dict[str, Any]) -> None:
    """Note a rounding that is not the engine's, which for some roles no rounding mode is."""
    rounding = quantizer.rounding
    if rounding is not None and rounding != role.rounding:
        found["rounding"] = rounding
