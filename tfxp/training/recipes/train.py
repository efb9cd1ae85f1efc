"""Run a recipe: train, log every epoch, and go on exactly where a killed run stopped."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.callbacks import FixedPointMonitor, PruningSchedule
from tfxp.data import Dataset, ModelData, input_shapes
from tfxp.data.input_scaling import InputScaling, keep_scalings
from tfxp.devices import (
    check_global_batch,
    is_chief,
    lost_workers,
    same_on_workers,
    strategy_of,
    wait_for_chief,
)
from tfxp.devices import learning_rate as rate_of
from tfxp.errors import ConfigError, ModelError
from tfxp.files import atomic_path, write_json, write_text
from tfxp.folder_lock import hold_folder
from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.progress import Report, reporter
from tfxp.sparsity.activation_penalty import regularize_activations
from tfxp.sparsity.sparsity_map import SparsityMap
from tfxp.training.recipes.answers import Answers
from tfxp.training.recipes.batches import evaluation_batches, training_batches
from tfxp.training.recipes.build_network import (
    build_network,
    input_names,
    scaled_as_its_file,
    training_map_of,
)
from tfxp.training.recipes.checkpoint import read_meta, restore_checkpoint, save_checkpoint
from tfxp.training.recipes.fixed_point_recipe import fixed_point_optimizer
from tfxp.training.recipes.recipe import TrainingRecipe, given_sparsity
from tfxp.training.recipes.recipe_callbacks import recipe_callbacks
from tfxp.training.repair.relative_adam import RelativeAdam, relative_sizes

CHECKPOINT, LOG, RESULT, MODEL = "checkpoint.npz", "log.jsonl", "result.json", "model.keras"
Examples: TypeAlias = Dataset | ModelData | tuple[Any, Any]


def train_recipe(
    recipe: TrainingRecipe,
    train: Examples,
    evaluation: Examples | None,
    folder: str | Path,
    *,
    callbacks: Sequence[Any] = (),
    command: str = "",
    tensorboard: bool = True,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train a recipe's network, or finish what a checkpoint in `folder` has begun.

    Inside of a `tf.distribute` strategy's scope its replicas share every batch; BatchNormalization
    then takes its means over all of them. Of several workers all train, the first one writes.

    The folder gets `checkpoint.npz` and `log.jsonl` after every epoch, TensorBoard's events, and
    at the end `model.keras` and `result.json`. A run that was killed repeats the epoch it was in,
    from the checkpoint, with the same batches: on one thread the weights come out bit for bit as
    without the interruption (dropout and stochastic rounding draw anew).

    Args:
        recipe: what to build and how to train it.
        train: inputs and answers, in the data's own units: a `Dataset`, `ModelData`, or a pair of
            inputs and answers. Class numbers (one a sample or a position), zeros and ones for
            outputs that say yes or no, or real values. Several inputs, as a list or by name, are
            not scaled.
        evaluation: what accuracy, or the mean absolute error of real values, is measured on; None
            measures none.
        folder: where everything goes; one recipe and data set per folder.
        callbacks: more Keras callbacks.
        command: noted in the result.
        tensorboard: write scalars for TensorBoard.
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
        measured_on = None if evaluation is None else _by_name(recipe, evaluation)
        return _train_held(
            recipe, _by_name(recipe, train), measured_on, Path(folder), callbacks, command,
            tensorboard, progress,
        )  # fmt: skip


def _by_name(recipe: TrainingRecipe, data: Examples) -> ModelData:
    """Samples in the order of the network's inputs, which only its builder knows."""
    given = isinstance(data, Dataset | ModelData) or not isinstance(data[0], list | tuple | Mapping)
    return ModelData.of(data, () if given else input_names(recipe))


def _train_held(
    recipe: TrainingRecipe,
    train: ModelData,
    evaluation: ModelData | None,
    folder: Path,
    callbacks: Sequence[Any],
    command: str,
    tensorboard: bool,
    progress: Report | None,
) -> dict[str, Any]:
    """`train_recipe` in a folder that no other process trains in."""
    _check_start(recipe, folder / MODEL)
    recipe = scaled_as_its_file(recipe)
    meta = _meta_of(folder / CHECKPOINT, recipe, train)
    done = 0 if meta is None else len(meta["epochs"])
    what = f"epochs in the checkpoint of folder {str(folder)!r}"
    same_on_workers(tf.distribute.get_strategy(), done, what)
    if train.y is None:
        train.labels()  # says so
    stream_from = 0 if meta is None else len(meta["epochs"])
    if stream_from == recipe.epochs and (folder / RESULT).exists():
        return dict(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    measured = train.take(_MEASURED).scaled(recipe.input_scale, recipe.input_shift).x
    model = build_network(recipe, measured)
    _check_data(model, train)
    for kind, strength in (recipe.activation_penalty or {}).items():
        regularize_activations(model, strength, kind)
    answers = Answers.of(model, train)
    compile_for(model, recipe, answers, recipe.steps_per_epoch(len(train)))
    if meta is not None:
        restore_checkpoint(folder / CHECKPOINT, model)
    meta = meta or {"recipe": recipe.to_dict(), "samples": len(train), "epochs": []}
    watchers = recipe_callbacks(recipe, model, measured, folder)
    zeros = given_sparsity(recipe.sparsity)
    if zeros is not None:
        watchers.append(_pruning(zeros, recipe.epochs * recipe.steps_per_epoch(len(train))))
    if training_map_of(recipe) is not None:
        watchers.append(FixedPointMonitor(folder, stop_training=False))  # the keeper stops
    keeper = _Keeper(recipe, folder, meta, answers, evaluation, progress, tensorboard)
    if stream_from < recipe.epochs:
        model.fit(
            training_batches(recipe, train.x, answers.targets(train), stream_from),
            epochs=recipe.epochs, initial_epoch=stream_from, steps_per_epoch=keeper.steps,
            callbacks=[*watchers, *callbacks, keeper], verbose=0,
        )  # fmt: skip
    result = _result(recipe, meta, model, answers, train, evaluation, command)
    _write(folder, recipe, model, result)
    return result


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


def _write(folder: Path, recipe: TrainingRecipe, model: KerasModel, result: dict[str, Any]) -> None:
    """The model with its scaling, then the result, which says that all is done."""
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
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True)
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


class _Keeper(keras.callbacks.Callback):
    """Writes down every epoch, and stops a training whose loss is no number any more."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        folder: Path,
        meta: dict[str, Any],
        answers: Answers,
        evaluation: ModelData | None,
        progress: Report | None,
        tensorboard: bool,
    ) -> None:
        super().__init__()
        self.recipe, self.folder, self.meta = recipe, folder, meta
        self.progress, self.figure = reporter(progress), answers.figure
        self.steps = recipe.steps_per_epoch(int(meta["samples"]))
        self.batches = None
        if evaluation is not None:
            self.batches = evaluation_batches(recipe, evaluation.x, answers.targets(evaluation))
        self.writer = None
        if tensorboard and is_chief(tf.distribute.get_strategy()):
            self.writer = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clocks."""
        self.epoch, self.wall, self.cpu = epoch, time.monotonic(), time.process_time()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look at the loss, and say how far it is."""
        loss = float((logs or {})["loss"])
        if not np.isfinite(loss):
            done = len(self.meta["epochs"])
            kept = f"the checkpoint of epoch {done} is kept in" if done else "nothing is kept in"
            raise ModelError(
                f"training of {self.model.name!r}: the loss became NaN in step {batch + 1} of "
                f"epoch {self.epoch + 1}; {kept} {str(self.folder)!r}. Use a smaller learning rate."
            )
        steps = self.epoch * self.steps + batch + 1
        note = f"epoch {self.epoch + 1}, loss {loss:.4f}"
        self.progress(steps, self.recipe.epochs * self.steps, note)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Evaluate, and put state, log and scalars on disk."""
        logs = logs or {}
        figures = {name: float(logs[name]) for name in ("loss", self.figure)}
        figures["learning_rate"] = rate_of(self.model)
        last = epoch + 1 == self.recipe.epochs
        if self.batches is not None and (last or (epoch + 1) % self.recipe.evaluate_every == 0):
            found = self.model.evaluate(self.batches, verbose=0)
            figures["val_loss"], figures[f"val_{self.figure}"] = map(float, found)
        figures["seconds"] = time.monotonic() - self.wall
        figures["cpu_seconds"] = time.process_time() - self.cpu
        self.meta["epochs"].append({"epoch": epoch + 1, **figures})
        chief = is_chief(strategy_of(self.model))
        save_checkpoint(self.folder / CHECKPOINT if chief else None, self.model, self.meta)
        if not chief:
            return
        lines = [json.dumps(row) for row in self.meta["epochs"]]
        write_text(self.folder / LOG, "\n".join(lines) + "\n")
        if self.writer is not None:
            with self.writer.as_default(step=epoch + 1):
                for name, value in figures.items():
                    tf.summary.scalar(name, value)
            self.writer.flush()


def _meta_of(path: Path, recipe: TrainingRecipe, train: ModelData) -> dict[str, Any] | None:
    """What the checkpoint says of itself, if it belongs to this recipe and data."""
    meta = read_meta(path)
    if meta is None:
        return None
    asked, there = _decisive(recipe), _decisive(TrainingRecipe.from_dict(meta["recipe"]))
    differing = [key for key in {**asked, **there} if asked.get(key) != there.get(key)]
    if meta["samples"] != len(train):
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
    words = ("description", "reference", "command", "expected", "evaluate_every")
    plain: dict[str, Any] = json.loads(json.dumps(recipe.to_dict()))
    return {key: value for key, value in plain.items() if key not in words}


def _check_data(model: KerasModel, train: ModelData) -> None:
    if len(model.outputs) != 1:
        raise ModelError(
            f"training of {model.name!r}: got {len(model.outputs)} outputs; expected one. Use your "
            "own fit instead."
        )
    train.shaped(input_shapes(model))


def _result(
    recipe: TrainingRecipe,
    meta: dict[str, Any],
    model: KerasModel,
    answers: Answers,
    train: ModelData,
    evaluation: ModelData | None,
    command: str,
) -> dict[str, Any]:
    epochs, hits = meta["epochs"], None
    if evaluation is not None:
        batches = evaluation_batches(recipe, evaluation.x, answers.targets(evaluation))
        hits = answers.hits(model.predict(batches, verbose=0), evaluation)
    return {
        "recipe": recipe.to_dict(),
        "command": command,
        "samples": {"train": len(train), "evaluation": len(evaluation) if evaluation else 0},
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "metric": answers.metric,
        "score": epochs[-1].get(f"val_{answers.figure}"),
        "accuracy": epochs[-1].get("val_accuracy"),
        "hits": hits,
        "seconds": sum(row["seconds"] for row in epochs),
        "cpu_seconds": sum(row["cpu_seconds"] for row in epochs),
        "epochs": epochs,
    }
