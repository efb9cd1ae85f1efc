#!/usr/bin/env python3
"""Price a network under a precision map: size, traffic, computation, memory, energy.

    tools/estimate_cost.py --model=resnet8.h5 --precision=w4a4e8 --batch_size=16
    tools/estimate_cost.py --model=net.tflite --energy=horowitz_2014_45nm.json --executed=run.json
    tools/estimate_cost.py --model=sakr_convnet --precision=w8a8 --legend
    tools/estimate_cost.py --model=vgg16 --precision=vgg16_imagenet_adaption_w16a16.json --zeros=0.5

Nothing is run. The model is a Keras model, a .tflite file (at the precision it stores, if no other
is given), statistics that measure_model wrote (.json), or a network that the papers price.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tfxp
from tfxp import cli
from tfxp.cli.list_flags import pairs
from tfxp.cost import (
    BASELINES,
    GRADIENT_WIDTHS,
    CostReport,
    CostSettings,
    EnergyTable,
    cost_report,
    executed_macs,
    graph_precision,
    graph_stats,
    resolve_precision,
    training_cost,
    training_precision,
    zero_skip,
)
from tfxp.errors import ConfigError
from tfxp.files import atomic_path, find_config, read_json, write_json, write_text
from tfxp.graph import read_tflite
from tfxp.models import PAPER_NETWORKS, count_network
from tfxp.precision import LayerPrecision, ModelStats, PrecisionMap

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model(
    "Model (.h5, .keras, SavedModel, .tflite), statistics (.json), or a paper's network: "
    + ", ".join(PAPER_NETWORKS)
    + ".",
    PAPER_NETWORKS,
)
_OPENING = _FLAGS.opening()
_PRECISION = _FLAGS.precision()
_BATCH = _FLAGS.batch_size(1)
_BASELINE = _FLAGS.DEFINE_integer(
    "baseline_bits", 32, "What size and traffic are normalised to.", lower_bound=1
)
_EDGES = _FLAGS.DEFINE_enum(
    "edges", "mapped", ["mapped", "float"], "First and last layer as mapped, or as 32 + 32 bits."
)
_FUSE = _FLAGS.DEFINE_boolean(
    "fuse_pools", True, "Pooling belongs to the stage before it and moves no data of its own."
)
_BIAS = _FLAGS.DEFINE_boolean("count_bias", True, "Biases count as parameters.")
_CONTAINERS = _FLAGS.DEFINE_boolean(
    "containers", True, "For .tflite: price the stored containers, not the word lengths noted."
)
_ENERGY = _FLAGS.DEFINE_string("energy", None, "Table of energies (.json).")
_WEIGHT_MEMORY = _FLAGS.DEFINE_string("weight_memory", None, "The table's memory of weights.")
_DATA_MEMORY = _FLAGS.DEFINE_string("activation_memory", None, "The table's memory of data.")
_EXECUTED = _FLAGS.DEFINE_string(
    "executed", None, "What run_tflite --json measured: MACs by zero are not charged."
)
_TRAINING = _FLAGS.DEFINE_boolean("training", False, "Also price training and its baselines.")
_GRADIENT = _FLAGS.DEFINE_enum(
    "gradient_width",
    "output",
    list(GRADIENT_WIDTHS),
    "Whose gradient's width the backward multiplications of --training are charged with: that of "
    "a layer's output, which they multiply by, or its input's, as in the published C_M.",
)
_ZEROS = _FLAGS.DEFINE_list(
    "zeros",
    [],
    "Share of zeros in activations, one for all behind the input (0.5) or pairs layer:share: also "
    "price a machine that stores a map of zeros and the other values, and skips zeros.",
)
_LEGEND = _FLAGS.DEFINE_boolean("legend", False, "Print what each figure is and where it is from.")
_CSV = _FLAGS.output("Also write the table to this CSV file.", ".csv", name="csv")
_PLOT = _FLAGS.plot("Save bars of traffic and work per layer")
_JSON = _FLAGS.json()


def load_network() -> tuple[ModelStats, PrecisionMap | dict[str, LayerPrecision]]:
    """The network that is priced, and its precision."""
    name = _MODEL.value
    wanted = cli.read_precision(_PRECISION.value) if _PRECISION.value else None
    if name in PAPER_NETWORKS:
        return count_network(name), wanted or PrecisionMap.parse("w8a8")
    if name.endswith(".json"):
        return ModelStats.load(name), wanted or PrecisionMap.parse("w8a8")
    if name.endswith(".tflite"):
        graph = read_tflite(name)
        return graph_stats(graph), wanted or graph_precision(graph, _CONTAINERS.value)
    model = tfxp.load_model(name, **_OPENING.options())
    from tfxp.measure import count_model, uncounted_layers  # TensorFlow is quiet by now

    stats = count_model(model)
    unknown = uncounted_layers(stats)
    if unknown:
        print(f"work of {', '.join(unknown)} is not known and counts as none\n")
    return stats, wanted or PrecisionMap.parse("w8a8")


def training_rows(
    model: ModelStats, precision: PrecisionMap | dict[str, LayerPrecision]
) -> dict[str, CostReport]:
    """Training costs of the map and of the baselines."""
    maps: dict[str, PrecisionMap | dict[str, LayerPrecision]] = {"this map": precision}
    for name in BASELINES:
        if name != "stochastic":
            maps[name] = training_precision(name)
        elif isinstance(precision, PrecisionMap):
            maps[name] = training_precision(name, precision)
    return {name: training_cost(model, pmap, _GRADIENT.value) for name, pmap in maps.items()}


def zero_shares(model: ModelStats) -> dict[str, float]:
    """Layer -> share of zeros in its output, as --zeros says."""
    if len(_ZEROS.value) == 1 and ":" not in _ZEROS.value[0]:
        given = dict.fromkeys(
            (n for n, layer in model.layers.items() if layer.kind != "input"), _ZEROS.value[0]
        )
    else:
        given = pairs(_ZEROS)
    unknown = [name for name in given if name not in model.layers]
    if unknown:
        raise ConfigError(f"--zeros: got {unknown[0]!r}; expected layers of {_MODEL.value!r}.")
    try:
        shares = {name: float(share) for name, share in given.items()}
    except ValueError:
        raise ConfigError(f"--zeros: got {_ZEROS.value}; expected shares from 0 to 1.") from None
    if not all(0 <= share <= 1 for share in shares.values()):
        raise ConfigError(f"--zeros: got {_ZEROS.value}; expected shares from 0 to 1.")
    # A pool behind a layer is taken to have its share.
    owners = model.format_owners
    return {name: shares[owner] for name, owner in owners.items() if owner in shares} | shares


def skipped(
    model: ModelStats, precision: PrecisionMap | dict[str, LayerPrecision]
) -> list[dict[str, Any]]:
    """What skipping zeros saves, layer by layer and in all; printed."""
    found = zero_skip(model, resolve_precision(model, precision), zero_shares(model))
    rows = [dataclasses.asdict(row) for row in found]
    counted = ("macs", "macs_executed", "cycles_dense", "cycles", "input_bits", "compressed_bits")
    total = {"name": "all", **{key: sum(row[key] for row in rows) for key in counted}}
    table = [
        [row["name"], f"{row['macs'] / 1e6:.1f}"]
        + [
            f"{100 * row[part] / row[whole]:.1f} %" if row[whole] else "-"
            for part, whole in zip(counted[1::2], counted[::2], strict=True)
        ]
        for row in (*rows, total)
    ]
    head = ["zeros skipped", "MACs [million]", "executed", "cycles", "activation traffic"]
    print(f"\n{cli.format_table(head, table)}")
    return [*rows, total]


def plot_costs(report: CostReport, path: str) -> None:
    """Saves bars per layer: what moves, by kind, and the work."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in report.rows if row["kind"] != "input"]
    names = [row["layer"] for row in rows]
    size = (11, 1.5 + 0.28 * len(names))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    start = [0.0] * len(names)
    batch = report.settings["batch_size"]
    for field, label, colour, share in (
        ("read_bits", "data read", "#2b6cb0", 1),
        ("write_bits", "data written", "#a0c4e8", 1),
        ("weight_read_bits", f"weights, 1/{batch} of a batch", "#dd8452", batch),
    ):
        widths = [row[field] / share / 8e3 for row in rows]
        left.barh(names, widths, left=start, label=label, color=colour)
        start = [a + b for a, b in zip(start, widths, strict=True)]
    left.invert_yaxis()
    left.set_xlabel("traffic per sample, kB")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    right.barh(names, [row["compute_cost"] / 1e6 for row in rows], color="#2b6cb0")
    right.set_xlabel("MACs x (weight + activation bits), million")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


def main() -> None:
    """Load, price, print."""
    model, precision = load_network()
    settings = CostSettings(
        _BATCH.value,
        _BASELINE.value,
        _EDGES.value,
        _FUSE.value,
        _BIAS.value,
        _WEIGHT_MEMORY.value,
        _DATA_MEMORY.value,
    )
    energy = EnergyTable.load(find_config(_ENERGY.value, "energy")) if _ENERGY.value else None
    executed = None
    if _EXECUTED.value:
        executed = executed_macs(read_json(_EXECUTED.value, "measured run"), model)
    report = cost_report(model, precision, settings, energy, executed)
    print(report)
    if _LEGEND.value:
        print(f"\n{report.legend()}")
    figures: dict[str, Any] = {"model": _MODEL.value, **report.to_dict()}
    if _TRAINING.value:
        reports = training_rows(model, precision)
        names = ("C_W", "C_A", "C_M", "C_C")
        rows = [[key, *(r.total(n) / 1e6 for n in names)] for key, r in reports.items()]
        head = ["training, in millions", *(f"{n} [{_unit(reports, n)}]" for n in names)]
        print(f"\n{cli.format_table(head, rows)}")
        figures["training"] = {key: r.to_dict() for key, r in reports.items()}
    if _ZEROS.value:
        figures["zero_skip"] = skipped(model, precision)
    if _CSV.value:
        write_text(_CSV.value, report.to_csv())
    if _PLOT.value:
        plot_costs(report, _PLOT.value)
    if _JSON.value:
        write_json(_JSON.value, figures)


def _unit(reports: dict[str, CostReport], name: str) -> str:
    return next(iter(reports.values())).figures[name].unit


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
