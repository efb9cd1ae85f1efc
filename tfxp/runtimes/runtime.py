"""The runtimes that files are verified on: their names, whose they are, and their versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any, Literal

from tfxp.errors import ConfigError, did_you_mean

Family = Literal["litert", "tflm", "compiled_model", "c"]


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Something that runs `.tflite` files.

    Args:
        name: what flags and arguments call it.
        title: what sentences call it.
        family: the program that holds a file for it.
        package: where its version comes from, as pip knows it; "" for a C compiler.
        install: what to run where it is missing.
        options: further settings of the program.
        stacks: whether samples can be run as one batch; otherwise they go one by one.
        hidden_types: types of tensors that it does not hand out.
    """

    name: str
    title: str
    family: Family
    package: str
    install: str
    options: tuple[tuple[str, Any], ...] = ()
    stacks: bool = False
    hidden_types: tuple[str, ...] = ()

    def version(self) -> str:
        """Package and version, or the compiler's first line; "" where it is missing."""
        if self.package:
            try:
                return f"{self.package} {importlib.metadata.version(self.package)}"
            except importlib.metadata.PackageNotFoundError:
                return ""
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            return ""
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
        return said.partition("\n")[0].strip()


def _litert(name: str, title: str, resolver: str) -> Runtime:
    """A set of operators of LiteRT's interpreter, in its own word for it."""
    package = "ai-edge-litert"
    options = (("resolver", resolver),)
    return Runtime(name, title, "litert", package, f"pip install {package}", options, stacks=True)


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        _litert("litert", "LiteRT", "AUTO"),
        _litert("reference", "LiteRT with its reference kernels", "BUILTIN_REF"),
        _litert("builtin", "LiteRT without XNNPACK", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
        Runtime(
            "tflm",
            "LiteRT for Microcontrollers",
            "tflm",
            "tflite-micro",
            'pip install "tfxp[tflm]"',
        ),
        Runtime(
            "compiled_model",
            "LiteRT's CompiledModel",
            "compiled_model",
            "ai-edge-litert",
            'pip install --upgrade "ai-edge-litert>=2"',
            hidden_types=("INT16",),  # its buffers take none
        ),
        Runtime(
            "c",
            "the C program",
            "c",
            "",
            "apt-get install gcc, or name a compiler in CC",
            hidden_types=("INT16", "INT32"),  # steps on the way through an operator
        ),
    )
}


def runtime_named(name: str) -> Runtime:
    """The runtime of a name.

    Args:
        name: one of `tfxp.runtimes`' names, such as "litert" or "tflm".

    Raises:
        ConfigError: there is none.
    """
    if name not in RUNTIMES:
        raise ConfigError(
            f"runtimes: got {name!r}; expected some of {', '.join(RUNTIMES)}, or all."
            f"{did_you_mean(name, RUNTIMES)}"
        )
    return RUNTIMES[name]


def runtimes_of(names: Iterable[str] | str) -> tuple[Runtime, ...]:
    """The runtimes of a list of names, each once and in the order of the list.

    Args:
        names: some of `RUNTIMES`, a list or with commas between them; "all" stands for all.

    Raises:
        ConfigError: a name is unknown.

    Example:
        >>> [runtime.title for runtime in runtimes_of(["tflm", "litert", "tflm"])]
        ['LiteRT for Microcontrollers', 'LiteRT']
    """
    listed = names.split(",") if isinstance(names, str) else names
    single = [[*RUNTIMES] if name.strip() == "all" else [name.strip()] for name in listed]
    return tuple(runtime_named(name) for name in dict.fromkeys(sum(single, [])))
