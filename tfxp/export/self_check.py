"""Every export is compared with its Keras model on drawn inputs before the file is written.

Keras against the interpreter on every tensor, the interpreter against LiteRT on the outputs. What
differs must have been announced by a note.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.comparison.compare import TensorDifference, compare_traces
from tfxp.comparison.trace import Trace, trace_interpreter, trace_runtime
from tfxp.errors import EngineError, ExportError
from tfxp.export.indices import INDICES
from tfxp.export.note import Note
from tfxp.export.trace_keras import KerasTracer
from tfxp.graph import index_limit, write_tflite
from tfxp.runtimes import RUNTIMES, open_runtime
from tfxp.transforms.layer_graph import LayerGraph, Ref

_SEED = 20250
_SAMPLES = 8
# Input values in all: networks of large images are checked on fewer of them.
_VALUES = 2**18
# Tried in turn for sizes that inputs leave open, until the network takes one.
_SIZES = (16, 40, 100, 256)
ANYWAY = "check=False (--nocheck) writes the file all the same"
FOR_TFXP = "runtime='tfxp' (--runtime=tfxp) writes the file for tfxp's interpreter"


@dataclasses.dataclass(frozen=True)
class SelfCheck:
    """The comparison on drawn inputs.

    Args:
        samples: inputs drawn.
        tensors: tensors of the file that Keras has too.
        elements: their elements.
        differing: those where Keras and interpreter differ, all of them announced.
        litert: the outputs in LiteRT: "agrees", or why it was not asked or does not agree.
    """

    samples: int
    tensors: int
    elements: int
    differing: tuple[TensorDifference, ...]
    litert: str

    def sentence(self) -> str:
        """The result for people."""
        where = f"{self.samples} drawn samples, {self.tensors} tensors, {self.elements:,} values"
        parts = [f"{row.name}: {row.sentence()}" for row in self.differing]
        found = f"differ as announced: {'; '.join(parts)}" if parts else "as in Keras"
        litert = "outputs in LiteRT are the same" if self.litert == "agrees" else self.litert
        return f"{where}: {found}; {litert}"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


def check_export(
    tracer: KerasTracer, notes: Sequence[Note], runtime: str, refusal: str = ""
) -> SelfCheck:
    """Compare a graph with its Keras model on drawn inputs.

    Args:
        tracer: the model and the graph.
        notes: announced differences.
        runtime: "litert" if LiteRT must compute the same; otherwise its answer is only reported.
        refusal: why LiteRT is not asked; empty if it is.

    Raises:
        ExportError: something differs that no note announces, or LiteRT does not run the file.
    """
    keras, inputs = _run_keras(tracer)
    feeds = tracer.codes(inputs)
    ours = trace_interpreter(tracer.graph, feeds)
    comparison = compare_traces(keras, ours)
    differing = tuple(row for row in comparison.rows if row.differing)
    wrong = unannounced(tracer, notes, {row.name: row for row in differing})
    if wrong is not None:
        raise ExportError(
            f"model {tracer.graph.name!r}: the file does not compute what Keras does at "
            f"{wrong.name!r} ({wrong.operator}): {wrong.sentence()}, and no note announces it. "
            f"Nothing was written; {ANYWAY}."
        )
    litert = refusal or _litert(tracer, feeds, ours)
    if litert != "agrees" and runtime == "litert":
        raise ExportError(f"{litert} Nothing was written; {FOR_TFXP}.")
    compared = [row for row in comparison.rows if row.elements]
    elements = sum(row.elements for row in compared)
    return SelfCheck(len(inputs[0]), len(compared), elements, differing, litert)


def unannounced(
    tracer: KerasTracer, notes: Sequence[Note], differing: dict[str, TensorDifference]
) -> TensorDifference | None:
    """The first tensor that differs by more than its notes say, though all before it agree."""
    graph, names = tracer.network.graph, {}
    for index, ref in tracer.refs.items():
        names[ref] = tracer.graph.tensors[index].name
    allowed: dict[int, float] = {}  # by call: what notes allow since the last tensor compared
    parted: dict[int, bool] = {}  # by call: whether a tensor before it, or it, differs
    for number, call, spec in graph.in_order():
        before = [ref.call for ref in call.refs()]
        limit = _limit(notes, spec.name) + max((allowed[n] for n in before), default=0)
        parted[number] = any(parted[n] for n in before)
        rows = [names[ref] for ref in _results(graph, number) if ref in names]
        for row in (differing[name] for name in rows if name in differing):
            if not parted[number] and row.max_lsb > limit:
                return row
        parted[number] = parted[number] or any(name in differing for name in rows)
        allowed[number] = 0 if rows else limit
    return None


def announced_outputs(tracer: KerasTracer, notes: Sequence[Note]) -> bool:
    """Whether notes announce differences of layers that an output depends on."""
    graph = tracer.network.graph
    reached: dict[int, bool] = {}
    for number, call, spec in graph.in_order():
        before = any(reached[ref.call] for ref in call.refs())
        reached[number] = before or _limit(notes, spec.name) > 0
    return any(reached[ref.call] for ref in graph.outputs)


def _limit(notes: Sequence[Note], layer: str) -> float:
    """LSBs that notes allow a layer."""
    found = [note.lsb for note in notes if not note.layers or layer in note.layers]
    return sum(np.inf if lsb is None else lsb for lsb in found)


def _results(graph: LayerGraph, number: int) -> list[Ref]:
    return [Ref(number, place) for place in range(len(graph.calls[number].output_shapes))]


def _run_keras(tracer: KerasTracer) -> tuple[Trace, list[np.ndarray]]:
    """A run of the model, and its inputs, of the first of some sizes that the network takes."""
    free = any(-1 in tracer.graph.tensors[i].free_shape[1:] for i in tracer.graph.inputs)
    for size in _SIZES if free else (1,):
        inputs = drawn_inputs(tracer, size)
        try:
            return tracer.trace(inputs), inputs
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            if not free:
                raise
            reason = str(error).splitlines()[0]
    raise ExportError(
        f"model {tracer.graph.name!r}: takes none of the sizes {', '.join(map(str, _SIZES))} "
        f"that its check tries ({reason}); {ANYWAY}."
    )


def drawn_inputs(tracer: KerasTracer, size: int) -> list[np.ndarray]:
    """Seeded inputs, real values: all codes of the input formats, and smaller ones in between.

    Args:
        tracer: the model and the graph.
        size: what stands for sizes that inputs leave open.
    """
    generator, graph = np.random.default_rng(_SEED), tracer.graph
    shapes = [
        tuple(size if n < 0 else n for n in graph.tensors[index].free_shape[1:])
        for index in graph.inputs
    ]
    values = sum(int(np.prod(shape)) for shape in shapes)
    samples = int(np.clip(_VALUES // max(values, 1), 2, _SAMPLES))
    results = []
    for shape, fmt, index in zip(shapes, tracer.input_formats, graph.inputs, strict=True):
        whole = (samples, *shape)
        if fmt == INDICES:
            rows = index_limit(graph, index) or 1
            results.append(generator.integers(0, rows, whole).astype(np.int32))
            continue
        codes = generator.integers(fmt.qmin, fmt.qmax + 1, whole)
        smaller = np.resize([1, 2, 1, 8], samples).reshape(-1, *[1] * len(shape))
        results.append((np.trunc(codes / smaller) * fmt.scale).astype(np.float32))
    return results


def _litert(tracer: KerasTracer, feeds: list[np.ndarray], ours: Trace) -> str:
    """ "agrees", or a sentence: how LiteRT's outputs differ from the interpreter's."""
    graph = tracer.graph
    try:
        with open_runtime("litert", write_tflite(graph), name=repr(graph.name)) as engine:
            theirs = engine.run(feeds)
    except EngineError as error:
        return str(error)
    wanted = [ours.tensors[graph.tensors[index].name].codes for index in graph.outputs]
    pairs = zip(wanted, theirs, strict=True)
    if all(want is not None and np.array_equal(want, got) for want, got in pairs):
        return "agrees"
    found = compare_traces(ours, trace_runtime(graph, feeds, RUNTIMES["litert"])).first()
    where = "its outputs" if found is None else f"{found.name!r} ({found.operator})"
    details = "" if found is None else f": {found.sentence()}"
    return f"model {graph.name!r}: LiteRT computes {where} otherwise than tfxp{details}."
