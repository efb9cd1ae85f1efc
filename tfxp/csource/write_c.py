"""The C program of a network: model.h, model.c, kernels, a Makefile and test vectors."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from tfxp.csource.arena import Lifetime, place
from tfxp.csource.lowering import lower
from tfxp.csource.program import Constant, Step, identifiers
from tfxp.errors import OutputError, UnsupportedOpError
from tfxp.files import PathLike, atomic_path
from tfxp.graph import IntegerGraph
from tfxp.interpreter import Interpreter
from tfxp.interpreter.encoding import encode_input
from tfxp.interpreter.prediction import Rows, rows_by_input

_BYTES = {"int8_t": 1, "uint8_t": 1, "int32_t": 4}


@dataclasses.dataclass(frozen=True)
class CSource:
    """A written C program.

    Args:
        folder: where it lies.
        flash_bytes: of constants: packed weights, biases, shifts, tables.
        arena_bytes: static memory for tensors.
        scratch_bytes: static memory for one row of sums and one row of weights.
        layers: (layer, operator, bytes of constants) of every kernel call.
        samples: test vectors that were written.
    """

    folder: Path
    flash_bytes: int
    arena_bytes: int
    scratch_bytes: int
    layers: tuple[tuple[str, str, int], ...]
    samples: int

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
    program = _Program(graph, lower(graph))
    vectors = _vectors(graph, samples, limit)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, text in program.files().items():
            (temporary / name).write_text(text, encoding="ascii")
        for source in (resources.files("tfxp.csource") / "kernels").iterdir():
            if source.is_file():
                (temporary / source.name).write_bytes(source.read_bytes())
        (temporary / "vectors.bin").write_bytes(vectors)
        count = int(np.frombuffer(vectors[:4], "<i4")[0])
        done = program.report(Path(folder), count)
        (temporary / "model.json").write_text(json.dumps(done.to_dict(), indent=1), "ascii")
    return done


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


class _Program:
    """Names and places of everything in the C program of a graph."""

    def __init__(self, graph: IntegerGraph, steps: list[Step]) -> None:
        self._graph = graph
        self._views = {s.output: s.inputs[0] for s in steps if not s.call}
        self._steps = [step for step in steps if step.call]
        self._external = self._parameters()
        self._offsets, self._arena = place(self._lifetimes())

    def _root(self, tensor: int) -> int:
        while tensor in self._views:
            tensor = self._views[tensor]
        return tensor

    def _parameters(self) -> dict[int, str]:
        """Tensor -> the parameter of the run function that holds it."""
        names = identifiers(tensor.name for tensor in self._graph.tensors)
        return {tensor: names[tensor] for tensor in (*self._graph.inputs, *self._outputs())}

    def _lifetimes(self) -> dict[int, Lifetime]:
        spans: dict[int, list[int]] = {}
        for number, step in enumerate(self._steps):
            for tensor in (*(self._root(t) for t in step.inputs), step.output):
                if tensor not in self._external and self._graph.tensors[tensor].data is None:
                    spans.setdefault(tensor, []).append(number)
        sizes = {tensor: self._graph.tensors[tensor].size for tensor in spans}
        return {t: Lifetime(sizes[t], min(at), max(at)) for t, at in spans.items()}

    def _place(self, tensor: int) -> str:
        tensor = self._root(tensor)
        if tensor in self._external:
            return self._external[tensor]
        return f"(arena + {self._offsets[tensor]})" if tensor in self._offsets else ""

    @property
    def _sums(self) -> int:
        return max((step.sums for step in self._steps), default=0)

    @property
    def _codes(self) -> int:
        return max((step.codes for step in self._steps), default=0)

    def files(self) -> Mapping[str, str]:
        """File name -> text of the files that depend on the network."""
        return {"model.h": self._header(), "model.c": self._source(), "model_test.h": self._sizes()}

    def _outputs(self) -> list[int]:
        return list(dict.fromkeys(self._root(tensor) for tensor in self._graph.outputs))

    def _signature(self) -> str:
        outputs = self._outputs()
        if any(tensor in self._graph.inputs for tensor in outputs):
            raise UnsupportedOpError("output of the network: got one of its inputs as it is.")
        parameters = [f"const int8_t *{self._external[t]}" for t in self._graph.inputs]
        parameters += [f"int8_t *{self._external[t]}" for t in outputs]
        return f"void model_run({', '.join(parameters)})"

    def _header(self) -> str:
        lines = ["/* The network as C; see tfxp_kernels.h for the arithmetic. */",
                 "#ifndef MODEL_H", "#define MODEL_H", "", "#include <stdint.h>", "",
                 f"#define MODEL_ARENA_BYTES {self._arena}",
                 f"#define MODEL_SCRATCH_BYTES {4 * self._sums + self._codes}", ""]  # fmt: skip
        for word, tensors in (("Input", self._graph.inputs), ("Output", self._outputs())):
            for tensor in tensors:
                item = self._graph.tensors[tensor]
                shape = " x ".join(str(size) for size in item.shape[1:])
                lines.append(
                    f"/* {word} {self._external[tensor]}: {shape} codes, real = "
                    f"{item.scale!r} * (code - {item.zero_point}). */"
                )
        return "\n".join([*lines, f"{self._signature()};", "", "#endif", ""])

    def _sizes(self) -> str:
        """What the test program must know: sizes, and a call on arrays of arrays."""
        inputs = [self._graph.tensors[t].size for t in self._graph.inputs]
        outputs = [self._graph.tensors[t].size for t in self._outputs()]
        arguments = [f"inputs[{i}]" for i in range(len(inputs))]
        arguments += [f"outputs[{i}]" for i in range(len(outputs))]
        return "\n".join(
            [
                "/* Sizes of the network's inputs and outputs, for test_model.c. */",
                "#include <stdint.h>",
                f"enum {{ MODEL_INPUTS = {len(inputs)}, MODEL_OUTPUTS = {len(outputs)} }};",
                f"enum {{ MODEL_LARGEST = {max(inputs + outputs)} }};",
                f"static const int32_t input_sizes[] = {{{', '.join(map(str, inputs))}}};",
                f"static const int32_t output_sizes[] = {{{', '.join(map(str, outputs))}}};",
                f"#define MODEL_CALL(inputs, outputs) model_run({', '.join(arguments)})",
                "",
            ]
        )

    def _source(self) -> str:
        parts = ["/* The network: constants, then one call of a kernel for each layer. */",
                 '#include "model.h"', "", '#include "tfxp_kernels.h"', ""]  # fmt: skip
        if self._arena:
            parts.append("static int8_t arena[MODEL_ARENA_BYTES];")
        if self._sums:
            parts.append(f"static int32_t sums[{self._sums}];")
            parts.append(f"static int8_t weights[{self._codes}];")
        for step in self._steps:
            parts += [_array(constant) for constant in step.constants]
            parts += [step.structure] if step.structure else []
        parts += ["", f"{self._signature()} {{"]
        for step in self._steps:
            places = {f"in{i}": self._place(tensor) for i, tensor in enumerate(step.inputs)}
            call = Template(step.call).substitute(out=self._place(step.output), **places)
            parts.append(f"  {call};")
        return "\n".join([*parts, "}", ""])

    def report(self, folder: Path, samples: int) -> CSource:
        """Sizes of what was written."""
        layers = [(s.layer, s.operator, sum(map(_size, s.constants))) for s in self._steps]
        return CSource(
            folder,
            sum(size for _, _, size in layers),
            self._arena,
            4 * self._sums + self._codes,
            tuple(layers),
            samples,
        )


def _size(constant: Constant) -> int:
    return _BYTES[constant.type] * constant.values.size


def _array(constant: Constant) -> str:
    values = ", ".join(str(int(value)) for value in constant.values.reshape(-1))
    body = textwrap.fill(values, 98, initial_indent="  ", subsequent_indent="  ")
    return f"static const {constant.type} {constant.name}[] = {{\n{body}\n}};"


def _vectors(graph: IntegerGraph, samples: Rows | None, limit: int) -> bytes:
    """Count of samples, then the codes of inputs and outputs, sample by sample."""
    if samples is None:
        return np.int32(0).tobytes()
    feeds = rows_by_input(graph, samples, "write_c_source")
    parts = [encode_input(graph.tensors[i], feeds[i][:limit], "auto") for i in graph.inputs]
    results = Interpreter(graph).predict_codes(parts if len(parts) > 1 else parts[0])
    parts += results if isinstance(results, list) else [results]
    rows = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    return np.int32(len(rows)).tobytes() + rows.astype(np.int8).tobytes()
