"""What is written down while a recipe trains: checkpoint, log and scalars."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.devices import is_chief, strategy_of
from tfxp.devices import learning_rate as rate_of
from tfxp.errors import ModelError
from tfxp.files import write_text
from tfxp.keras import keras
from tfxp.progress import Report, reporter
from tfxp.training.recipes.answers import Answers
from tfxp.training.recipes.checkpoint import save_checkpoint
from tfxp.training.recipes.recipe import TrainingRecipe
from tfxp.training.recipes.recipe_data import HeldData, StreamedData

CHECKPOINT, LOG = "checkpoint.npz", "log.jsonl"


class EpochKeeper(keras.callbacks.Callback):
    """Writes down every epoch, and stops a training whose loss is no number any more."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        folder: Path,
        meta: dict[str, Any],
        answers: Answers,
        evaluation: HeldData | StreamedData | None,
        progress: Report | None,
        tensorboard: bool,
    ) -> None:
        super().__init__()
        self.recipe, self.folder, self.meta = recipe, folder, meta
        self.progress, self.figure = reporter(progress), answers.figure
        self.steps = recipe.steps_per_epoch(int(meta["samples"]))
        self.evaluation, self.answers = evaluation, answers
        self.first = 0
        self.writer = None
        if tensorboard and is_chief(tf.distribute.get_strategy()):
            self.writer = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clocks, or go on with an epoch of which a checkpoint holds a part."""
        self.epoch, self.first = epoch, int(self.meta.get("step", 0))
        wall, cpu = self.meta.get("clocks", (0.0, 0.0)) if self.first else (0.0, 0.0)
        self.wall, self.cpu = time.monotonic() - wall, time.process_time() - cpu
        if self.first:
            for variable, value in zip(self._sums(), self.meta["figures"], strict=True):
                variable.assign(np.asarray(value, variable.dtype.as_numpy_dtype))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look at the loss, and say how far it is."""
        loss, step = float((logs or {})["loss"]), self.first + batch + 1
        if not np.isfinite(loss):
            done = len(self.meta["epochs"])
            kept = f"the checkpoint of epoch {done} is kept in" if done else "nothing is kept in"
            raise ModelError(
                f"training of {self.model.name!r}: the loss became NaN in step {step} of "
                f"epoch {self.epoch + 1}; {kept} {str(self.folder)!r}. Use a smaller learning rate."
            )
        steps = self.epoch * self.steps + step
        note = f"epoch {self.epoch + 1}, loss {loss:.4f}"
        self.progress(steps, self.recipe.epochs * self.steps, note)
        every = self.recipe.checkpoint_every
        if every is not None and step % every == 0 and step < self.steps:
            clocks = (time.monotonic() - self.wall, time.process_time() - self.cpu)
            figures = [variable.numpy().tolist() for variable in self._sums()]
            self.meta.update({"step": step, "figures": figures, "clocks": clocks})
            self._save()

    def _sums(self) -> list[Any]:
        """What Keras adds up of an epoch's loss and figures."""
        return [variable for metric in self.model.metrics for variable in metric.variables]

    def _save(self) -> bool:
        """Write the checkpoint; whether this process is the one that writes."""
        chief = is_chief(strategy_of(self.model))
        save_checkpoint(self.folder / CHECKPOINT if chief else None, self.model, self.meta)
        return chief

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Evaluate, and put state, log and scalars on disk."""
        logs = logs or {}
        figures = {name: float(logs[name]) for name in ("loss", self.figure)}
        figures["learning_rate"] = rate_of(self.model)
        last = epoch + 1 == self.recipe.epochs
        due = last or (epoch + 1) % self.recipe.evaluate_every == 0
        if self.evaluation is not None and due:
            with self.evaluation.explained():
                batches = self.evaluation.evaluation(self.recipe, self.answers)
                found = self.model.evaluate(batches, verbose=0)
            figures["val_loss"], figures[f"val_{self.figure}"] = map(float, found)
        figures["seconds"] = time.monotonic() - self.wall
        figures["cpu_seconds"] = time.process_time() - self.cpu
        self.meta["epochs"].append({"epoch": epoch + 1, **figures})
        for name in ("step", "figures", "clocks"):
            self.meta.pop(name, None)
        if not self._save():
            return
        lines = [json.dumps(row) for row in self.meta["epochs"]]
        write_text(self.folder / LOG, "\n".join(lines) + "\n")
        if self.writer is not None:
            with self.writer.as_default(step=epoch + 1):
                for name, value in figures.items():
                    tf.summary.scalar(name, value)
            self.writer.flush()
