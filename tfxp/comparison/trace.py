"""Every tensor of one run of a network, as codes that can be compared with another run's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tfxp.graph import IntegerGraph, Operator, Tensor, write_tflite
from tfxp.interpreter.interpreter import Interpreter
from tfxp.interpreter.registry import Array
from tfxp.runtimes import Runtime, open_runtime

_ROLES = {1: "weights", 2: "bias"}
_WEIGHTED = {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant operand: its codes and how they are meant."""

    codes: Array
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class TracedTensor:
    """What one tensor was in a run.

    Args:
        name: its name in the file.
        operator: what computed it; "INPUT" for what was fed.
        codes: stored codes, or floats, of all samples; None where the run has no such value, as
            Keras has none before the clamp behind an operator.
        scale: value of one code; 0.0 for floats and plain integers.
        zero_point: the code that stands for zero.
        constants: role ("weights", "bias", "operand 1") -> constant operand of the operator.
    """

    name: str
    operator: str
    codes: Array | None
    scale: float
    zero_point: int
    constants: Mapping[str, Constant] = dataclasses.field(default_factory=dict)

    @property
    def real(self) -> NDArray[np.float64]:
        """Real values; `codes` must be there."""
        assert self.codes is not None
        values = self.codes.astype(np.float64)
        return (values - self.zero_point) * self.scale if self.scale else values


@dataclasses.dataclass(frozen=True)
class Trace:
    """A run: tensors by name, in the order they were computed.

    Args:
        engine: who ran it, for people: "Keras", "interpreter", "LiteRT".
        tensors: name -> tensor.
        outputs: names of the network's outputs.
    """

    engine: str
    tensors: Mapping[str, TracedTensor]
    outputs: tuple[str, ...]


def trace_interpreter(
    graph: IntegerGraph, feeds: Sequence[Array], engine: str = "interpreter"
) -> Trace:
    """Run a graph sample by sample in tfxp's interpreter and keep every tensor.

    Args:
        graph: what to run.
        feeds: codes per input, samples first.
        engine: name of the run.

    Raises:
        ConfigError: feeds of another shape than the graph takes.
    """
    runner = Interpreter(graph)
    for index, part in zip(graph.inputs, feeds, strict=True):
        runner.resize_tensor_input(index, (1, *part.shape[1:]), strict=True)
    computed = computed_tensors(graph)
    rows: list[list[Array]] = []
    for sample in range(len(feeds[0])):
        runner.reset_all_variables()
        for index, part in zip(graph.inputs, feeds, strict=True):
            runner.set_tensor(index, part[sample : sample + 1])
        runner.invoke()
        rows.append([runner.get_tensor(index) for index in computed])
    stacked = [
        np.concatenate([np.atleast_1d(a) for a in parts]) for parts in zip(*rows, strict=True)
    ]
    return _of_run(graph, feeds, computed, stacked, engine)


def trace_runtime(
    graph: IntegerGraph, feeds: Sequence[Array], runtime: Runtime, engine: str = ""
) -> Trace:
    """Run a graph sample by sample in a runtime and keep every tensor.

    Most runtimes keep no intermediate results, so each runs a copy of the graph in which every
    computed tensor is an output; see `shown_tensors`.

    Args:
        graph: what to run.
        feeds: codes per input, samples first.
        runtime: what runs it.
        engine: name of the run; by default the runtime's title.

    Raises:
        EngineError: the runtime is missing, refuses the file or dies of it.
    """
    computed = shown_tensors(graph, runtime)
    opened = dataclasses.replace(graph, outputs=computed, signatures=[])
    with open_runtime(runtime, write_tflite(opened), name=repr(graph.name)) as runner:
        stacked = runner.run(feeds, singly=True)
    return _of_run(graph, feeds, computed, stacked, engine or runtime.title)


def trace_file(graph: IntegerGraph, engine: str) -> Trace:
    """What a file says without running it: scales, zero points and constants, no values."""
    return _trace(graph, dict.fromkeys([*graph.inputs, *computed_tensors(graph)]), engine)


def _of_run(
    graph: IntegerGraph,
    feeds: Sequence[Array],
    computed: Sequence[int],
    stacked: Sequence[Array],
    engine: str,
) -> Trace:
    """A trace from what was fed, and the computed tensors of all samples."""
    fed = dict(zip(graph.inputs, feeds, strict=True))
    return _trace(graph, {**fed, **dict(zip(computed, stacked, strict=True))}, engine)


def _trace(graph: IntegerGraph, values: Mapping[int, Array | None], engine: str) -> Trace:
    producer = {index: op for op in graph.operators for index in op.outputs}
    tensors = {}
    for index, codes in values.items():
        tensor, operator = graph.tensors[index], producer.get(index)
        tensors[tensor.name] = TracedTensor(
            tensor.name,
            operator.name if operator else "INPUT",
            codes,
            tensor.scale,
            tensor.zero_point,
            constants_of(graph, operator) if operator else {},
        )
    return Trace(engine, tensors, tuple(graph.tensors[index].name for index in graph.outputs))


def constants_of(graph: IntegerGraph, operator: Operator) -> dict[str, Constant]:
    """Constant operands of an operator by role."""
    found = {}
    for place, index in enumerate(operator.inputs):
        tensor = graph.tensors[index] if index >= 0 else None
        if tensor is None or tensor.data is None:
            continue
        weighted = operator.name in _WEIGHTED
        role = _ROLES.get(place, "") if weighted else f"operand {place}"
        found[role or f"operand {place}"] = Constant(tensor.data, *_scheme(tensor))
    return found


def _scheme(tensor: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if tensor.quantization is None:
        return np.zeros(0, np.float32), np.zeros(0, np.int64)
    return tensor.quantization.scale, tensor.quantization.zero_point


def computed_tensors(graph: IntegerGraph) -> list[int]:
    """Tensors that operators compute, in order."""
    return [index for op in graph.operators for index in op.outputs if index >= 0]


def shown_tensors(graph: IntegerGraph, runtime: Runtime) -> list[int]:
    """Computed tensors of the types that a runtime hands out."""
    computed = computed_tensors(graph)
    return [index for index in computed if graph.tensors[index].type not in runtime.hidden_types]
