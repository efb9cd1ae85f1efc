"""Costs of training in fixed point: representation, computation, communication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxp.cost.bits import FLOAT_MANTISSA_BITS, tensor_bits
from tfxp.cost.cost_report import CostReport, Figure
from tfxp.cost.selection import resolve_precision
from tfxp.cost.stages import FUSED, VIEWS, weighted_layers
from tfxp.errors import ConfigError, did_you_mean
from tfxp.precision import FLOAT, LayerPrecision, LayerStats, ModelStats, PrecisionMap
from tfxp.precision.layer_precision import TensorPrecision

_SAKR = "Sakr and Shanbhag 2019"
FIGURES: dict[str, Figure] = {
    "weights": Figure("1", "weights, biases not counted", "weights"),
    "activations": Figure("1", "elements the layer reads, before pooling, one sample", "A read"),
    "macs": Figure("MAC", "per sample, forward", "MACs"),
    "C_W": Figure("bit", f"{_SAKR}: weights x (B_W + B_GW + B_acc)", "C_W"),
    "C_A": Figure("bit", f"{_SAKR}: activations x (B_A + B_GA), one sample", "C_A"),
    "C_M": Figure(
        "full adder",
        f"{_SAKR}: MACs x (B_A B_W + B_W B_GA + B_A B_GA); float counts as 23 bits",
        "C_M",
    ),
    "C_C": Figure("bit", f"{_SAKR}: weights x B_GW, exchanged per step", "C_C"),
}
BASELINES = ("float", "binarynet", "stochastic", "terngrad")
GRADIENT_WIDTHS = ("output", "input")
_COSTS = ("C_W", "C_A", "C_M", "C_C")


def training_precision(baseline: str, configuration: PrecisionMap | None = None) -> PrecisionMap:
    """The precision map of a baseline that fixed-point training is compared with.

    - float: everything in 32 bits.
    - binarynet: weights and activations of 1 bit forward, all gradients and accumulators float.
    - stochastic: a configuration whose accumulators stay float (gradients rounded
      stochastically, after Gupta).
    - terngrad: float, but weight gradients of 2 bits.

    Args:
        baseline: one of `BASELINES`.
        configuration: the fixed-point configuration that "stochastic" starts from.

    Raises:
        ConfigError: an unknown baseline, or "stochastic" without a configuration.

    Example:
        >>> training_precision("terngrad").default.weight_gradients
        2
    """
    whole = {
        name: FLOAT
        for name in (
            "weights", "activations", "weight_gradients", "activation_gradients", "accumulators"
        )
    }  # fmt: skip
    changes: dict[str, dict[str, Any]] = {
        "float": {},
        "binarynet": {"weights": 1, "activations": 1},
        "terngrad": {"weight_gradients": 2},
    }
    if baseline == "stochastic":
        if configuration is None:
            raise ConfigError(
                "baseline 'stochastic': got no configuration; expected the fixed-point "
                "configuration that it shares its precisions with."
            )
        plain = LayerPrecision(accumulators=FLOAT)
        rules = {key: rule.updated(plain) for key, rule in configuration.layers.items()}
        return PrecisionMap(configuration.default.updated(plain), rules)
    if baseline not in changes:
        hint = did_you_mean(baseline, BASELINES)
        raise ConfigError(f"baseline: got {baseline!r}; expected one of {BASELINES}.{hint}")
    default = LayerPrecision(**{**whole, **changes[baseline]})
    # The paper charges the network's input like any other activation.
    edges = {"@inputs": LayerPrecision(activations=1)} if baseline == "binarynet" else {}
    return PrecisionMap(default, edges)


def training_cost(
    model: ModelStats,
    precision: PrecisionMap | Mapping[str, LayerPrecision],
    gradient_width: str = "output",
) -> CostReport:
    """Price one step of training, per sample where activations are concerned.

    The tensors are counted as the authors count them: A is what a layer with weights reads, taken
    before pooling and once if several layers read it, the network's input included; G_A belongs
    to the next such tensor (a convolution whose output is only added to a shortcut has the
    gradient of the sum). Gradients without a precision in the map cost nothing: in the published
    configuration the network's input has none, while the published float figures charge it.

    Args:
        model: sizes and work of every layer.
        precision: a training precision map, or the precision of every layer.
        gradient_width: whose G_A a layer's two backward multiplications are charged with in C_M:
            "output", the one that they multiply by, or "input", the one behind them, which is how
            the published C_M comes out. A layer whose input has no gradient (the first) is charged
            forward only then.

    Raises:
        ConfigError: `gradient_width` is neither.
        PrecisionError: the map does not fit the network.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, sec. 4. The formulas are those that reproduce its tables.
    """
    if gradient_width not in GRADIENT_WIDTHS:
        raise ConfigError(
            f"gradient_width: got {gradient_width!r}; expected one of {GRADIENT_WIDTHS}."
        )
    resolved = resolve_precision(model, precision)
    readers = _readers(model)
    sources = {layer.name: _source(model, layer) for layer in weighted_layers(model)}
    stored: set[str] = set()
    rows = []
    for layer in weighted_layers(model):
        source, own = sources[layer.name], resolved[layer.name]
        behind = source
        if gradient_width == "output":
            behind = _gradient(model, layer.name, set(sources.values()), readers)
        gradient = resolved[behind].activation_gradients
        forward_only = gradient is None and gradient_width == "input"
        b_ga = 0 if forward_only else tensor_bits(gradient, FLOAT_MANTISSA_BITS)
        rows.append(_row(model, layer, source, own, b_ga, resolved, source in stored))
        stored.add(source)
    # The gradient of the network's output enters the last layer; nothing else reads that output.
    outputs = sum(
        model[name].output_count * _storage(resolved[name].activation_gradients)
        for name in model.outputs
        if name not in stored
    )
    totals = {name: sum(row[name] for row in rows) for name in ("weights", "macs", *_COSTS)}
    totals["C_A"] += outputs
    return CostReport(tuple(rows), totals, FIGURES)


def _row(
    model: ModelStats,
    layer: LayerStats,
    source: str,
    own: LayerPrecision,
    b_ga: int,
    resolved: Mapping[str, LayerPrecision],
    stored_before: bool,
) -> dict[str, Any]:
    read = resolved[source]
    b_w, b_a = (
        tensor_bits(value, FLOAT_MANTISSA_BITS) for value in (own.weights, read.activations)
    )
    count = 0 if stored_before else model[source].output_count
    per_weight = sum(
        _storage(value) for value in (own.weights, own.weight_gradients, own.accumulators)
    )
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "input_bits": tensor_bits(read.activations),
        "weight_bits": tensor_bits(own.weights),
        "weights": layer.weight_count,
        "activations": count,
        "macs": layer.macs,
        "C_W": layer.weight_count * per_weight,
        "C_A": count * (_storage(read.activations) + _storage(read.activation_gradients)),
        "C_M": layer.macs * (b_a * b_w + b_w * b_ga + b_a * b_ga),
        "C_C": layer.weight_count * _storage(own.weight_gradients),
    }


def _storage(value: TensorPrecision) -> int:
    return 0 if value is None else tensor_bits(value)


def _readers(model: ModelStats) -> dict[str, list[str]]:
    readers: dict[str, list[str]] = {name: [] for name in model.layers}
    for layer in model.layers.values():
        for name in layer.inputs:
            readers[name].append(layer.name)
    return readers


def _source(model: ModelStats, layer: LayerStats) -> str:
    """The layer whose output, before pooling, this layer reads."""
    if not layer.inputs:
        return layer.name
    name = layer.inputs[0]
    while model[name].kind in FUSED | VIEWS and model[name].inputs:
        name = model[name].inputs[0]
    return name


def _gradient(
    model: ModelStats, name: str, sources: set[str], readers: Mapping[str, list[str]]
) -> str:
    """The tensor whose gradient reaches this layer's output."""
    while name not in sources and name not in model.outputs and readers[name]:
        name = readers[name][0]
    return name
