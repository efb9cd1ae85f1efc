"""Choose the precision of every layer by analysis, and write a precision map.

    tools/assign_precision.py --method=lin --model=net.h5 --data=calibration.npz --anchor_bits=8 \\
        --output=map.json --plot=bits.png
    tools/assign_precision.py --method=lin --sweep --model=net.h5 --data=calibration.npz \\
        --eval_data=search.npz --dense_bits=0 --plot=sizes.png --report=lin.html
    tools/assign_precision.py --method=judd --model=net.h5 --data=calibration.npz \\
        --eval_data=search.npz --report_data=others.npz --tolerance=0.01 --ledger=run.jsonl \\
        --output=map.json --report=judd.html
    tools/assign_precision.py --method=sakr --training_stats=run.json --output=training.json
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
sakr     all five tensors of fixed-point training from the statistics of one float run.

The model is a Keras model, statistics that measure_model wrote (.json), or a paper's network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tfxp
from tfxp import cli
from tfxp.assign import (
    AdaptionAssigner,
    Assignment,
    BitSpace,
    EvaluationLedger,
    JuddAssigner,
    LinAssigner,
    SakrAssigner,
    TrainingStats,
    UniformAssigner,
    best_saving,
    dense_sweep,
    perturbed,
    result_tables,
    savings,
    sensitivity_profile,
    size_curve,
    smallest_within,
)
from tfxp.assign.judd import uniform_start, wide_values
from tfxp.assign.sakr import TENSORS
from tfxp.assign.search_space import ARITHMETICS, RANGES
from tfxp.cli.list_flags import numbers_file, pairs, real_number, whole_number
from tfxp.cost import CostSettings, cost_report, resolve_precision, weight_bits
from tfxp.data import ModelData, input_shapes, load_model_data, scalings_of
from tfxp.errors import ConfigError
from tfxp.files import write_json
from tfxp.models import PAPER_NETWORKS, count_network
from tfxp.precision import PLACEMENTS, LayerKind, LayerPrecision, ModelStats, PrecisionMap
from tfxp.progress import Progress
from tfxp.report import search_page
from tfxp.report.assign_plots import plot_profile, plot_result
from tfxp.report.search_figures import search_figures

_FLAGS = cli.ToolFlags(__doc__)
_METHOD = _FLAGS.DEFINE_enum(
    "method", "lin", ["uniform", "adaption", "lin", "judd", "sakr"], "How."
)
_MODEL = _FLAGS.DEFINE_string("model", None, "Keras model, statistics (.json), paper's network.")
_OPENING = _FLAGS.opening()
_DATA = _FLAGS.data("Samples to measure on.", required=False)
_EVAL = _FLAGS.eval_data()
_REPORT_DATA = _FLAGS.npz(
    "report_data", "judd: samples kept from the search; chosen maps are scored on them too."
)
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_FLAGS.input_scale()
_FLAGS.input_shift()
_METRIC = _FLAGS.metric()
_BATCH = _FLAGS.batch_size(64)
_WEIGHTS = _FLAGS.DEFINE_integer("weight_bits", 8, "uniform: bits of weights.", lower_bound=1)
_DATA_BITS = _FLAGS.DEFINE_integer(
    "activation_bits", None, "uniform (8), lin (16): bits of activations.", lower_bound=1
)
_WEIGHT_CLIP = _FLAGS.DEFINE_float("weight_clip", 0.0, "adaption: share of weights to clip.")
_CLIP = _FLAGS.DEFINE_float("clip", 0.01, "adaption: share of activations that may clip.")
_PLACEMENT = _FLAGS.DEFINE_enum(
    "placement", "pre_activation", PLACEMENTS, "adaption: ReLU."
)
_ROUND_BIAS = _FLAGS.DEFINE_boolean("round_bias", True, "adaption: biases on a grid, or float.")
_FLOAT_EDGES = _FLAGS.DEFINE_boolean(
    "float_edges", False, "adaption: input and output stay float, as in the paper (no export)."
)
_FLOAT_LAYERS = _FLAGS.DEFINE_list("float_layers", [], "adaption: names or patterns, e.g. heads.")
_ROUNDING = _FLAGS.DEFINE_enum(
    "rounding", "engine", ["engine", "half_away", "stochastic"], "adaption: rounding mode."
)
_EDGE_BITS = _FLAGS.DEFINE_integer("edge_bits", None, "uniform: first and last layer.")
_ANCHOR_BITS = _FLAGS.DEFINE_float("anchor_bits", None, "lin: bits of the first convolution.")
_TARGET = _FLAGS.DEFINE_float("target_db", None, "lin: SQNR that all weights leave, instead.")
_ANCHOR = _FLAGS.DEFINE_string("anchor", None, "lin: the layer that has --anchor_bits.")
_RHO = _FLAGS.DEFINE_string(
    "rho", "parameters", "lin: what a bit costs: parameters, macs, or a .json of layer: cost."
)
_KAPPA = _FLAGS.DEFINE_string("kappa", "3", "lin: dB per bit, or 'measured'.")
_DENSE = _FLAGS.DEFINE_integer("dense_bits", 16, "lin: of dense layers; 0 allocates them too.")
_FIXED = _FLAGS.DEFINE_list("fixed", [], "lin: layer:bits pairs that stay as they are.")
_EXCLUDED = _FLAGS.DEFINE_list("excluded", [], "lin: layers whose weights stay float.")
_WIDTHS = _FLAGS.DEFINE_list("widths", [], "lin: word lengths that the hardware has.")
_FRACTION = _FLAGS.DEFINE_enum(
    "fraction", "fit", ["fit", "ceil", "nearest", "mse"], "lin: write Lin's formats, or only bits."
)
_SWEEP = _FLAGS.DEFINE_boolean("sweep", False, "lin: accuracy against size, beside equal bits.")
_DENSE_SWEEP = _FLAGS.DEFINE_boolean(
    "dense_sweep", False, "lin: lower dense layers, all else float, until accuracy drops; use that."
)
_TOLERANCE = _FLAGS.DEFINE_float("tolerance", 0.01, "judd, sweeps: relative error of the choice.")
_STOP = _FLAGS.DEFINE_float("stop_error", 0.10, "judd: relative error that ends the descent.")
_START = _FLAGS.DEFINE_float("start_error", 0.001, "judd: relative error at the start.")
_FREEZE = _FLAGS.DEFINE_list("freeze", [], "judd: family:bits, such as data_fraction:0.")
_BLOCKS = _FLAGS.DEFINE_list("blocks", [], "judd: name:layer+layer+…, one precision for all.")
_ARITHMETIC = _FLAGS.DEFINE_enum(
    "arithmetic", "quantized", ARITHMETICS, "judd: all on grids, or only what is stored rounded."
)
_RANGES = _FLAGS.DEFINE_enum(
    "ranges", "uniform", RANGES, "judd: integer bits at the start, alike or as measured by layer."
)
_LEDGER = _FLAGS.output("judd: file of all scores; makes it resumable.", name="ledger")
_PROFILE = _FLAGS.plot("judd: also plot accuracy against single bits", "profile")
_TRAINING = _FLAGS.DEFINE_string("training_stats", None, "sakr: statistics of a float run.")
_B_MIN = _FLAGS.DEFINE_integer("b_min", None, "sakr: B_min; found by --mismatch_target if absent.")
_MISMATCH = _FLAGS.DEFINE_float("mismatch_target", 0.01, "sakr: largest bound on p_m.")
_VARIANT = _FLAGS.DEFINE_enum("variant", "code", ["code", "paper"], "sakr: gradient clipping.")
_PERTURB = _FLAGS.DEFINE_integer("perturb", 0, "sakr: bits more or fewer for --perturb_tensors.")
_TENSORS = _FLAGS.DEFINE_list("perturb_tensors", list(TENSORS), "sakr: which of the five.")
_OUTPUT = _FLAGS.output("The precision map.", ".json")
_PLOT = _FLAGS.plot("Save the method's picture")
_REPORT = _FLAGS.output("Save everything as one page (.html).", ".html", name="report")
_JSON = _FLAGS.json()
_SHOW = _FLAGS.progress()


def required(flag: Any) -> str:
    """The value of a flag that this method cannot do without."""
    if not flag.value:
        raise ConfigError(f"--{flag.name}: got none; expected one for --method={_METHOD.value}.")
    return flag.value


def load_stats() -> tuple[ModelStats, Any, ModelData | None]:
    """The network's figures, and the Keras model and its calibration data if there are any."""
    name = required(_MODEL)
    if name in PAPER_NETWORKS:
        return count_network(name), None, None
    if name.endswith(".json"):
        return ModelStats.load(name), None, None
    model = tfxp.load_model(name, **_OPENING.options())
    model, _ = tfxp.split_normalization(model, always=False)
    if not _DATA.value:
        return tfxp.count_model(model), model, None
    data = load_data(model, _DATA.value, "train")
    with Progress(len(data), "measuring", "sample", _SHOW.value) as bar:
        stats = tfxp.measure_model(
            model, data.x, batch_size=_BATCH.value, progress=lambda done, _: bar.reach(done)
        )
    return stats, model, data


def lin(stats: ModelStats, model: Any, inputs: Any) -> Assignment:
    """Lin's allocation, its table of bits, and SQNR where that was measured."""
    if (_SWEEP.value or _DENSE_SWEEP.value) and inputs is None:
        raise ConfigError("sweeps of --method=lin: got no model with --data; expected both.")
    dense = swept_dense_bits(stats, model) if _DENSE_SWEEP.value else _DENSE.value
    anchor = 8 if _SWEEP.value and _TARGET.value is None else None
    assigner = LinAssigner(
        anchor_bits=_ANCHOR_BITS.value or anchor,
        target_db=_TARGET.value,
        rho=numbers_file(_RHO) if _RHO.value.endswith(".json") else _RHO.value,
        kappa=_KAPPA.value if _KAPPA.value == "measured" else real_number(_KAPPA),
        anchor=_ANCHOR.value,
        activation_bits=_DATA_BITS.value or 16,
        dense_bits=dense or None,
        fixed={name: whole_number(_FIXED, bits) for name, bits in pairs(_FIXED).items()},
        excluded=_EXCLUDED.value,
        widths=[whole_number(_WIDTHS, width) for width in _WIDTHS.value] or None,
        fraction=None if _FRACTION.value == "fit" else _FRACTION.value,
    )
    result, swept = sweep(assigner, stats, model) if _SWEEP.value else (assigner.assign(stats), {})
    sqnr = sqnr_of(stats, result.map, model, inputs)
    print(cli.format_table(*result_tables.lin_table(result, stats, sqnr)))
    print(f"\nsize of weights: {result.figures['size_bits']:,} bit")
    figures = {**result.figures, "sqnr": sqnr, **swept}
    return Assignment(result.map, result.trace, result.stop_reason, figures)


def swept_dense_bits(stats: ModelStats, model: Any) -> int:
    """The fewest bits of dense layers that lose nothing while all else is float."""
    others = PrecisionMap(LayerPrecision(weights="float", activations="float", bias="float"))
    dense = [x.name for x in stats.layers.values() if x.kind == LayerKind.DENSE]
    start = {name: LayerPrecision(weights=16) for name in dense}
    scorer = evaluator(model, others.updated(start), stats)
    result = dense_sweep(scorer.accuracy, others, stats, tolerance=_TOLERANCE.value)
    rows = [[point["bits"], point["accuracy"]] for point in result.figures["points"]]
    print(cli.format_table(["dense bits", scorer.metric], rows))
    print(f"stopped: {result.stop_reason}\n")
    return result.trace[-1].value


def sweep(assigner: LinAssigner, stats: ModelStats, model: Any) -> tuple[Assignment, dict]:
    """Accuracy against size; the cheapest allocated map within the tolerance."""
    scorer = evaluator(model, assigner.assign(stats).map, stats)
    baseline = scorer.float_score.accuracy
    anchors = [bits / 2 for bits in range(6, 31)]
    with Progress(None, "size curve", "map", _SHOW.value) as bar:
        points = size_curve(
            scorer.accuracy, stats, assigner, anchors, range(2, 13), lambda point: bar.step(1)
        )
    print(cli.format_table(*result_tables.size_table(points, scorer.metric)))
    found = savings(points)
    print(f"\nfloat {scorer.metric}: {baseline:.4g}")
    print(cli.format_table(*result_tables.saving_table(found, scorer.metric)) + "\n")
    chosen = smallest_within(points, baseline, _TOLERANCE.value)
    knob = chosen.knob if chosen is not None else max(anchors)
    result = dataclasses.replace(assigner, anchor_bits=knob, target_db=None).assign(stats)
    best = best_saving(points, baseline)
    return result, {
        "baseline": baseline,
        "metric": scorer.metric,
        "samples": scorer.total,
        "sizes": [point.to_dict() for point in points],
        "savings": [saving.to_dict() for saving in found],
        "best_saving": best.to_dict() if best else None,
    }


def judd(stats: ModelStats, model: Any, inputs: Any) -> Assignment:
    """Judd's descent on measured accuracy."""
    from tfxp.search import scores_fingerprint

    if inputs is None:
        raise ConfigError("--method=judd: got no model with --data; expected both. Name them.")
    freeze = {name: whole_number(_FREEZE, bits) for name, bits in pairs(_FREEZE).items()}
    blocks = {name: layers.split("+") for name, layers in pairs(_BLOCKS).items()}
    space = BitSpace(stats, blocks, freeze, arithmetic=_ARITHMETIC.value)
    wide = space.to_map(space.uniform(wide_values(space)))
    scorer = evaluator(model, wide, stats)
    data = load_data(model, required(_EVAL), "test")
    fingerprint = scores_fingerprint(model, data.x, scorer.metric)
    with Progress(None, "greedy descent", "map", _SHOW.value) as bar:
        assigner = JuddAssigner(
            scorer, scorer.float_score.accuracy, _TOLERANCE.value, _START.value, _STOP.value,
            blocks, freeze, _ARITHMETIC.value, _RANGES.value,
            CostSettings(batch_size=_BATCH.value), _LEDGER.value, fingerprint,
            lambda descent: bar.step(1, f"round {len(descent.path)}"),
        )  # fmt: skip
        result = assigner.assign(stats)
    figures: dict[str, Any] = {
        **result.figures, "metric": scorer.metric, "samples": scorer.total,
        "stop_reason": result.stop_reason,
    }  # fmt: skip
    if _PROFILE.value or _REPORT.value:
        figures["profile"] = profile(space, scorer, fingerprint)
    if _REPORT_DATA.value:
        figures |= reported(model, wide, stats, figures["selected"])
    figures["sqnr"] = sqnr_of(stats, result.map, model, inputs)
    print(f"float {scorer.metric}: {figures['baseline']:.4g}; maps: {len(figures['visited'])}")
    print(cli.format_table(*result_tables.selected_table(figures["selected"], scorer.metric)))
    print(f"\nstopped: {result.stop_reason}")
    return Assignment(result.map, result.trace, result.stop_reason, figures)


def sqnr_of(stats: ModelStats, pmap: PrecisionMap, model: Any, inputs: Any) -> list[dict]:
    """The table of predicted and measured noise; measured on some hundred samples at most."""
    from tfxp.search import sqnr_table

    if inputs is None:
        return sqnr_table(stats, pmap)
    return sqnr_table(stats, pmap, model, inputs.take(512).x, _BATCH.value)


def profile(space: BitSpace, scorer: Any, fingerprint: str) -> list[dict[str, Any]]:
    """The one-at-a-time profile around the start of the descent."""
    ledger = EvaluationLedger(_LEDGER.value, f"{fingerprint} {space.fingerprint()}")
    baseline = scorer.float_score.accuracy
    base, _ = uniform_start(space, scorer, baseline, _START.value, ledger, _RANGES.value)
    with Progress(None, "sensitivity", "map", _SHOW.value) as bar:
        points = sensitivity_profile(
            space, scorer, base, baseline, ledger=ledger, on_point=lambda point: bar.step(1)
        )
    return [point.to_dict() for point in points]


def reported(
    model: Any, wide: PrecisionMap, stats: ModelStats, selected: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores of the chosen maps, and of float, on samples that the search has not seen."""
    scorer = evaluator(model, wide, stats, _REPORT_DATA.value)
    for entry in selected.values():
        if entry is not None:
            entry["report_accuracy"] = scorer.accuracy(PrecisionMap.from_dict(entry["map"]))
    return {"report_baseline": scorer.float_score.accuracy, "report_samples": scorer.total}


def evaluator(model: Any, first: PrecisionMap, stats: ModelStats, path: str | None = None) -> Any:
    """The fast evaluator of maps that leave the same tensors in float as a first one."""
    from tfxp.search import FastEvaluator

    data = load_data(model, path or required(_EVAL), "test")
    qmodel = tfxp.quantize_model(model, first, stats)
    return FastEvaluator(qmodel, data, stats, metric=_METRIC.value)


def load_data(model: Any, path: str, split: str) -> ModelData:
    """Samples as the model takes them, with labels where they are to be evaluated on."""
    data = load_model_data(
        path, input_shapes(model), _SPLIT.value, _LIMIT.value, split, labels=split == "test"
    )
    return _FLAGS.scaled(data, model.input_names, scalings_of(model))[0]


def sakr() -> Assignment:
    """Sakr's five criteria."""
    stats = TrainingStats.load(required(_TRAINING))
    result = SakrAssigner(_B_MIN.value, _MISMATCH.value, _VARIANT.value).assign(stats)
    pmap = perturbed(result.map, _PERTURB.value, _TENSORS.value) if _PERTURB.value else result.map
    print(cli.format_table(*result_tables.training_table(pmap)))
    figures = result.figures
    print(f"\nB_min {figures['b_min']}: p_m <= {figures['mismatch_bound']:.3g}")
    for warning in figures["warnings"]:
        print(f"WARNING: {warning}")
    return Assignment(pmap, result.trace, result.stop_reason, figures)


def adaption(stats: ModelStats) -> Assignment:
    """Formats per layer, and the table of zeros."""
    result = AdaptionAssigner(
        _WEIGHTS.value,
        _DATA_BITS.value or _WEIGHTS.value,
        _WEIGHT_CLIP.value,
        _CLIP.value,
        _PLACEMENT.value,
        _ROUND_BIAS.value,
        _FLOAT_EDGES.value,
        tuple(_FLOAT_LAYERS.value),
        _ROUNDING.value,
    ).assign(stats)
    print(cli.format_table(*result_tables.trace_table(result)))
    print(cli.format_table(*result_tables.zero_table(result)))
    return result


def main() -> None:
    """Assign, print, write."""
    stats, model, inputs = (None, None, None) if _METHOD.value == "sakr" else load_stats()
    if stats is None:
        result = sakr()
    elif _METHOD.value == "adaption":
        result = adaption(stats)
    elif _METHOD.value == "judd":
        result = judd(stats, model, inputs)
    elif _METHOD.value == "lin":
        result = lin(stats, model, inputs)
    else:
        result = UniformAssigner(_WEIGHTS.value, _DATA_BITS.value or 8, _EDGE_BITS.value).assign(
            stats
        )
        resolve_precision(stats, result.map)
    figures = {"method": _METHOD.value, **result.to_dict()}
    if stats is not None and all(layer.output_shape for layer in stats.layers.values()):
        report = cost_report(stats, result.map, CostSettings(batch_size=_BATCH.value))
        figures["cost"] = dict(report.totals)
        print(
            f"model size {report.total('model_size_ratio'):.3f}, traffic in batches of "
            f"{_BATCH.value} {report.total('traffic_batch_ratio'):.3f} of 32 bits"
        )
    if _OUTPUT.value:
        command = f"assign_precision --method={_METHOD.value} --model={_MODEL.value}"
        result.described(_METHOD.value, command).save(_OUTPUT.value)
    if _PLOT.value:
        plot_result(result.figures, weight_bits(stats, result.map) if stats else {}, _PLOT.value)
    if _PROFILE.value and "profile" in result.figures:
        plot_profile(result.figures["profile"], _PROFILE.value)
    if _REPORT.value:
        name = _MODEL.value.rstrip("/").split("/")[-1]
        search_page(search_figures(figures, name, _TOLERANCE.value)).write(_REPORT.value)
    if _JSON.value:
        write_json(_JSON.value, figures)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
