#!/usr/bin/env python3
"""Trials per second of a precision search, against building a model per trial; one run.

Usage:
  tools/bench_search.py --model=pretrainedResnet.h5 --data=cifar10_test.npz --json=search.json
  tools/bench_search.py --model=net.h5 --data=test.npz --nosearches     # the timings only

Every map is evaluated in turn by both: "rebuild" clones the float model, quantizes, compiles and
evaluates it; "fast" assigns the map on one built model (tfxp.search.FastEvaluator). "all images"
looks at every image; "bounded" asks as a search does, for at least 99 % of the float accuracy, and
may stop once that is out of reach. Unrelated maps have random words of 2 to 8 bits everywhere.
Greedy steps lower one word at a time from one map, in the order of a descent. Accuracies of
"rebuild" and "all images" must be equal, and "bounded" must decide alike.

Then greedy descent, evolution and Bayesian search run from the same warm start with the same
tolerance; the latter two get a quarter of greedy's trials, and it is counted after how many of them
their result costs no more than greedy's.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tfxp
from tfxp import cli
from tfxp.assign import WordSpace
from tfxp.data import Dataset, load_npz
from tfxp.files import write_json
from tfxp.precision import PrecisionMap

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model()
_DATA = _FLAGS.data("Images and labels to search on.")
_LIMIT = _FLAGS.DEFINE_integer("limit", 1000, "Images.", lower_bound=1)
_SCALE = _FLAGS.input_scale()
_SHIFT = _FLAGS.input_shift()
_MAPS = _FLAGS.DEFINE_integer("maps", 12, "Unrelated maps.", lower_bound=2)
_STEPS = _FLAGS.DEFINE_integer("steps", 24, "Greedy steps at most.", lower_bound=2)
_TRIALS = _FLAGS.DEFINE_boolean("trials", True, "Time trials against building models.")
_SEARCHES = _FLAGS.DEFINE_boolean("searches", True, "Also compare the searches' results.")
_SEEDS = _FLAGS.DEFINE_integer("seeds", 3, "Seeds of evolution and Bayesian search.", lower_bound=1)
_BATCH = _FLAGS.batch_size(128)
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()

TOLERANCE = 0.01
UNRELATED_BAR, GREEDY_BAR, EVALUATIONS_BAR = 4.0, 8.0, 0.25


def main() -> int:
    """Time, search, print; the exit code says whether the answers were equal."""
    model = tfxp.load_model(_MODEL.value)
    data = load_npz(_DATA.value, None, _LIMIT.value, "test", labels=True)
    data = data.shaped(model.inputs[0].shape[1:])
    data = Dataset(data.inputs(_SCALE.value, _SHIFT.value), data.labels(), data.name)
    figures: dict[str, Any] = {"machine": machine(data)}
    if _TRIALS.value:
        figures.update(time_trials(model, data))
    if _SEARCHES.value:
        figures["searches"] = compare_searches(model, data)
    figures["bars"] = bars(figures)
    show(figures)
    if _JSON.value:
        write_json(_JSON.value, figures)
    return 0 if all(row["equal"] for row in figures.get("trials", {}).values()) else 1


def time_trials(model: Any, data: Dataset) -> dict[str, Any]:
    """Seconds of rebuild and fast trials, map by map."""
    from tfxp.search import FastEvaluator

    stats = tfxp.measure_model(model, data.x[:256])
    space = WordSpace(stats)
    started = time.perf_counter()
    evaluators = []
    for _ in range(2):  # one per way, so that neither profits from the other's cache
        qmodel = tfxp.quantize_model(model, space.to_map(space.uniform(8, 8)), stats)
        evaluators.append(FastEvaluator(qmodel, data, stats, batch_size=_BATCH.value))
    start_up = (time.perf_counter() - started) / 2
    draw = random.Random(_SEED.value)

    def unrelated() -> PrecisionMap:
        words = {key: draw.randint(2, 8) for key in space.parameters()}
        return space.to_map(space.nearest(words))

    base = space.uniform(7, 7)
    steps = [space.to_map(config) for _, _, config in space.lowered(base)][: _STEPS.value]
    kinds = {"unrelated": [unrelated() for _ in range(_MAPS.value)], "greedy": steps}
    rebuild(model, data, stats, space.to_map(base))
    for evaluator in evaluators:  # every function that will be timed is compiled now
        for pmap in [unrelated(), unrelated(), space.to_map(base), *steps, *steps]:
            evaluator.evaluate(pmap)
    rows = {}
    for kind, maps in kinds.items():
        for evaluator in evaluators:
            evaluator._cache.clear()
            evaluator.evaluate(space.to_map(base))
        rows[kind] = time_kind(model, data, stats, evaluators, maps)
    return {"start_up_seconds": start_up, "trials": rows}


def time_kind(model: Any, data: Dataset, stats: Any, evaluators: list[Any], maps: list[Any]) -> Any:
    """Each map once per way, in turn."""
    at_least = (1 - TOLERANCE) * evaluators[0].float_score.accuracy
    seen: list[int] = []

    def bounded(pmap: Any) -> float:
        score = evaluators[1].evaluate(pmap, at_least)
        seen.append(score.seen)
        return score.accuracy

    ways: dict[str, Callable[[Any], float]] = {
        "rebuild": lambda pmap: rebuild(model, data, stats, pmap),
        "all images": lambda pmap: evaluators[0].evaluate(pmap).accuracy,
        "bounded": bounded,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    equal = True
    for number, pmap in enumerate(maps):
        names, answers = list(ways), {}
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            started, processor = time.perf_counter(), time.process_time()
            answers[name] = ways[name](pmap)
            seconds[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - processor)
        equal &= round(answers["rebuild"] * len(data)) == round(answers["all images"] * len(data))
        equal &= (answers["bounded"] >= at_least) == (answers["all images"] >= at_least)
    mean = {name: statistics.fmean(values) for name, values in seconds.items()}
    mean_cpu = {name: statistics.fmean(values) for name, values in cpu.items()}
    return {
        "maps": len(maps),
        "equal": equal,
        "seconds": mean,
        "per_second": {name: 1 / value for name, value in mean.items()},
        "speedup": {name: mean["rebuild"] / value for name, value in mean.items()},
        "cpu_seconds": mean_cpu,
        "cpu_speedup": {name: mean_cpu["rebuild"] / value for name, value in mean_cpu.items()},
        "images_seen_bounded": statistics.fmean(seen),
    }


def rebuild(model: Any, data: Dataset, stats: Any, pmap: PrecisionMap) -> float:
    """A trial as usual: clone, quantize, compile, evaluate."""
    from tfxp.keras import keras

    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    qmodel = tfxp.quantize_model(clone, pmap, stats)
    qmodel.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
    results = qmodel.evaluate(data.x, data.y, batch_size=_BATCH.value, verbose=0)
    return float(results[1])


def compare_searches(model: Any, data: Dataset) -> list[dict[str, Any]]:
    """Trials that each method needs for a result as cheap as greedy's."""
    greedy = run_search(model, data, "greedy", 0, None)
    target, count = greedy["cost"], greedy["trials"]
    rows = [greedy]
    for method in ("evolution", "bayesian"):
        for seed in range(_SEEDS.value):
            most = max(int(EVALUATIONS_BAR * count), 1)
            rows.append(run_search(model, data, method, seed, most, target))
            if rows[-1]["reached_after"] is not None:
                rows[-1]["share"] = rows[-1]["reached_after"] / count
    return rows


def run_search(
    model: Any,
    data: Dataset,
    method: str,
    seed: int,
    trials: int | None,
    target: float | None = None,
) -> dict[str, Any]:
    """One search and its figures."""
    search = tfxp.PrecisionSearch(
        model, data, method=method, tolerance=TOLERANCE, seed=seed, max_trials=trials,
        batch_size=_BATCH.value, progress=_PROGRESS.value,
    )  # fmt: skip
    result = search.run()
    name = search.goal.cost
    reached = [
        i
        for i, t in enumerate(result.trials, 1)
        if target is not None and t.complete and t.accepted and t.costs[name] <= target
    ]
    return {
        "method": method,
        "seed": seed,
        "trials": len(result.trials),
        "seconds": result.seconds,
        "trials_per_second": len(result.trials) / result.seconds,
        "cost": result.best.costs[name] if result.best else None,
        "cost_over_float": result.best.costs[name] / search.goal.reference if result.best else None,
        "accuracy": result.best.accuracy if result.best else None,
        "float_accuracy": search.goal.baseline,
        "reached_after": reached[0] if reached else None,
        "share": None,
    }


def bars(figures: dict[str, Any]) -> dict[str, bool]:
    """Whether what was promised is kept, early stops not counted."""
    result = {}
    for kind, bar in (("unrelated", UNRELATED_BAR), ("greedy", GREEDY_BAR)):
        if "trials" in figures:
            speed = figures["trials"][kind]["speedup"]["all images"]
            result[f"{kind} maps >= {bar:g}x"] = speed >= bar
    for method in ("evolution", "bayesian"):
        rows = [row for row in figures.get("searches", []) if row["method"] == method]
        if rows:
            shares = [1.0 if row["share"] is None else row["share"] for row in rows]
            name = f"{method} within {EVALUATIONS_BAR:.0%} of greedy's trials (median)"
            result[name] = statistics.median(shares) <= EVALUATIONS_BAR
    return result


def machine(data: Dataset) -> dict[str, Any]:
    """Where and on what."""
    from tfxp.keras import tf

    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "tensorflow": tf.__version__,
        "load_average": os.getloadavg()[0],
        "images": len(data),
        "batch_size": _BATCH.value,
    }


def show(figures: dict[str, Any]) -> None:
    """The tables."""
    if "trials" in figures:
        show_trials(figures)
    head = ["method", "seed", "trials", "trials/s", "cost/float", "accuracy", "reached", "share"]
    fields = ("method", "seed", "trials", "trials_per_second", "cost_over_float", "accuracy",
              "reached_after", "share")  # fmt: skip
    if "searches" in figures:
        rows = [[row[field] for field in fields] for row in figures["searches"]]
        print(cli.format_table(head, rows))
    print(", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    for bar, kept in figures["bars"].items():
        print(f"{bar}: {'yes' if kept else 'NO'}")


def show_trials(figures: dict[str, Any]) -> None:
    """The table of timings."""
    rows = []
    for kind, row in figures["trials"].items():
        for way, value in row["seconds"].items():
            figure = row["per_second"][way], row["speedup"][way], row["cpu_speedup"][way]
            rows.append([kind, way, value, *figure])
    head = ["maps", "way", "seconds", "trials/s", "times rebuild", "by processor time"]
    print(cli.format_table(head, rows))
    for kind, row in figures["trials"].items():
        seen = row["images_seen_bounded"]
        print(f"{kind}: {row['maps']} maps, answers equal: {row['equal']}; bounded {seen:.0f} seen")
    print(f"start-up {figures['start_up_seconds']:.1f} s, once per search")


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
