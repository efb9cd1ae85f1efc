"""IntegerGraph to `.tflite` bytes, through the schema's own object API."""

from __future__ import annotations

import hashlib
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from tfxp.errors import TfliteFormatError
from tfxp.graph.element_types import element_bits, numpy_type, pack_codes, stored_bytes
from tfxp.graph.integer_graph import IntegerGraph, Operator, Signature, Tensor
from tfxp.graph.schema import S, default_options_type, dict_to_options


def write_tflite(graph: IntegerGraph) -> bytes:
    """The bytes of a `.tflite` file that holds `graph`.

    Equal constants share one buffer. Buffers are aligned to 16 bytes, as LiteRT wants them.

    Args:
        graph: main subgraph with its further subgraphs, signatures and metadata.

    Raises:
        TfliteFormatError: a tensor's data does not fit its shape and type, a code does not fit its
            bits, an operator or option name is unknown, or an index points nowhere.

    Example:
        >>> write_tflite(IntegerGraph())[4:8]
        b'TFL3'
    """
    return _Writer().write(graph)


class _Writer:
    """State of writing one file."""

    def __init__(self) -> None:
        empty = S.BufferT()
        self.buffers = [empty]
        self.known: dict[bytes, int] = {}  # digest of a buffer -> its number
        self.codes: list[Any] = []
        self.code_of: dict[tuple[str, int, str], int] = {}

    def write(self, graph: IntegerGraph) -> bytes:
        """The whole model."""
        model = S.ModelT()
        model.version, model.description = graph.version, graph.description
        model.subgraphs = [self._graph(sub) for sub in [graph, *graph.subgraphs]]
        model.metadata = [self._metadata(k, v) for k, v in graph.metadata.items()]
        if "metadata_buffer" in graph.extra:
            model.metadataBuffer = [self._buffer(b) for b in graph.extra["metadata_buffer"]]
        for field in ("externalBufferGroups", "externalBuffers"):
            if field in graph.extra:
                setattr(model, field, graph.extra[field])
        if graph.signatures:
            model.signatureDefs = [self._signature(entry) for entry in graph.signatures]
        model.operatorCodes, model.buffers = self.codes, self.buffers
        # Large enough from the start: a builder that runs full doubles, and holds both meanwhile.
        content = sum(buffer.data.size for buffer in self.buffers[1:])
        entries = sum(len(s.tensors) + len(s.operators) for s in model.subgraphs)
        builder = _AlignedBuilder(2**16 + content + 32 * len(self.buffers) + 512 * entries)
        builder.Finish(model.Pack(builder), b"TFL3")
        del model
        self.buffers.clear()
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    def _buffer(self, content: bytes | NDArray[np.uint8]) -> int:
        digest = hashlib.blake2b(memoryview(content)).digest()  # type: ignore[arg-type]
        if digest not in self.known:
            buffer = S.BufferT()
            buffer.data = np.frombuffer(content, np.uint8)
            self.buffers.append(buffer)
            self.known[digest] = len(self.buffers) - 1
        return self.known[digest]

    def _metadata(self, name: str, content: bytes) -> Any:
        entry = S.MetadataT()
        entry.name, entry.buffer = _raw(name), self._buffer(content)
        return entry

    @staticmethod
    def _signature(signature: Signature) -> Any:
        entry = S.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = _raw(signature.key), signature.subgraph
        sides = []
        for side in (signature.inputs, signature.outputs):
            maps = []
            for name, index in side.items():
                item = S.TensorMapT()
                item.name, item.tensorIndex = _raw(name), index
                maps.append(item)
            sides.append(maps)
        entry.inputs, entry.outputs = sides
        return entry

    def _graph(self, graph: IntegerGraph) -> Any:
        sub = S.SubGraphT()
        sub.name = _raw(graph.name)
        sub.tensors = [self._tensor(i, tensor) for i, tensor in enumerate(graph.tensors)]
        count = len(graph.tensors)
        sub.inputs = _indices(graph.inputs, count, f"inputs of graph {graph.name!r}", 0)
        sub.outputs = _indices(graph.outputs, count, f"outputs of graph {graph.name!r}", 0)
        sub.operators = [self._operator(i, op, count) for i, op in enumerate(graph.operators)]
        sub.debugMetadataIndex = graph.extra.get("debugMetadataIndex", -1)
        return sub

    def _tensor(self, index: int, tensor: Tensor) -> Any:
        raw = S.TensorT()
        raw.name, raw.type = _raw(tensor.name), _type_number(tensor.type)
        if tensor.shape or "shape" in tensor.extra or tensor.data is not None:
            raw.shape = np.array(tensor.shape, np.int32)
        raw.isVariable, raw.hasRank = tensor.is_variable, tensor.extra.get("has_rank", False)
        if tensor.shape_signature is not None:
            raw.shapeSignature = np.array(tensor.shape_signature, np.int32)
        for field in ("sparsity", "variantTensors", "externalBuffer"):
            if field in tensor.extra:
                setattr(raw, field, tensor.extra[field])
        if tensor.data is not None:
            raw.buffer = self._buffer(_content(index, tensor))
        raw.quantization = _quantization(tensor)
        return raw

    def _operator(self, index: int, operator: Operator, count: int) -> Any:
        what = f"operator {index} ({operator.name})"
        raw = S.OperatorT()
        raw.opcodeIndex = self._code(operator)
        raw.inputs = _indices(operator.inputs, count, f"inputs of {what}", -1)
        raw.outputs = _indices(operator.outputs, count, f"outputs of {what}", 0)
        self._options(operator, raw)
        if operator.custom_options is not None:
            raw.customOptions = np.frombuffer(operator.custom_options, np.uint8)
        raw.customOptionsFormat = operator.extra.get("custom_options_format", 0)
        if operator.intermediates:
            raw.intermediates = np.array(operator.intermediates, np.int32)
        if "mutating_variable_inputs" in operator.extra:
            raw.mutatingVariableInputs = operator.extra["mutating_variable_inputs"]
        raw.debugMetadataIndex = operator.extra.get("debugMetadataIndex", -1)
        return raw

    @staticmethod
    def _options(operator: Operator, raw: Any) -> None:
        table = operator.options_type or default_options_type(operator.name)
        if table and (operator.options or not operator.extra.get("no_options")):
            raw.builtinOptionsType = getattr(S.BuiltinOptions, table)
            raw.builtinOptions = dict_to_options(table, operator.options)
        if "options_2" in operator.extra:
            raw.builtinOptions2Type, raw.builtinOptions2 = operator.extra["options_2"]

    def _code(self, operator: Operator) -> int:
        key = (operator.name, operator.version, operator.custom_code)
        if key not in self.code_of:
            code = S.OperatorCodeT()
            code.builtinCode = _operator_number(operator.name)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = operator.version
            code.customCode = _raw(operator.custom_code) if operator.custom_code else None
            self.codes.append(code)
            self.code_of[key] = len(self.codes) - 1
        return self.code_of[key]


class _AlignedBuilder(flatbuffers.Builder):
    """A builder that puts byte vectors on 16-byte boundaries.

    LiteRT reads weights in place and the schema asks for 16 (force_align); the generated code
    would align them to 4.
    """

    __slots__ = ()

    def CreateNumpyVector(self, x: Any) -> Any:
        """Writes a vector; the data of byte vectors lands on a multiple of 16.

        Byte vectors are copied straight to their place, without the two copies on the way that
        the base class makes; weights may be most of the memory there is.
        """
        if x.dtype != np.uint8 or not x.size:
            return super().CreateNumpyVector(x)
        self.Prep(16, x.size)
        self.StartVector(1, x.size, 1)
        self.head -= x.size
        np.frombuffer(self.Bytes, np.uint8)[self.head : self.head + x.size] = x
        setattr(self, "vectorNumElems", x.size)  # noqa: B010  a slot that the base class has
        return self.EndVector()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _indices(values: list[int], count: int, what: str, lowest: int) -> Any:
    for value in values:
        if not lowest <= value < count:
            raise TfliteFormatError(
                f"tensor index in {what}: got {value}; expected {lowest} to {count - 1}. "
                "Add the tensor to the graph first"
            )
    return np.array(values, np.int32)


def _type_number(name: str) -> int:
    number = getattr(S.TensorType, name, None)
    if number is None:
        raise TfliteFormatError(f"tensor type: got {name!r}; expected a schema TensorType name")
    return int(number)


def _operator_number(name: str) -> int:
    if name.startswith("BUILTIN_"):
        return int(name[len("BUILTIN_") :])
    number = getattr(S.BuiltinOperator, name, None)
    if number is None:
        raise TfliteFormatError(f"operator: got {name!r}; expected a schema BuiltinOperator name")
    return int(number)


def _content(index: int, tensor: Tensor) -> bytes | NDArray[np.uint8]:
    """A constant as it is stored: its own memory where that will do."""
    what = f"data of tensor {index} ({tensor.name!r}, {tensor.type} {list(tensor.shape)})"
    data = np.asarray(tensor.data)
    if tensor.type in ("STRING", "RESOURCE", "VARIANT") or "sparsity" in tensor.extra:
        return data.tobytes()
    if data.size != tensor.size:
        raise TfliteFormatError(f"{what}: got {data.size} elements; expected {tensor.size}")
    typed = data.astype(numpy_type(tensor.type), copy=False)
    if not np.array_equal(typed, data, equal_nan=typed.dtype.kind in "fc"):
        raise TfliteFormatError(f"{what}: got values outside the type; expected {tensor.type}")
    if element_bits(tensor.type) == 8 * typed.itemsize:
        return np.ascontiguousarray(typed).reshape(-1).view(np.uint8)
    limit = 2 ** element_bits(tensor.type)
    low = 0 if tensor.type.startswith("U") else -limit // 2
    if typed.size and (int(typed.min()) < low or int(typed.max()) >= low + limit):
        raise TfliteFormatError(
            f"{what}: got codes {typed.min()} to {typed.max()}; expected {low} to {low + limit - 1}"
        )
    packed = pack_codes(typed, tensor.type).tobytes()
    assert len(packed) == stored_bytes(tensor.type, tensor.size)
    return packed


def _quantization(tensor: Tensor) -> Any:
    if tensor.quantization is None:
        return tensor.extra.get("quantization")
    raw, source = S.QuantizationParametersT(), tensor.quantization
    raw.scale = np.asarray(source.scale, np.float32)
    raw.zeroPoint = np.asarray(source.zero_point, np.int64)
    raw.quantizedDimension = source.axis
    raw.min, raw.max = source.min, source.max
    if source.details is not None:
        raw.detailsType, raw.details = source.details
    return raw
