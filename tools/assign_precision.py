"""Choose the precision of every layer by analysis, and write a precision map.

    tools/assign_precision.py --method=lin --model=net.h5 --data=calibration.npz --anchor_bits=8 \\
        --output=map.json --plot=bits.png
    tools/assign_precision.py --method=judd --model=net.h5 --data=calibration.npz \\
        --eval_data=test.npz --tolerance=0.01 --ledger=run.jsonl --output=map.json
    tools/assign_precision.py --method=sakr --training_stats=run.json --output=training.json
    tools/assign_precision.py --method=uniform --model=net.h5 --weight_bits=4 --activation_bits=6

uniform  the same bits everywhere.
lin      bits of weights from what they cost and how noise adds up; --data is needed only where
         statistics are asked for (--fraction, --kappa=measured, the table of predicted SQNR).
judd     greedy descent by measured accuracy; run the same command again to go on after a stop.
sakr     all five tensors of fixed-point training from the statistics of one float run.

The model is a Keras model, statistics that measure_model wrote (.json), or a paper's network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

import tfxp
from tfxp import cli
from tfxp.assign import (
    Assignment,
    BitSpace,
    EvaluationLedger,
    JuddAssigner,
    LinAssigner,
    SakrAssigner,
    TrainingStats,
    UniformAssigner,
    perturbed,
    predict_sqnr,
    sensitivity_profile,
)
from tfxp.assign.judd import SweepPoint, uniform_start, wide_values
from tfxp.assign.sakr import TENSORS
from tfxp.cost import CostSettings, cost_report, resolve_precision
from tfxp.data import evaluate_metric, load_npz
from tfxp.errors import ConfigError
from tfxp.files import atomic_path, check_writable, write_json
from tfxp.models import PAPER_NETWORKS, count_network
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.progress import Progress

_FLAGS = cli.ToolFlags(__doc__)
_METHOD = _FLAGS.DEFINE_enum("method", "lin", ["uniform", "lin", "judd", "sakr"], "How.")
_MODEL = _FLAGS.DEFINE_string("model", None, "Keras model, statistics (.json), paper's network.")
_DATA = _FLAGS.data("Samples to measure on.", required=False)
_EVAL = _FLAGS.eval_data()
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_SCALE = _FLAGS.input_scale()
_SHIFT = _FLAGS.input_shift()
_METRIC = _FLAGS.metric()
_BATCH = _FLAGS.batch_size(64)
_WEIGHTS = _FLAGS.DEFINE_integer("weight_bits", 8, "uniform: bits of weights.", lower_bound=1)
_DATA_BITS = _FLAGS.DEFINE_integer(
    "activation_bits", None, "uniform (8), lin (16): bits of activations.", lower_bound=1
)
_EDGE_BITS = _FLAGS.DEFINE_integer("edge_bits", None, "uniform: first and last layer.")
_ANCHOR_BITS = _FLAGS.DEFINE_integer("anchor_bits", None, "lin: bits of the first convolution.")
_TARGET = _FLAGS.DEFINE_float("target_db", None, "lin: SQNR that all weights leave, instead.")
_ANCHOR = _FLAGS.DEFINE_string("anchor", None, "lin: the layer that has --anchor_bits.")
_RHO = _FLAGS.DEFINE_enum("rho", "parameters", ["parameters", "macs"], "lin: what a bit costs.")
_KAPPA = _FLAGS.DEFINE_string("kappa", "3", "lin: dB per bit, or 'measured'.")
_DENSE = _FLAGS.DEFINE_integer("dense_bits", 16, "lin: of dense layers; 0 allocates them too.")
_FIXED = _FLAGS.DEFINE_list("fixed", [], "lin: layer:bits pairs that stay as they are.")
_EXCLUDED = _FLAGS.DEFINE_list("excluded", [], "lin: layers whose weights stay float.")
_WIDTHS = _FLAGS.DEFINE_list("widths", [], "lin: word lengths that the hardware has.")
_FRACTION = _FLAGS.DEFINE_enum(
    "fraction", "fit", ["fit", "ceil", "nearest", "mse"], "lin: write Lin's formats, or only bits."
)
_TOLERANCE = _FLAGS.DEFINE_float("tolerance", 0.01, "judd: relative error of the chosen map.")
_STOP = _FLAGS.DEFINE_float("stop_error", 0.10, "judd: relative error that ends the descent.")
_START = _FLAGS.DEFINE_float("start_error", 0.001, "judd: relative error at the start.")
_FREEZE = _FLAGS.DEFINE_list("freeze", [], "judd: family:bits, such as data_fraction:0.")
_BLOCKS = _FLAGS.DEFINE_list("blocks", [], "judd: name:layer+layer+…, one precision for all.")
_LEDGER = _FLAGS.DEFINE_string("ledger", None, "judd: file of all scores; makes it resumable.")
_PROFILE = _FLAGS.DEFINE_string("profile", None, "judd: also plot accuracy against single bits.")
_TRAINING = _FLAGS.DEFINE_string("training_stats", None, "sakr: statistics of a float run.")
_B_MIN = _FLAGS.DEFINE_integer("b_min", None, "sakr: B_min; found by --mismatch_target if absent.")
_MISMATCH = _FLAGS.DEFINE_float("mismatch_target", 0.01, "sakr: largest bound on p_m.")
_VARIANT = _FLAGS.DEFINE_enum("variant", "code", ["code", "paper"], "sakr: gradient clipping.")
_PERTURB = _FLAGS.DEFINE_integer("perturb", 0, "sakr: bits more or fewer for --perturb_tensors.")
_TENSORS = _FLAGS.DEFINE_list("perturb_tensors", list(TENSORS), "sakr: which of the five.")
_OUTPUT = _FLAGS.output("The precision map.")
_PLOT = _FLAGS.DEFINE_string("plot", None, "Save the method's picture (.png, .svg, .pdf).")
_JSON = _FLAGS.json()
_SHOW = _FLAGS.progress()


def pairs(flag: Any) -> dict[str, str]:
    """name:value items of a list flag."""
    result = {}
    for item in flag.value:
        name, colon, value = item.partition(":")
        if not colon or not value:
            raise ConfigError(f"--{flag.name}: got {item!r}; expected name:value.")
        result[name] = value
    return result


def whole(flag: Any, text: str) -> int:
    """A whole number inside a list flag."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--{flag.name}: got {text!r}; expected a whole number.") from None


def required(flag: Any) -> str:
    """The value of a flag that this method cannot do without."""
    if not flag.value:
        raise ConfigError(f"--{flag.name}: got none; expected one for --method={_METHOD.value}.")
    return flag.value


def load_stats() -> tuple[ModelStats, Any]:
    """The network's figures, and the Keras model if there is one."""
    name = required(_MODEL)
    if name in PAPER_NETWORKS:
        return count_network(name), None
    if name.endswith(".json"):
        return ModelStats.load(name), None
    data = load_npz(_DATA.value, _SPLIT.value, _LIMIT.value, "train") if _DATA.value else None
    model = tfxp.load_model(name)
    if data is None:
        return tfxp.count_model(model), model
    values = data.shaped(model.input_shape[1:]).inputs(_SCALE.value, _SHIFT.value)
    return tfxp.measure_model(model, values, batch_size=_BATCH.value), model


def lin(stats: ModelStats) -> Assignment:
    """Lin's allocation, its table of bits, and of predicted SQNR where that was measured."""
    result = LinAssigner(
        anchor_bits=_ANCHOR_BITS.value,
        target_db=_TARGET.value,
        rho=_RHO.value,
        kappa=_KAPPA.value if _KAPPA.value == "measured" else _number(_KAPPA),
        anchor=_ANCHOR.value,
        activation_bits=_DATA_BITS.value or 16,
        dense_bits=_DENSE.value or None,
        fixed={name: whole(_FIXED, bits) for name, bits in pairs(_FIXED).items()},
        excluded=_EXCLUDED.value,
        widths=[whole(_WIDTHS, width) for width in _WIDTHS.value] or None,
        fraction=None if _FRACTION.value == "fit" else _FRACTION.value,
    ).assign(stats)
    measured = all(x.activations and (x.weights or not x.weight_count) for x in _owners(stats))
    sqnr = {}
    if measured:
        rows = predict_sqnr(stats, resolve_precision(stats, result.map))
        sqnr = {row.layer: row.to_dict() for row in rows}
    table = [
        [
            decision.layer,
            stats[decision.layer].weight_count,
            stats[decision.layer].macs,
            decision.value,
            sqnr.get(decision.layer, {}).get("weights_db"),
            sqnr.get(decision.layer, {}).get("rounded_db"),
            decision.reason,
        ]
        for decision in result.trace
    ]
    head = ["layer", "weights", "MACs", "bits", "SQNR w [dB]", "SQNR out [dB]", "why"]
    print(cli.format_table(head, table))
    print(f"\nsize of weights: {result.figures['size_bits']:,} bit")
    figures = {**result.figures, "sqnr": list(sqnr.values())}
    return Assignment(result.map, result.trace, result.stop_reason, figures)


def judd(stats: ModelStats, model: Any) -> Assignment:
    """Judd's descent on measured accuracy."""
    if model is None or not _DATA.value:
        raise ConfigError("--method=judd: got no model with --data; expected both. Name them.")
    evaluate, baseline, fingerprint = evaluator(stats, model)
    freeze = {name: whole(_FREEZE, bits) for name, bits in pairs(_FREEZE).items()}
    blocks = {name: layers.split("+") for name, layers in pairs(_BLOCKS).items()}
    settings = CostSettings(batch_size=_BATCH.value)
    with Progress(None, "greedy descent", "map", _SHOW.value) as bar:
        assigner = JuddAssigner(
            evaluate, baseline, _TOLERANCE.value, _START.value, _STOP.value, blocks, freeze,
            settings, _LEDGER.value, fingerprint,
            lambda descent: bar.step(1, f"round {len(descent.path)}"),
        )  # fmt: skip
        result = assigner.assign(stats)
    rows = [
        [f"{100 * float(t):g} %", *([None] * 3 if s is None else _selected(s))]
        for t, s in result.figures["selected"].items()
    ]
    print(f"float {_METRIC.value}: {baseline:.4g}; {len(result.figures['visited'])} maps visited")
    print(cli.format_table(["tolerance", _METRIC.value, "traffic", "bits w/data by layer"], rows))
    print(f"\nstopped: {result.stop_reason}")
    if _PROFILE.value:
        space = BitSpace(stats, blocks, freeze)
        ledger = EvaluationLedger(_LEDGER.value, f"{fingerprint} {space.fingerprint()}")
        base, _ = uniform_start(space, evaluate, baseline, _START.value, ledger)
        points = sensitivity_profile(space, evaluate, base, baseline, ledger=ledger)
        plot_profile(points, _PROFILE.value)
        figures = {**result.figures, "profile": [point.to_dict() for point in points]}
        result = Assignment(result.map, result.trace, result.stop_reason, figures)
    return result


def evaluator(stats: ModelStats, model: Any) -> tuple[Callable[[PrecisionMap], float], float, str]:
    """Accuracy of a precision map, of the float model, and what both depend on."""
    data = load_npz(required(_EVAL), _SPLIT.value, _LIMIT.value, "test", labels=True)
    data = data.shaped(model.input_shape[1:])
    inputs = data.inputs(_SCALE.value, _SHIFT.value)
    space = BitSpace(stats)
    quantized = tfxp.quantize_model(model, space.to_map(space.uniform(wide_values(space))))
    predict = tfxp.keras.tf.function(lambda batch: quantized(batch, training=False))

    def score(call: Callable[[Any], Any]) -> float:
        parts = [inputs[i : i + 256] for i in range(0, len(inputs), 256)]
        outputs = np.concatenate([np.asarray(call(part)) for part in parts])
        return evaluate_metric(_METRIC.value, outputs, data)

    def evaluate(pmap: PrecisionMap) -> float:
        tfxp.set_precision(quantized, pmap)
        return score(predict)

    digest = hashlib.sha256(inputs.tobytes())
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    fingerprint = f"{_METRIC.value} {digest.hexdigest()[:16]}"
    return evaluate, score(lambda part: model(part, training=False)), fingerprint


def sakr() -> Assignment:
    """Sakr's five criteria."""
    stats = TrainingStats.load(required(_TRAINING))
    result = SakrAssigner(_B_MIN.value, _MISMATCH.value, _VARIANT.value).assign(stats)
    pmap = perturbed(result.map, _PERTURB.value, _TENSORS.value) if _PERTURB.value else result.map
    rows = [
        [name, *(None if getattr(rule, t) is None else str(getattr(rule, t)) for t in TENSORS)]
        for name, rule in pmap.layers.items()
    ]
    print(cli.format_table(["layer", *TENSORS], rows))
    figures = result.figures
    print(f"\nB_min {figures['b_min']}: p_m <= {figures['mismatch_bound']:.3g}")
    return Assignment(pmap, result.trace, result.stop_reason, figures)


def plot(result: Assignment, stats: ModelStats | None, path: str) -> None:
    """Saves the picture that goes with the method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    figures = result.figures
    if "visited" in figures:
        front = set(figures["front"])
        points = [(e["traffic_ratio"], e["accuracy"], e["configuration"]) for e in
                  figures["visited"]]  # fmt: skip
        axes.scatter(*zip(*[p[:2] for p in points], strict=True), s=8, c="#a0c4e8", label="visited")
        best = sorted(p[:2] for p in points if p[2] in front)
        axes.plot(*zip(*best, strict=True), "o-", ms=3, c="#2b6cb0", label="Pareto front")
        axes.axhline(figures["baseline"], c="#718096", ls="--", label="float")
        axes.set_xlabel("traffic over 32 bits")
        axes.set_ylabel(_METRIC.value)
        # Maps that fail altogether are visited too; what is to be chosen from lies on top.
        axes.set_ylim(bottom=0.85 * figures["baseline"])
        axes.legend()
    elif "mismatch_bounds" in figures:
        bounds = figures["mismatch_bounds"]
        axes.semilogy([int(b) for b in bounds], list(bounds.values()), "o-", c="#2b6cb0")
        axes.axhline(_MISMATCH.value, c="#718096", ls="--")
        axes.axvline(figures["b_min"], c="#dd8452")
        axes.set_xlabel("B_min")
        axes.set_ylabel("bound on p_m")
    elif stats is not None:
        plot_bits(axes, result, stats)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


def plot_bits(axes: Any, result: Assignment, stats: ModelStats) -> None:
    """Bars of weight bits per layer, and the layers' sizes beside them."""
    from tfxp.cost import tensor_bits

    resolved = resolve_precision(stats, result.map)
    names = [layer.name for layer in stats.layers.values() if layer.weight_count]
    axes.bar(names, [tensor_bits(resolved[name].weights) for name in names], color="#2b6cb0")
    axes.set_ylabel("bits of weights")
    axes.tick_params(axis="x", rotation=60)
    other = axes.twinx()
    other.semilogy(names, [stats[name].weight_count for name in names], "o", c="#dd8452")
    other.set_ylabel("weights (dots)")


def plot_profile(points: list[SweepPoint], path: str) -> None:
    """Saves one panel per family: relative error against bits, a line per layer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = list(dict.fromkeys(point.family for point in points))
    figure, panels = pyplot.subplots(
        1, len(families), figsize=(4.5 * len(families), 4), squeeze=False, layout="constrained"
    )
    colours = {unit: f"C{i}" for i, unit in enumerate(dict.fromkeys(p.unit for p in points))}
    for axes, family in zip(panels[0], families, strict=True):
        for unit in dict.fromkeys(p.unit for p in points if p.family == family):
            line = [p for p in points if p.unit == unit and p.family == family]
            values = [p.value for p in line]
            errors = [100 * p.relative_error for p in line]
            axes.plot(values, errors, ".-", label=unit, color=colours[unit])
        axes.set_xlabel(family.replace("_", " ") + " bits")
        axes.set_ylabel("relative error, %")
        axes.set_ylim(-2, 50)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.invert_xaxis()
    widest = max(panels[0], key=lambda axes: len(axes.get_lines()))
    handles, labels = widest.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="x-small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


def main() -> None:
    """Assign, print, write."""
    check_writable(_JSON.value, _OUTPUT.value, _PLOT.value, _PROFILE.value, _LEDGER.value)
    stats, model = (None, None) if _METHOD.value == "sakr" else load_stats()
    if stats is None:
        result = sakr()
    elif _METHOD.value == "judd":
        result = judd(stats, model)
    elif _METHOD.value == "lin":
        result = lin(stats)
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
        described(result).save(_OUTPUT.value)
    if _PLOT.value:
        plot(result, stats, _PLOT.value)
    if _JSON.value:
        write_json(_JSON.value, figures)


def described(result: Assignment) -> PrecisionMap:
    """The map with a note of where it came from."""
    note = {
        "description": f"{_METHOD.value}: {result.stop_reason}",
        "command": f"assign_precision --method={_METHOD.value} --model={_MODEL.value}",
    }
    pmap = result.map
    return PrecisionMap(pmap.default, pmap.layers, pmap.rounding, {**note, **pmap.provenance})


def _selected(entry: dict[str, Any]) -> list[Any]:
    bits = " ".join(f"{w or '-'}/{a}" for w, a in entry["bits"].values())
    return [entry["accuracy"], entry["traffic_ratio"], bits]


def _owners(stats: ModelStats) -> list[Any]:
    from tfxp.cost.stages import INHERITING

    return [layer for layer in stats.layers.values() if layer.kind not in INHERITING]


def _number(flag: Any) -> float:
    try:
        return float(flag.value)
    except ValueError:
        raise ConfigError(f"--{flag.name}: got {flag.value!r}; expected a number.") from None


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
