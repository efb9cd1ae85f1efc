"""What a network costs, in the units that people buy hardware by."""

from __future__ import annotations

from collections.abc import Mapping

from tfxp.cost import EnergyTable, cost_report
from tfxp.files import find_config
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.report.charts import percent
from tfxp.report.page import Page, html_table

_KIB, _MEGA = 8 * 1024, 1e6  # bits, operations or picojoules
_COSTS = {
    "model_size_bits": ("flash for weights and biases, KiB", _KIB),
    "activation_peak_bits": ("RAM for activations at their peak, KiB", _KIB),
    "traffic_bits": ("traffic, KiB", _KIB),
    "macs": ("multiplications, million MACs", _MEGA),
    "bit_operations": ("bit operations, million", _MEGA),
    "energy_pj": ("energy (Horowitz 2014, 45 nm), µJ", _MEGA),
}
_ENERGY = "horowitz_2014_45nm.json"


def model_costs(stats: ModelStats, precision: PrecisionMap) -> dict[str, tuple[float, float]]:
    """What a network costs in a precision and in float32, for `ModelFigures.costs`.

    Args:
        stats: the network, counted or measured.
        precision: its map.

    Example:
        >>> from tfxp.models import count_network
        >>> net = count_network("sakr_convnet")
        >>> [round(kib) for kib in model_costs(net, PrecisionMap.uniform(8, 8))["traffic, KiB"]]
        [1696, 6784]
    """
    energy = EnergyTable.load(find_config(_ENERGY, "energy"))
    own = cost_report(stats, precision, energy=energy).totals
    base = cost_report(stats, PrecisionMap.uniform("float", "float"), energy=energy).totals
    return {
        text: (own[key] / unit, base[key] / unit)
        for key, (text, unit) in _COSTS.items()
        if key in own
    }


def costs_section(page: Page, costs: Mapping[str, tuple[float, float]]) -> None:
    """Add the table of costs beside those of the float network, if there are any.

    Args:
        page: where the section goes.
        costs: as `model_costs` gives them.
    """
    if not costs:
        return
    rows = [
        [name, float(own), float(base), percent(own / base) if base else ""]
        for name, (own, base) in costs.items()
    ]
    header = ["", "this network", "in float32", "share"]
    page.section("Costs", "A sample at a time.", html_table(header, rows))
