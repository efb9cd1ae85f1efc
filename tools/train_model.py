#!/usr/bin/env python3
"""Train a network by a recipe, in float or in few bits; go on where an earlier run was killed.

    tools/train_model.py --config=configs/train/resnet8_cifar10_wrpn.json --train_data=train.npz \
        --eval_data=test.npz --output=out/resnet8
    tools/train_model.py --grid=configs/train/grid_wrpn_cifar10.json --train_data=train.npz \
        --eval_data=test.npz --output=out/wrpn
    tools/train_model.py --config=configs/train/resnet8_cifar10_wrpn.json --train_data=train.npz \
        --strategy=mirrored --output=out/two
    tools/train_model.py --config=configs/train/lenet_mnist_sakr.json --train_data=mnist.npz \
        --eval_data=mnist.npz --output=out/float --gradient_stats=out/float/stats.json

A recipe says which network, which precision and how; a grid is a table of trainings that share one
recipe. The output folder gets a checkpoint and a log line after every epoch, TensorBoard's events,
and at the end model.keras and result.json. The same command again continues; finished rows of a
grid are skipped, and results.json has the table. Several processes may train one grid in one
folder: a row goes to who comes first. With --gradient_stats a float training also writes what
`assign_precision --method=sakr` needs for the precision of all tensors of training; a recipe whose
precision is such a map trains in fixed point.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import tfxp  # noqa: F401  first, for quiet
from tfxp import cli
from tfxp.cli.strategy_flags import strategy_flags
from tfxp.commands.read_data import preprocessing_for
from tfxp.data import ModelData, Preprocessing, Source, input_shapes
from tfxp.errors import ConfigError, FolderInUseError, ModelError
from tfxp.files import find_config, read_json, write_json
from tfxp.progress import Progress
from tfxp.report.paired_tests import PairedTest, paired_tests
from tfxp.report.training_plots import (
    accuracy_by_row,
    bits_table,
    differences_by_row,
    plot_trainings,
)
from tfxp.streams import open_data
from tfxp.training import TrainingGrid, TrainingRecipe

_FLAGS = cli.ToolFlags(__doc__)
_FLAGS.resumable()
_CONFIG = _FLAGS.DEFINE_string("config", None, "Recipe (.json), or one that ships with tfxp.")
_GRID = _FLAGS.DEFINE_string("grid", None, "Table of trainings (.json), instead of --config.")
_ROWS = _FLAGS.DEFINE_list(
    "rows", [], "Only these rows of the grid, such as 2x_w2a2 (every seed) or 2x_w2a2_seed0."
)
_MODEL = _FLAGS.DEFINE_string(
    "model", None, "Trained Keras model to start from, instead of the recipe's own."
)
_TRAIN_DATA = _FLAGS.train_data(required=True)
_EVAL_DATA = _FLAGS.eval_data()
_LIMIT = _FLAGS.limit()
_FLAGS.preprocessing()
_HELD_OUT = _FLAGS.DEFINE_integer(
    "held_out",
    None,
    "Choose without test data: train on all but the last N of the samples, evaluate on those.",
    lower_bound=1,
)
_AGAINST = _FLAGS.DEFINE_string(
    "against", None, "Row that the table compares the others with (the first)."
)
_SEED = _FLAGS.DEFINE_integer("seed", None, "Seed instead of the recipe's.", lower_bound=0)
_EPOCHS = _FLAGS.DEFINE_integer("epochs", None, "Epochs instead of the recipe's.", lower_bound=1)
_SPARSITY = _FLAGS.DEFINE_string(
    "sparsity", None, "Zeros among weights instead of the recipe's: 0.75, 2:4 or a map (.json)."
)
_PENALTIES = {
    kind: _FLAGS.DEFINE_float(
        f"activation_{kind}", None, f"Price of ReLUs' outputs by {text}.", lower_bound=0.0
    )
    for kind, text in (("l1", "their mean"), ("hoyer", "Hoyer's ratio"))
}
_STRATEGY = strategy_flags(_FLAGS, ["none", "mirrored", "multi_worker"])
_THREADS = _FLAGS.DEFINE_integer(
    "threads", 0, "Threads of one operation; 0: all cores. 1 makes runs repeatable.", lower_bound=0
)
_STATS = _FLAGS.output(
    "Where to write gradient statistics (.json) of a float --config.",
    ".json",
    name="gradient_stats",
)
_TENSORBOARD = _FLAGS.DEFINE_boolean("tensorboard", True, "Write TensorBoard's events.")
_OUTPUT = _FLAGS.output("Folder for checkpoint, log, model and result.", required=True, folder=True)
_PLOT = _FLAGS.plot("Picture of a grid: learning curves, or a w x a table")
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()


_PROBED = 200  # samples that noise gains are averaged over, as in the paper's scripts


def main() -> None:
    """Train one recipe, or what is left of a grid."""
    if (_CONFIG.value is None) == (_GRID.value is None):
        raise ConfigError("config and grid: got both or neither; expected one of them.")
    if _HELD_OUT.value is not None and _EVAL_DATA.value:
        raise ConfigError(
            "held_out and eval_data: got both; expected held_out to choose a setting, and "
            "eval_data for the final figures."
        )
    # What is wrong with settings and data is said before TensorFlow is loaded.
    grid = None if _GRID.value is None else TrainingGrid.load(find_config(_GRID.value, "train"))
    chosen = [("", _recipe())] if grid is None else grid.runs(_ROWS.value)
    trainings = [(name, _changed(recipe)) for name, recipe in chosen]
    if _AGAINST.value is not None and (grid is None or _AGAINST.value not in grid.rows):
        rows = "a --grid" if grid is None else f"one of {', '.join(grid.rows)}"
        raise ConfigError(f"against: got {_AGAINST.value!r}; expected {rows}.")
    for _, recipe in trainings:
        _check_start(recipe)
    strategy = _strategy()
    steps = preprocessing_for(_FLAGS, {})
    trainings = [(name, _scaled(recipe, steps)) for name, recipe in trainings]
    train, evaluation = _data(trainings[0][1], steps)
    for _, recipe in trainings:
        if train.samples is not None:
            recipe.steps_per_epoch(train.samples)
    _start_tensorflow()
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        if grid is not None:
            figures: Any = _train_grid(grid, trainings, train, evaluation, steps)
        else:
            recipe = trainings[0][1]
            folder, name = Path(_OUTPUT.value), recipe_name(recipe)
            figures = _train(recipe, train, evaluation, folder, name, steps)
    if _JSON.value and _writes(strategy):
        write_json(_JSON.value, figures)


def _strategy() -> Any:
    """What --strategy stands for, made before anything is computed; None for one device."""
    name, replicas = _STRATEGY.values
    if name == "none" and replicas is None:
        return None
    if name == "multi_worker" and _GRID.value is not None:
        raise ConfigError(
            "strategy: got multi_worker with --grid; expected --config. Rows of a grid are shared "
            "by starting the same command on several machines."
        )
    _start_tensorflow()
    from tfxp.devices import make_strategy

    return make_strategy(name, replicas)


def _writes(strategy: Any) -> bool:
    """Whether this process writes files: of several workers the first one does."""
    from tfxp.devices import is_chief

    return strategy is None or is_chief(strategy)


def _start_tensorflow() -> None:
    """Load it, with the threads that were asked for: nothing may have been computed before."""
    from tfxp.keras import tf

    if _THREADS.value:
        tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
        tf.config.threading.set_inter_op_parallelism_threads(_THREADS.value)


def _check_start(recipe: TrainingRecipe) -> None:
    """Complain about a network to start from that is not there."""
    start = recipe.model.get("file")
    if start is not None and not Path(start).exists():
        raise ModelError(f"model {str(start)!r}: no such file; expected a path of a model.")


def _scaled(recipe: TrainingRecipe, steps: Preprocessing | None) -> TrainingRecipe:
    """The recipe with the scaling that --preprocessing states.

    Raises:
        ConfigError: the recipe states one too, or every column has its own.
    """
    if steps is None or steps.scaling is None:
        return recipe
    scale, shift = steps.scaling.scale, steps.scaling.shift
    own = (recipe.input_scale, recipe.input_shift)
    if len(scale) > 1 or len(shift) > 1:
        raise ConfigError(
            "preprocessing: got a scaling for every column; expected one for all in a training by "
            "a recipe. Scale the columns of the data."
        )
    if own not in ((1.0, 0.0), (scale[0], shift[0])):
        raise ConfigError(
            f"preprocessing: got a scaling beside the recipe's input_scale {own[0]:g} and "
            f"input_shift {own[1]:g}; expected one of them."
        )
    return recipe.updated({"input_scale": scale[0], "input_shift": shift[0]})


def _data(recipe: TrainingRecipe, steps: Preprocessing | None) -> tuple[Source, Source | None]:
    """Samples to train on and to evaluate on; the network says which inputs it has."""
    shapes: Any = None
    if "file" in recipe.model:
        _start_tensorflow()
        shapes = input_shapes(tfxp.load_model(recipe.model["file"]))
    train = open_data(
        _TRAIN_DATA.value, shapes, limit=_LIMIT.value, labels=True, default_split="train",
        preprocessing=steps,
    )  # fmt: skip
    if _HELD_OUT.value is not None:
        return train.without_last(_HELD_OUT.value)
    if not _EVAL_DATA.value:
        return train, None
    return train, open_data(_EVAL_DATA.value, shapes, labels=True, preprocessing=steps)


def recipe_name(recipe: TrainingRecipe) -> str:
    """What progress calls a training."""
    return str(recipe.model.get("name") or recipe.model.get("file"))


def _recipe() -> TrainingRecipe:
    return TrainingRecipe.load(find_config(_CONFIG.value, "train"))


def _changed(recipe: TrainingRecipe) -> TrainingRecipe:
    changes: dict[str, Any] = {
        "seed": _SEED.value, "epochs": _EPOCHS.value, "sparsity": _SPARSITY.value,
    }  # fmt: skip
    prices = {kind: flag.value for kind, flag in _PENALTIES.items() if flag.value is not None}
    changes["activation_penalty"] = prices or None
    if _MODEL.value is not None:
        changes["model"] = {"file": _MODEL.value}
    return recipe.updated({key: value for key, value in changes.items() if value is not None})


def _train(
    recipe: TrainingRecipe,
    train: Source,
    evaluation: Source | None,
    folder: Path,
    name: str,
    steps: Preprocessing | None,
) -> dict[str, Any]:
    from tfxp.callbacks import GradientProbe
    from tfxp.training import train_recipe

    probes = []
    if _STATS.value is not None:
        probed: ModelData = train.in_memory(_PROBED)
        if len(probed.parts) > 1:
            raise ConfigError(
                f"gradient_stats: got a network of {len(probed.parts)} inputs; expected one. Leave "
                "it out, or join the inputs."
            )
        data = probed.scaled(recipe.input_scale, recipe.input_shift)
        probes = [GradientProbe(_STATS.value, data.x, batch_size=min(recipe.batch_size, _PROBED))]
    with Progress(None, name, "step", _PROGRESS.value) as bar:
        result = train_recipe(
            recipe,
            train,
            evaluation,
            folder,
            callbacks=probes,
            command=" ".join(["tools/train_model.py", *sys.argv[1:]]),
            tensorboard=_TENSORBOARD.value,
            preprocessing=steps,
            progress=bar.reach,
        )
    score = result.get("score", result["accuracy"])  # results of 0.1 have the latter only
    shown = "not evaluated" if score is None else f"{result.get('metric', 'accuracy')} {score:.4f}"
    print(f"{name}: {shown}, {result['seconds']:.0f} s; {folder}", flush=True)
    return result


def _train_grid(
    grid: TrainingGrid,
    trainings: list[tuple[str, TrainingRecipe]],
    train: Source,
    evaluation: Source | None,
    steps: Preprocessing | None,
) -> dict[str, Any]:
    runs, folder = grid.runs(), Path(_OUTPUT.value)
    for name, recipe in trainings:
        if not (folder / name / "result.json").exists():
            try:
                _train(recipe, train, evaluation, folder / name, name, steps)
            except FolderInUseError:  # another process of this grid has taken it
                print(f"{name}: left to the process that trains it", flush=True)
            write_json(folder / "results.json", _finished(folder, runs))
    results = _finished(folder, runs)
    write_json(folder / "results.json", results)
    print(cli.format_table(["run", "accuracy", "seconds"], _table(results)))
    _print_by_row(results)
    if _PLOT.value and results:
        plot_trainings(results, _PLOT.value)
    return results


def _finished(folder: Path, runs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Results of all rows that are done, whoever trained them."""
    files = {name: folder / name / "result.json" for name, _ in runs}
    found = {name: file for name, file in files.items() if file.exists()}
    return {name: read_json(file, "result of a training") for name, file in found.items()}


def _print_by_row(results: dict[str, Any]) -> None:
    """Means over seeds: a line per row; by bits too, where the rows are called w4a8 and so on."""
    table = bits_table(results) if results else None
    if table is not None:
        down, across, values = table
        cells = [
            [a, *(f"{100 * v:.2f} %" for v in row)] for a, row in zip(down, values, strict=True)
        ]
        print(cli.format_table(["activations \\ weights", *across], cells))
    against = _AGAINST.value
    differences, tests = differences_by_row(results, against), paired_tests(results, against)
    rows = [
        [name, f"{100 * values.mean():.2f} %", f"{100 * (values.max() - values.min()):.2f}"]
        + [str(len(values)), f"{100 * differences[name]:+.2f}" if name in differences else "-"]
        + _paired(tests.get(name))
        for name, values in accuracy_by_row(results).items()
    ]
    minus = f"minus {against or next(iter(differences), 'first row')}"
    paired = ["95 %", "lost", "won", "p (McNemar)", "p (Holm)"]
    head = ["row", "mean accuracy", "spread", "seeds", minus, *paired]
    print(cli.format_table(head, rows))


def _paired(test: PairedTest | None) -> list[str]:
    """Samples that only one of two rows decides right, and how likely that is by chance."""
    if test is None:
        return ["-"] * 5
    interval = f"{100 * test.low:+.2f} … {100 * test.high:+.2f}"
    return [interval, str(test.lost), str(test.won), f"{test.p:.2g}", f"{test.adjusted_p:.2g}"]


def _table(results: dict[str, Any]) -> list[list[str]]:
    return [
        [name, f"{100 * (result['accuracy'] or 0):.2f} %", f"{result['seconds']:.0f}"]
        for name, result in results.items()
    ]


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
