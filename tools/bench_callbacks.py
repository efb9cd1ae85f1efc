#!/usr/bin/env python3
"""What observing callbacks cost in a training, each at its defaults.

    tools/bench_callbacks.py --model=resnet8.h5 --steps=200 --json=callbacks.json

The quantized model is fitted to random data for three epochs with all callbacks at once. A callback
counts the time of its looks; its share is of the time that is left for training. Building its
graph, before the first step, and what it does after the last step are not in it.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import tfxp
from tfxp import cli
from tfxp.callbacks import (
    ExportCheckpoint,
    RangeLogger,
    SaturationAlarm,
    SparsityLogger,
    SqnrLogger,
)
from tfxp.files import write_json
from tfxp.keras import keras, tf

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model()
_PRECISION = _FLAGS.precision(default="w4a4")
_BATCH_SIZE = _FLAGS.batch_size(32)
_STEPS = _FLAGS.DEFINE_integer("steps", 200, "Steps of an epoch.", lower_bound=1)
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()
BAR = 0.05
_OBSERVERS = (RangeLogger, SparsityLogger, SqnrLogger, SaturationAlarm)


class _Clock(keras.callbacks.Callback):
    """Seconds from the first epoch's begin to the last one's end, and those spent by others."""

    def __init__(self, watched: list[Any]) -> None:
        super().__init__()
        self.watched, self.seconds, self.spent = watched, 0.0, [0.0] * len(watched)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0:
            self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds = time.perf_counter() - self._started
        self.spent = [callback.seconds for callback in self.watched]


def main() -> int:
    """Train, print a row per callback; 1 if any is above the bar."""
    tf.get_logger().setLevel("ERROR")
    model = tfxp.load_model(_MODEL.value)
    random = np.random.default_rng(_SEED.value)
    x = random.integers(0, 256, (_BATCH_SIZE.value, *model.input_shape[1:])).astype(np.float32)
    y = random.random((_BATCH_SIZE.value, *model.output_shape[1:]), np.float32)
    stats = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, cli.read_precision(_PRECISION.value), stats)
    rows, milliseconds = timed(qmodel, x, y)
    table = [[*row[:3], f"{row[3]:.3f}", f"{row[4]:.2%}"] for row in rows]
    print(cli.format_table(["callback", "looks", "left out", "s", "of training"], table))
    print(f"{milliseconds:.1f} ms a step, {3 * _STEPS.value} steps; the bar is {BAR:.0%}")
    if _JSON.value:
        keys = ("callback", "looks", "left_out", "seconds", "share")
        found = [dict(zip(keys, row, strict=True)) for row in rows]
        write_json(_JSON.value, {"callbacks": found, "milliseconds_per_step": milliseconds})
    return int(any(row[4] >= BAR for row in rows))


def timed(qmodel: Any, x: np.ndarray, y: np.ndarray) -> tuple[list[tuple[Any, ...]], float]:
    """(name, looks, left out, seconds, share) of every callback, and a step's milliseconds."""
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    qmodel.compile(keras.optimizers.Adam(1e-5), "mse")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random data may well saturate
        qmodel.fit(data, steps_per_epoch=3, verbose=0)  # traced before the clock runs
        observers = [kind(x, folder) for kind in _OBSERVERS]
        best = ExportCheckpoint(f"{folder}/best.tflite", x, "loss", log_dir=folder)
        clock = _Clock([*observers, best])
        # The clock stops last: what the others do at an epoch's end is inside.
        callbacks = [*observers, best, clock]
        qmodel.fit(data, epochs=3, steps_per_epoch=_STEPS.value, verbose=0, callbacks=callbacks)
    training = clock.seconds - sum(clock.spent)
    counts = [(o.name, len(o.records), o.skipped) for o in observers]
    counts.append(("exports", int(best.report is not None), 0))
    pairs = zip(counts, clock.spent, strict=True)
    rows = [(*row, seconds, seconds / training) for row, seconds in pairs]
    return rows, 1e3 * training / (3 * _STEPS.value)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
