"""Does the integer file compute what the quantized Keras model computes? Counted, not believed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfxp.comparison.litert import LiteRt
from tfxp.data.named_inputs import InputSignature
from tfxp.errors import LiteRtError
from tfxp.formats import Format, encode
from tfxp.graph import IntegerGraph, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras_types import Samples
from tfxp.progress import Report

Arrays = list[np.ndarray]


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
    """

    samples: int
    elements: int
    mismatches_interpreter: int
    mismatches_litert: int
    mismatches_between: int
    max_abs_lsb: int
    litert_error: str = ""

    @property
    def exact(self) -> bool:
        """Whether every element agrees everywhere."""
        return self.mismatches_interpreter == 0 and self.mismatches_litert == 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


def verify_graph(
    keras_logits: Callable[[Arrays], Arrays],
    graph: IntegerGraph,
    input_formats: Sequence[Format],
    data: Samples,
    *,
    batch_size: int = 100,
    progress: Report | None = None,
    inputs: InputSignature | None = None,
    refusal: str = "",
) -> Verification:
    """Compare Keras, tfxp's interpreter and LiteRT on real inputs.

    Args:
        keras_logits: batch of real inputs -> outputs of the quantized network (real values).
        graph: what was exported.
        input_formats: formats of the network's inputs, in order.
        data: real inputs: an array, a list or dict of arrays, or batches of these, such as a
            `tf.data.Dataset`.
        batch_size: samples per step where the data come in one piece.
        progress: called with (samples done, samples in all; None where that is not known).
        inputs: names and shapes of the inputs; by default those of the graph.
        refusal: why LiteRT is not asked; empty if it is.

    Raises:
        DataError: no data, or inputs of other names, shapes or lengths.
    """
    inputs = inputs or _inputs_of(graph)
    count = _Count()
    with _litert(graph, refusal) as (engine, error):
        runner = Interpreter(graph)
        for batch, total in inputs.batches(data, batch_size, "verification data"):
            codes = [
                stored_codes(part, fmt, graph, index)
                for part, fmt, index in zip(batch, input_formats, graph.inputs, strict=True)
            ]
            wanted = [
                _output_codes(real, graph, index)
                for real, index in zip(keras_logits(batch), graph.outputs, strict=True)
            ]
            theirs = None
            if not error:
                assert engine is not None
                try:
                    theirs = engine.run(codes)
                except LiteRtError as refused:
                    error = str(refused)
            count.add(len(batch[0]), wanted, _interpreted(runner, codes), theirs)
            if progress is not None:
                progress(count.samples, total)
    return count.verification(error)


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

    def verification(self, error: str) -> Verification:
        """The result; `error` is why LiteRT took no part."""
        ours, theirs, between = (int(total) for total in self.totals)
        if error:
            theirs = between = -1
        return Verification(self.samples, self.elements, ours, theirs, between, self.worst, error)


@contextlib.contextmanager
def _litert(graph: IntegerGraph, refusal: str) -> Iterator[tuple[LiteRt | None, str]]:
    """LiteRT with the file, or why it does not run it."""
    if refusal:
        yield None, refusal
        return
    try:
        engine = LiteRt(write_tflite(graph), name=repr(graph.name))
    except LiteRtError as error:
        yield None, str(error)
        return
    with engine:
        yield engine, ""


def _inputs_of(graph: IntegerGraph) -> InputSignature:
    tensors = [graph.tensors[index] for index in graph.inputs]
    shapes = [tensor.shape_signature or tensor.shape for tensor in tensors]
    return InputSignature(
        tuple(tensor.name for tensor in tensors),
        tuple(tuple(None if size < 0 else size for size in shape[1:]) for shape in shapes),
    )


def _interpreted(runner: Interpreter, codes: Arrays) -> Arrays:
    found = runner.predict_codes(codes if len(codes) > 1 else codes[0])
    return found if isinstance(found, list) else [found]


def stored_codes(real: np.ndarray, fmt: Format, graph: IntegerGraph, index: int) -> np.ndarray:
    """Real inputs as the bytes that the file's input tensor takes."""
    tensor = graph.tensors[index]
    return (encode(real, fmt) + tensor.zero_point).astype(tensor.dtype)


def _output_codes(real: np.ndarray, graph: IntegerGraph, index: int) -> np.ndarray:
    tensor = graph.tensors[index]
    return np.rint(real.astype(np.float64) / tensor.scale).astype(np.int64) + tensor.zero_point
