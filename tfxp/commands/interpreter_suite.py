"""Times the interpreter against LiteRT over many files, each in a process of its own.

A file that LiteRT does not survive costs its own row only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfxp import cli
from tfxp.commands.interpreter_timing import (
    Feeds,
    Runs,
    batch_speed,
    interleave,
    litert_run,
    tfxp_run,
)
from tfxp.data import load_npz
from tfxp.errors import DataError, ModelError, TfxpError
from tfxp.graph import IntegerGraph, Tensor, read_tflite
from tfxp.interpreter import Interpreter
from tfxp.interpreter.encoding import encode_input
from tfxp.progress import Progress

#: Images that a file is timed on, and seconds that it may take.
_IMAGES, _SECONDS = 16, 600
_BATCH_ROUNDS = 5
#: Rows of random whole numbers that have no scale, such as tokens: small, to be in any table.
_SMALL = 4


@dataclass(frozen=True)
class Suite:
    """What to time, and how.

    Args:
        files: `.tflite` files.
        data: per file, samples to run on; None for drawn codes.
        rounds: interleaved rounds.
        seed: of the drawn codes.
        batches: whether to time `predict_codes` as well.
    """

    files: tuple[Path, ...]
    data: tuple[Path | None, ...]
    rounds: int
    seed: int
    batches: bool


def find_suite(
    places: Sequence[str], data_folder: str | None, rounds: int, seed: int, batches: bool
) -> Suite:
    """The files of a suite.

    Args:
        places: files, and folders with files at any depth.
        data_folder: folder with NAME.npz for a file NAME.tflite; files without one get drawn codes.
        rounds, seed, batches: see `Suite`.

    Raises:
        ModelError: a place that does not exist, or no file at all.
    """
    files: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise ModelError(f"suite: got {str(place)!r}, which does not exist; expected a file")
        files += sorted(place.rglob("*.tflite")) if place.is_dir() else [place]
    if not files:
        raise ModelError(f"suite: got {', '.join(places)} without .tflite files; expected some")
    data: list[Path | None] = []
    for file in files:
        beside = Path(data_folder) / f"{file.stem}.npz" if data_folder else None
        data.append(beside if beside is not None and beside.exists() else None)
    return Suite(tuple(files), tuple(data), rounds, seed, batches)


def time_suite(suite: Suite, show: bool | None) -> list[dict[str, Any]]:
    """A row of figures per file: those of `time_file`, or why there are none ("error")."""
    rows = []
    with Progress(len(suite.files), "timing", "file", show) as bar:
        for file, data in zip(suite.files, suite.data, strict=True):
            task = [str(file), None if data is None else str(data), suite.rounds, suite.seed]
            rows.append({"model": str(file), **_in_own_process([*task, suite.batches])})
            bar.step()
    return rows


def _in_own_process(task: list[Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, json.dumps(task)]
    folder = str(Path(__file__).parent.parent.parent)
    paths = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, check=False, text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"took over {_SECONDS} s"}
    if done.returncode:
        return {
            "error": f"ended with {done.returncode}: {(done.stderr.split(chr(10)) or [''])[-1]}"
        }
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def time_file(file: str, data: str | None, rounds: int, seed: int, batches: bool) -> dict[str, Any]:
    """Figures of one file.

    Returns:
        "seconds" by name of the run, "executed_share" of the MACs, "batch_1" and "batch_2": images
        per second of predict_codes on one and two threads over those of single invokes.
    """
    content = Path(file).read_bytes()
    graph = read_tflite(content)
    feeds = _feeds(graph, data, seed)
    runs: Runs = {
        "tfxp": tfxp_run(content, feeds),
        "tfxp builtin": tfxp_run(content, feeds, arithmetic="builtin"),
        "LiteRT default": litert_run(content, feeds, "AUTO"),
        "LiteRT builtin": litert_run(content, feeds, "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
        "LiteRT BUILTIN_REF": litert_run(content, feeds, "BUILTIN_REF"),
    }
    silent = Progress(None, "", show=False)
    figures: dict[str, Any] = {"seconds": interleave(runs, len(feeds[0]), rounds, silent)}
    counter = Interpreter(model_content=content)
    counter.predict_codes(feeds if len(feeds) > 1 else feeds[0])
    report = counter.report()
    figures["executed_share"] = report.macs_executed / max(report.macs_total, 1)
    figures["macs"] = report.macs_total / len(feeds[0])
    if batches:
        for threads in (1, 2):
            figures[f"batch_{threads}"] = batch_speed(content, feeds, threads, _BATCH_ROUNDS)
    return figures


def _feeds(graph: IntegerGraph, data: str | None, seed: int) -> Feeds:
    """Codes of some images for every input of a graph."""
    rng = np.random.default_rng(seed)
    sources = [graph.tensors[index] for index in graph.inputs]
    for source in sources:
        if source.shape[:1] != (1,):
            raise DataError(f"input {source.name!r}: got {source.shape}; expected one image")
    if data is None or len(sources) > 1:
        return [_drawn(source, rng) for source in sources]
    samples = load_npz(data, None, _IMAGES).shaped(sources[0].shape[1:])
    return [encode_input(sources[0], samples.x, "auto")]


def _drawn(source: Tensor, rng: np.random.Generator) -> Any:
    shape = (_IMAGES, *source.shape[1:])
    if source.dtype.kind == "f":
        return rng.normal(size=shape).astype(source.dtype)
    limits = np.iinfo(source.dtype)
    high = limits.max if source.quantization is not None else min(_SMALL, limits.max)
    low = limits.min if source.quantization is not None else 0
    return rng.integers(low, high, shape, endpoint=True).astype(source.dtype)


def suite_table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of a suite, and what could not be timed."""
    header = ["file", "tfxp ms", "vs default", "vs builtin", "vs REF", "MACs run", "builtin ms",
              "over litert", "batch", "2 threads"]  # fmt: skip
    lines, refused = [], []
    for row in rows:
        name = Path(row["model"]).name
        if "error" in row:
            refused.append(f"{name}: {row['error']}")
            continue
        seconds = row["seconds"]
        own, builtin = seconds["tfxp"], seconds["tfxp builtin"]
        others = ("LiteRT default", "LiteRT builtin", "LiteRT BUILTIN_REF")
        lines.append([
            name, own * 1e3, *(seconds[other] / own for other in others),
            f"{row['executed_share']:.0%}", builtin * 1e3, builtin / own,
            row.get("batch_1", ""), row.get("batch_2", ""),
        ])  # fmt: skip
    table = cli.format_table(header, lines) if lines else ""
    return "\n".join([table, *(f"not timed: {line}" for line in refused)])


if __name__ == "__main__":
    try:
        print(json.dumps(time_file(*json.loads(sys.argv[1]))))
    except (TfxpError, ValueError, RuntimeError) as problem:
        print(json.dumps({"error": " ".join(str(problem).split())[:200]}))
