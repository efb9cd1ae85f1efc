"""One-operator models, and LiteRT's answer to them: the oracle of every operator test.

Models are written with LiteRT's own schema classes, not with tfxp's writer, so that the two ends
share no code. LiteRT runs in this process: every case here is one that it survives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as S
from ai_edge_litert.interpreter import Interpreter as LiteRT
from ai_edge_litert.interpreter import OpResolverType
from flatbuffers import flexbuffers

from tfxp.interpreter import Interpreter

RESOLVERS = {"builtin": OpResolverType.BUILTIN_REF, "litert": OpResolverType.AUTO}
LIMITS = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767)}
DTYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT32": np.float32,
    "BOOL": np.bool_,
    "COMPLEX64": np.complex64,
}


@dataclass
class T:
    """A tensor of a one-operator model; `data` makes it a constant."""

    shape: tuple[int, ...]
    type: str = "INT8"
    scale: Any = None
    zero: Any = 0
    data: Any = None
    axis: int = 0
    variable: bool = False


@dataclass
class Model:
    """A one-operator model: operator name, tensors, options (camelCase fields of the table)."""

    op: str
    inputs: list[T | None]
    outputs: list[T]
    table: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 2
    intermediates: list[T] = field(default_factory=list)
    custom: dict[str, Any] | None = None  # options of a custom operator

    def bytes(self) -> bytes:
        """The file."""
        model, graph, op, code = S.ModelT(), S.SubGraphT(), S.OperatorT(), S.OperatorCodeT()
        code.builtinCode = getattr(S.BuiltinOperator, "CUSTOM" if self.custom else self.op)
        if self.custom:
            code.customCode = self.op.encode()
            op.customOptions = np.frombuffer(flexbuffers.Dumps(self.custom), np.uint8)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), self.version
        model.version, model.operatorCodes, model.buffers = 3, [code], [S.BufferT()]
        graph.name, graph.tensors, graph.inputs, graph.outputs = "main", [], [], []
        op.opcodeIndex, op.inputs, op.outputs, op.intermediates = 0, [], [], []
        if self.table:
            op.builtinOptionsType = getattr(S.BuiltinOptions, self.table)
            op.builtinOptions = getattr(S, self.table + "T")()
            for name, value in self.options.items():
                assert hasattr(op.builtinOptions, name), name
                setattr(op.builtinOptions, name, value)
        for spec in self.inputs:
            index = -1 if spec is None else self._tensor(model, graph, spec)
            op.inputs.append(index)
            if spec is not None and spec.data is None and not spec.variable:
                graph.inputs.append(index)
        for spec in self.outputs:
            op.outputs.append(self._tensor(model, graph, spec))
        for spec in self.intermediates:
            op.intermediates.append(self._tensor(model, graph, spec))
        graph.outputs = list(op.outputs)
        graph.operators, model.subgraphs = [op], [graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    @staticmethod
    def _tensor(model: Any, graph: Any, spec: T) -> int:
        tensor = S.TensorT()
        tensor.name, tensor.shape = f"t{len(graph.tensors)}", list(spec.shape)
        tensor.type, tensor.isVariable = getattr(S.TensorType, spec.type), spec.variable
        if spec.scale is not None:
            q = S.QuantizationParametersT()
            q.scale = list(np.atleast_1d(spec.scale).astype(np.float32))
            q.zeroPoint = [int(z) for z in np.broadcast_to(spec.zero, len(q.scale))]
            q.quantizedDimension = spec.axis
            tensor.quantization = q
        if spec.data is not None:
            buffer = S.BufferT()
            data = np.asarray(spec.data, DTYPES[spec.type])
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    @property
    def fed(self) -> list[T]:
        """The model's inputs."""
        return [t for t in self.inputs if t is not None and t.data is None and not t.variable]


def draw(spec: T, rng: np.random.Generator) -> np.ndarray:
    """Random content: all codes of integer types, limits included; floats around 0."""
    if spec.type == "FLOAT32":
        return rng.normal(0.0, 3.0, spec.shape).astype(np.float32)
    if spec.type == "BOOL":
        return rng.integers(0, 2, spec.shape).astype(np.bool_)
    low, high = LIMITS.get(spec.type, (-1000, 1000))
    codes = rng.integers(low, high + 1, spec.shape)
    if codes.size > 1:
        codes.reshape(-1)[0], codes.reshape(-1)[-1] = low, high
    return codes.astype(DTYPES[spec.type])


def litert(content: bytes, inputs: list[np.ndarray], arithmetic: str) -> list[np.ndarray]:
    """LiteRT's outputs."""
    runner = LiteRT(
        model_content=content, experimental_op_resolver_type=RESOLVERS[arithmetic], num_threads=1
    )
    runner.allocate_tensors()
    for detail, array in zip(runner.get_input_details(), inputs, strict=True):
        runner.set_tensor(detail["index"], array)
    runner.invoke()
    return [runner.get_tensor(d["index"]) for d in runner.get_output_details()]


def ours(content: bytes, inputs: list[np.ndarray], arithmetic: str, engine: str = "fast"):
    """tfxp's outputs, of a run that repeats one on the same values in another order."""
    runner = Interpreter(model_content=content, arithmetic=arithmetic, engine=engine)
    runner.allocate_tensors()
    for turned in (1, 0):
        for detail, array in zip(runner.get_input_details(), inputs, strict=True):
            whole = array.dtype.kind == "i" and array.dtype.itemsize > 2 and array.ndim
            # coordinates stay together
            turn = np.roll(array, turned, axis=0 if whole else None)
            runner.set_tensor(detail["index"], turn)
        runner.reset_all_variables()
        runner.invoke()
    return [runner.get_tensor(d["index"]) for d in runner.get_output_details()]


def differences(model: Model, rng: np.random.Generator, arithmetic: str, inputs=None):
    """(elements that differ, largest difference, elements) between tfxp and LiteRT."""
    content = model.bytes()
    inputs = inputs or [draw(spec, rng) for spec in model.fed]
    worst, count, total = 0.0, 0, 0
    expected = litert(content, inputs, arithmetic)
    for engine in ("fast", "reference"):
        for got, want in zip(ours(content, inputs, arithmetic, engine), expected, strict=True):
            assert got.dtype == want.dtype and got.shape == want.shape, (got.shape, want.shape)
            gap = np.abs(got.astype(np.float64) - want.astype(np.float64))
            count, total = count + int((gap > 0).sum()), total + gap.size
            worst = max(worst, float(gap.max(initial=0.0)))
    return count, worst, total


def check_equal(model: Model, rng: np.random.Generator, arithmetic: str, inputs=None) -> None:
    """Asserts that tfxp equals LiteRT on every element; says how many differ if not."""
    count, worst, total = differences(model, rng, arithmetic, inputs)
    assert count == 0, f"{model.op} {arithmetic}: {count} of {total} differ, by up to {worst}"
