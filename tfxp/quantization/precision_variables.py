"""Formats to variables and back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from tfxp.formats import Format, WrpnFormat
from tfxp.precision import FLOAT, LayerPrecision
from tfxp.quantization.layer_formats import LayerFormats, NetworkFormats, format_of_scale
from tfxp.quantization.layer_roles import role_of
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.role import INPUT, Role
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.quantizers import WrpnActivationQuantizer, WrpnWeightQuantizer


def assign_formats(network: QuantizedNetwork, only: Collection[str] | None = None) -> None:
    """Put a network's formats into the variables of its layers, or of some of them."""
    formats = network.formats
    for name, layer in network.layers.items():
        if only is not None and name not in only:
            continue
        if isinstance(layer, QuantizeInput):
            _assign_grid(layer.output_variables, formats[layer.owner].activations)
        elif isinstance(layer, FormatWrapper):
            _assign_wrapper(layer, network)
            if layer.gradient_variables is not None:
                _assign_grid(layer.gradient_variables, formats[layer.owner].activation_gradients)


def _assign_wrapper(layer: FormatWrapper, network: QuantizedNetwork) -> None:
    role, formats = network.role(layer.name), network.formats
    for weight in role.weights:
        if weight.attribute in layer.weight_variables:
            variables = layer.weight_variables[weight.attribute]
            _assign_grid(variables, *formats[layer.name].weights)
    if role.bias in layer.weight_variables:
        scale = network.accumulator_step(layer.name)
        assert scale is not None  # a bias has a quantizer where the inputs have formats
        variable = layer.weight_variables[str(role.bias)]["scale"]
        variable.assign(np.broadcast_to(scale.ravel(), variable.shape))
    if layer.output_variables is None:
        return
    fmt = formats[format_owner(layer, network.plan)].activations
    _assign_grid(layer.output_variables, fmt)
    if "zero_point" in layer.output_variables:
        layer.output_variables["zero_point"].assign(_zero_point(network, fmt))
    if "wide" in layer.output_variables:
        layer.output_variables["wide"].assign(float(network.storage == "INT16"))
    for constant in ("alpha_scale", "kernel_scale"):
        if constant in layer.output_variables:
            kernels = formats[layer.name].weights
            layer.output_variables[constant].assign(kernels[0].scale if kernels else 1.0)
    if "product_scale" in layer.output_variables:
        grids = network.input_grids(layer.name)
        step = np.prod([grid.scale if grid else 1.0 for grid in grids])
        layer.output_variables["product_scale"].assign(step)
        layer.output_variables["right_zero_point"].assign(_zero_point(network, grids[-1]))
    if "input_scale" in layer.output_variables:
        source = network.input_grids(layer.name)[0]
        layer.output_variables["input_scale"].assign(source.scale if source else 1.0)
    if "input_zero_point" in layer.output_variables:
        source = network.input_grids(layer.name)[0]
        layer.output_variables["input_zero_point"].assign(_zero_point(network, source))


def format_owner(layer: FormatWrapper, plan: QuantizationPlan) -> str:
    """Whose activation format the layer's output has; pools and lone ReLUs keep their input's."""
    return layer.owner if layer.owner in plan.points else plan.input_owners(layer.name)[0]


def _assign_grid(variables: dict[str, Any], *formats: Format | None) -> None:
    if not formats or formats[0] is None:
        return
    scales = np.array([fmt.scale for fmt in formats if fmt is not None], np.float32)
    variable = variables["scale"]
    if scales.size > 1 and variable.shape.num_elements() == scales.size:
        variable.assign(scales.reshape(variable.shape))
    else:
        variable.assign(np.broadcast_to(scales[0], variable.shape))
    variables["qmin"].assign(formats[0].qmin)
    variables["qmax"].assign(formats[0].qmax)


def _zero_point(network: QuantizedNetwork, fmt: Format | None) -> float:
    return 0.0 if fmt is None else float(network.zero_point(fmt))


def formats_of(network: QuantizedNetwork) -> NetworkFormats:
    """Owner -> formats of its tensors, read back from the variables."""
    plan = network.plan
    found: dict[str, dict[str, Any]] = {
        name: {"activations": FLOAT, **({"weights": FLOAT} if name in plan.weighted else {})}
        for name in plan.points
    }
    for layer in network.layers.values():
        if isinstance(layer, QuantizeInput):
            grids = _read_grid(layer.output_variables, layer.quantizer)
            found[layer.owner]["activations"] = grids[0]
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
    role = role_of(plan.graph.layers[layer.name])
    for weight in role.weights:
        if weight.attribute in layer.weight_variables:
            quantizer: Any = layer.quantize_config.weight_quantizers[weight.attribute]
            grids = _read_grid(layer.weight_variables[weight.attribute], quantizer)
            same = all(grid == grids[0] for grid in grids)
            found[layer.name]["weights"] = grids[0] if same else tuple(grids)
            found[layer.name]["per_channel"] = not same or getattr(quantizer, "per_channel", False)
            rounding = quantizer.rounding
            if rounding != "half_even":
                found[layer.name]["rounding"] = rounding
            has_bias = getattr(layer.layer, str(role.bias), None) is not None
            if has_bias and role.bias not in layer.weight_variables:
                found[layer.name]["bias"] = FLOAT
    if layer.gradient_variables is not None:
        found[layer.owner]["activation_gradients"] = _read_grid(layer.gradient_variables)[0]
    quantizer = layer.quantize_config.output_quantizer
    if quantizer is not None and layer.owner in plan.points:
        found[layer.owner]["activations"] = _read_grid(layer.output_variables, quantizer)[0]
        _read_rounding(quantizer, plan.points[layer.owner].role, found[layer.owner])
        if layer.owner == layer.name and _relu_follows(plan, layer.name):
            found[layer.owner]["placement"] = "pre_activation"


def _read_rounding(quantizer: Any, role: Role, found: dict[str, Any]) -> None:
    """Note a rounding that is not the engine's, which for some roles no rounding mode is."""
    rounding = getattr(quantizer, "rounding", None)
    if rounding is not None and rounding != role.rounding:
        found["rounding"] = rounding


def _relu_follows(plan: QuantizationPlan, name: str) -> bool:
    graph = plan.graph
    for number in graph.uses(name):
        for reader in graph.calls.values():
            reads = any(ref.call == number for ref in reader.refs())
            if reads and role_of(graph.layers[reader.layer]).role.closes:
                return True
    return False


def _read_grid(variables: dict[str, Any], quantizer: Any = None) -> list[Format]:
    """One format per scale; WRPN's quantizers say what grids of one step would leave open."""
    qmin, qmax = _exact(variables["qmin"]), _exact(variables["qmax"])
    if isinstance(quantizer, WrpnWeightQuantizer):
        return [WrpnFormat(1 if quantizer.binary else qmax.bit_length() + 1)]
    if isinstance(quantizer, WrpnActivationQuantizer):
        return [WrpnFormat(qmax.bit_length(), "activations")]
    scales = np.atleast_1d(variables["scale"].numpy()).ravel()
    unique = {float(s): format_of_scale(float(s), qmin, qmax) for s in np.unique(scales)}
    return [unique[float(scale)] for scale in scales]


def _exact(variable: Any) -> int:
    """A code limit; beyond 2^24 float32 has rounded 2^k - 1 to 2^k."""
    value = int(variable.numpy())
    return value - 1 if value >= 2**24 else value
