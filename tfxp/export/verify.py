"""Does the integer file compute what the quantized Keras model computes? Counted, not believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import DataError
from tfxp.formats import Format, encode
from tfxp.graph import IntegerGraph, write_tflite
from tfxp.interpreter import Interpreter

Progress = Callable[[int, int | None], None]


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
        litert_error: what LiteRT said if it refused the file.
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
    keras_logits: Callable[[list[np.ndarray]], list[np.ndarray]],
    graph: IntegerGraph,
    input_formats: Sequence[Format],
    data: Any,
    *,
    batch_size: int = 100,
    progress: Progress | None = None,
) -> Verification:
    """Compare Keras, tfxp's interpreter and LiteRT on real inputs.

    Args:
        keras_logits: batch of real inputs -> outputs of the quantized network (real values).
        graph: what was exported.
        input_formats: formats of the network's inputs, in order.
        data: real inputs, an array or a list of arrays.
        batch_size: samples per step.
        progress: called with (samples done, samples in all).

    Raises:
        DataError: no data, or inputs of different lengths.
    """
    parts = [np.asarray(part, np.float32) for part in tf.nest.flatten(data)]
    if not parts or not len(parts[0]) or len({len(part) for part in parts}) != 1:
        raise DataError("verification data: got no samples, or inputs of different lengths.")
    runner = Interpreter(graph)
    for index, part in zip(graph.inputs, parts, strict=True):  # sizes may be free
        runner.resize_tensor_input(index, (1, *part.shape[1:]))
    runner.allocate_tensors()
    litert, error = _litert(write_tflite(graph))
    totals = np.zeros(3, np.int64)
    elements = worst = 0
    for start in range(0, len(parts[0]), batch_size):
        batch = [part[start : start + batch_size] for part in parts]
        codes = [
            stored_codes(part, fmt, graph, index)
            for part, fmt, index in zip(batch, input_formats, graph.inputs, strict=True)
        ]
        wanted = [
            _output_codes(real, graph, index)
            for real, index in zip(keras_logits(batch), graph.outputs, strict=True)
        ]
        ours = runner.predict_codes(codes if len(codes) > 1 else codes[0])
        ours = ours if isinstance(ours, list) else [ours]
        theirs = litert(codes) if litert else ours
        for want, our, their in zip(wanted, ours, theirs, strict=True):
            want, our, their = (a.astype(np.int64).ravel() for a in (want, our, their))
            elements += want.size
            totals += ((want != our).sum(), (want != their).sum(), (our != their).sum())
            worst = max(worst, int(np.abs(want - our).max()), int(np.abs(want - their).max()))
        if progress is not None:
            progress(min(start + batch_size, len(parts[0])), len(parts[0]))
    without = litert is None
    return Verification(
        len(parts[0]),
        elements,
        int(totals[0]),
        -1 if without else int(totals[1]),
        -1 if without else int(totals[2]),
        worst,
        error,
    )


def stored_codes(real: np.ndarray, fmt: Format, graph: IntegerGraph, index: int) -> np.ndarray:
    """Real inputs as the bytes that the file's input tensor takes."""
    tensor = graph.tensors[index]
    return (encode(real, fmt) + tensor.zero_point).astype(tensor.dtype)


def _output_codes(real: np.ndarray, graph: IntegerGraph, index: int) -> np.ndarray:
    tensor = graph.tensors[index]
    return np.rint(real.astype(np.float64) / tensor.scale).astype(np.int64) + tensor.zero_point


def _litert(content: bytes) -> tuple[Callable[[list[np.ndarray]], list[np.ndarray]] | None, str]:
    """LiteRT's default engine as a function of input codes; None and its words if it refuses."""
    from ai_edge_litert.interpreter import Interpreter as LiteRt

    try:
        engine = LiteRt(model_content=content)
        engine.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        return None, str(error).splitlines()[0]

    def run(codes: list[np.ndarray]) -> list[np.ndarray]:
        inputs = engine.get_input_details()
        if all(detail["shape_signature"][0] == 1 for detail in inputs) and len(codes[0]) > 1:
            rows = [run([part[i : i + 1] for part in codes]) for i in range(len(codes[0]))]
            return [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        for detail, part in zip(inputs, codes, strict=True):
            if tuple(detail["shape"]) != part.shape:
                engine.resize_tensor_input(detail["index"], part.shape)
        engine.allocate_tensors()
        for detail, part in zip(inputs, codes, strict=True):
            engine.set_tensor(detail["index"], part)
        engine.reset_all_variables()  # every sample is a sequence of its own
        engine.invoke()
        return [engine.get_tensor(detail["index"]) for detail in engine.get_output_details()]

    return run, ""
