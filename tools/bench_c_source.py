#!/usr/bin/env python3
"""The C program of a file: its bytes, whether it computes the same, and its time beside LiteRT.

    tools/bench_c_source.py --model=resnet8_w4a4.tflite --data=cifar10_test.npz --limit=1000

Writes the program, compiles it with and without skipping products with zero, and compares its
outputs with LiteRT's default engine on all samples. Then it times both programs and LiteRT's
reference kernels (BUILTIN_REF, one thread) on --images samples in interleaved rounds: medians of
processor time. Where arm-none-eabi-gcc and qemu-system-arm are installed, it adds the bytes of code
and runs --cortex_m4_images samples on an emulated Cortex-M4. Exits with 1 if an output differs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp import cli
from tfxp.csource import compile_c_program, run_compiled, write_c_source
from tfxp.data import load_npz
from tfxp.files import write_json
from tfxp.graph import read_tflite
from tfxp.interpreter.encoding import encode_input
from tfxp.progress import Progress
from tfxp.runtimes import open_runtime

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.DEFINE_string("model", None, "File to write as C: .tflite.", required=True)
_DATA = _FLAGS.data("Samples to run it on.")
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_INPUT_SCALE = _FLAGS.input_scale()
_INPUT_SHIFT = _FLAGS.input_shift()
_INPUT_KIND = _FLAGS.input_kind()
_IMAGES = _FLAGS.DEFINE_integer("images", 20, "Samples that are timed.", lower_bound=1)
_ROUNDS = _FLAGS.DEFINE_integer("rounds", 15, "Interleaved rounds.", lower_bound=3)
_CORTEX = _FLAGS.DEFINE_integer(
    "cortex_m4_images", 20, "Samples for an emulated Cortex-M4; 0 leaves it out.", lower_bound=0
)
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()


def read_codes(content: bytes) -> NDArray[Any]:
    """Codes of the samples for the file's input."""
    graph = read_tflite(content)
    source = graph.tensors[graph.inputs[0]]
    data = load_npz(_DATA.value, _SPLIT.value, _LIMIT.value).shaped(source.shape[1:])
    plain = _INPUT_SCALE.value == 1 and _INPUT_SHIFT.value == 0
    values = data.x if plain else data.inputs(_INPUT_SCALE.value, _INPUT_SHIFT.value)
    return encode_input(source, values, _INPUT_KIND.value)


def differing(folder: Path, content: bytes, codes: NDArray[Any]) -> tuple[int, int]:
    """Outputs that differ between the C program and LiteRT's default engine, and all of them."""
    program = compile_c_program(folder, folder / "run_model")
    ours = run_compiled(program, folder, [codes])
    with open_runtime("litert", content) as engine:
        theirs = engine.run([codes])
    wrong = sum(int((a != b).sum()) for a, b in zip(ours, theirs, strict=True))
    return wrong, sum(part.size for part in theirs)


def program_seconds(program: Path, folder: Path) -> float:
    """Processor time of one sample, as the test program of the folder measures it."""
    said = subprocess.run([program], cwd=folder, capture_output=True, text=True, check=True).stdout
    found = re.search(r"([\d.]+) us each", said)
    assert found is not None, said
    return float(found[1]) * 1e-6


def reference_seconds(content: bytes, codes: NDArray[Any]) -> Any:
    """A function that times LiteRT's reference kernels on the samples, one by one."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF
    runner = Interpreter(model_content=content, experimental_op_resolver_type=kind, num_threads=1)
    runner.allocate_tensors()
    index = runner.get_input_details()[0]["index"]

    def seconds() -> float:
        began = time.thread_time()
        for image in codes:
            runner.set_tensor(index, image[None])
            runner.invoke()
        return (time.thread_time() - began) / len(codes)

    return seconds


def timed(folder: Path, content: bytes, codes: NDArray[Any], bar: Progress) -> dict[str, float]:
    """Median seconds a sample: skipping, not skipping, LiteRT's reference kernels."""
    runs = {}
    for name, skips in (("skipping", True), ("not skipping", False)):
        program = folder / f"test_{int(skips)}"
        compile_c_program(folder, program, main="test_model.c", skip_zeros=skips)
        runs[name] = lambda program=program: program_seconds(program, folder)
    runs["LiteRT BUILTIN_REF"] = reference_seconds(content, codes)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS.value):
        for name, run in runs.items():
            seconds[name].append(run())
        bar.step()
    return {name: float(np.median(values)) for name, values in seconds.items()}


def on_cortex_m4(graph: Any, codes: NDArray[Any], folder: Path) -> dict[str, Any]:
    """Bytes of code, and outputs that differ on the emulated processor; empty without the tools."""
    tools = shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")
    if not tools or not _CORTEX.value:
        return {}
    written = write_c_source(graph, folder, [codes], limit=_CORTEX.value)
    said = subprocess.run(
        ["make", "-s", "size"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    text = int(said.splitlines()[1].split()[0])
    done = subprocess.run(
        ["make", "-s", "test_cortex_m4"], cwd=folder, capture_output=True, text=True
    )
    found = re.search(r"(\d+) samples, (\d+) of (\d+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    samples, wrong, outputs = map(int, found.groups())
    return {
        "code_bytes": text - written.flash_bytes,
        "cortex_m4": {"samples": samples, "outputs": outputs, "differing": wrong},
    }


def measure(folder: Path, bar: Progress) -> dict[str, Any]:
    """All figures of the model."""
    content = Path(_MODEL.value).read_bytes()
    codes, graph = read_codes(content), read_tflite(content)
    timing = codes[: _IMAGES.value]
    done = write_c_source(graph, folder / "host", [timing])
    wrong, outputs = differing(folder / "host", content, codes)
    return {
        "model": str(_MODEL.value),
        "file_bytes": len(content),
        "constant_bytes": done.flash_bytes,
        "ram_bytes": done.ram_bytes,
        "arena_bytes": done.arena_bytes,
        "host": {"samples": len(codes), "outputs": outputs, "differing": wrong},
        **on_cortex_m4(graph, codes, folder / "arm"),
        "seconds": timed(folder / "host", content, timing, bar),
    }


def rows_of(figures: dict[str, Any]) -> list[list[object]]:
    """The table for people."""
    seconds, host = figures["seconds"], figures["host"]
    reference = seconds["LiteRT BUILTIN_REF"]
    rows: list[list[object]] = [
        ["constants", f"{figures['constant_bytes']:,} bytes"],
        ["code for a Cortex-M4", f"{figures.get('code_bytes', 0):,} bytes"],
        ["RAM", f"{figures['ram_bytes']:,} bytes"],
        ["differing from LiteRT", f"{host['differing']:,} of {host['outputs']:,}"],
    ]
    if arm := figures.get("cortex_m4"):
        told = f"{arm['differing']} of {arm['outputs']} ({arm['samples']} samples)"
        rows.append(["differing on a Cortex-M4", told])
    for name, value in seconds.items():
        rows.append([name, f"{value * 1e3:.2f} ms, {value / reference:.2f} x BUILTIN_REF"])
    return rows


def main() -> int:
    """Measure one file and print a table; 1 if an output differs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(_ROUNDS.value, "timing", "round", _PROGRESS.value) as bar,
    ):
        figures = measure(Path(folder), bar)
    print(cli.format_table(["", figures["model"]], rows_of(figures)))
    if _JSON.value:
        write_json(_JSON.value, figures)
    arm = figures.get("cortex_m4", {"differing": 0})
    return int(figures["host"]["differing"] + arm["differing"] > 0)


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
