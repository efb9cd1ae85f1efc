"""Does a file compute the same on every runtime? Element by element, against the interpreter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfxp.comparison.compare import compare_traces, steps_apart
from tfxp.comparison.trace import trace_interpreter, trace_runtime
from tfxp.errors import EngineError
from tfxp.graph import IntegerGraph, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.interpreter.registry import Array
from tfxp.progress import Report, reporter
from tfxp.runtimes import Engine, Runtime, open_runtime, runtimes_of

#: Samples with differences whose inner tensors are looked at.
_TRACED = 4


@dataclasses.dataclass(frozen=True)
class RuntimeResult:
    """How a runtime's outputs differ from the interpreter's, which equals Keras.

    Args:
        runtime: its name.
        title: what sentences call it.
        version: its package and version, or the compiler's; "" where it is missing.
        samples: inputs compared.
        elements: output elements compared.
        floats: those of them that are floats; these differ where they are more than 1e-5 of the
            tensor's largest value apart, and then by "1 LSB".
        differing: elements that differ.
        max_lsb: largest difference, in steps of the output.
        first: the first tensor in the file's order that differs in samples whose outputs do; ""
            if none does.
        first_operator: what computes it.
        decisions: positions of outputs with more than one channel, each a choice of the largest.
        differing_decisions: those where another channel is the largest.
        error: one sentence: why there is no comparison; "" if there is one.
    """

    runtime: str
    title: str
    version: str
    samples: int = 0
    elements: int = 0
    floats: int = 0
    differing: int = 0
    max_lsb: int = 0
    first: str = ""
    first_operator: str = ""
    decisions: int = 0
    differing_decisions: int = 0
    error: str = ""

    @property
    def exact(self) -> bool:
        """Whether it runs the file and every element agrees."""
        return not self.error and not self.differing

    def agrees(self, tolerance: int = 0) -> bool:
        """Whether it runs the file, and no element is more than some steps away."""
        return not self.error and self.max_lsb <= tolerance

    def sentence(self) -> str:
        """The result for people."""
        if self.error:
            return self.error
        if not self.differing:
            return f"{self.title}: all {self.elements:,} output values agree"
        return (
            f"{self.title}: {self.differing:,} of {self.elements:,} output values differ, by up to "
            f"{self.max_lsb:,} LSB, first at {self.first!r} ({self.first_operator}); "
            f"{self.differing_decisions:,} of {self.decisions:,} decisions differ"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


def compare_runtimes(
    graph: IntegerGraph,
    feeds: Sequence[Array],
    runtimes: Iterable[str] | str = ("litert",),
    *,
    batch_size: int = 100,
    patience: float = 300.0,
    progress: Report | None = None,
) -> tuple[RuntimeResult, ...]:
    """Run a file on several runtimes, and compare all output elements with tfxp's interpreter.

    Args:
        graph: the file, from `read_tflite`.
        feeds: codes per input, samples first.
        runtimes: names, of `tfxp.runtimes.RUNTIMES`, or "all".
        batch_size: samples per step.
        patience: longest time for one step of a runtime, in seconds.
        progress: called with (samples done, samples in all).

    Raises:
        ConfigError: no such runtime.

    Example:
        >>> from tfxp.graph import Operator, Tensor
        >>> x, y = Tensor("x", (1, 3), "FLOAT32"), Tensor("y", (1, 3), "FLOAT32")
        >>> relu = IntegerGraph([x, y], [Operator("RELU", [0], [1])], [0], [1])
        >>> [found] = compare_runtimes(relu, [np.array([[1, -2, 3]], np.float32)], ["litert"])
        >>> found.sentence()
        'LiteRT: all 3 output values agree'
    """
    runner, report, count = Interpreter(graph), reporter(progress), len(feeds[0])
    with RuntimeComparison(graph, runtimes, patience=patience) as comparison:
        for start in range(0, count, batch_size):
            batch = [part[start : start + batch_size] for part in feeds]
            comparison.add(batch, interpreted(runner, batch))
            report(min(start + batch_size, count), count)
        return comparison.results()


def runtime_rows(results: Iterable[RuntimeResult]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a table of results, a row for each runtime."""
    header = ["runtime", "version", "differing", "of", "largest", "decisions", "of", "first tensor"]
    rows: list[list[Any]] = []
    for found in results:
        if found.error:
            rows.append([found.runtime, found.version or None, *[None] * 5, found.error])
            continue
        rows.append(
            [
                found.runtime,
                found.version,
                found.differing,
                found.elements,
                f"{found.max_lsb:,} LSB",
                found.differing_decisions,
                found.decisions,
                f"{found.first} ({found.first_operator})" if found.first else None,
            ]
        )
    return header, rows


def interpreted(runner: Interpreter, feeds: Sequence[Array]) -> list[Array]:
    """The interpreter's outputs for codes, an array per input and output."""
    found = runner.predict_codes(list(feeds) if len(feeds) > 1 else feeds[0])
    return found if isinstance(found, list) else [found]


class RuntimeComparison:
    """A file held by some runtimes, compared with the interpreter batch by batch.

    Args:
        graph: the file.
        runtimes: names, of `tfxp.runtimes.RUNTIMES`.
        refusals: runtime -> why it is not asked.
        patience: longest time for one call in seconds.
    """

    def __init__(
        self,
        graph: IntegerGraph,
        runtimes: Iterable[str] | str,
        refusals: Mapping[str, str] | None = None,
        patience: float = 300.0,
    ) -> None:
        content, known = write_tflite(graph), refusals or {}
        self._held = [
            _Held(graph, content, runtime, known.get(runtime.name, ""), patience)
            for runtime in runtimes_of(runtimes)
        ]

    def add(self, feeds: Sequence[Array], ours: Sequence[Array]) -> dict[str, list[Array]]:
        """Run a batch everywhere, and count what differs.

        Args:
            feeds: codes per input, samples first.
            ours: the interpreter's outputs for them.

        Returns:
            Runtime -> its outputs; runtimes that do not run the file are left out.
        """
        found = {held.runtime.name: held.add(feeds, ours) for held in self._held}
        return {name: outputs for name, outputs in found.items() if outputs is not None}

    def results(self) -> tuple[RuntimeResult, ...]:
        """What was found, in the order of the runtimes."""
        return tuple(held.result() for held in self._held)

    def __enter__(self) -> RuntimeComparison:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held:
            held.close()


class _Held:
    """The file in one runtime, with what has been counted."""

    def __init__(
        self, graph: IntegerGraph, content: bytes, runtime: Runtime, error: str, patience: float
    ) -> None:
        self.runtime = runtime
        self._graph, self._patience = graph, patience
        self._engine: Engine | None = None
        self._found = RuntimeResult(runtime.name, runtime.title, runtime.version(), error=error)
        self._apart: list[list[Array]] = []  # inputs of samples that differ
        self._output = ""  # the first output that does
        if not error:
            try:
                name = repr(graph.name)
                self._engine = open_runtime(runtime, content, patience=patience, name=name)
            except EngineError as refused:
                self._fail(refused)

    def add(self, feeds: Sequence[Array], ours: Sequence[Array]) -> list[Array] | None:
        """Run and count a batch; its outputs, or None if there are none."""
        if self._engine is None:
            return None
        try:
            theirs = self._engine.run(feeds)
            self._require_same_sizes(ours, theirs)
        except EngineError as refused:
            self._fail(refused)
            return None
        samples = len(feeds[0])
        apart = np.zeros(samples, bool)
        for index, mine, their in zip(self._graph.outputs, ours, theirs, strict=True):
            differs = self._count(mine, their.reshape(mine.shape)).reshape(samples, -1).any(1)
            if differs.any() and not self._output:
                self._output = self._graph.tensors[index].name
            apart |= differs
        self._found = dataclasses.replace(self._found, samples=self._found.samples + samples)
        for place in np.flatnonzero(apart)[: _TRACED - len(self._apart)]:
            self._apart.append([part[place : place + 1] for part in feeds])
        return theirs

    def _count(self, mine: Array, their: Array) -> Array:
        """Count one output; steps apart by element."""
        found, steps = self._found, steps_apart(mine, their)
        chosen = np.zeros((2, 0))
        if mine.ndim > 1 and mine.shape[-1] > 1:
            chosen = np.stack([part.argmax(-1).ravel() for part in (mine, their)])
        self._found = dataclasses.replace(
            found,
            elements=found.elements + mine.size,
            floats=found.floats + mine.size * (mine.dtype.kind == "f"),
            differing=found.differing + int((steps > 0).sum()),
            max_lsb=max(found.max_lsb, int(steps.max(initial=0))),
            decisions=found.decisions + chosen.shape[1],
            differing_decisions=found.differing_decisions + int((chosen[0] != chosen[1]).sum()),
        )
        return steps

    def _require_same_sizes(self, ours: Sequence[Array], theirs: Sequence[Array]) -> None:
        sizes = [[part.size for part in parts] for parts in (ours, theirs)]
        if sizes[0] != sizes[1]:
            raise EngineError(
                f"model {self._graph.name!r}: {self.runtime.title} gives outputs of {sizes[1]} "
                f"values; expected {sizes[0]}.",
                "refused",
            )

    def _fail(self, error: EngineError) -> None:
        self._found = dataclasses.replace(self._found, error=str(error))
        self.close()

    def result(self) -> RuntimeResult:
        """The figures, and the first tensor that differs."""
        if not self._found.differing:
            return self._found
        name, operator = self._first()
        return dataclasses.replace(self._found, first=name, first_operator=operator)

    def _first(self) -> tuple[str, str]:
        """The first tensor that differs, and its operator; an output if no run shows others."""
        feeds = [np.concatenate(parts) for parts in zip(*self._apart, strict=True)]
        ours = trace_interpreter(self._graph, feeds)
        try:
            first = compare_traces(ours, trace_runtime(self._graph, feeds, self.runtime)).first()
        except EngineError:
            first = None  # it runs the file, but not one that shows all tensors
        name = self._output if first is None else first.name
        return name, ours.tensors[name].operator

    def close(self) -> None:
        """End the runtime."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
