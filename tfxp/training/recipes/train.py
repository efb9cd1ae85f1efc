"""Run a recipe: train, log every epoch, and go on exactly where a killed run stopped."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.callbacks import FixedPointMonitor, PruningSchedule
from tfxp.data import Preprocessing, input_shapes
from tfxp.data.input_scaling import InputScaling, keep_scalings
from tfxp.data.preprocessing import keep_preprocessing
from tfxp.devices import (
    check_global_batch,
    is_chief,
    lost_workers,
    same_on_workers,
    strategy_of,
    wait_for_chief,
)
from tfxp.errors import ConfigError, ModelError
from tfxp.files import atomic_path, write_json
from tfxp.folder_lock import hold_folder
from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.progress import Report
from tfxp.sparsity.activation_penalty import regularize_activations
from tfxp.sparsity.sparsity_map import SparsityMap
from tfxp.training.fixed_point.terngrad import TernGrad
from tfxp.training.recipes.answers import Answers
from tfxp.training.recipes.build_network import (
    build_network,
    scaled_as_its_file,
    training_map_of,
)
from tfxp.training.recipes.checkpoint import read_meta, restore_checkpoint
from tfxp.training.recipes.epoch_keeper import CHECKPOINT, EpochKeeper
from tfxp.training.recipes.fixed_point_recipe import fixed_point_optimizer
from tfxp.training.recipes.recipe import TrainingRecipe, given_sparsity
from tfxp.training.recipes.recipe_callbacks import recipe_callbacks
from tfxp.training.recipes.recipe_data import (
    Examples,
    HeldData,
    Position,
    StreamedData,
    recipe_data,
)
from tfxp.training.repair.relative_adam import RelativeAdam, relative_sizes

RESULT, MODEL = "result.json", "model.keras"


def train_recipe(
    recipe: TrainingRecipe,
    train: Examples,
    evaluation: Examples | None,
    folder: str | Path,
    *,
    callbacks: Sequence[Any] = (),
    command: str = "",
    tensorboard: bool = True,
    preprocessing: Preprocessing | None = None,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train a recipe's network, or finish what a checkpoint in `folder` has begun.

    Inside of a `tf.distribute` strategy's scope its replicas share every batch; BatchNormalization
    then takes its means over all of them. Of several workers all train, the first one writes.

    The folder gets `checkpoint.npz` and `log.jsonl` after every epoch, TensorBoard's events, and
    at the end `model.keras` and `result.json`. A run that was killed goes on from the checkpoint,
    with the same batches: on one thread the weights come out bit for bit as without the
    interruption (dropout and stochastic rounding draw anew). The checkpoint holds the position in
    the samples, and `checkpoint_every` of the recipe writes one within epochs too.

    Args:
        recipe: what to build and how to train it.
        train: inputs and answers, in the data's own units: a pair of arrays, a `Dataset`, or what
            `tfxp.open_data` takes or returns; streams are read again in every epoch. Class numbers
            (one a sample or a position), zeros and ones for outputs that say yes or no, or real
            values. Several inputs, as a list or by name, are not scaled.
        evaluation: what accuracy, or the mean absolute error of real values, is measured on; None
            measures none.
        folder: where everything goes; one recipe and data set per folder.
        callbacks: more Keras callbacks.
        command: noted in the result.
        tensorboard: write scalars for TensorBoard.
        preprocessing: how files became inputs, for the model to note.
        progress: called with (steps done, steps in all, losses and times).

    Returns:
        What `result.json` holds: recipe, command, figures of every epoch, the metric and its final
        value ("score", and "accuracy" where it is one), which samples were decided right, seconds.

    Raises:
        ConfigError: the folder belongs to another recipe, or a field is impossible.
        FolderInUseError: another process trains in the folder.
        DataError: the data have no labels, do not fit the network, or fill no batch.
        ModelError: the loss became NaN; the checkpoint of the epoch before is kept.
        WorkerLostError: another worker of the training is gone; the same command goes on.
    """
    strategy = tf.distribute.get_strategy()
    check_global_batch(strategy, recipe.batch_size)
    with hold_folder(folder, "training", wanted=is_chief(strategy)), lost_workers(strategy):
        data = recipe_data(recipe, train)
        measured_on = None if evaluation is None else recipe_data(recipe, evaluation)
        return _train_held(
            recipe, data, measured_on, Path(folder), callbacks, command, tensorboard,
            preprocessing, progress,
        )  # fmt: skip


def _train_held(
    recipe: TrainingRecipe,
    train: HeldData | StreamedData,
    evaluation: HeldData | StreamedData | None,
    folder: Path,
    callbacks: Sequence[Any],
    command: str,
    tensorboard: bool,
    preprocessing: Preprocessing | None,
    progress: Report | None,
) -> dict[str, Any]:
    """`train_recipe` in a folder that no other process trains in."""
    _check_start(recipe, folder / MODEL)
    recipe = scaled_as_its_file(recipe)
    meta = _meta_of(folder / CHECKPOINT, recipe, train)
    start = _start_of(meta, folder)
    if start.epoch == recipe.epochs and (folder / RESULT).exists():
        return dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    measured = train.first(_MEASURED).scaled(recipe.input_scale, recipe.input_shift).x
    looked_at = train.looked_at()
    if looked_at.y is None:
        looked_at.labels()  # says so
    model = build_network(recipe, measured)
    _check_data(model, train, evaluation)
    for kind, strength in (recipe.activation_penalty or {}).items():
        regularize_activations(model, strength, kind)
    answers = Answers.of(model, looked_at)
    compile_for(model, recipe, answers, recipe.steps_per_epoch(train.samples))
    if meta is not None:
        restore_checkpoint(folder / CHECKPOINT, model)
    meta = meta or {"recipe": recipe.to_dict(), "samples": train.samples, "epochs": []}
    watchers = recipe_callbacks(
        recipe, model, measured, lambda: train.training(recipe, answers, Position()), folder
    )
    watchers += _own_watchers(recipe, train.samples, folder)
    keeper = EpochKeeper(recipe, folder, meta, answers, evaluation, progress, tensorboard)
    with train.explained():
        _fit(model, recipe, train, answers, start, [*watchers, *callbacks, keeper])
    result = _result(recipe, meta, model, answers, train, evaluation, command)
    _write(folder, recipe, model, result, preprocessing)
    return result


def _start_of(meta: Mapping[str, Any] | None, folder: Path) -> Position:
    """Where a checkpoint ended, on all workers alike."""
    start = Position() if meta is None else Position(len(meta["epochs"]), meta.get("step", 0))
    for what, done in zip(("epochs", "steps"), start, strict=True):
        where = f"{what} in the checkpoint of folder {str(folder)!r}"
        same_on_workers(tf.distribute.get_strategy(), done, where)
    return start


def _own_watchers(recipe: TrainingRecipe, samples: int, folder: Path) -> list[Any]:
    """Callbacks of a recipe's sparsity and of its training map."""
    watchers: list[Any] = []
    zeros = given_sparsity(recipe.sparsity)
    if zeros is not None:
        watchers.append(_pruning(zeros, recipe.epochs * recipe.steps_per_epoch(samples)))
    if training_map_of(recipe) is not None:
        watchers.append(FixedPointMonitor(folder, stop_training=False))  # the keeper stops
    return watchers


def _fit(
    model: KerasModel,
    recipe: TrainingRecipe,
    train: HeldData | StreamedData,
    answers: Answers,
    start: Position,
    callbacks: list[Any],
) -> None:
    """All epochs from a position on; one that a checkpoint cut is ended first."""
    steps = recipe.steps_per_epoch(train.samples)
    if start.step:
        batches = train.training(recipe, answers, start)
        model.evaluate(batches.take(1), verbose=0)  # makes the figures that go on
        model.fit(
            batches, initial_epoch=start.epoch, epochs=start.epoch + 1,
            steps_per_epoch=steps - start.step, callbacks=callbacks, verbose=0,
        )  # fmt: skip
        start = Position(start.epoch + 1)
    if start.epoch < recipe.epochs:
        model.fit(
            train.training(recipe, answers, start), initial_epoch=start.epoch,
            epochs=recipe.epochs, steps_per_epoch=steps, callbacks=callbacks, verbose=0,
        )  # fmt: skip


def _pruning(zeros: SparsityMap, steps: int) -> PruningSchedule:
    """All zeros in the first half of the steps; the second half trains with them."""
    return PruningSchedule(zeros, steps // 2, frequency=max(steps // 40, 1))


def _check_start(recipe: TrainingRecipe, end: Path) -> None:
    start = recipe.model.get("file")
    if start is not None and end.exists() and os.path.exists(start) and end.samefile(start):
        raise ConfigError(
            f"output folder: got {str(end.parent)!r}, whose {MODEL} is the model that the training "
            "starts from; expected another folder."
        )


def _write(
    folder: Path,
    recipe: TrainingRecipe,
    model: KerasModel,
    result: dict[str, Any],
    preprocessing: Preprocessing | None,
) -> None:
    """The model with its scaling, then the result, which says that all is done."""
    if preprocessing is not None:
        keep_preprocessing(model, preprocessing)
    scaling = InputScaling((recipe.input_scale,), (recipe.input_shift,))
    keep_scalings(model, {model.input_names[0]: scaling})
    if not is_chief(strategy_of(model)):
        with tempfile.TemporaryDirectory() as nowhere:  # saving reads what all replicas keep
            model.save(Path(nowhere) / MODEL)
        wait_for_chief(folder / RESULT)
        return
    with atomic_path(folder / MODEL) as temporary:
        model.save(temporary)
    write_json(folder / RESULT, result)


_MEASURED = 512


def compile_for(model: KerasModel, recipe: TrainingRecipe, answers: Answers, steps: int) -> None:
    """Compile with the recipe's loss, optimizer and schedule; the optimizer's variables exist."""
    rate, precision = learning_rate(recipe, steps), training_map_of(recipe)
    if precision is not None:
        optimizer = fixed_point_optimizer(model, precision, rate, recipe)
    elif recipe.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate)
    elif recipe.optimizer == "relative_adam":
        optimizer = RelativeAdam(rate, relative_sizes(model))
    else:
        settings: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": True}
        if recipe.optimizer == "terngrad":
            optimizer = TernGrad(rate, seed=recipe.seed, **settings)
        else:
            optimizer = keras.optimizers.SGD(rate, **settings)
    model.compile(optimizer, answers.loss(recipe.label_smoothing), metrics=answers.figures())
    optimizer.build(model.trainable_variables)


def learning_rate(recipe: TrainingRecipe, steps: int) -> Any:
    """The learning rate as a function of the step.

    Args:
        recipe: schedule, rate, epochs.
        steps: steps in an epoch.
    """
    rate, warm = recipe.learning_rate, recipe.warmup_epochs * steps
    schedules = keras.optimizers.schedules
    if recipe.schedule == "constant":
        return rate
    if recipe.schedule == "step":
        rates = [rate * recipe.step_factor**i for i in range(len(recipe.step_epochs) + 1)]
        return schedules.PiecewiseConstantDecay([e * steps for e in recipe.step_epochs], rates)
    rest = max(recipe.epochs * steps - warm, 1)
    if not warm:
        return schedules.CosineDecay(rate, rest)
    return schedules.CosineDecay(0.0, rest, warmup_target=rate, warmup_steps=warm)


def _meta_of(
    path: Path, recipe: TrainingRecipe, train: HeldData | StreamedData
) -> dict[str, Any] | None:
    """What the checkpoint says of itself, if it belongs to this recipe and data."""
    meta = read_meta(path)
    if meta is None:
        return None
    asked, there = _decisive(recipe), _decisive(TrainingRecipe.from_dict(meta["recipe"]))
    differing = [key for key in {**asked, **there} if asked.get(key) != there.get(key)]
    if meta["samples"] != train.samples:
        differing.append("number of samples")
    if differing:
        raise ConfigError(
            f"checkpoint {str(path)!r}: got one of another training ({', '.join(differing)} "
            "differ); expected the same recipe and data. Choose another output folder, or remove "
            "it to start anew."
        )
    return meta


def _decisive(recipe: TrainingRecipe) -> dict[str, Any]:
    """What decides about weights: not the words of a recipe, nor when it is evaluated."""
    words = ("description", "reference", "command", "expected", "evaluate_every",
             "checkpoint_every")  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(recipe.to_dict()))
    return {key: value for key, value in plain.items() if key not in words}


def _check_data(
    model: KerasModel, train: HeldData | StreamedData, evaluation: HeldData | StreamedData | None
) -> None:
    if len(model.outputs) != 1:
        raise ModelError(
            f"training of {model.name!r}: got {len(model.outputs)} outputs; expected one. Use your "
            "own fit instead."
        )
    train.check(input_shapes(model))
    if isinstance(evaluation, StreamedData):
        evaluation.check(input_shapes(model))


def _result(
    recipe: TrainingRecipe,
    meta: dict[str, Any],
    model: KerasModel,
    answers: Answers,
    train: HeldData | StreamedData,
    evaluation: HeldData | StreamedData | None,
    command: str,
) -> dict[str, Any]:
    epochs = meta["epochs"]
    hits = None if evaluation is None else evaluation.hits(model, recipe, answers)
    return {
        "recipe": recipe.to_dict(),
        "command": command,
        "samples": {
            "train": train.samples,
            "evaluation": 0 if evaluation is None else evaluation.samples,
        },
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "metric": answers.metric,
        "score": epochs[-1].get(f"val_{answers.figure}"),
        "accuracy": epochs[-1].get("val_accuracy"),
        "hits": hits,
        "seconds": sum(row["seconds"] for row in epochs),
        "cpu_seconds": sum(row["cpu_seconds"] for row in epochs),
        "epochs": epochs,
    }
