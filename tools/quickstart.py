#!/usr/bin/env python3
"""The whole job on handwritten digits: train, measure, quantize, fine-tune, export, verify, run.

    tools/quickstart.py --output=out/quickstart

Trains a float network, writes pipeline.json, and runs it as `tfxp run-all` does. The output folder
then has digits.npz, float.keras, quantized.keras, precision.json, model.tflite, weights.h,
report.html, summary.json, and the figures of each step.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from tfxp import cli
from tfxp.commands.pipeline import read_pipeline, run_pipeline
from tfxp.data import Dataset, load_digits
from tfxp.files import atomic_path, read_json, write_json
from tfxp.heartbeat import never_silent
from tfxp.progress import Progress

_RATE = 5e-3  # of float training
_FIGURES = ("quantize.json", "export.json", "run.json", "litert.json")
_EXPORTED = (
    "mismatches_interpreter",
    "mismatches_litert",
    "elements",
    "tflite_bytes",
    "float_bytes",
)

_FLAGS = cli.ToolFlags(__doc__)
_OUTPUT = _FLAGS.output(
    "Folder for everything that is made.", folder=True, default="out/quickstart"
)
_PRECISION = _FLAGS.precision(default="w4a4")
_EPOCHS = _FLAGS.DEFINE_integer("epochs", 25, "Epochs of float training.", lower_bound=1)
_TUNE_EPOCHS = _FLAGS.DEFINE_integer("tune_epochs", 10, "Epochs of fine-tuning.", lower_bound=0)
_SEED = _FLAGS.seed()
_PROGRESS = _FLAGS.progress()


def build_model() -> Any:
    """A small convolutional network with everything that makes exporting hard."""
    from tfxp.keras import keras, layers

    def block(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((8, 8, 1), name="image")
    x = block(image, 16)
    x = layers.MaxPooling2D()(block(x, 24))
    skip = layers.Conv2D(32, 1)(x)
    x = layers.ReLU()(layers.Add()([block(x, 32), skip]))
    x = layers.Dense(10, name="logits")(layers.Flatten()(x))
    return keras.Model(image, layers.Softmax()(x), name="digits")


def save_data(folder: Path) -> Dataset:
    """The images as files: both halves with labels, and all of them; the half to train on."""
    train, test = load_digits("train"), load_digits("test")
    halves = {"x_train": train.x, "y_train": train.y, "x_test": test.x, "y_test": test.y}
    whole = {"x": np.concatenate([test.x, train.x])}
    for name, arrays in (("digits.npz", halves), ("all_images.npz", whole)):
        with atomic_path(folder / name) as temporary:
            np.savez_compressed(temporary, **arrays)
    return train


def train_float(train: Dataset, path: Path) -> None:
    """A float network, as a user brings one."""
    from tfxp.keras import keras

    keras.utils.set_random_seed(_SEED.value)
    model, epochs = build_model(), _EPOCHS.value
    print(f"train: {model.count_params():,} parameters, {len(train):,} images", flush=True)
    model.compile(keras.optimizers.Adam(_RATE), "sparse_categorical_crossentropy")
    decay = keras.optimizers.schedules.CosineDecay(_RATE, epochs)
    with Progress(epochs, "training", "epoch", _PROGRESS.value) as bar:
        done = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda _, logs: bar.step(note=f"loss {logs['loss']:.4f}")
        )
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: float(decay(epoch)))
        model.fit(train.x, train.y, 64, epochs, verbose=0, callbacks=[done, schedule])
    with atomic_path(path) as temporary:
        model.save(temporary)


def pipeline() -> dict[str, Any]:
    """The rest of the job as a pipeline file."""
    data, file, model = "digits.npz", "model.tflite", "quantized.keras"
    steps = {
        "measure": {"model": "float.keras", "data": data, "output": "stats.json"},
        "quantize": {
            "model": "float.keras", "stats": "stats.json", "precision": _PRECISION.value,
            "train_data": data, "epochs": _TUNE_EPOCHS.value, "eval_data": data,
            "seed": _SEED.value, "output": model, "save_precision": "precision.json",
            "json": "quantize.json",
        },
        "export": {
            "model": model, "verify_data": "all_images.npz", "output": file,
            "weights_header": "weights.h", "json": "export.json",
        },
        "run": {"model": file, "data": data, "json": "run.json"},
        "run in LiteRT": {"model": file, "data": data, "engine": "litert", "json": "litert.json"},
        "report": {
            "model": model, "stats": "stats.json", "data": data, "split": "test",
            "figures": list(_FIGURES), "name": "Handwritten digits", "html": "report.html",
        },
    }  # fmt: skip
    commands = {"run in LiteRT": "run", "report": "measure"}
    return {
        "schema": 1,
        "steps": [
            {"name": name, "command": commands.get(name, name), "flags": flags}
            for name, flags in steps.items()
        ],
    }


def summary(folder: Path) -> dict[str, Any]:
    """The figures that matter, out of those of the steps."""
    quantized, exported, ours, theirs = (
        read_json(folder / name, "figures of a step") for name in _FIGURES
    )
    accuracies = quantized["accuracy"]
    return {
        "precision": quantized["precision"],
        "samples": ours["samples"],
        "float_accuracy": accuracies["float"],
        "quantized_accuracy": accuracies.get("fine-tuned", accuracies["quantized"]),
        "interpreter_accuracy": ours["accuracy"],
        "litert_accuracy": theirs["accuracy"],
        **{key: exported[key] for key in _EXPORTED},
        **{key: ours[key] for key in ("macs_total", "macs_executed")},
    }


def say(found: dict[str, Any], folder: Path) -> None:
    """The end of the job for people."""
    shares = {who: f"{found[f'{who}_accuracy']:.2%}" for who in ("float", "quantized")}
    executed = found["macs_executed"] / found["macs_total"]
    print(
        f"\naccuracy: float {shares['float']}, {found['precision']} {shares['quantized']} of "
        f"{found['samples']} test images\n"
        f"file: {found['tflite_bytes']:,} bytes; the weights in float32 are "
        f"{found['float_bytes']:,}\n"
        f"of {found['elements']:,} outputs differ from Keras: {found['mismatches_interpreter']} in "
        f"the interpreter, {found['mismatches_litert']} in LiteRT\n"
        f"zeros: {1 - executed:.1%} of MACs skipped\n"
        f"{found['seconds']:.0f} s\n\n"
        f"Look at {folder / 'report.html'}; the figures are in {folder / 'summary.json'}.\n"
        f"The same steps with other settings: edit and tfxp run-all {folder / 'pipeline.json'}"
    )


def main() -> None:
    """Train, write the pipeline file, run it."""
    started, folder = time.monotonic(), Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    with never_silent("train"):
        print("train: a float network on handwritten digits; loading TensorFlow", flush=True)
        train_float(save_data(folder), folder / "float.keras")
    write_json(folder / "pipeline.json", pipeline())
    run_pipeline(
        read_pipeline(folder / "pipeline.json"), folder, say=lambda line: print(line, flush=True)
    )
    found = {**summary(folder), "seconds": round(time.monotonic() - started, 1)}
    write_json(folder / "summary.json", found)
    say(found, folder)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
