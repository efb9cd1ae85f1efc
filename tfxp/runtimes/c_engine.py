"""The network as a C program, written, compiled and run on this machine."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfxp.csource import compile_c_program, run_compiled, write_c_source
from tfxp.errors import DataError, DependencyError, EngineError, TfxpError
from tfxp.graph import read_tflite
from tfxp.interpreter.registry import Array
from tfxp.runtimes.engine import Engine
from tfxp.runtimes.runtime import Runtime


class CEngine(Engine):
    """A file as a C program in a folder of its own, which goes with the engine.

    Args:
        runtime: what runs it.
        content: the file.
        patience: longest time for one call in seconds; None waits for ever.
        name: what errors call the file.

    Raises:
        EngineError: an operator has no C kernel, or there is no compiler.
    """

    def __init__(self, runtime: Runtime, content: bytes, patience: float | None, name: str) -> None:
        super().__init__(runtime, patience, name)
        self._folder = tempfile.TemporaryDirectory()
        self._source = Path(self._folder.name) / "source"
        try:
            graph = read_tflite(content)
            ends = (graph.tensors[index] for index in (*graph.inputs, *graph.outputs))
            if any(tensor.type == "FLOAT32" for tensor in ends):
                raise self._refused("its ends are codes; those of the file are real numbers")
            write_c_source(graph, self._source)
            self._program = compile_c_program(self._source, f"{self._folder.name}/run_model")
        except EngineError:
            raise
        except DependencyError as error:
            raise self._missing(str(error)) from None
        except TfxpError as error:
            raise self._refused(str(error)) from None

    def run(
        self, feeds: Sequence[Array], *, singly: bool = False, whole: bool = False
    ) -> list[Array]:
        """As `Engine.run`; samples always go one by one."""
        try:
            return list(run_compiled(self._program, self._source, feeds, self.patience))
        except DataError as error:
            raise self._refused(str(error)) from None
        except subprocess.TimeoutExpired:
            raise self._late("run") from None
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode("utf-8", "replace")
            raise self._ended("run", error.returncode, said) from None

    def close(self) -> None:
        """Remove the program."""
        self._folder.cleanup()
