#!/usr/bin/env python3
"""Time and memory of the main job on a large network: measure, quantize, export.

    tools/bench_memory.py --network=vgg16 --images=4 --json=memory.json

The network has random weights and the images are random; neither changes what the job costs. Every
stage prints its seconds and the most memory that the process has had so far above what it had
after its imports, also as a multiple of the network's weights in float32.
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

import numpy as np

import tfxp
from tfxp import cli
from tfxp.export import export_tflite
from tfxp.files import write_json
from tfxp.keras import keras
from tfxp.measure import measure_model
from tfxp.progress import Progress

NETWORKS = {
    "vgg16": lambda: keras.applications.VGG16(weights=None),
    "vgg19": lambda: keras.applications.VGG19(weights=None),
    "mobilenet": lambda: keras.applications.MobileNet(weights=None),
}
BAR = 4.5

_FLAGS = cli.ToolFlags(__doc__)
_NETWORK = _FLAGS.DEFINE_enum("network", "vgg16", sorted(NETWORKS), "Network to take.")
_IMAGES = _FLAGS.DEFINE_integer("images", 4, "Images to measure on.", lower_bound=1)
_PRECISION = _FLAGS.precision(default="w16a16")
_OUTPUT = _FLAGS.output("File to export to (default: one that is thrown away).", ".tflite")
_SEED = _FLAGS.seed()
_PROGRESS = _FLAGS.progress()
_JSON = _FLAGS.json()


class Meter:
    """Seconds and peak memory of stages, above what the process had when it was made."""

    def __init__(self) -> None:
        self.base = resident()
        self.weights = 1
        self.rows: list[dict[str, Any]] = []

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a stage and note what it took."""
        started = time.perf_counter()
        result = work()
        row = {
            "stage": name,
            "seconds": time.perf_counter() - started,
            "resident": resident() - self.base,
            "peak": peak() - self.base,
        }
        self.rows.append(row)
        print(f"{name}: {row['seconds']:.1f} s", file=sys.stderr, flush=True)
        return result


def resident() -> int:
    """Bytes of memory that the process has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Most bytes that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Run the job; 1 if it took more memory than the bar."""
    meter = Meter()
    qmodel = quantized(meter)
    with tempfile.TemporaryDirectory() as folder:
        path = _OUTPUT.value or f"{folder}/{_NETWORK.value}.tflite"
        report = meter.run("export", lambda: export_tflite(qmodel, path))
    return summary(meter, report)


def quantized(meter: Meter) -> Any:
    """Build, measure, quantize; the float model is gone when this returns."""
    keras.utils.set_random_seed(_SEED.value)
    model = meter.run("build", NETWORKS[_NETWORK.value])
    meter.weights = 4 * model.count_params()
    shape = (_IMAGES.value, *model.input_shape[1:])
    x = np.random.default_rng(_SEED.value).integers(0, 256, shape).astype(np.float32) / 255
    with Progress(len(x), "measuring", "image", _PROGRESS.value) as bar:
        stats = meter.run("measure", lambda: measure_model(model, x, progress=bar.reach))
    precision = cli.read_precision(_PRECISION.value)
    return meter.run("quantize", lambda: tfxp.quantize_model(model, precision, stats))


def summary(meter: Meter, report: Any) -> int:
    """Print the table; 1 above the bar."""
    megabyte, weights = 2**20, meter.weights
    table = [
        [
            row["stage"],
            f"{row['seconds']:.1f}",
            *(f"{row[key] / megabyte:,.0f}" for key in ("resident", "peak")),
            f"{row['peak'] / weights:.2f}",
        ]
        for row in meter.rows
    ]
    print(cli.format_table(["stage", "s", "MiB now", "MiB peak", "of the weights"], table))
    ratio = meter.rows[-1]["peak"] / weights
    print(
        f"{_NETWORK.value}: {weights / megabyte:,.0f} MiB of float weights, file of "
        f"{report.tflite_bytes / megabyte:,.0f} MiB; peak {ratio:.2f} of the weights "
        f"(bar {BAR}): {'yes' if ratio <= BAR else 'NO'}"
    )
    if _JSON.value:
        figures = {"network": _NETWORK.value, "weight_bytes": weights, "base": meter.base}
        write_json(_JSON.value, {**figures, "stages": meter.rows, "ratio": ratio})
    return 0 if ratio <= BAR else 1


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
