"""The text of a C program: names and places of everything in it, model.h and model.c."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from string import Template

from tfxp.csource.arena import Lifetime, place
from tfxp.csource.program import Constant, Step, identifiers
from tfxp.graph import IntegerGraph, Tensor

#: C type -> bytes of an element.
ELEMENT_BYTES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "int32_t": 4, "uint32_t": 4}
#: Type of a tensor in the file -> in C.
C_TYPES = {"INT8": "int8_t", "INT32": "int32_t"}


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a program.

    Args:
        name: of the parameter of `model_run`.
        tensor: its name in the file.
        type: of its elements in C.
        shape: of one sample.
        scale, zero_point: real = scale * (code - zero_point).
    """

    name: str
    tensor: str
    type: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> Port:
        """The port that holds a tensor."""
        kind, shape = C_TYPES[tensor.type], tuple(tensor.shape[1:])
        return cls(name, tensor.name, kind, shape, float(tensor.scale), int(tensor.zero_point))


class ProgramText:
    """Names and places of everything in the C program of a graph."""

    def __init__(self, graph: IntegerGraph, steps: Sequence[Step]) -> None:
        self._graph = graph
        self._views = {s.output: s.inputs[0] for s in steps if not s.call}
        self._sizes = {i: tensor.size for i, tensor in enumerate(graph.tensors)}
        self.steps = [step for step in steps if step.call]
        results = self._results()
        fixed = [item.name for s in self.steps for item in s.constants]
        fixed += [s.structure.name for s in self.steps if s.structure]
        whole = [*graph.inputs, *graph.outputs]
        names = identifiers((graph.tensors[i].name for i in whole), fixed)
        ports = [Port.of(name, graph.tensors[i]) for name, i in zip(names, whole, strict=True)]
        self.inputs, self.outputs = ports[: len(graph.inputs)], ports[len(graph.inputs) :]
        self._external = dict(zip([*graph.inputs, *results], names, strict=True))
        self._offsets, self.arena_bytes = place(self._lifetimes())

    def _root(self, tensor: int) -> int:
        while tensor in self._views:
            tensor = self._views[tensor]
        return tensor

    def _results(self) -> list[int]:
        """The tensor behind each output; one that has another place is copied."""
        written = {step.output for step in self.steps}
        results: list[int] = []
        for tensor in map(self._root, self._graph.outputs):
            if tensor in results or tensor not in written:
                fresh = len(self._sizes)
                self._sizes[fresh] = self._sizes[tensor]
                self.steps.append(self._copy(tensor, fresh))
                tensor = fresh
            results.append(tensor)
        return results

    def _copy(self, tensor: int, to: int) -> Step:
        item = self._graph.tensors[tensor]
        constants: tuple[Constant, ...] = ()
        source = "$in0"
        if item.data is not None:
            source = f"output_{to}"
            constants = (Constant(source, "int8_t", item.data),)
        call = f"tfxp_copy({item.size}, {source}, $out)"
        return Step(item.name, "COPY", call, (tensor,), to, constants=constants)

    def _lifetimes(self) -> dict[int, Lifetime]:
        spans: dict[int, list[int]] = {}
        for number, step in enumerate(self.steps):
            for tensor in (*map(self._root, step.inputs), step.output):
                if tensor not in self._external and not self._is_constant(tensor):
                    spans.setdefault(tensor, []).append(number)
        return {t: Lifetime(self._sizes[t], min(at), max(at)) for t, at in spans.items()}

    def _is_constant(self, tensor: int) -> bool:
        return tensor < len(self._graph.tensors) and self._graph.tensors[tensor].data is not None

    def _place(self, tensor: int) -> str:
        tensor = self._root(tensor)
        if tensor in self._external:
            return self._external[tensor]
        return f"(arena + {self._offsets[tensor]})" if tensor in self._offsets else ""

    @property
    def _sums(self) -> int:
        return max((step.sums for step in self.steps), default=0)

    @property
    def _codes(self) -> int:
        return max((step.codes for step in self.steps), default=0)

    @property
    def scratch_bytes(self) -> int:
        """Memory for one row of sums and one of weights."""
        return 4 * self._sums + 2 * self._codes

    def layers(self) -> tuple[tuple[str, str, int], ...]:
        """(layer, operator, bytes of constants) of every call."""
        return tuple((step.layer, step.operator, _constant_bytes(step)) for step in self.steps)

    def files(self) -> Mapping[str, str]:
        """File name -> text of the files that depend on the network."""
        return {
            "model.h": self._header(),
            "model.c": self._source(),
            "model_ports.h": self._ports(),
        }

    def _signature(self) -> str:
        parameters = [f"const {port.type} *{port.name}" for port in self.inputs]
        parameters += [f"{port.type} *{port.name}" for port in self.outputs]
        return f"void model_run({', '.join(parameters)})"

    def _header(self) -> str:
        lines = ["/* The network as C; see tfxp_kernels.h for the arithmetic. */",
                 "#ifndef MODEL_H", "#define MODEL_H", "", "#include <stdint.h>", "",
                 f"#define MODEL_ARENA_BYTES {self.arena_bytes}",
                 f"#define MODEL_SCRATCH_BYTES {self.scratch_bytes}", ""]  # fmt: skip
        for word, ports in (("Input", self.inputs), ("Output", self.outputs)):
            for port in ports:
                shape = " x ".join(map(str, port.shape))
                meaning = f"codes, real = {port.scale!r} * (code - {port.zero_point})"
                what = "whole numbers" if port.scale <= 0 else meaning
                lines.append(f"/* {word} {port.name}: {shape} {what}. */")
        return "\n".join([*lines, f"{self._signature()};", "", "#endif", ""])

    def _ports(self) -> str:
        """Memory for inputs and outputs, and a call on it, for test_model.c and run_model.c."""
        lines = ["/* Memory for the network's inputs and outputs. */", "#include <stdint.h>"]
        arguments = []
        for word, ports in (("input", self.inputs), ("output", self.outputs)):
            names = [f"{word}_{i}" for i in range(len(ports))]
            sizes = [_elements(port) for port in ports]
            arguments += names
            lines.append(f"enum {{ MODEL_{word.upper()}S = {len(ports)} }};")
            lines += [
                f"static {port.type} {name}[{size}];"
                for port, name, size in zip(ports, names, sizes, strict=True)
            ]
            lines.append(f"static void *const {word}s[] = {{{', '.join(names)}}};")
            at = [f"sizeof({name})" for name in names]
            lines.append(f"static const uint32_t {word}_bytes[] = {{{', '.join(at)}}};")
        largest = max(map(_elements, self.outputs))
        lines.append(f"enum {{ MODEL_LARGEST_OUTPUT = {largest} }};")
        lines.append(f"#define MODEL_CALL() model_run({', '.join(arguments)})")
        return "\n".join([*lines, ""])

    def _source(self) -> str:
        parts = ["/* The network: constants, then one call of a kernel for each layer. */",
                 '#include "model.h"', "", '#include "tfxp_kernels.h"', ""]  # fmt: skip
        if self.arena_bytes:
            parts.append("static int8_t arena[MODEL_ARENA_BYTES];")
        if self._sums:
            parts.append(f"static int32_t sums[{self._sums}];")
        if self._codes:
            parts.append(f"static int16_t weights[{self._codes}];")
        for step in self.steps:
            parts += [_array(constant) for constant in step.constants]
            parts += [step.structure.text] if step.structure else []
        parts += ["", f"{self._signature()} {{"]
        read = {self._root(tensor) for step in self.steps for tensor in step.inputs}
        unread = (tensor for tensor in self._graph.inputs if tensor not in read)
        parts += [f"  (void){self._external[tensor]};" for tensor in unread]
        for step in self.steps:
            places = {f"in{i}": self._place(tensor) for i, tensor in enumerate(step.inputs)}
            call = Template(step.call).substitute(out=self._place(step.output), **places)
            parts.append(f"  /* {_comment(step.layer)}: {step.operator} */")
            parts.append(f"  {call};")
        return "\n".join([*parts, "}", ""])


def _comment(name: str) -> str:
    """A layer's name for a comment: any name, in ASCII and without the comment's end."""
    return name.encode("ascii", "backslashreplace").decode().replace("*/", "* /")


def _elements(port: Port) -> int:
    size = 1
    for extent in port.shape:
        size *= extent
    return size


def _constant_bytes(step: Step) -> int:
    """Flash that the constants of a step take on a processor of 32 bits."""
    arrays = sum(ELEMENT_BYTES[array.type] * array.values.size for array in step.constants)
    return arrays + (step.structure.bytes if step.structure else 0)


def _array(constant: Constant) -> str:
    values = ", ".join(str(int(value)) for value in constant.values.reshape(-1))
    body = textwrap.fill(values, 98, initial_indent="  ", subsequent_indent="  ")
    return f"static const {constant.type} {constant.name}[] = {{\n{body}\n}};"
