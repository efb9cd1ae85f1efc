"""The process in which runtimes with a Python package run: some files end it.

Started as a program. It imports NumPy and the one package only. Requests come as pickles on
standard input, answers go as pickles to standard output; whatever the runtime prints goes to
standard error.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

# An array for each input or output.
Arrays = list[np.ndarray]
# Memory that TFLM is offered, in bytes; what it does not touch costs nothing.
_ARENAS = tuple(1 << bits for bits in (24, 27, 30))


class Missing(Exception):
    """The package is not there, or lacks what is needed."""


class Program(Protocol):
    """A file in a runtime."""

    fixes_batch: bool

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs of one run from fresh state."""

    def print_memory(self) -> None:
        """Say on standard error how much memory the runs have taken."""


class Unmeasured:
    """A runtime that does not tell its memory."""

    def print_memory(self) -> None:
        """As `Program.print_memory`."""
        raise NotImplementedError("it does not tell its memory")


class LiteRt(Unmeasured):
    """LiteRT's interpreter with one of its sets of operators."""

    def __init__(self, content: bytes, resolver: str, threads: int) -> None:
        with_package("ai-edge-litert")
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._engine = Interpreter(
            model_content=content,
            experimental_op_resolver_type=getattr(OpResolverType, resolver),
            num_threads=threads,
        )
        signatures = [d["shape_signature"] for d in self._engine.get_input_details()]
        self.fixes_batch = all(shape[0] == 1 for shape in signatures)
        if all((shape[1:] >= 0).all() for shape in signatures):
            self._engine.allocate_tensors()

    def run(self, feeds: Arrays) -> Arrays:
        """All samples at once."""
        engine, resized = self._engine, False
        details = engine.get_input_details()
        for detail, part in zip(details, feeds, strict=True):
            if tuple(detail["shape"]) != part.shape:
                engine.resize_tensor_input(detail["index"], part.shape)
                resized = True
        if resized:
            engine.allocate_tensors()
        engine.reset_all_variables()
        for detail, part in zip(details, feeds, strict=True):
            engine.set_tensor(detail["index"], part)
        engine.invoke()
        return [engine.get_tensor(detail["index"]) for detail in engine.get_output_details()]


class Tflm:
    """LiteRT for Microcontrollers; shapes are those of the file."""

    fixes_batch = True

    def __init__(self, content: bytes, threads: int, arenas: Sequence[int] = _ARENAS) -> None:
        with_package("tflite-micro")
        from tflite_micro import runtime

        subgraph = first_subgraph(content)
        self._outputs = subgraph.OutputsLength()
        for arena in arenas:
            try:
                self._engine = runtime.Interpreter.from_bytes(content, arena_size=arena)
                return
            except RuntimeError:
                if arena == arenas[-1]:
                    raise

    def run(self, feeds: Arrays) -> Arrays:
        """One sample."""
        self._engine.reset()
        for place, part in enumerate(feeds):
            self._engine.set_input(part, place)
        self._engine.invoke()
        return [np.array(self._engine.get_output(place)) for place in range(self._outputs)]

    def print_memory(self) -> None:
        """As `Program.print_memory`; a recording allocator counts."""
        self._engine.print_allocations()


class CompiledModel(Unmeasured):
    """LiteRT's CompiledModel on the CPU."""

    fixes_batch = True

    def __init__(self, content: bytes, threads: int) -> None:
        with_package("ai-edge-litert")
        from ai_edge_litert.compiled_model import CompiledModel as Model
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator

        subgraph = first_subgraph(content)
        tensors = [subgraph.Tensors(i) for i in range(subgraph.TensorsLength())]
        if any(tensor.IsVariable() for tensor in tensors):
            raise ValueError("the file keeps a state, which this runtime cannot reset")
        self._ends = [subgraph.InputsAsNumpy(), subgraph.OutputsAsNumpy()]
        self._model = Model.from_buffer(content, HardwareAccelerator.CPU)
        (key, names), *_ = self._model.get_signature_list().items()
        inputs = self._model.get_input_tensor_details(key)
        outputs = self._model.get_output_tensor_details(key)
        # the signature has an order of its own
        self._inputs = [inputs[name] for name in names["inputs"]]
        self._outputs = [outputs[name] for name in names["outputs"]]
        self._buffers = self._model.create_input_buffers(0), self._model.create_output_buffers(0)

    def run(self, feeds: Arrays) -> Arrays:
        """One sample."""
        self._resize(feeds)
        by_tensor = dict(zip(self._ends[0].tolist(), feeds, strict=True))
        for detail, buffer in zip(self._inputs, self._buffers[0], strict=True):
            part = by_tensor[detail["index"]]
            if str(part.dtype) != detail["dtype"]:
                raise ValueError(f"input {detail['name']}: {part.dtype}, not {detail['dtype']}")
            buffer.write(part)
        self._model.run_by_index(0, *self._buffers)
        found = {}
        for detail, buffer in zip(self._outputs, self._buffers[1], strict=True):
            shape = buffer.get_tensor_details()["shape"]
            values = buffer.read(int(np.prod(shape)), np.dtype(detail["dtype"]))
            found[detail["index"]] = np.array(values).reshape(shape)
        return [found[index] for index in self._ends[1].tolist()]

    def _resize(self, feeds: Arrays) -> None:
        by_tensor = dict(zip(self._ends[0].tolist(), feeds, strict=True))
        resized = False
        for place, detail in enumerate(self._inputs):
            shape = list(by_tensor[detail["index"]].shape)
            if list(self._buffers[0][place].get_tensor_details()["shape"]) != shape:
                self._model.resize_input_tensor(place, shape, strict=False)
                resized = True
        if resized:
            model = self._model
            self._buffers = model.create_input_buffers(0), model.create_output_buffers(0)


PROGRAMS: dict[str, Callable[..., Program]] = {
    "litert": LiteRt,
    "tflm": Tflm,
    "compiled_model": CompiledModel,
}


def with_package(package: str) -> None:
    """Nothing if a package is there.

    Raises:
        Missing: it is not.
    """
    import importlib.metadata

    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise Missing(f"package {package} is not installed") from None


def first_subgraph(content: bytes) -> Any:
    """The network of a file, by the schema of ai-edge-litert.

    Raises:
        ValueError: it holds none.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        return schema.Model.GetRootAs(content).Subgraphs(0)
    except Exception:
        raise ValueError("no .tflite file") from None


def run_singly(program: Program, feeds: Arrays) -> Arrays:
    """Outputs sample by sample."""
    rows = [program.run([part[i : i + 1] for part in feeds]) for i in range(len(feeds[0]))]
    return [np.concatenate([np.atleast_1d(a) for a in parts]) for parts in zip(*rows, strict=True)]


def answer(program: Program | None, request: str, arguments: list[Any]) -> tuple[Any, Any]:
    """(program, answer) of one request."""
    if request == "open":
        family, content, options = arguments
        return PROGRAMS[family](content, **options), None
    assert program is not None
    if request == "measure":
        program.print_memory()
        return program, None
    feeds, how = arguments
    single = how == "singly" or (how == "any" and program.fixes_batch)
    return program, run_singly(program, feeds) if single else program.run(feeds)


def main() -> None:
    """Answer requests until standard input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    program = None
    while True:
        try:
            request, *arguments = pickle.load(requests)
        except EOFError:
            return
        kind, result = "done", None
        try:
            program, result = answer(program, request, arguments)
        except (ImportError, Missing) as error:
            kind, result = "missing", str(error)
        except Exception as error:
            kind, result = "refused", " ".join(str(error).split()) or type(error).__name__
        pickle.dump((kind, result), answers)
        answers.flush()


if __name__ == "__main__":
    main()
