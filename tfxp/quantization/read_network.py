"""A quantized Keras model back to its plan and formats: the inverse of `quantize_model`."""

from __future__ import annotations

import dataclasses

from tfxp.errors import PrecisionError
from tfxp.keras_types import KerasModel
from tfxp.quantization.annotated.left_alone import is_foreign, leave_alone
from tfxp.quantization.plan import QuantizationPlan, make_plan, prepare
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_formats import read_formats
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.tfmot import QuantizeWrapper, quantize_scope
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, weight_names
from tfxp.transforms.layer_spec import Treatment, frozen_parts


def read_network(qmodel: KerasModel) -> QuantizedNetwork:
    """The plan, the formats and the layers of a quantized model.

    Args:
        qmodel: what `quantize_model` returned.

    Raises:
        PrecisionError: the model carries no quantizers.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.quantization import read_network
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.1"))
        >>> network = read_network(qmodel)
        >>> str(network.formats["d"].activations), list(map(str, network.input_grids("d")))
        ('Q2.1', ['Q2.1'])
    """
    network = QuantizedNetwork(plan_of(qmodel), {}).of_model(qmodel)
    return network.with_formats(read_formats(network))


def is_quantized(model: KerasModel) -> bool:
    """Whether `quantize_model` made this model.

    Args:
        model: any Keras model.
    """
    layers = getattr(model, "layers", ())
    return any(isinstance(layer, FormatWrapper | QuantizeInput) for layer in layers)


def wrappers_of(model: KerasModel) -> list[FormatWrapper]:
    """The layers of a model that carry quantizers, in order."""
    layers = getattr(model, "layers", ())
    return [layer for layer in layers if isinstance(layer, FormatWrapper)]


def plan_of(qmodel: KerasModel) -> QuantizationPlan:
    """The plan of a quantized model, found again from the model itself.

    Raises:
        PrecisionError: the model carries no quantizers.
    """
    wrappers = wrappers_of(qmodel)
    if not any(isinstance(layer, QuantizeWrapper | QuantizeInput) for layer in qmodel.layers):
        raise PrecisionError(
            f"model {qmodel.name!r}: got no quantized layer; expected what quantize_model returns."
        )
    with quantize_scope():  # layers that are left to tfmot hold its objects
        graph = _unwrap_layers(LayerGraph.from_model(qmodel), wrappers)
    quantized = {layer.owner for layer in wrappers if layer.quantize_config.output_quantizer}
    before = {
        layer.owner
        for layer in wrappers
        if layer.quantize_config.output_quantizer is not None and layer.owner == layer.name
    }
    quantized |= {layer.owner for layer in qmodel.layers if isinstance(layer, QuantizeInput)}
    plan = make_plan(graph, before)
    if leave_alone(plan, {layer.name: layer for layer in wrappers}, quantized):
        plan = make_plan(graph, before)
    return dataclasses.replace(plan, own_configs=_own_configs(wrappers))


def _own_configs(wrappers: list[FormatWrapper]) -> dict[str, TensorQuantizeConfig]:
    """What own QuantizeConfigs asked for, put together again from a layer and what closes it."""
    own: dict[str, TensorQuantizeConfig] = {}
    for layer in wrappers:
        if layer.treatment == "own":
            config = own.setdefault(layer.owner, TensorQuantizeConfig())
            part = layer.quantize_config
            config.weight_quantizers |= part.weight_quantizers
            config.output_quantizer = config.output_quantizer or part.output_quantizer
    return own


def plan_of_any(model: KerasModel) -> QuantizationPlan:
    """The plan of a quantized model, or that of a float one with its BatchNormalization kept."""
    return plan_of(model) if is_quantized(model) else prepare(model, fold=False)


def _unwrap_layers(graph: LayerGraph, wrappers: list[FormatWrapper]) -> LayerGraph:
    """The inverse of `wrap_layers`: plain layers with their float weights."""
    wrapped = {layer.name: layer for layer in wrappers}
    for number, _, spec in graph.in_order():
        if spec.cls is QuantizeInput:
            graph.bypass(number)
    for spec in graph.layers.values():
        if spec.cls is FormatWrapper:
            _unwrap_spec(spec, wrapped[spec.name])
        elif is_foreign(spec):
            spec.treatment = Treatment.UNTOUCHED
    return graph


def _unwrap_spec(spec: LayerSpec, wrapper: FormatWrapper) -> None:
    spec.become(wrapper.layer)
    spec.frozen_parts = frozen_parts(wrapper.layer)
    if wrapper.treatment == "output":
        spec.treatment = Treatment.OUTPUT
    spec.aliases = list(wrapper.aliases)
    spec.weights, spec.weight_names = list(wrapper.layer.weights), weight_names(wrapper.layer)
