"""Runs a written C program on this machine."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.write_c import rows_of
from tfxp.errors import DataError, DependencyError, ModelError
from tfxp.files import PathLike

_DTYPES = {"int8_t": np.int8, "int32_t": np.int32}
#: Programs of their own in the folder, of which one is built.
_MAINS = ("test_model.c", "run_model.c", "cortex_m4.c")


def run_c_program(
    folder: PathLike, inputs: NDArray[Any] | Sequence[NDArray[Any]], *, skip_zeros: bool = True
) -> list[NDArray[np.int8]]:
    """Compile the C program of a network and run it.

    The compiler is `cc`, or what the environment variable CC names. Nothing is left in the folder.

    Args:
        folder: from `write_c_source`.
        inputs: codes (N, ...), an array for each input of the network in order; one array if
            there is one input.
        skip_zeros: whether products with an activation of zero are skipped; outputs are the same.

    Returns:
        Codes (N, ...), an array for each output.

    Raises:
        DependencyError: there is no C compiler.
        DataError: inputs of another number, type or shape.
        ModelError: the folder holds no program of `write_c_source`, or it does not compile or run.

    Example:
        >>> from tfxp.csource import write_c_source
        >>> from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor
        >>> graph = IntegerGraph()
        >>> x = graph.add_tensor(Tensor("x", (1, 4), "INT8", Quantization([0.5], [0])))
        >>> y = graph.add_tensor(Tensor("y", (1, 4), "INT8", Quantization([0.5], [0])))
        >>> graph.add_operator(Operator("RELU", [x], [y]))
        >>> graph.inputs, graph.outputs = [x], [y]
        >>> folder = tempfile.mkdtemp() + "/c"
        >>> _ = write_c_source(graph, folder)
        >>> run_c_program(folder, np.array([[-1, 2, -3, 4]], np.int8))
        [array([[0, 2, 0, 4]], dtype=int8)]
    """
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    _check(arrays, _ports(Path(folder))["inputs"])
    with tempfile.TemporaryDirectory() as temporary:
        program = compile_c_program(folder, Path(temporary) / "run_model", skip_zeros=skip_zeros)
        try:
            return run_compiled(program, folder, arrays)
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()
            raise ModelError(
                f"C program in {str(folder)!r}: got exit code {error.returncode} ({said}); "
                "expected 0. Run `make sanitize` there."
            ) from None


def run_compiled(
    program: PathLike,
    folder: PathLike,
    arrays: Sequence[NDArray[Any]],
    timeout: float | None = None,
) -> list[NDArray[np.int8]]:
    """Run what `compile_c_program` made of `run_model.c`.

    Args:
        program: the executable file.
        folder: where its source is.
        arrays: codes (N, ...), an array for each input of the network in order.
        timeout: longest time in seconds; None waits for ever.

    Raises:
        DataError: inputs of another number, type or shape.
        subprocess.CalledProcessError: it ends with another exit code than 0.
        subprocess.TimeoutExpired: it takes too long.
        ModelError: the folder holds no program of `write_c_source`.
    """
    ports = _ports(Path(folder))
    _check(arrays, ports["inputs"])
    done = subprocess.run(
        [program],
        input=rows_of(arrays).tobytes(),
        capture_output=True,
        check=True,
        timeout=timeout,
    )
    return _split(done.stdout, len(arrays[0]), ports["outputs"])


def compile_c_program(
    folder: PathLike,
    program: PathLike,
    *,
    main: str = "run_model.c",
    skip_zeros: bool = True,
    flags: Sequence[str] = ("-std=c99", "-O2"),
) -> Path:
    """Compile the program in a folder, with one of its mains, to an executable file.

    Args:
        folder: where `write_c` put the program.
        program: the file to make.
        main: which C file of the folder has the main.
        skip_zeros: whether kernels skip zeros.
        flags: more flags of the compiler.

    Raises:
        DependencyError: there is no C compiler.
        ModelError: it does not compile.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise DependencyError(
            f"C compiler: got none named {os.environ.get('CC', 'cc')!r}; expected one on PATH. "
            "Install gcc or clang, or name one in the environment variable CC."
        )
    sources = sorted(path for path in Path(folder).glob("*.c") if path.name not in _MAINS)
    switch = f"-DTFXP_SKIP_ZEROS={int(skip_zeros)}"
    files = [str(path) for path in (*sources, Path(folder) / main)]
    command = [compiler, *flags, switch, *files, "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ModelError(
            f"C program in {str(folder)!r}: got exit code {done.returncode} of {compiler}; "
            f"expected 0. It said: {done.stderr.strip()[-500:]}"
        )
    return Path(program)


def _ports(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs of the program, from its report."""
    try:
        figures = json.loads((folder / "model.json").read_text("ascii"))
        return {word: figures[word] for word in ("inputs", "outputs")}
    except (OSError, ValueError, KeyError):
        raise ModelError(
            f"folder {str(folder)!r}: got none with the C program of a network; expected one from "
            "write_c_source or tfxp-export --c_source."
        ) from None


def _check(arrays: Sequence[NDArray[Any]], ports: list[dict[str, Any]]) -> None:
    if len(arrays) != len(ports):
        raise DataError(f"inputs of the C program: got {len(arrays)}; expected {len(ports)}.")
    for array, port in zip(arrays, ports, strict=True):
        wanted = f"{np.dtype(_DTYPES[port['type']])} (N, {', '.join(map(str, port['shape']))})"
        same = array.dtype == _DTYPES[port["type"]] and list(array.shape[1:]) == port["shape"]
        if not same or len(array) != len(arrays[0]):
            raise DataError(
                f"codes for input {port['name']!r} of the C program: got {array.dtype} "
                f"{array.shape}; expected {wanted}, the same N for all."
            )


def _split(data: bytes, count: int, ports: list[dict[str, Any]]) -> list[NDArray[np.int8]]:
    """Outputs, from the bytes of one sample after the other."""
    sizes = [math.prod(port["shape"]) for port in ports]
    rows = np.frombuffer(data, np.int8).reshape(count, sum(sizes))
    parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(count, *p["shape"]) for part, p in zip(parts, ports, strict=True)]
