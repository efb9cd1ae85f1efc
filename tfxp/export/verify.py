"""Does the integer file compute what the quantized Keras model computes? Counted, not believed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tfxp.comparison.runtime_results import (
    RuntimeComparison,
    RuntimeResult,
    interpreted,
)
from tfxp.data.named_inputs import InputSignature
from tfxp.formats import Format, encode
from tfxp.graph import IntegerGraph
from tfxp.interpreter import Interpreter
from tfxp.keras_types import Samples
from tfxp.progress import Report

Arrays = list[np.ndarray]
_BATCH_VALUES = 1 << 24  # of the largest tensor of a batch


@dataclasses.dataclass(frozen=True)
class Verification:
    """Element by element comparison of the network's outputs, as integer codes.

    Args:
        samples: inputs compared.
        elements: output elements compared.
        mismatches_interpreter: elements where tfxp's interpreter differs from Keras.
        mismatches_litert: elements where LiteRT's default engine differs from Keras; -1 if LiteRT
            does not run the file.
        mismatches_between: elements where interpreter and LiteRT differ; -1 likewise.
        max_abs_lsb: largest difference from Keras in output codes, either engine.
        litert_error: why LiteRT does not run the file.
        runtimes: the file on every runtime that was asked for, LiteRT's default engine first,
            compared with the interpreter.
    """

    samples: int
    elements: int
    mismatches_interpreter: int
    mismatches_litert: int
    mismatches_between: int
    max_abs_lsb: int
    litert_error: str = ""
    runtimes: tuple[RuntimeResult, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every element agrees everywhere."""
        keras = self.mismatches_interpreter == 0 and self.mismatches_litert == 0
        return keras and all(result.exact for result in self.runtimes)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


def verify_graph(
    keras_logits: Callable[[Arrays], Arrays],
    graph: IntegerGraph,
    input_formats: Sequence[Format],
    data: Samples,
    *,
    batch_size: int | None = None,
    progress: Report | None = None,
    inputs: InputSignature | None = None,
    refusal: str = "",
    runtimes: Iterable[str] = ("litert",),
    written: IntegerGraph | None = None,
) -> Verification:
    """Compare Keras, tfxp's interpreter, LiteRT and other runtimes on real inputs.

    Keras is compared with the interpreter and with LiteRT's default engine; all runtimes are
    compared with the interpreter.

    Args:
        keras_logits: batch of real inputs -> outputs of the quantized network (real values).
        graph: what was exported.
        input_formats: formats of the network's inputs, in order.
        data: real inputs: an array, a list or dict of arrays, or batches of these, such as a
            `tf.data.Dataset`.
        batch_size: samples per step where the data come in one piece; None takes 100, and fewer
            where a tensor of the batch would have more than 2^24 values.
        progress: called with (samples done, samples in all; None where that is not known).
        inputs: names and shapes of the inputs; by default those of the graph.
        refusal: why LiteRT is not asked; empty if it is.
        runtimes: names, of `tfxp.runtimes.RUNTIMES`; LiteRT's default engine is always asked.
        written: the file that runtimes are given, if it is another than `graph`: one that goes on
            to a softmax, for which Keras has no codes.

    Raises:
        DataError: no data, or inputs of other names, shapes or lengths.
        ConfigError: no such runtime.
    """
    inputs = inputs or _inputs_of(graph)
    graphs = [graph] if written is None else [graph, written]
    runners = [Interpreter(item) for item in graphs]
    count, batch_size = _Count(), batch_size or _batch_size(graph)
    with contextlib.ExitStack() as stack:
        asked = ["litert", *runtimes] if written is None else ["litert"]
        refusals = {"litert": refusal} if refusal else {}
        comparisons = [RuntimeComparison(graph, asked, refusals)]
        if written is not None:
            comparisons.append(RuntimeComparison(written, ["litert", *runtimes], refusals))
        for comparison in comparisons:
            stack.enter_context(comparison)
        for batch, total in inputs.batches(data, batch_size, "verification data"):
            codes = [
                stored_codes(part, fmt, graph, index)
                for part, fmt, index in zip(batch, input_formats, graph.inputs, strict=True)
            ]
            wanted = [
                _output_codes(real, graph, index)
                for real, index in zip(keras_logits(batch), graph.outputs, strict=True)
            ]
            ours = [interpreted(runner, codes) for runner in runners]
            theirs = [c.add(codes, o) for c, o in zip(comparisons, ours, strict=True)]
            count.add(len(batch[0]), wanted, ours[0], theirs[0].get("litert"))
            if progress is not None:
                progress(count.samples, total)
        return count.verification(comparisons[0].results()[0], comparisons[-1].results())


class _Count:
    """Elements that differ, added up over batches."""

    def __init__(self) -> None:
        self.samples = self.elements = self.worst = 0
        self.totals = np.zeros(3, np.int64)

    def add(self, samples: int, wanted: Arrays, ours: Arrays, theirs: Arrays | None) -> None:
        """Count one batch."""
        self.samples += samples
        for parts in zip(wanted, ours, theirs or ours, strict=True):
            want, our, their = (part.astype(np.int64).ravel() for part in parts)
            self.elements += want.size
            self.totals += ((want != our).sum(), (want != their).sum(), (our != their).sum())
            for other in (our, their):
                self.worst = max(self.worst, int(np.abs(want - other).max(initial=0)))

    def verification(
        self, litert: RuntimeResult, runtimes: tuple[RuntimeResult, ...]
    ) -> Verification:
        """The result; `litert` says why LiteRT took no part."""
        ours, theirs, between = (int(total) for total in self.totals)
        error = litert.error
        if error:
            theirs = between = -1
        return Verification(
            self.samples, self.elements, ours, theirs, between, self.worst, error, runtimes
        )


def _inputs_of(graph: IntegerGraph) -> InputSignature:
    tensors = [graph.tensors[index] for index in graph.inputs]
    shapes = [tensor.shape_signature or tensor.shape for tensor in tensors]
    return InputSignature(
        tuple(tensor.name for tensor in tensors),
        tuple(tuple(None if size < 0 else size for size in shape[1:]) for shape in shapes),
    )


def _batch_size(graph: IntegerGraph) -> int:
    largest = max(int(np.prod(tensor.shape)) for tensor in graph.tensors if tensor.data is None)
    return int(np.clip(_BATCH_VALUES // max(largest, 1), 1, 100))


def stored_codes(real: np.ndarray, fmt: Format, graph: IntegerGraph, index: int) -> np.ndarray:
    """Real inputs as the bytes that the file's input tensor takes."""
    tensor = graph.tensors[index]
    return (encode(real, fmt) + tensor.zero_point).astype(tensor.dtype)


def _output_codes(real: np.ndarray, graph: IntegerGraph, index: int) -> np.ndarray:
    tensor = graph.tensors[index]
    return np.rint(real.astype(np.float64) / tensor.scale).astype(np.int64) + tensor.zero_point
