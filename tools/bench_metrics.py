#!/usr/bin/env python3
"""Networks and data for figures other than accuracy: prices of houses, keywords, anomalies.

    tools/bench_metrics.py --task=housing --data=california_housing.npz --output=out/housing
    tools/bench_metrics.py --task=keywords --data=kws01_mfcc_int8.npz --output=out/keywords
    tools/bench_metrics.py --task=anomalies --output=out/anomalies

Trains a small float network, seconds, and leaves in the output folder: float.keras; data.npz with
x_train, y_train, x_test and y_test as the network takes them; search.npz, other samples to search
on. docs/data.md has the commands that quantize and search them.

- housing: a table of numbers (x_train, y_train, x_test, y_test). Missing values become the median
  of their column in the training part, then every column is standardized; answers are in units of
  100,000. 13-64-32-1 in float by mean squared error; the last 2,000 training rows are to search on.
- keywords: coefficients (samples, frames, coefficients, 1) with class numbers. 600 samples train,
  100 are to search on, the others are tests. A convolution, three separable ones, a mean.
- anomalies: the bundled handwritten digits. An autoencoder learns ones; every other digit is an
  anomaly. The last 437 training digits are to search on.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tfxp import cli
from tfxp.data import load_digits
from tfxp.errors import ConfigError, DataError
from tfxp.files import atomic_path
from tfxp.progress import Progress

_FLAGS = cli.ToolFlags(__doc__)
_TASK = _FLAGS.DEFINE_enum(
    "task", None, ["housing", "keywords", "anomalies"], "Which network and data.", required=True
)
_DATA = _FLAGS.samples("data", "Data of the task (.npz); anomalies need none.")
_EPOCHS = _FLAGS.DEFINE_integer(
    "epochs", None, "Epochs of float training: 15, 40 and 100 by task.", lower_bound=1
)
_OUTPUT = _FLAGS.output("Folder for network and data.", required=True, folder=True)
_SEED = _FLAGS.seed()
_PROGRESS = _FLAGS.progress()

Arrays = dict[str, Any]
_PRICE = 100_000.0
_SEARCHED = {"housing": 2000, "keywords": 100, "anomalies": 437}
_TRAINED = 600  # keywords
_NORMAL = 1  # the digit that is no anomaly


def main() -> None:
    """Prepare, train, write, and say the network's figure."""
    task = _TASK.value
    if task != "anomalies" and not _DATA.value:
        raise ConfigError(f"data: got none for --task={task}; expected an .npz file.")
    known, test = {"housing": _houses, "keywords": _keywords, "anomalies": _digits}[task]()
    held = _SEARCHED[task]
    if len(known["y"]) <= held:
        raise DataError(
            f"training samples of {_DATA.value!r}: got {len(known['y'])}; expected more than {held}"
            "."
        )
    train = {name: part[:-held] for name, part in known.items()}
    search = {name: part[-held:] for name, part in known.items()}
    if task == "anomalies":  # an autoencoder sees what is normal, and its answer is its input
        train = {name: part[train["y"] == 0] for name, part in train.items()}
    model = _trained(task, train["x"], train["x"] if task == "anomalies" else train["y"])
    folder = _OUTPUT.value
    os.makedirs(folder, exist_ok=True)
    parts = {f"{name}_train": part for name, part in train.items()}
    parts |= {f"{name}_test": part for name, part in test.items()}
    for name, arrays in (("data.npz", parts), ("search.npz", search)):
        with atomic_path(os.path.join(folder, name)) as temporary:
            np.savez(temporary, **arrays)
    with atomic_path(os.path.join(folder, "float.keras")) as temporary:
        model.save(temporary)
    counts = f"{len(train['y'])} to train, {held} to search, {len(test['y'])} to test"
    print(f"{task}: {counts}; network and data are in {folder}.")


def _houses() -> tuple[Arrays, Arrays]:
    with np.load(_DATA.value) as found:
        known, test = ({n: found[f"{n}_{part}"] for n in "xy"} for part in ("train", "test"))
    trained = known["x"][: -_SEARCHED["housing"]]
    median = np.nanmedian(trained, axis=0)
    filled = np.where(np.isnan(trained), median, trained)
    mean, deviation = filled.mean(axis=0), filled.std(axis=0)
    for part in (known, test):
        x = np.where(np.isnan(part["x"]), median, part["x"])
        part["x"] = ((x - mean) / deviation).astype(np.float32)
        part["y"] = (part["y"] / _PRICE).astype(np.float32)[:, np.newaxis]
    return known, test


def _keywords() -> tuple[Arrays, Arrays]:
    with np.load(_DATA.value) as found:
        x, y = found["x"].astype(np.float32) / 64, found["y"].astype(np.int64)
    order = np.random.default_rng(_SEED.value).permutation(len(y))
    known, test = np.split(order, [_TRAINED + _SEARCHED["keywords"]])
    return {"x": x[known], "y": y[known]}, {"x": x[test], "y": y[test]}


def _digits() -> tuple[Arrays, Arrays]:
    parts = (load_digits("train"), load_digits("test"))
    return tuple(  # type: ignore[return-value]
        {
            "x": part.x.reshape(len(part), -1),
            "y": (part.labels() != _NORMAL).astype(np.int64),
        }
        for part in parts
    )


def _trained(task: str, x: np.ndarray, y: np.ndarray) -> Any:
    """The float network after its training."""
    from tfxp.keras import keras

    keras.utils.set_random_seed(_SEED.value)
    model = _network(task, x.shape[1:])
    loss = "sparse_categorical_crossentropy" if task == "keywords" else "mse"
    model.compile(keras.optimizers.Adam(3e-3 if task == "keywords" else 1e-3), loss)
    epochs = _EPOCHS.value or {"housing": 15, "keywords": 40, "anomalies": 100}[task]
    with Progress(epochs, f"training on {task}", "epoch", _PROGRESS.value) as bar:
        step = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: bar.step())
        model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[step])
    return model


def _network(task: str, shape: tuple[int, ...]) -> Any:
    from tfxp.keras import keras, layers

    inputs = x = keras.Input(shape, name="x")
    if task == "keywords":
        for filters, stride in ((24, 2), (24, 1), (32, 2), (32, 1)):
            kind = layers.Conv2D if filters == 24 and stride == 2 else layers.SeparableConv2D
            x = kind(filters, 3, stride, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, layers.Dense(12, activation="softmax", name="keyword")(x))
    sizes = (64, 32) if task == "housing" else (24, 6, 24)
    for size in sizes:
        x = layers.Dense(size, activation="relu")(x)
    last = 1 if task == "housing" else shape[0]
    return keras.Model(inputs, layers.Dense(last, name="out")(x))


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
