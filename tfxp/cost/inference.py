"""Costs of one inference, layer by layer, from sizes and a precision map; nothing is run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tfxp.cost.bits import (
    ACCUMULATOR_BITS,
    FLOAT_BITS,
    FLOAT_MANTISSA_BITS,
    bias_bits,
    tensor_bits,
)
from tfxp.cost.cost_report import CostReport, Figure
from tfxp.cost.energy import EnergyTable
from tfxp.cost.memory import memory_bits
from tfxp.cost.selection import charge_edges, resolve_precision
from tfxp.cost.stages import Stage, stages_of
from tfxp.errors import ConfigError
from tfxp.precision import (
    FLOAT,
    LayerPrecision,
    LayerStats,
    ModelStats,
    PrecisionMap,
    TensorPrecision,
)

EDGES = ("mapped", "float")
_LIN = "Lin et al. 2016, sec. 4.2: parameters x bits, biases included"
_JUDD = "Judd et al. 2015, sec. 2.4, per sample"
_WRPN = "Mishra et al. 2018 (WRPN), footnote 1: multiply-accumulates x (weight + activation bits)"

FIGURES: dict[str, Figure] = {
    "parameters": Figure("1", "weights and biases", "parameters"),
    "macs": Figure("MAC", "per sample, padding taps included", "MACs"),
    "macs_executed": Figure(
        "MAC", "per sample, measured: multiplications by zero left out", "MACs done"
    ),
    "model_size_bits": Figure("bit", _LIN, "size"),
    "model_size_ratio": Figure(
        "1", f"{_LIN}; over the same at the baseline's bits", "size ratio", per_layer=False
    ),
    "read_bits": Figure("bit", f"{_JUDD}: data read", "read"),
    "input_read_bits": Figure(
        "bit", f"{_JUDD}: of the data read, the network's input", "network input", per_layer=False
    ),
    "write_bits": Figure("bit", f"{_JUDD}: data written", "written"),
    "weight_read_bits": Figure("bit", f"{_JUDD}: weights read once for one image", "weights read"),
    "traffic_bits": Figure(
        "bit",
        f"{_JUDD}: data and weights, one image at a time",
        "traffic, one image",
        per_layer=False,
    ),
    "traffic_batch_bits": Figure(
        "bit",
        f"{_JUDD}: weights read once per batch and layer",
        "traffic in batches",
        per_layer=False,
    ),
    "traffic_ratio": Figure(
        "1", f"{_JUDD}; over the baseline's bits", "traffic ratio, one image", per_layer=False
    ),
    "traffic_batch_ratio": Figure("1", f"{_JUDD}; over the baseline's bits", "traffic ratio"),
    "compute_cost": Figure("bit", _WRPN, "compute cost", per_layer=False),
    "compute_ratio": Figure("1", f"{_WRPN}; over the same at 32 + 32 bits", "compute ratio"),
    "bit_operations": Figure(
        "bit-op", "MACs x weight bits x activation bits", "bit-ops", per_layer=False
    ),
    "full_adders": Figure(
        "full adder",
        "Sakr, Kim and Shanbhag 2017: outputs x (D b_a b_w + (D - 1)(b_a + b_w + ceil(log2 D) - 1))"
        ", D products and biases per output; float counts as 23 bits",
        "full adders",
        per_layer=False,
    ),
    "arithmetic_pj": Figure(
        "pJ", "table of energies x MACs done", "energy of arithmetic", per_layer=False
    ),
    "memory_pj": Figure(
        "pJ", "table of energies x batch traffic", "energy of memory", per_layer=False
    ),
    "energy_pj": Figure("pJ", "table of energies; arithmetic and memory", "energy"),
    "activation_peak_bits": Figure(
        "bit", "largest sum of stored activations alive at one time, one sample", "activation peak"
    ),
    "footprint_bits": Figure("bit", "model size and activation peak", "footprint"),
    "inference_memory_bits": Figure(
        "bit", "WRPN, sec. 2: max(input maps) + max(output maps) + weights", "inference memory"
    ),
    "training_memory_bits": Figure(
        "bit", "WRPN, sec. 2: activations + weights + max(dZ) + max(dX)", "training memory"
    ),
    "training_activation_share": Figure(
        "1", "WRPN, sec. 2: share of activations and their gradients", "activations' share"
    ),
}
_SUMMED = (
    "parameters", "macs", "macs_executed", "model_size_bits", "read_bits", "input_read_bits",
    "write_bits", "weight_read_bits", "traffic_bits", "traffic_batch_bits", "compute_cost",
    "bit_operations", "full_adders", "arithmetic_pj", "memory_pj", "energy_pj",
)  # fmt: skip
_RATIOS = {
    "model_size_ratio": "model_size_bits",
    "traffic_ratio": "traffic_bits",
    "traffic_batch_ratio": "traffic_batch_bits",
    "compute_ratio": "compute_cost",
}


@dataclasses.dataclass(frozen=True)
class CostSettings:
    """Choices made in counting.

    Args:
        batch_size: images that a layer processes before the next layer runs.
        baseline_bits: what traffic and size are normalised to: 32 or 16.
        edges: "mapped" charges the first and last layer as the map says, "float" as 32 + 32 bits
            (WRPN leaves them in float and does not say how they are charged).
        fuse_pools: whether pooling is part of the stage before it, as Judd counts.
        count_bias: whether biases count as parameters and traffic.
        weight_memory, activation_memory: memory of the energy table; None for its default.

    Raises:
        ConfigError: a value is impossible.
    """

    batch_size: int = 1
    baseline_bits: int = FLOAT_BITS
    edges: str = "mapped"
    fuse_pools: bool = True
    count_bias: bool = True
    weight_memory: str | None = None
    activation_memory: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "baseline_bits"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} of cost settings: got {getattr(self, name)}; expected at least 1."
                )
        if self.edges not in EDGES:
            raise ConfigError(
                f"edges of cost settings: got {self.edges!r}; expected one of {EDGES}."
            )


def cost_report(
    model: ModelStats,
    precision: PrecisionMap | Mapping[str, LayerPrecision],
    settings: CostSettings | None = None,
    energy: EnergyTable | None = None,
    macs_executed: Mapping[str, float] | None = None,
) -> CostReport:
    """Price a network under a precision map.

    Args:
        model: sizes and work of every layer.
        precision: a precision map, or the precision of every layer.
        settings: choices made in counting.
        energy: table of energies; without it, energy is left out.
        macs_executed: layer -> multiply-accumulates per sample that a measured run did; without
            it, or for layers it leaves out, every MAC counts as done.

    Raises:
        PrecisionError: the map does not fit the network.
        ConfigError: `macs_executed` names an unknown layer or more MACs than the layer has.

    Example:
        >>> from tfxp.models import count_network
        >>> report = cost_report(count_network("sakr_convnet"), PrecisionMap.uniform(8, 8))
        >>> report.total("traffic_ratio"), report.total("compute_ratio")
        (0.25, 0.25)
    """
    settings = settings or CostSettings()
    resolved = resolve_precision(model, precision)
    charged = charge_edges(model, resolved) if settings.edges == "float" else resolved
    _check_executed(model, macs_executed)
    rows = []
    baselines: dict[str, float] = dict.fromkeys(_RATIOS.values(), 0.0)
    stages = stages_of(model, settings.fuse_pools)
    for stage in stages.values():
        row = _row(model, stage, stages, resolved, charged, settings)
        layer = model[stage.name]
        if macs_executed is not None:
            row["macs_executed"] = macs_executed.get(layer.name, layer.macs)
        if energy is not None:
            _add_energy(
                row, resolved[layer.name], _operand(stage, stages, resolved), energy, settings
            )
        for name, value in _baseline(model, stage, stages, settings).items():
            baselines[name] += value
            ratio = next(r for r, base in _RATIOS.items() if base == name)
            row[ratio] = row[name] / value if value else None
        rows.append(row)
    totals: dict[str, Any] = {
        name: sum(row[name] for row in rows) for name in _SUMMED if name in rows[0]
    }
    for ratio, name in _RATIOS.items():
        totals[ratio] = totals[name] / baselines[name] if baselines[name] else 0.0
    totals.update(memory_bits(model, resolved, settings.batch_size, settings.fuse_pools))
    totals["footprint_bits"] = totals["model_size_bits"] + totals["activation_peak_bits"]
    info = {**dataclasses.asdict(settings), **_energy_info(energy)}
    return CostReport(tuple(rows), totals, FIGURES, info)


def cost_heading(name: str) -> str:
    """What a total is called where people read.

    Args:
        name: of a total, as `CostReport.total` takes it.

    Example:
        >>> cost_heading("traffic_batch_bits"), cost_heading("own_figure")
        ('traffic in batches', 'own figure')
    """
    return FIGURES[name].heading if name in FIGURES else name.replace("_", " ")


def total_traffic(
    model: ModelStats,
    precision: PrecisionMap | Mapping[str, LayerPrecision],
    settings: CostSettings | None = None,
) -> tuple[float, float]:
    """Judd's batch traffic per sample in bits, and over the baseline's.

    The two totals of `cost_report` that a search asks for at every step, without the rest.

    Args:
        model: sizes and work of every layer.
        precision: a precision map, or the precision of every layer.
        settings: choices made in counting.

    Example:
        >>> from tfxp.models import count_network
        >>> total_traffic(count_network("sakr_convnet"), PrecisionMap.uniform(8, 8))[1]
        0.25
    """
    settings = settings or CostSettings()
    resolved = resolve_precision(model, precision)
    stages = stages_of(model, settings.fuse_pools)
    bits = base = 0.0
    for stage in stages.values():
        row = _traffic(model, stage, stages, resolved, settings)
        bits += row["traffic_batch_bits"]
        base += _baseline(model, stage, stages, settings)["traffic_batch_bits"]
    return bits, bits / base if base else 0.0


def _traffic(
    model: ModelStats,
    stage: Stage,
    stages: Mapping[str, Stage],
    resolved: Mapping[str, LayerPrecision],
    settings: CostSettings,
) -> dict[str, Any]:
    reads = {
        source: stages[source].output_count
        * tensor_bits(resolved[stages[source].owner].activations)
        for source in stage.sources
    }
    read = sum(reads.values())
    written = stage.output_count * tensor_bits(resolved[stage.owner].activations)
    weights = sum(_model_bits(model[name], resolved[name], settings) for name in stage.members)
    if stage.is_input:
        written = 0
    return {
        "model_size_bits": weights,
        "read_bits": read,
        "input_read_bits": sum(bits for name, bits in reads.items() if stages[name].is_input),
        "write_bits": written,
        "weight_read_bits": weights,
        "traffic_bits": read + written + weights,
        "traffic_batch_bits": read + written + weights / settings.batch_size,
    }


def _row(
    model: ModelStats,
    stage: Stage,
    stages: Mapping[str, Stage],
    resolved: Mapping[str, LayerPrecision],
    charged: Mapping[str, LayerPrecision],
    settings: CostSettings,
) -> dict[str, Any]:
    layer = model[stage.name]
    own = charged[layer.name]
    read = _operand(stage, stages, charged).activations
    if settings.edges == "float" and own.weights == FLOAT:
        read = FLOAT
    operand = tensor_bits(read)
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "input_bits": tensor_bits(_operand(stage, stages, resolved).activations)
        if stage.sources
        else None,
        "weight_bits": tensor_bits(resolved[layer.name].weights) if layer.weight_count else None,
        "activation_bits": tensor_bits(resolved[stage.owner].activations),
        "parameters": sum(_parameters(model[name], settings) for name in stage.members),
        "macs": layer.macs,
        **_traffic(model, stage, stages, resolved, settings),
        "compute_cost": layer.macs * (tensor_bits(own.weights) + operand),
        "bit_operations": layer.macs * tensor_bits(own.weights) * operand,
        "full_adders": _full_adders(layer, own.weights, read),
    }


def _full_adders(layer: LayerStats, weights: TensorPrecision, data: TensorPrecision) -> int:
    """One-bit full adders of a layer's dot products: multipliers and the adders behind them."""
    if not layer.macs or not layer.output_count:
        return 0
    b_w, b_a = (tensor_bits(value, FLOAT_MANTISSA_BITS) for value in (weights, data))
    terms = layer.macs // layer.computed_count + bool(layer.bias_count)
    growth = math.ceil(math.log2(terms)) if terms > 1 else 0
    sums = (terms - 1) * (b_a + b_w + growth - 1)
    return layer.computed_count * (terms * b_a * b_w + sums)


def _operand(
    stage: Stage, stages: Mapping[str, Stage], resolved: Mapping[str, LayerPrecision]
) -> LayerPrecision:
    """The precision of what a layer reads: of the widest, if it reads several."""
    if not stage.sources:
        return resolved[stage.name]
    return max(
        (resolved[stages[source].owner] for source in stage.sources),
        key=lambda precision: tensor_bits(precision.activations),
    )


def _baseline(
    model: ModelStats, stage: Stage, stages: Mapping[str, Stage], settings: CostSettings
) -> dict[str, float]:
    data = sum(stages[source].output_count for source in stage.sources)
    data += 0 if stage.is_input else stage.output_count
    parameters = sum(_parameters(model[name], settings) for name in stage.members)
    bits = settings.baseline_bits
    return {
        "model_size_bits": bits * parameters,
        "traffic_bits": bits * (data + parameters),
        "traffic_batch_bits": bits * (data + parameters / settings.batch_size),
        "compute_cost": model[stage.name].macs * 2 * FLOAT_BITS,
    }


def _parameters(layer: LayerStats, settings: CostSettings) -> int:
    return layer.weight_count + (layer.bias_count if settings.count_bias else 0)


def _model_bits(layer: LayerStats, precision: LayerPrecision, settings: CostSettings) -> int:
    biases = layer.bias_count * bias_bits(precision) if settings.count_bias else 0
    return layer.weight_count * tensor_bits(precision.weights) + biases


def _add_energy(
    row: dict[str, Any],
    own: LayerPrecision,
    operand: LayerPrecision,
    energy: EnergyTable,
    settings: CostSettings,
) -> None:
    mac_pj = energy.mac_pj(own.weights, operand.activations, ACCUMULATOR_BITS)
    row["arithmetic_pj"] = row.get("macs_executed", row["macs"]) * mac_pj
    data = row["read_bits"] + row["write_bits"]
    weights = row["weight_read_bits"] / settings.batch_size
    row["memory_pj"] = energy.access_pj(
        "activations", data, settings.activation_memory
    ) + energy.access_pj("weights", weights, settings.weight_memory)
    row["energy_pj"] = row["arithmetic_pj"] + row["memory_pj"]


def _energy_info(energy: EnergyTable | None) -> dict[str, Any]:
    if energy is None:
        return {}
    return {"energy_table": dict(energy.provenance), "energy_memory": dict(energy.defaults)}


def _check_executed(model: ModelStats, executed: Mapping[str, float] | None) -> None:
    for name, count in (executed or {}).items():
        if name not in model.layers:
            known = ", ".join(model.layers)
            raise ConfigError(
                f"measured layer: got {name!r}; expected one of {known}. "
                "Measure the same model that is priced."
            )
        if not 0 <= count <= model[name].macs:
            raise ConfigError(
                f"executed MACs of {name!r}: got {count}; expected 0 to {model[name].macs} per "
                "sample. Divide the counts of the run by its number of samples."
            )
