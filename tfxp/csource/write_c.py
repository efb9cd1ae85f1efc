"""The C program of a network: model.h, model.c, kernels, a Makefile and test vectors."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.lowering import lower
from tfxp.csource.program_text import Port, ProgramText
from tfxp.errors import OutputError
from tfxp.files import PathLike, atomic_path
from tfxp.graph import IntegerGraph
from tfxp.interpreter import Interpreter
from tfxp.interpreter.encoding import encode_input
from tfxp.interpreter.prediction import Rows, rows_by_input


@dataclasses.dataclass(frozen=True)
class CSource:
    """A written C program.

    Args:
        folder: where it lies.
        flash_bytes: of constants: packed weights, biases, shifts, tables, numbers of layers; on a
            processor of 32 bits. Code of kernels comes to it (`make size`).
        arena_bytes: static memory for tensors.
        scratch_bytes: static memory for one row of sums and one row of weights.
        layers: (layer, operator, bytes of constants) of every kernel call.
        samples: test vectors that were written.
        inputs, outputs: parameters of `model_run`, in order.
    """

    folder: Path
    flash_bytes: int
    arena_bytes: int
    scratch_bytes: int
    layers: tuple[tuple[str, str, int], ...]
    samples: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def ram_bytes(self) -> int:
        """Static memory that a run needs, its inputs and outputs apart."""
        return self.arena_bytes + self.scratch_bytes

    def to_dict(self) -> dict[str, object]:
        """Figures for a JSON file."""
        figures = dataclasses.asdict(self)
        return {**figures, "folder": str(self.folder), "ram_bytes": self.ram_bytes}


def write_c_source(
    graph: IntegerGraph,
    folder: PathLike,
    samples: Rows | None = None,
    limit: int = 1000,
) -> CSource:
    """Write an integer graph as C99: no heap, no library, weights packed to their true bits.

    The program computes the integers of the file in LiteRT's default engine. Sums are exact in 32
    bits and rounded half to even as there; sums of 2^24 and more lose the bits that they lose in
    float32. `make test` compares it with the interpreter on the samples, `make test_cortex_m4`
    does so on an emulated Cortex-M4.

    Args:
        graph: the network; int8 codes, power-of-two scales, a batch of one.
        folder: is made, or replaced if it holds such a program already.
        samples: for test vectors, codes or real values (N, ...) as `Interpreter.predict_codes` and
            `predict` take them.
        limit: at most so many samples are written.

    Raises:
        UnsupportedOpError: an operator, type or scale has no C kernel; all are named.
        DataError: the samples are not those of the network's inputs.
        OutputError: the folder cannot be written, or holds something else.

    Example:
        >>> from tfxp.graph import Operator, Quantization, Tensor
        >>> graph = IntegerGraph()
        >>> x = graph.add_tensor(Tensor("x", (1, 4), "INT8", Quantization([0.5], [0])))
        >>> y = graph.add_tensor(Tensor("y", (1, 4), "INT8", Quantization([0.5], [0])))
        >>> graph.add_operator(Operator("RELU", [x], [y]))
        >>> graph.inputs, graph.outputs = [x], [y]
        >>> import tempfile
        >>> write_c_source(graph, tempfile.mkdtemp() + "/c").flash_bytes
        256
    """
    _require_own(Path(folder))
    lowered, steps = lower(graph)
    program = ProgramText(lowered, steps)
    vectors = _vectors(graph, lowered, samples, limit)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, text in program.files().items():
            (temporary / name).write_text(text, encoding="ascii")
        for source in (resources.files("tfxp.csource") / "kernels").iterdir():
            if source.is_file():
                (temporary / source.name).write_bytes(source.read_bytes())
        (temporary / "vectors.bin").write_bytes(vectors)
        count = int(np.frombuffer(vectors[:4], "<i4")[0])
        done = _report(program, Path(folder), count)
        (temporary / "model.json").write_text(json.dumps(done.to_dict(), indent=1), "ascii")
    return done


def _report(program: ProgramText, folder: Path, samples: int) -> CSource:
    """Sizes of what was written."""
    layers = program.layers()
    return CSource(
        folder,
        sum(size for _, _, size in layers),
        program.arena_bytes,
        program.scratch_bytes,
        layers,
        samples,
        tuple(program.inputs),
        tuple(program.outputs),
    )


def _require_own(folder: Path) -> None:
    """A folder with other things in it is not replaced."""
    own = (folder / "model.json").exists() and (folder / "tfxp_kernels.h").exists()
    if folder.is_dir() and any(folder.iterdir()) and not own:
        raise OutputError(
            f"output folder {str(folder)!r}: got one with other files in it; expected a new or "
            "empty folder, or one that this tool has written. Choose another name."
        )
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder)


def _vectors(graph: IntegerGraph, lowered: IntegerGraph, samples: Rows | None, limit: int) -> bytes:
    """Count of samples, then the codes of inputs and outputs, sample by sample."""
    if samples is None:
        return np.int32(0).tobytes()
    feeds = rows_by_input(graph, samples, "write_c_source")
    parts = [
        encode_input(lowered.tensors[index], feeds[given][:limit], "auto")
        for given, index in zip(graph.inputs, lowered.inputs, strict=True)
    ]
    results = Interpreter(lowered).predict_codes(parts if len(parts) > 1 else parts[0])
    parts += results if isinstance(results, list) else [results]
    return np.int32(len(parts[0])).tobytes() + rows_of(parts).tobytes()


def rows_of(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """Bytes of arrays (N, ...), sample by sample."""
    parts = [np.ascontiguousarray(part).reshape(len(part), -1) for part in arrays]
    return np.concatenate([part.view(np.uint8) for part in parts], axis=1)
