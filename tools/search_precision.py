#!/usr/bin/env python3
"""Search the bits of every layer by measured accuracy, and write a precision map.

    tools/search_precision.py --model=resnet8.h5 --data=search.npz --tolerance=0.01 \\
        --method=evolution --directory=search_run --output=map.json
    tools/search_precision.py --model=resnet8.h5 --data=search.npz --report_data=other.npz \\
        --method=greedy --cost=model_size_bits --directory=search_run2 --output=map.json
    tools/search_precision.py --model=resnet8.h5 --data=search.npz --budget=400000 \\
        --cost=model_size_bits --output=map.json

Every finished trial is kept in the directory: after a stop of any kind the same command goes on.
Several processes or hosts search together when KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and
KERASTUNER_ORACLE_PORT are set; see docs/search.md.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tfxp
from tfxp import cli
from tfxp.commands.read_data import read_data
from tfxp.cost import EnergyTable, cost_heading, layer_bits
from tfxp.data import METRICS, Source
from tfxp.errors import ConfigError
from tfxp.files import find_config, write_json
from tfxp.precision import ModelStats, PrecisionMap

METHODS = ["greedy", "random", "bayesian", "hyperband", "evolution"]

_FLAGS = cli.ToolFlags(__doc__)
_FLAGS.resumable()
_MODEL = _FLAGS.model()
_OPENING = _FLAGS.opening()
_DATA = _FLAGS.data("Samples to search on; report accuracy on others.")
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_REPORT_DATA = _FLAGS.samples("report_data", "Other samples that the best map is reported on.")
_CALIBRATION = _FLAGS.samples(
    "calibration_data", "Samples to measure on (the first 256 of --data)."
)
_TRAIN_DATA = _FLAGS.train_data()
_FLAGS.preprocessing()
_FLAGS.input_scale()
_FLAGS.input_shift()
_STATS = _FLAGS.DEFINE_string("stats", None, "Statistics of measure_model.py.")
_SETTINGS = _FLAGS.DEFINE_string(
    "settings", None, "Settings (.json), or one of configs/search; flags given override them."
)
_METHOD = _FLAGS.DEFINE_enum("method", None, METHODS, "How (evolution, unless settings say).")
_TOLERANCE = _FLAGS.DEFINE_float(
    "tolerance", None, "Cheapest map with at most this relative error (0.01).", 0.0, 1.0
)
_MARGIN = _FLAGS.DEFINE_float(
    "margin",
    None,
    "Standard errors that the map stays below the tolerance by, to keep it on other samples (0).",
    lower_bound=0.0,
)
_BUDGET = _FLAGS.DEFINE_float("budget", None, "Best map of at most this cost, instead.")
_COST = _FLAGS.DEFINE_string("cost", None, "Which total of estimate_cost (traffic_batch_bits).")
_COST_BATCH = _FLAGS.DEFINE_integer(
    "cost_batch_size", None, "Images a layer processes before the next (64).", lower_bound=1
)
_SKIP_ZEROS = _FLAGS.DEFINE_boolean(
    "skip_zeros",
    None,
    "Leave multiplications by zeros that a map makes out of energies (no; --cost=macs_executed "
    "counts them by itself).",
)
_ENERGY = _FLAGS.DEFINE_string("energy", None, "Table of energies, for --cost=energy_pj.")
_WEIGHTS = _FLAGS.DEFINE_list("weights", None, "Word lengths of weights to try (2 to 8).")
_ACTIVATIONS = _FLAGS.DEFINE_list("activations", None, "Word lengths of activations to try.")
_FIXED = _FLAGS.DEFINE_list("fixed", None, "Layers that keep 8 bits.")
_TRIALS = _FLAGS.DEFINE_integer("max_trials", None, "The most trials to run.", lower_bound=1)
_STEPS = _FLAGS.DEFINE_integer("fine_tune_steps", None, "Steps of training per trial.")
_WARM = _FLAGS.DEFINE_boolean("warm_start", None, "Begin at Lin's allocation (yes).")
_METRIC = _FLAGS.DEFINE_string(
    "metric", None, f"What counts (auto): {', '.join(METRICS)}, anomaly_auc, or one of Keras."
)
_DIRECTION = _FLAGS.direction()
_SEED = _FLAGS.DEFINE_integer("seed", None, "Seed of every random draw (0).", lower_bound=0)
_PATIENCE = _FLAGS.DEFINE_float("patience", 300.0, "Chief: seconds a worker may be silent.")
_DIRECTORY = _FLAGS.output(
    "Folder that keeps every trial; run the same command to go on.", name="directory", folder=True
)
_OUTPUT = _FLAGS.output("The best precision map.", ".json")
_REPORT = _FLAGS.output("Write a page about the search (.html).", ".html", name="report")
_TENSORBOARD = _FLAGS.output(
    "Folder for TensorBoard's HPARAMS dashboard: bits and figures of every trial.",
    name="tensorboard",
    folder=True,
)
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()


def main() -> int | None:
    """Search, print the front, write the map."""
    settings = read_settings()
    model = tfxp.load_model(_MODEL.value, **_OPENING.options())
    model, _ = tfxp.split_normalization(model, always=False)
    data = load(_DATA.value, model, _LIMIT.value, "test", _SPLIT.value)
    calibration = load(_CALIBRATION.value, model, None, "train", None, labels=False)
    search = tfxp.PrecisionSearch(
        model,
        data,
        settings,
        stats=ModelStats.load(_STATS.value) if _STATS.value else None,
        calibration=None if calibration is None else calibration.x,
        train_data=load(_TRAIN_DATA.value, model, None, "train", None),
        directory=_DIRECTORY.value,
        energy=EnergyTable.load(find_config(_ENERGY.value, "energy")) if _ENERGY.value else None,
        progress=_PROGRESS.value,
        direction=_DIRECTION.value,
        patience=_PATIENCE.value,
        tensorboard=_TENSORBOARD.value,
    )
    print(f"{search.goal.describe()}; {len(search.space.parameters())} parameters", flush=True)
    result = search.run()
    print_result(result, search.evaluator.metric)
    figures = result.to_dict()
    if result.map is not None:
        figures["report"] = report_on(search, model, result.map)
        if _OUTPUT.value:
            described(result.map, search, result.best).save(_OUTPUT.value)
    if _JSON.value:
        write_json(_JSON.value, figures)
    if _REPORT.value:
        write_page(result, search, figures.get("report"))
    if result.interrupted:
        return 130
    if result.best is None and result.trials:
        raise ConfigError(
            f"search: got no map that is good enough in {len(result.trials)} trials; expected "
            "one. Allow a larger tolerance or budget, or wider words."
        )
    return None


def read_settings() -> Any:
    """The settings file, if any, with the flags that were given put over it."""
    from tfxp.search import SearchSettings

    base = SearchSettings()
    if _SETTINGS.value:
        base = SearchSettings.load(find_config(_SETTINGS.value, "search"))
    names = ("method", "tolerance", "margin", "budget", "cost", "cost_batch_size", "fixed",
             "max_trials", "fine_tune_steps", "warm_start", "metric", "seed",
             "skip_zeros")  # fmt: skip
    given = {n: _FLAGS.values[n].value for n in names if _FLAGS.values[n].value is not None}
    if "budget" in given:
        given.setdefault("tolerance", None)
    for flag in (_WEIGHTS, _ACTIVATIONS):
        if flag.value is not None:
            given[flag.name] = [whole(flag.name, text) for text in flag.value]
    return dataclasses.replace(base, **given)


def whole(name: str, text: str) -> int:
    """A whole number inside a list flag."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--{name}: got {text!r}; expected a whole number.") from None


def load(
    path: str | None,
    model: Any,
    limit: int | None,
    default: str,
    split: str | None,
    labels: bool = True,
) -> Source | None:
    """A checked data set as the model takes it."""
    return read_data(
        _FLAGS, path, model, split=split, limit=limit, default_split=default, labels=labels
    )


def print_result(result: Any, metric: str) -> None:
    """The front as a table, and the best map's bits."""
    from tfxp.search.search_goal import score_heading

    name, reference = result.goal.cost, result.goal.reference
    heading, score = cost_heading(name), score_heading(metric)
    rows = [
        [t.number, t.accuracy, t.costs[name], t.costs[name] / reference, bits_of(t)]
        for t in result.front
    ]
    head = ["trial", score, heading, "of float", "bits w/a by layer"]
    print(cli.format_table(head, rows))
    seconds = max(result.seconds, 1e-9)
    print(
        f"\n{len(result.trials)} trials, {result.new_trials} of them now in {seconds:.1f} s "
        f"({result.new_trials / seconds:.1f}/s)" + (", interrupted" if result.interrupted else "")
    )
    if result.best is not None:
        best = result.best
        print(
            f"best: trial {best.number}, {score} {best.accuracy:.4f} (float "
            f"{result.goal.baseline:.4f}), {heading} {best.costs[name] / reference:.4f} of float's"
        )


def bits_of(trial: Any) -> str:
    """ "8/6" for each unit: bits of weights and activations."""
    return " ".join(f"{w or '-'}/{a or '-'}" for w, a in words_of(trial).values())


def report_on(search: Any, model: Any, pmap: PrecisionMap) -> Any:
    """Accuracy of the best map and of the float model on samples nobody searched on."""
    from tfxp.search import make_evaluator

    data = load(_REPORT_DATA.value, model, None, "test", None)
    if data is None:
        return None
    other = make_evaluator(
        search.evaluator.qmodel, data, metric=search.evaluator.metric, fit=search.settings.fit
    )
    score, before = other.evaluate(pmap), other.float_score
    print(f"on {len(data):,} other samples: {score.accuracy:.4f}, float {before.accuracy:.4f}")
    return {"accuracy": score.accuracy, "float": before.accuracy, "samples": len(data)}


def write_page(result: Any, search: Any, report: dict[str, Any] | None) -> None:
    """One HTML page: the trials, the front, and the bits of its best maps."""
    from tfxp.report import Choice, SearchFigures, provenance, search_page

    name, goal = result.goal.cost, result.goal

    def point(trial: Any) -> tuple[float, float]:
        return 100 * trial.costs[name] / goal.reference, trial.accuracy

    best = [] if result.best is None else [result.best]
    others = [t for t in result.front if t.accepted and t is not result.best][:3]
    choices = [
        Choice(
            f"trial {trial.number}",
            trial.accuracy,
            point(trial)[0],
            layer_bits(search.space.stats, search.space.to_map(trial.configuration)),
            report["accuracy"] if report and trial is result.best else None,
        )
        for trial in [*best, *others]
    ]
    figures = SearchFigures(
        name=Path(_MODEL.value).name,
        method=f"{search.settings.method} search",
        baseline=goal.baseline,
        metric=search.evaluator.metric,
        cost=f"{cost_heading(name)}, % of float",
        visited=[point(t) for t in result.trials if t.complete],
        front=[point(t) for t in result.front],
        choices=choices,
        report_baseline=report["float"] if report else None,
        notes=[
            f"Looked for: {goal.describe()}.",
            f"{len(result.trials)} trials on {search.evaluator.total:,} samples; "
            f"{sum(not t.complete for t in result.trials)} of them were cut short, since they "
            "could not matter, and are not shown.",
        ],
        provenance=provenance([_MODEL.value, _DATA.value]),
    )
    search_page(figures).write(_REPORT.value)


def words_of(trial: Any) -> dict[str, tuple[int | None, int | None]]:
    """Unit -> bits of weights and of activations."""
    bits = trial.configuration.to_dict()
    units = dict.fromkeys(unit for unit, _ in bits)
    return {u: (bits.get((u, "weights")), bits.get((u, "activations"))) for u in units}


def described(pmap: PrecisionMap, search: Any, best: Any) -> PrecisionMap:
    """The map with a note of where it came from."""
    note = {
        "description": f"{search.settings.method} search: {search.goal.describe()}",
        "command": f"search_precision --method={search.settings.method} --model={_MODEL.value} "
        f"--data={_DATA.value}",
        "expected": {"accuracy": best.accuracy, search.goal.cost: best.costs[search.goal.cost]},
    }
    return PrecisionMap(pmap.default, pmap.layers, pmap.rounding, note)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
