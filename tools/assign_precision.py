#!/usr/bin/env python3
"""Choose the precision of every layer by analysis, and write a precision map.

    tools/assign_precision.py --method=lin --model=net.h5 --data=calibration.npz --anchor_bits=8 \\
        --output=map.json --plot=bits.png
    tools/assign_precision.py --method=lin --sweep --model=net.h5 --data=calibration.npz \\
        --eval_data=search.npz --dense_bits=0 --plot=sizes.png --report=lin.html
    tools/assign_precision.py --method=judd --model=net.h5 --data=calibration.npz \\
        --eval_data=search.npz --report_data=others.npz --tolerance=0.01 --ledger=run.jsonl \\
        --output=map.json --report=judd.html
    tools/assign_precision.py --method=ilp --model=net.h5 --data=calibration.npz \\
        --total=model_size_bits --bound=w4a4 --output=map.json
    tools/assign_precision.py --method=sakr --training_stats=run.json --output=training.json
    tools/assign_precision.py --method=sakr --training_stats=run.json --b_min_sweep \\
        --model=run/model.keras --data=train.npz --eval_data=train.npz --split=train \\
        --held_out=2000 --output=training.json
    tools/assign_precision.py --method=adaption --model=net.h5 --data=calibration.npz \
        --weight_bits=16 --activation_bits=16 --output=map.json
    tools/assign_precision.py --method=uniform --model=net.h5 --weight_bits=4 --activation_bits=6

uniform  the same bits everywhere.
adaption a format per layer from ranges, a bit budget and a clip budget, before the ReLU as in the
         paper or behind it; zeros before and after, and what skipping them saves.
lin      bits of weights from what they cost and how noise adds up; --data is needed only where
         statistics are asked for (--fraction, --kappa=measured, the table of SQNR), --eval_data
         for --sweep (accuracy against size, beside equal bits) and --dense_sweep.
judd     greedy descent by measured accuracy; run the same command again to go on after a stop.
ilp      bits of least summed loss, measured without labels, under a bound on a total of the cost
         report; exact, by an integer linear program.
sakr     all five tensors of fixed-point training from the statistics of one float run; B_min by a
         bound, or by --b_min_sweep on held-out samples.

The model is a Keras model, statistics that measure_model wrote (.json), or a paper's network.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tfxp import cli
from tfxp.assign import Assignment, result_tables
from tfxp.commands import (
    AdaptionMethod,
    AssignInputs,
    IlpMethod,
    JuddMethod,
    LinMethod,
    SakrMethod,
    UniformMethod,
)
from tfxp.cost import CostSettings, cost_report, layer_bits, weight_bits
from tfxp.files import write_json
from tfxp.precision import ModelStats
from tfxp.report import ResultTable, model_costs, provenance, search_page
from tfxp.report.assign_plots import plot_profile, plot_result
from tfxp.report.search_figures import search_figures

_FLAGS = cli.ToolFlags(__doc__)
_INPUTS = AssignInputs(_FLAGS)
_UNIFORM = UniformMethod(_FLAGS, _INPUTS)
_ADAPTION = AdaptionMethod(_FLAGS, _INPUTS)
_LIN = LinMethod(_FLAGS, _INPUTS)
_JUDD = JuddMethod(_FLAGS, _INPUTS)
_ILP = IlpMethod(_FLAGS, _INPUTS)
_SAKR = SakrMethod(_FLAGS, _INPUTS)
_OUTPUT = _FLAGS.output("The precision map.", ".json")
_PLOT = _FLAGS.plot("Save the method's picture")
_REPORT = _FLAGS.output("Save everything as one page (.html).", ".html", name="report")
_JSON = _FLAGS.json()


def main() -> None:
    """Assign, print, write."""
    method = _INPUTS.method.value
    _FLAGS.check_methods(method)
    stats, result = assigned(method)
    figures = {"method": method, **result.to_dict()}
    if stats is not None:
        figures["bits"] = layer_bits(stats, result.map)
    if stats is not None and all(layer.output_shape for layer in stats.layers.values()):
        batch = _INPUTS.batch.value
        report = cost_report(stats, result.map, CostSettings(batch_size=batch))
        figures["cost"] = dict(report.totals)
        print(
            f"model size {report.total('model_size_ratio'):.3f}, traffic in batches of "
            f"{batch} {report.total('traffic_batch_ratio'):.3f} of 32 bits"
        )
    write(method, stats, result, figures)


def assigned(method: str) -> tuple[ModelStats | None, Assignment]:
    """The network's figures, where the method looks at a network, and what it assigned."""
    if method == "sakr":  # its bits are priced as training, by estimate_cost --training
        return None, _SAKR.assign()
    stats, model, data = _INPUTS.load()
    if method == "uniform":
        return stats, _UNIFORM.assign(stats)
    if method == "adaption":
        return stats, _ADAPTION.assign(stats)
    if method == "judd":
        return stats, _JUDD.assign(stats, model, data, profile=bool(_REPORT.value))
    if method == "ilp":
        return stats, _ILP.assign(stats, model, data)
    return stats, _LIN.assign(stats, model, data)


def write(
    method: str, stats: ModelStats | None, result: Assignment, figures: dict[str, Any]
) -> None:
    """The map, pictures, the page and the figures."""
    name = _INPUTS.model.value
    if _OUTPUT.value:
        command = f"assign_precision --method={method} --model={name}"
        result.described(method, command).save(_OUTPUT.value)
    if _PLOT.value:
        plot_result(result.figures, weight_bits(stats, result.map) if stats else {}, _PLOT.value)
    if _JUDD.profile.value and "profile" in result.figures:
        plot_profile(result.figures["profile"], _JUDD.profile.value)
    if _REPORT.value:
        write_page(method, stats, result, figures)
    if _JSON.value:
        write_json(_JSON.value, figures)


def write_page(
    method: str, stats: ModelStats | None, result: Assignment, figures: dict[str, Any]
) -> None:
    """One HTML page: the bits, why they are so, and what they cost."""
    source = _INPUTS.model.value or _SAKR.training.value
    title = source.rstrip("/").split("/")[-1]
    files = [path for path in (source, _FLAGS.values["data"].value) if path]
    counted = stats is not None and "cost" in figures
    shown = dataclasses.replace(
        search_figures(figures, title, _INPUTS.tolerance.value),
        tables=result_sections(method, result),
        costs=model_costs(stats, result.map) if counted else {},
        provenance=provenance(files),
    )
    search_page(shown).write(_REPORT.value)


def result_sections(method: str, result: Assignment) -> list[ResultTable]:
    """The method's own tables, for its page."""
    if method == "adaption":
        return [
            ResultTable("Formats", "Of every tensor.", *result_tables.trace_table(result)),
            ResultTable(
                "Zeros",
                "Zeros read, and the work that a machine saves by skipping them.",
                *result_tables.zero_table(result),
            ),
        ]
    if method == "ilp":
        text = "Loss of the network's output with one tensor at these bits, all others at the most."
        return [ResultTable("Losses", text, *result_tables.loss_table(result))]
    if method == "sakr":
        text = "Of the five tensors of training in fixed point."
        header, rows = result_tables.training_table(result.map)
        return [ResultTable("Formats", text, [name.replace("_", " ") for name in header], rows)]
    return []


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
