"""Another precision map for a quantized model, by assigning variables only."""

from __future__ import annotations

from typing import Any

from tfxp.errors import PrecisionError
from tfxp.keras_types import KerasModel
from tfxp.precision import ENGINE, ModelStats, PrecisionMap
from tfxp.quantization.annotated.partial_precision import in_parts
from tfxp.quantization.backward_settings import BackwardSettings
from tfxp.quantization.layer_formats import LayerFormats, NetworkFormats
from tfxp.quantization.plan import QuantizationPlan, make_plan
from tfxp.quantization.quantized_network import QuantizedNetwork, format_owner
from tfxp.quantization.read_formats import read_formats
from tfxp.quantization.read_network import plan_of, wrappers_of
from tfxp.quantization.registry import FormatRegistry
from tfxp.quantization.resolve_formats import FormatResolver
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.quantizers import ActivationQuantizer, LearnedFormat, WeightQuantizer, seed_of


def set_precision(
    qmodel: KerasModel,
    precision: PrecisionMap | str,
    stats: ModelStats | None = None,
    *,
    fit: str = "mse",
) -> None:
    """Give a quantized model another precision map, by assigning variables only.

    Nothing is rebuilt or retraced: compiled functions, optimizer state and weights stay.

    Args:
        qmodel: what `quantize_model` returned, compiled or not, or loaded from a file.
        precision: the new map, or a shorthand.
        stats: measurements; by default those the model was quantized with in this process.
        fit: as in `quantize_model`.

    Raises:
        PrecisionError: the map does not fit the model; it makes a tensor float that was quantized
            or the other way round, or asks for another rounding or placement, which only
            `quantize_model` can.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="dense")])
        >>> stats = tfxp.measure_model(model, np.ones((4, 3), "float32"))
        >>> qmodel = tfxp.quantize_model(model, "w8a8", stats)
        >>> set_precision(qmodel, "w4a4")
        >>> tfxp.precision_of(qmodel).layers["dense"].weights.bits
        4
    """
    PrecisionSetter(qmodel, stats, fit=fit).set(precision)


class PrecisionSetter:
    """Gives one quantized model many precision maps, each at the price of what it changes.

    `set_precision` reads the model, fits formats to distributions and assigns every variable. That
    takes longer than evaluating a small network; a search does the first once, the second once per
    tensor and number of bits, and assigns what differs from the map before.

    Args:
        qmodel: what `quantize_model` returned. Nobody else may set its precision meanwhile, and
            who changes its weights calls `refresh`.
        stats: measurements; by default those the model was quantized with in this process.
        fit: as in `quantize_model`.
    """

    def __init__(
        self, qmodel: KerasModel, stats: ModelStats | None = None, *, fit: str = "mse"
    ) -> None:
        self._qmodel, self._fit = qmodel, fit
        self._stats = stats or getattr(qmodel, "_tfxp_stats", None)
        self._accepted: set[Any] = set()
        self.refresh()
        self._owners = {
            layer.name: owners_of(layer, self.plan)
            for layer in qmodel.layers
            if isinstance(layer, FormatWrapper | QuantizeInput)
        }

    @property
    def plan(self) -> QuantizationPlan:
        """Quantization points of the network."""
        return self._network.plan

    @property
    def formats(self) -> NetworkFormats:
        """The formats that were set last; empty before."""
        return self._network.formats

    @property
    def network(self) -> QuantizedNetwork:
        """The network with the formats that were set last."""
        return self._network

    def refresh(self) -> None:
        """Forget what was known of the model's weights and variables."""
        self._network = QuantizedNetwork(plan_of(self._qmodel), {}).of_model(self._qmodel)
        read = self._network.with_formats(read_formats(self._network))
        own = read.precision.rounding or ENGINE
        roundings = {name: layer.rule.rounding or own for name, layer in read.formats.items()}
        self._resolver = FormatResolver(self.plan, self._stats, self._fit, roundings)

    def resolve(self, precision: PrecisionMap | str) -> NetworkFormats:
        """The format of every tensor under a map; nothing is assigned.

        Raises:
            PrecisionError: the map does not fit the model.
        """
        parts = in_parts(self.plan, PrecisionMap.of(precision))
        formats = self._resolver.resolve(parts)
        structure = tuple(_structure(layer) for layer in formats.values())
        if structure not in self._accepted:
            _require_same_structure(self._network.with_formats(formats), backward_of(self._qmodel))
            self._accepted.add(structure)
        return formats

    def set(self, precision: PrecisionMap | str) -> list[str]:
        """Set a map; returns the names of the layers whose variables were assigned.

        Raises:
            PrecisionError: the map does not fit the model, which stays as it is.
        """
        return self.assign(self.resolve(precision))

    def assign(self, formats: NetworkFormats) -> list[str]:
        """Set formats that `resolve` returned; returns the layers that were assigned."""
        changed = [
            name
            for name, owners in self._owners.items()
            if any(not _same(formats[o], self.formats.get(o)) for o in owners)
        ]
        wanted = self._network.with_formats(formats)
        if wanted.storage != self._network.storage:  # zero points and roundings of all layers
            changed = list(self._owners)
        self._network = wanted.with_formats({})  # unknown if an assignment fails half way
        wanted.assign_formats(changed)
        self._network = wanted
        return changed


def owners_of(layer: FormatWrapper | QuantizeInput, plan: QuantizationPlan) -> list[str]:
    """Whose formats the variables of a layer follow: its own, its inputs', its output's."""
    if isinstance(layer, QuantizeInput):
        return [layer.owner]
    owners = [layer.name] if layer.name in plan.points else []
    if layer.output_variables is not None:
        owners.append(format_owner(layer, plan))
    if layer.gradient_variables is not None:
        owners.append(layer.owner)
    return list(dict.fromkeys([*owners, *plan.input_owners(layer.name)]))


def _same(formats: LayerFormats, others: LayerFormats | None) -> bool:
    return (
        others is not None
        and formats.activations == others.activations
        and formats.weights == others.weights
        and formats.activation_gradients == others.activation_gradients
    )


def _structure(formats: LayerFormats) -> tuple[Any, ...]:
    """What decides about quantizers, which assigning cannot change."""
    rule, first = formats.rule, formats.weights[0] if formats.weights else None
    kind = type(first), getattr(first, "is_binary", False)
    floats = formats.activations is None, formats.activation_gradients is None
    return *floats, kind, rule.rounding, rule.placement, rule.bias


def backward_of(qmodel: KerasModel) -> BackwardSettings:
    """How gradients run through a quantized model, read back from its quantizers."""
    found: dict[str, Any] = {}
    for layer in wrappers_of(qmodel):
        config = layer.quantize_config
        output, gradient = config.output_quantizer, config.gradient_quantizer
        if gradient is not None:
            found["gradient_rounding"] = gradient.rounding
            found["seed"] = gradient.seed ^ seed_of(f"{layer.name}/gradient")
        if isinstance(output, ActivationQuantizer):
            found["activation_saturation"] = output.saturation_gradient
        if isinstance(output, LearnedFormat):
            found["learned_formats"] = output.method
        for quantizer in config.weight_quantizers.values():
            if config.backward_weights != "rounded":  # layers that hold others have no choice
                found["backward_weights"] = config.backward_weights
            if isinstance(quantizer, LearnedFormat):
                found["learned_formats"] = quantizer.method
            elif isinstance(quantizer, WeightQuantizer):
                found["weight_saturation"] = quantizer.saturation_gradient
    return BackwardSettings(**found)


def _require_same_structure(network: QuantizedNetwork, backward: BackwardSettings) -> None:
    wanted, inputs, wrappers = (
        FormatRegistry(network, backward), network.input_quantizers, network.wrappers
    )  # fmt: skip
    plan, formats = network.plan, network.formats
    changed = []
    for name, spec in plan.graph.layers.items():
        if spec.kind == "InputLayer":
            same = getattr(inputs.get(name), "quantizer", None) == wanted.input_quantizer(name)
        else:
            same = getattr(wrappers.get(name), "quantize_config", None) == wanted.config_for(name)
        if not same:
            changed.append(name)
    before = [name for name in formats if formats[name].rule.placement == "pre_activation"]
    moved = make_plan(plan.graph, before).points
    changed += [name for name in moved if moved[name] != plan.points[name] and name not in changed]
    if changed:
        raise PrecisionError(
            f"layers {', '.join(changed)}: got a map that changes what is float or binary, where "
            "or how it is rounded; expected formats only. Call quantize_model with the new map "
            "instead."
        )
