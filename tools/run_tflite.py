#!/usr/bin/env python3
"""Run an integer .tflite model on a data set: accuracy, time, and what its zeros save.

    tools/run_tflite.py --model=resnet8.tflite --data=cifar10_test.npz --plot=macs.png
    tools/run_tflite.py --model=kws.tflite --data=mfcc.npz --input_kind=codes --engine=reference
    tools/run_tflite.py --model=resnet8.tflite --data=cifar10_test.npz --engine=litert

Integers of the input's own type are taken for codes, other arrays for real values, which are
multiplied by --input_scale, shifted by --input_shift and quantized as the model's input says.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp import cli
from tfxp.commands.read_data import preprocessing_for, scalings_for
from tfxp.data import AUTO, ModelData, choose_metric, evaluate_metric
from tfxp.data.input_scaling import Scalings
from tfxp.data.model_notes import notes_in
from tfxp.errors import ConfigError, ModelError
from tfxp.files import atomic_path, write_json
from tfxp.graph import Tensor
from tfxp.interpreter import Interpreter, Report
from tfxp.interpreter.encoding import CODE_LIMITS, decode_output, encode_input
from tfxp.progress import Progress
from tfxp.runtimes import open_runtime
from tfxp.streams import open_data

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model("Model: .tflite.")
_DATA = _FLAGS.data("Samples to run, with labels if accuracy is wanted.")
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_FLAGS.preprocessing()
_FLAGS.input_scale()
_FLAGS.input_shift()
_INPUT_KIND = _FLAGS.input_kind()
_METRIC = _FLAGS.metric()
_ARITHMETIC = _FLAGS.DEFINE_enum(
    "arithmetic",
    "litert",
    ["litert", "builtin"],
    "Whose rounding: LiteRT's default engine or its BUILTIN_REF kernels.",
)
_ENGINE = _FLAGS.DEFINE_enum(
    "engine",
    "fast",
    ["reference", "fast", "litert"],
    "Compiled kernels that skip zeros, their NumPy definition, or LiteRT itself.",
)
_THREADS = _FLAGS.DEFINE_integer("threads", 1, "Images side by side.", lower_bound=1)
_ACCUMULATOR = _FLAGS.DEFINE_integer(
    "accumulator_bits",
    None,
    "Study a narrower accumulator: results and overflow counts are those it would give.",
    lower_bound=2,
    upper_bound=64,
)
_OVERFLOW = _FLAGS.DEFINE_enum(
    "accumulator_overflow", "wrap", ["wrap", "saturate"], "What that accumulator does."
)
_PLOT = _FLAGS.plot("Save a bar chart of MACs per layer")
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()
_IMAGES_A_STEP = 256


class _LiteRt:
    """LiteRT behind the one call that the loop below uses."""

    def __init__(self, path: str) -> None:
        runtime = "litert" if _ARITHMETIC.value == "litert" else "reference"
        content, threads = Path(path).read_bytes(), _THREADS.value
        self._engine = open_runtime(runtime, content, threads=threads, patience=None, name=path)

    def predict_codes(self, x: list[NDArray[Any]]) -> NDArray[Any]:
        """Codes of the first output, image by image."""
        return self._engine.run(x, singly=True)[0]


def load_model() -> tuple[Any, list[Tensor], Tensor, dict[str, Any]]:
    """What runs it, its inputs, its first output, and its notes."""
    engine = "fast" if _ENGINE.value == "litert" else _ENGINE.value
    runner = Interpreter(
        _MODEL.value,
        _ARITHMETIC.value,
        engine,
        threads=_THREADS.value,
        accumulator_bits=_ACCUMULATOR.value,
        accumulator_overflow=_OVERFLOW.value,
    )
    graph = runner.graph
    if not graph.inputs or not graph.outputs:
        raise ModelError(
            f"model {_MODEL.value}: got {len(graph.inputs)} inputs and {len(graph.outputs)} "
            "outputs; expected one of each at least."
        )
    sources = [graph.tensors[index] for index in graph.inputs]
    ends = sources, graph.tensors[graph.outputs[0]], notes_in(graph.metadata)
    if _ENGINE.value == "litert":
        if _ACCUMULATOR.value:
            raise ConfigError("accumulator_bits: got --engine=litert; expected fast or reference")
        return _LiteRt(_MODEL.value), *ends
    return runner, *ends


def run_all(runner: Any, codes: list[NDArray[Any]]) -> tuple[NDArray[Any], float]:
    """Output codes of the first model output, and the seconds the runs took."""
    parts, seconds = [], 0.0
    runner.predict_codes([part[:1] for part in codes])  # compiles, which is not part of the time
    if isinstance(runner, Interpreter):
        runner.reset_counters()
    count = len(codes[0])
    with Progress(count, f"{_ENGINE.value} engine", "image", _PROGRESS.value) as bar:
        for start in range(0, count, _IMAGES_A_STEP):
            piece = [np.ascontiguousarray(part[start : start + _IMAGES_A_STEP]) for part in codes]
            began = time.perf_counter()
            result = runner.predict_codes(piece)
            seconds += time.perf_counter() - began
            parts.append(result[0] if isinstance(result, list) else result)
            bar.step(len(piece[0]))
    return np.concatenate(parts), seconds


def plot_macs(report: Report, path: str) -> None:
    """Saves a bar chart: per layer, MACs executed and skipped for either reason."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{row.index} {row.type}" for row in report.rows]
    figure, axes = pyplot.subplots(figsize=(8, 1.5 + 0.3 * len(names)), layout="constrained")
    left = np.zeros(len(names))
    for field, label, colour in (
        ("macs_executed", "executed", "#2b6cb0"),
        ("macs_skipped_activation", "skipped: zero activation", "#a0c4e8"),
        ("macs_skipped_weight", "skipped: zero weight", "#e2e8f0"),
    ):
        widths = np.array([getattr(row.counters, field) for row in report.rows]) / 1e6
        axes.barh(names, widths, left=left, label=label, color=colour)
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel("million multiply-accumulates")
    figure.legend(loc="outside upper center", ncols=3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


def _feeds(sources: list[Tensor], data: ModelData, known: Scalings) -> list[NDArray[Any]]:
    """Codes of every input: those of the file, or real values scaled and encoded."""
    kinds = [_INPUT_KIND.value if source.scale else "auto" for source in sources]
    triples = list(zip(sources, data.parts, kinds, strict=True))
    if all(kind == "codes" or part.x.dtype == source.dtype for source, part, kind in triples):
        if not _FLAGS.scaling_given:
            return [encode_input(source, part.x, kind) for source, part, kind in triples]
    scaled, _ = _FLAGS.scaled(data, [source.name for source in sources], known)
    cli.warn_of_saturation(scaled, {source.name: _range(source) for source in sources})
    return [
        encode_input(source, part.x if not source.scale else real.x, kind)
        for (source, part, kind), real in zip(triples, scaled.parts, strict=True)
    ]


def _range(tensor: Tensor) -> tuple[float, float] | None:
    """What an input can hold; None where it takes codes, or float."""
    if not tensor.scale or tensor.dtype.kind == "f":
        return None
    low, high = CODE_LIMITS[tensor.type]
    return tuple((code - tensor.zero_point) * tensor.scale for code in (low, high))


def main() -> None:
    """Load, run, print."""
    runner, sources, target, notes = load_model()
    shapes = {source.name: source.sample_shape for source in sources}
    steps = preprocessing_for(_FLAGS, notes)
    data = open_data(
        _DATA.value, shapes, split=_SPLIT.value, limit=_LIMIT.value, preprocessing=steps
    ).in_memory()
    scalings = scalings_for(steps, notes, list(shapes))
    feeds = _feeds(sources, data, scalings)
    codes, seconds = run_all(runner, feeds)
    figures: dict[str, Any] = {
        "model": str(_MODEL.value),
        "engine": _ENGINE.value,
        "arithmetic": _ARITHMETIC.value,
        "samples": len(data),
        "seconds": seconds,
        "images_per_second": len(data) / max(seconds, 1e-9),
    }
    metric = _METRIC.value
    if data.y is not None:
        # order and ties are those of the codes; errors are measured on real values
        metric = choose_metric(codes.shape, data) if metric == AUTO else metric
        outputs = codes if metric in ("accuracy", "top5") else decode_output(target, codes)
        figures[metric] = evaluate_metric(metric, outputs, data)
    if _ENGINE.value != "litert":
        report = runner.report()
        figures.update(report.to_dict())
        print(f"{report}\n")
        if _PLOT.value:
            plot_macs(report, _PLOT.value)
    for name in (metric, "samples", "seconds", "images_per_second"):
        if name in figures:
            print(f"{name:18s} {figures[name]:.6g}")
    if _JSON.value:
        write_json(_JSON.value, figures)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
