"""What a precision map costs: size, traffic, computation, energy, memory and training costs."""

from tfxp.cost.bits import tensor_bits
from tfxp.cost.cost_report import CostReport, Figure
from tfxp.cost.energy import EnergyTable
from tfxp.cost.expected_zeros import ExpectedZeros
from tfxp.cost.graph_stats import graph_precision, graph_stats
from tfxp.cost.inference import CostSettings, cost_heading, cost_report, total_traffic
from tfxp.cost.measured_run import executed_macs
from tfxp.cost.memory import memory_bits
from tfxp.cost.selection import layer_bits, resolve_precision, select_layers, weight_bits
from tfxp.cost.stages import Stage, stages_of
from tfxp.cost.training import BASELINES, GRADIENT_WIDTHS, training_cost, training_precision
from tfxp.cost.zero_skip import ZeroSkipMachine, ZeroSkipRow, zero_skip

__all__ = [
    "BASELINES",
    "CostReport",
    "CostSettings",
    "EnergyTable",
    "ExpectedZeros",
    "Figure",
    "GRADIENT_WIDTHS",
    "Stage",
    "ZeroSkipMachine",
    "ZeroSkipRow",
    "cost_heading",
    "cost_report",
    "executed_macs",
    "graph_precision",
    "graph_stats",
    "layer_bits",
    "memory_bits",
    "resolve_precision",
    "select_layers",
    "stages_of",
    "tensor_bits",
    "total_traffic",
    "training_cost",
    "training_precision",
    "weight_bits",
    "zero_skip",
]
