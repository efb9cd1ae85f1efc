"""A float Keras model to the same network on integer grids."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from tfxp.data.model_notes import keep_notes, notes_of
from tfxp.devices import scope_of
from tfxp.errors import PrecisionError, check_kind
from tfxp.keras_types import KerasModel
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization.annotated.annotations import annotations_of
from tfxp.quantization.annotated.partial_precision import foreign_configs, in_parts
from tfxp.quantization.backward_settings import BackwardSettings
from tfxp.quantization.own_keras import guard_training
from tfxp.quantization.plan import QuantizationPlan, make_plan, prepare
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import is_quantized, plan_of, read_network
from tfxp.quantization.registry import FormatRegistry
from tfxp.quantization.resolve_formats import resolve_formats
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.layer_spec import Treatment


def quantize_model(
    model: KerasModel,
    precision: PrecisionMap | str,
    stats: ModelStats | None = None,
    *,
    fold_batch_norm: bool = True,
    fit: str = "mse",
    backward: BackwardSettings | None = None,
    rounding: str | None = None,
) -> KerasModel:
    """The same network with weights, biases and activations on integer grids, ready to train.

        y = clip(round(x / scale), qmin, qmax) * scale     for every quantized tensor

    Args:
        model: Sequential or functional model of tf_keras, or of Keras 3, which is converted; it is
            not changed. Of a quantized model the float weights are taken, to be quantized anew.
        precision: precision map, or a shorthand such as "w4a6".
        stats: what `tfxp.measure_model` returned for the model; needed where the map gives
            numbers of bits for activations.
        fold_batch_norm: fold BatchNormalization into the layers before (default). Otherwise it
            stays, trains on, and is absorbed into per-channel scales at export; one that stands
            alone gets a depthwise convolution with a kernel of ones for that.
        fit: how bits are split into integer and fractional ones: "mse" (default: maximum SQNR),
            "max" (nothing clips) or "clip_budget" (1 % may clip).
        backward: how gradients run, where that is not the default.
        rounding: what the map's `rounding` says, where that says nothing: "portable" (default)
            rounds sums of weights of up to 7 bits, and means, half up, which a file repeats on
            every runtime; "engine" rounds as LiteRT's default engine; or a rounding mode.

    Returns:
        A tf_keras model: compile, fit and save it as any other.

    Raises:
        UnsupportedLayerError: some layers are not supported; all are named.
        PrecisionError: the map does not fit the model, or measurements are missing.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,))])
        >>> pmap = PrecisionMap.uniform("Q0.3", "Q2.1")
        >>> tfxp.quantize_model(model, pmap).predict(np.ones((1, 4)), verbose=0).shape
        (1, 3)
    """
    precision = PrecisionMap.of(precision)
    if stats is not None:
        expected = "what tfxp.measure_model(model, samples) returns"
        check_kind(stats, ModelStats, "stats", expected, PrecisionError)
    if precision.rounding is None:
        precision = dataclasses.replace(precision, rounding=rounding)
    notes = notes_of(model)
    if is_quantized(model):
        with scope_of(model):
            model = plan_of(model).graph.to_model(model.name)
    plan = prepare(model, fold_batch_norm)
    foreign = foreign_configs(plan, annotations_of(model))
    if foreign:
        raise PrecisionError(
            f"layers {', '.join(foreign)}: got QuantizeConfigs with quantizers that are not "
            "tfxp's; expected tfxp's or none. Use quantize_apply with tfxp's FormatScheme, which "
            "leaves these layers to tfmot."
        )
    with scope_of(model):
        quantized = quantize_plan(plan, precision, stats, fit=fit, backward=backward)
    return keep_notes(quantized, notes)


def quantize_plan(
    plan: QuantizationPlan,
    precision: PrecisionMap,
    stats: ModelStats | None,
    *,
    fit: str = "mse",
    backward: BackwardSettings | None = None,
) -> KerasModel:
    """The model of a plan with its tensors on grids; arguments as in `quantize_model`."""
    precision = in_parts(plan, precision)
    rules = precision.resolve(list(plan.points), plan.aliases, plan.selected())
    before = [name for name, rule in rules.items() if rule.placement == "pre_activation"]
    if before:
        points = make_plan(plan.graph, before)
        plan = dataclasses.replace(points, own_configs=plan.own_configs)
    formats = resolve_formats(plan, precision, stats, fit)
    network = QuantizedNetwork(plan, formats)
    quantized = wrap_layers(network, backward).to_model(plan.graph.name)
    network.of_model(quantized).assign_formats()
    quantized._tfxp_stats = stats
    return guard_training(quantized)


def precision_of(qmodel: KerasModel) -> PrecisionMap:
    """The formats of a quantized model, read back from its variables.

    Args:
        qmodel: what `quantize_model` returned, or loaded from a file.

    Returns:
        A map with one rule per layer and full formats; quantizing the float model with it gives
        the same grids.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="dense")])
        >>> stats = tfxp.measure_model(model, np.ones((4, 3), "float32"))
        >>> qmodel = quantize_model(model, "w4a8", stats)
        >>> precision_of(qmodel).layers["dense"].weights.bits
        4
    """
    return read_network(qmodel).precision


def wrap_layers(network: QuantizedNetwork, backward: BackwardSettings | None = None) -> LayerGraph:
    """A graph whose layers carry quantizers."""
    registry = FormatRegistry(network, backward)
    graph, result = network.graph, LayerGraph(network.graph.name)
    moved: dict[Ref, Ref] = {}
    for number, call, spec in graph.in_order():
        if spec.name not in result.layers:
            result.add_layer(_wrapped_spec(spec, registry, network.plan))
        args, kwargs = call.map_refs(moved.__getitem__)
        if result.layers[spec.name].cls is FormatWrapper:
            args, kwargs = _named_arguments(spec, args, kwargs)
        new = result.add_call(spec.name, args, kwargs)
        if spec.kind == "InputLayer":
            result.inputs.append(new)
            quantizer = registry.input_quantizer(spec.name)
            if quantizer is not None:
                layer = QuantizeInput(quantizer, spec.name, name=f"{spec.name}_quantized")
                new = result.append(layer, new)
        outputs = max(1, len(call.output_shapes))
        moved.update({Ref(number, i): Ref(new.call, i) for i in range(outputs)})
    order = {ref.call: new for ref, new in zip(graph.inputs, result.inputs, strict=True)}
    result.inputs = [order[ref.call] for ref in graph.inputs]
    result.outputs = [moved[ref] for ref in graph.outputs]
    result.take_settings(graph, moved)
    return result


def _named_arguments(
    spec: LayerSpec, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """All arguments but the first by name: a wrapper has its own second one."""
    names = list(inspect.signature(spec.cls.call).parameters)[1:]
    return args[:1], {**dict(zip(names[1:], args[1:], strict=False)), **kwargs}


def _wrapped_spec(spec: LayerSpec, registry: FormatRegistry, plan: QuantizationPlan) -> LayerSpec:
    config = registry.config_for(spec.name)
    layer = spec.cls.from_config({**spec.config, "name": spec.name})
    # Keras forgets the regularizer of most layers' outputs; a wrapper saves it.
    forgets = spec.activity_regularizer is not None and layer._activity_regularizer is None
    if config is None and not forgets:
        return dataclasses.replace(spec, aliases=[])
    owner = plan.aliases.get(spec.name, spec.name)
    treatment = "own" if owner in plan.own_configs else ""
    if spec.treatment is Treatment.OUTPUT:
        treatment = "output"
    config = config or TensorQuantizeConfig()
    wrapper = FormatWrapper(layer, config, owner, spec.aliases, treatment, name=spec.name)
    regularizer = spec.activity_regularizer
    return LayerSpec(
        spec.name, FormatWrapper, wrapper.get_config(), wraps=spec, activity_regularizer=regularizer
    )
