#!/usr/bin/env python3
"""Time the interpreter against LiteRT: one process, one thread, interleaved rounds, medians.

    tools/bench_interpreter.py --model=resnet8.tflite --data=cifar10_test.npz
    tools/bench_interpreter.py --suite=models/,net.tflite --suite_data=samples/
    tools/bench_interpreter.py --sweep --json=bench.json
    tools/bench_interpreter.py --suite=models/ --isa=avx2

A model is timed image by image on real data (natural zeros). A suite is any number of files and
folders, each file in a process of its own, on NAME.npz from the folder of samples or on drawn
codes; its columns are the time of an image in litert arithmetic; how many times faster that is than
LiteRT's default engine, its builtin kernels and BUILTIN_REF; executed MACs; the time in builtin
arithmetic, and over litert; images per second of predict_codes over single invokes, on one and on
two threads. The sweep times one 3x3 convolution, 64 to 64 channels, at 0 to 95 % zero activations
and with ternary and pruned weights, skipping on and off.
Times are processor time of the one thread that works, which other processes on the machine
disturb less than the clock on the wall. Ratios of one run compare; milliseconds of different runs
or machines do not. With --isa=avx2 all of them run as on a processor without AVX-512, VNNI and AMX,
where Linux and the processor can hide these.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp import cli
from tfxp.commands.as_avx2 import is_avx2_only, run_as_avx2
from tfxp.commands.doctor import processor
from tfxp.commands.interpreter_suite import find_suite, suite_table, time_suite
from tfxp.commands.interpreter_timing import Runs, interleave, litert_run, tfxp_run
from tfxp.data import load_npz
from tfxp.errors import ConfigError
from tfxp.files import write_json
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, read_tflite, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.interpreter.encoding import encode_input
from tfxp.progress import Progress

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.DEFINE_string("model", None, "Model to time: .tflite.")
_DATA = _FLAGS.data("Samples to run the model on.", required=False)
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_INPUT_SCALE = _FLAGS.input_scale()
_INPUT_SHIFT = _FLAGS.input_shift()
_INPUT_KIND = _FLAGS.input_kind()
_SUITE = _FLAGS.DEFINE_list("suite", None, "Files and folders of .tflite files to time.")
_SUITE_DATA = _FLAGS.DEFINE_string("suite_data", None, "Folder with NAME.npz for NAME.tflite.")
_BATCHES = _FLAGS.DEFINE_boolean("batches", True, "Time predict_codes in a suite.")
_SWEEP = _FLAGS.DEFINE_boolean("sweep", False, "Time the sweep over zeros as well.")
_SIZE = _FLAGS.DEFINE_integer("size", 32, "Height and width in the sweep.", lower_bound=3)
_ROUNDS = _FLAGS.DEFINE_integer("rounds", 31, "Interleaved rounds.", lower_bound=3)
_ISA = _FLAGS.DEFINE_enum(
    "isa", "native", ["native", "avx2"], "Instructions: all of this processor, or up to AVX2."
)
_SEED = _FLAGS.seed()
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()


def all_runs(content: bytes, codes: NDArray[Any]) -> Runs:
    """Everything that is compared, by name."""
    return {
        "tfxp": tfxp_run(content, [codes]),
        "tfxp, no skipping": tfxp_run(content, [codes], skip_zeros=False),
        "LiteRT default": litert_run(content, [codes], "AUTO"),
        "LiteRT builtin": litert_run(content, [codes], "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
        "LiteRT BUILTIN_REF": litert_run(content, [codes], "BUILTIN_REF"),
    }


def convolution(size: int, rng: np.random.Generator, kind: str, zeros: float) -> bytes:
    """A 3x3 convolution of 64 to 64 channels as a model, with a share of its weights zero."""
    channels = 64
    shape = (channels, 3, 3, channels)
    values = np.array([-1, 1]) if kind == "ternary" else np.arange(1, 128)
    weights = (rng.choice(values, shape) * rng.choice([-1, 1], shape)).astype(np.int8)
    weights[rng.random(shape) < zeros] = 0
    scale = Quantization(np.full(channels, 0.01), np.zeros(channels), 0)
    image = (1, size, size, channels)
    graph = IntegerGraph(
        [
            Tensor("x", image, "INT8", Quantization([0.05], [-128])),
            Tensor("w", weights.shape, "INT8", scale, weights),
            Tensor("b", (channels,), "INT32", scale, np.zeros(channels, np.int32)),
            Tensor("y", image, "INT8", Quantization([1.0], [-128])),
        ],
        inputs=[0],
        outputs=[3],
    )
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "fused_activation_function": "RELU"}
    graph.add_operator(Operator("CONV_2D", [0, 1, 2], [3], options, version=3))
    return write_tflite(graph)


def sweep(bar: Progress) -> list[dict[str, Any]]:
    """A row per share of zeros."""
    rows = []
    rng = np.random.default_rng(_SEED.value)
    for kind, weight_zeros, zeros in SWEEP:
        content = convolution(_SIZE.value, rng, kind, weight_zeros)
        codes = rng.integers(-127, 128, (2, _SIZE.value, _SIZE.value, 64)).astype(np.int8)
        codes[rng.random(codes.shape) < zeros] = -128
        medians = interleave(all_runs(content, codes), len(codes), _ROUNDS.value, bar)
        row = {"weights": kind, "weight_zeros": weight_zeros, "zeros": zeros}
        rows.append({**row, "seconds": medians})
    return rows


#: Weights, share of them that are zero, share of activations that are zero.
SWEEP = [
    *(("int8", 0.0, zeros) for zeros in (0.0, 0.25, 0.5, 0.75, 0.85, 0.9, 0.95)),
    *(("ternary", 0.5, zeros) for zeros in (0.0, 0.5, 0.9)),
    *(("ternary", 0.75, zeros) for zeros in (0.0, 0.5)),
    *(("int8", weight_zeros, 0.0) for weight_zeros in (0.75, 0.9)),
]


def time_model(bar: Progress) -> dict[str, Any]:
    """Medians of a model on its data, start-up times and peak memory."""
    with open(_MODEL.value, "rb") as file:
        content = file.read()
    began = time.perf_counter()
    runner = Interpreter(model_content=content)
    runner.allocate_tensors()
    runner.invoke()
    start = time.perf_counter() - began
    graph = read_tflite(content)
    source = graph.tensors[graph.inputs[0]]
    data = load_npz(_DATA.value, _SPLIT.value, _LIMIT.value or 64).shaped(source.shape[1:])
    plain = _INPUT_SCALE.value == 1 and _INPUT_SHIFT.value == 0
    values = data.x if plain else data.inputs(_INPUT_SCALE.value, _INPUT_SHIFT.value)
    codes = encode_input(source, values, _INPUT_KIND.value)
    medians = interleave(all_runs(content, codes), len(codes), _ROUNDS.value, bar)
    runner.reset_counters()
    runner.predict_codes(codes)
    report = runner.report()
    return {
        "model": str(_MODEL.value),
        "seconds": medians,
        "start_seconds": start,
        "executed_share": report.macs_executed / max(report.macs_total, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def ratio_rows(named: list[tuple[str, dict[str, float]]]) -> list[list[Any]]:
    """Table rows: milliseconds, and how many times faster tfxp is than each other."""
    rows = []
    for name, seconds in named:
        own = seconds["tfxp"]
        others = [other for other in seconds if other != "tfxp"]
        rows.append([name, own * 1e3, *(seconds[other] / own for other in others)])
    return rows


def main() -> None:
    """Time what is asked for, print tables."""
    if _MODEL.value is not None and _DATA.value is None:
        raise ConfigError("data: got none; expected an .npz file to run the model on")
    if _MODEL.value is None and not _SWEEP.value and not _SUITE.value:
        raise ConfigError("nothing to time: expected --model with --data, --suite, or --sweep")
    if _ISA.value == "avx2" and not is_avx2_only():
        sys.exit(run_as_avx2([sys.executable, *sys.orig_argv[1:]]))
    steps = _ROUNDS.value * ((_MODEL.value is not None) + len(SWEEP) * _SWEEP.value)
    figures: dict[str, Any] = {"processor": processor(), "isa": _ISA.value}
    print(f"{figures['processor']}{', as AVX2' * is_avx2_only()}")
    if _SUITE.value:
        batches = bool(_BATCHES.value)
        suite = find_suite(_SUITE.value, _SUITE_DATA.value, _ROUNDS.value, _SEED.value, batches)
        figures["suite"] = time_suite(suite, _PROGRESS.value)
        print(suite_table(figures["suite"]))
    if steps:
        time_one(figures, steps)
    if _JSON.value:
        write_json(_JSON.value, figures)


def time_one(figures: dict[str, Any], steps: int) -> None:
    """Time a model and the sweep, print their table, add the figures."""
    named: list[tuple[str, dict[str, float]]] = []
    with Progress(steps, "timing", "round", _PROGRESS.value) as bar:
        if _MODEL.value is not None:
            figures["model"] = time_model(bar)
            named.append(("model", figures["model"]["seconds"]))
        if _SWEEP.value:
            figures["sweep"] = sweep(bar)
            for row in figures["sweep"]:
                weights = f"{row['weights']} weights, {row['weight_zeros']:.0%} zero"
                named.append((f"{weights}; activations {row['zeros']:.0%}", row["seconds"]))
    others = [name for name in named[0][1] if name != "tfxp"]
    header = ["what", "tfxp ms", *(f"x vs {name}" for name in others)]
    print(cli.format_table(header, ratio_rows(named)))
    if "model" in figures:
        model = figures["model"]
        print(
            f"executed MACs {model['executed_share']:.1%}, start {model['start_seconds']:.2f} s, "
            f"peak memory {model['peak_memory_mib']:.0f} MiB"
        )


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
