#!/usr/bin/env python3
"""A set of images larger than memory through the whole job, and the most memory that it took.

    tools/bench_streams.py --gigabytes=20 --limit_gib=4 --json=streams.json

The images are made up on the fly by tf.data, from the number of each, and never lie on a disk. All
of them are measured; calibration, two steps of fine-tuning, a search and the verification of the
exported file take samples of them (--budget). Every stage prints its seconds and the most memory
that the process has had so far. Address space, which is more than memory, is limited to
--limit_gib.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tfxp
from tfxp import cli
from tfxp.export import export_tflite
from tfxp.files import write_json
from tfxp.keras import keras, layers, tf
from tfxp.progress import Progress
from tfxp.training import FineTuneSettings, fine_tune

_FLAGS = cli.ToolFlags(__doc__)
_GIGABYTES = _FLAGS.DEFINE_float("gigabytes", 20.0, "Size of the set, float32.", 1e-3)
_SIZE = _FLAGS.DEFINE_integer("size", 1024, "Height and width of an image.", lower_bound=64)
_TRIALS = _FLAGS.DEFINE_integer("trials", 10, "Trials of the search.", lower_bound=1)
_BUDGET = _FLAGS.DEFINE_integer("budget", 64, "Images of a trial and of verification.", 1)
_LIMIT = _FLAGS.DEFINE_float("limit_gib", 4.0, "Limit of address space, GiB; 0 for none.", 0.0)
_BATCH_SIZE = _FLAGS.batch_size(4)
_SEED = _FLAGS.seed()
_PROGRESS = _FLAGS.progress()
_JSON = _FLAGS.json()
_CLASSES = 4
_SHIFTS = 2**16  # stretches of the table of noise
_JUDGES = 32  # samples that judge the fine-tuning


class Meter:
    """Seconds, samples and peak memory of stages."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a stage and note what it took."""
        started = time.perf_counter()
        result = work()
        row = {"stage": name, "seconds": time.perf_counter() - started, "peak": peak()}
        row["address_space"] = peak_address_space()
        self.rows.append(row)
        print(f"{name}: {row['seconds']:.1f} s, peak {row['peak'] / 2**20:,.0f} MiB", flush=True)
        return result


def peak() -> int:
    """Most bytes of memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_address_space() -> int:
    """Most bytes of address space, which `ulimit -v` bounds."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmPeak"))
    return int(line.split()[1]) * 1024


def images(count: int) -> Any:
    """(image, class) from numbers: noise around a grey level that the class decides.

    An image is a stretch of one table of noise, so that what is timed is not drawing numbers.
    """
    size = _SIZE.value
    pixels = 3 * size**2
    table = tf.random.stateless_uniform((pixels + _SHIFTS,), (0, _SEED.value), maxval=0.5)

    def cut(number: Any) -> Any:
        label = number % _CLASSES
        noise = tf.reshape(tf.slice(table, [7919 * number % _SHIFTS], [pixels]), (size, size, 3))
        return noise + tf.cast(label, tf.float32) / (2 * _CLASSES), label

    return tf.data.Dataset.range(count).map(cut)


def network() -> Any:
    """A network whose first layer looks at every pixel once."""
    inputs = keras.Input((_SIZE.value, _SIZE.value, 3), name="image")
    x = layers.Conv2D(8, 32, 32, activation="relu")(inputs)
    x = layers.Conv2D(16, 3, 2, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(_CLASSES)(layers.GlobalAveragePooling2D()(x)))


def main() -> None:
    """The whole job on one stream, in a limited process."""
    if _LIMIT.value and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        start_limited()
    whole_job()


def start_limited() -> None:
    """Begin the same command again with the limit, before TensorFlow has made its threads."""
    size = int(_LIMIT.value * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    # Each of glibc's arenas reserves 64 MiB, and there are eight a core.
    environment = os.environ | {"MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    os.execve(sys.executable, command, environment)


def whole_job() -> None:
    """Every stage in turn."""
    keras.utils.set_random_seed(_SEED.value)
    sample = 4 * 3 * _SIZE.value**2
    count = max(int(_GIGABYTES.value * 1e9 / sample), 64)
    data = tfxp.open_data(images(count), {"image": (_SIZE.value, _SIZE.value, 3)})
    model, meter = network(), Meter()
    meter.run("train the float network on 64 images", lambda: trained(model, images(64)))
    stats = meter.run(f"measure {count:,}", lambda: measured(model, data))
    qmodel = tfxp.quantize_model(model, "w6a6", stats)
    meter.run("calibrate on 16", lambda: tfxp.calibrate_model(qmodel, data, samples=16, sweeps=1))
    meter.run("two steps of fine-tuning", lambda: two_steps(qmodel, model, data))
    some = data.take(_BUDGET.value)
    title = f"search, {_TRIALS.value} trials on {some.samples}"
    result = meter.run(title, lambda: searched(model, some, stats))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/net.tflite"
        report = meter.run(f"verify on {some.samples}", lambda: verified(qmodel, path, some))
    print_summary(meter, count * sample, result, report)


def trained(model: Any, data: Any) -> None:
    """A few steps, so that accuracy means something."""
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data.batch(_BATCH_SIZE.value), epochs=3, verbose=0)


def measured(model: Any, data: Any) -> Any:
    """Statistics of all samples."""
    with Progress(data.samples, "measuring", "image", _PROGRESS.value) as bar:
        return tfxp.measure_model(model, data, batch_size=_BATCH_SIZE.value, progress=bar.reach)


def two_steps(qmodel: Any, model: Any, data: Any) -> Any:
    """Two steps of fine-tuning, judged by other samples."""
    size = _BATCH_SIZE.value
    some = data.take(2 * size + _JUDGES)
    settings = FineTuneSettings(1, batch_size=size, held_back=_JUDGES / some.samples)
    return fine_tune(qmodel, some, None, settings, teacher=model)


def searched(model: Any, data: Any, stats: Any) -> Any:
    """A search."""
    search = tfxp.PrecisionSearch(
        model, data, stats=stats, method="random", max_trials=_TRIALS.value, tolerance=0.05,
        batch_size=_BATCH_SIZE.value, weights=(4, 6, 8), activations=(4, 6, 8),
        progress=_PROGRESS.value, metric="accuracy",
    )  # fmt: skip
    return search.run()


def verified(qmodel: Any, path: str, data: Any) -> Any:
    """The exported file against Keras."""
    with Progress(data.samples, "verifying", "image", _PROGRESS.value) as bar:
        return export_tflite(qmodel, path, verify=data, progress=bar.reach).verification


def print_summary(meter: Meter, size: int, result: Any, report: Any) -> None:
    """The table, and the JSON file."""
    mebibyte = 2**20
    table = [
        [
            row["stage"],
            f"{row['seconds']:.1f}",
            *(f"{row[key] / mebibyte:,.0f}" for key in ("peak", "address_space")),
        ]
        for row in meter.rows
    ]
    print(cli.format_table(["stage", "s", "MiB peak", "MiB address space"], table))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    shown = "none" if limit == resource.RLIM_INFINITY else f"{limit / mebibyte:,.0f} MiB"
    print(
        f"{size / 1e9:.1f} GB of images, limit of address space {shown}; {len(result.trials)} "
        f"trials; {report.samples:,} samples verified, {report.mismatches_interpreter} elements "
        f"differ in the interpreter, {report.mismatches_litert} in LiteRT"
    )
    if _JSON.value:
        write_json(_JSON.value, {"bytes": size, "limit": limit, "stages": meter.rows})


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
