"""What tfxp finds on a machine: versions, the processor, compilers, and whether it works."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from tfxp.dependencies import TESTED, version_of
from tfxp.version import __version__

_REQUIRED = (
    "tensorflow", "tf_keras", "tensorflow-model-optimization", "keras-tuner", "ai-edge-litert",
    "numpy", "numba",
)  # fmt: skip
#: Optional package -> what it is for, and the command that installs it.
_OPTIONAL = {"tflite-micro": ("verifying on TFLM", 'pip install "tfxp[tflm]"')}
#: Program -> what it is for, and what installs it on Debian and Ubuntu.
_PROGRAMS = {
    "cc": ("running the network as C", "apt-get install gcc make"),
    "arm-none-eabi-gcc": (
        "C for a Cortex-M4", "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"
    ),
    "qemu-system-arm": ("an emulated Cortex-M4", "apt-get install qemu-system-arm"),
}  # fmt: skip
_FEATURES = ("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        subject: a package, a program, the processor.
        found: its version or path; "" if it is missing.
        note: its purpose, or the command that mends it.
        wrong: whether tfxp cannot do without it.
    """

    subject: str
    found: str
    note: str = ""
    wrong: bool = False


def inspect_machine() -> list[Finding]:
    """Versions, processor and programs, without loading TensorFlow."""
    found = [Finding("Python", platform.python_version())]
    found.append(Finding("tfxp", __version__))
    for package in _REQUIRED:
        found.append(_required(package))
    for package, (purpose, command) in _OPTIONAL.items():
        version = version_of(package) or ""
        found.append(Finding(package, version, f"for {purpose}" + f": {command}" * (not version)))
    found.append(Finding("processor", processor(), f"{os.cpu_count()} cores"))
    for program, (purpose, command) in _PROGRAMS.items():
        path = shutil.which(program) or ""
        found.append(Finding(program, path, f"for {purpose}" + f": {command}" * (not path)))
    return found


def _required(package: str) -> Finding:
    version = version_of(package)
    if version is None:
        return Finding(package, "", f'pip install "{package}"', wrong=True)
    tested = TESTED.get(package)
    same = tested is None or version.split(".")[:2] == tested.split(".")[:2]
    return Finding(package, version, "" if same else f"tested with {tested}")


def processor() -> str:
    """The processor's name, and the features that kernels are written for."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    have = set(values.get("flags", values.get("Features", "")).split())
    name = values.get("model name", platform.machine())
    return f"{name} ({', '.join(f for f in _FEATURES if f in have) or 'no vector unit known'})"


def self_test() -> str:
    """Quantize, export and run a small network on LiteRT; a sentence.

    Raises:
        TfxpError: something in this chain does not work.
    """
    started = time.monotonic()
    from tfxp.export import export_tflite
    from tfxp.keras import keras, layers
    from tfxp.measure import measure_model
    from tfxp.quantization import quantize_model

    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    samples = np.random.default_rng(1).normal(size=(64, 8, 8, 1)).astype(np.float32)
    qmodel = quantize_model(model, "w4a4", measure_model(model, samples))
    with tempfile.TemporaryDirectory() as folder:
        report = export_tflite(qmodel, Path(folder) / "model.tflite", verify=samples)
    checked = report.verification
    assert checked is not None
    return (
        f"a small network was quantized, exported and run: {checked.mismatches_litert} of "
        f"{checked.elements:,} values differ between Keras and LiteRT "
        f"({time.monotonic() - started:.1f} s)"
    )
