"""`.tflite` bytes to IntegerGraph: bounds-checked unpacking, then checks of everything stored.

Order of work: the flatbuffer is unpacked through `CheckedTable`, then indices, types, shapes,
buffer sizes and quantization arrays are verified before an array is made. Whatever is wrong ends
in one TfliteFormatError that names the file, the part and the value.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import ModelError, TfliteFormatError, check_kind
from tfxp.file_kind import file_kind, is_keras
from tfxp.graph.element_types import (
    OPAQUE,
    element_bits,
    numpy_type,
    stored_bytes,
    unpack_codes,
)
from tfxp.graph.integer_graph import IntegerGraph, Operator, Quantization, Signature, Tensor
from tfxp.graph.schema import (
    OPERATORS,
    OPTION_TABLES,
    TENSOR_TYPES,
    CheckedBytes,
    S,
    checked_bytes,
    options_to_dict,
)

#: No tensor has more elements than this; LiteRT itself counts bytes in 64 bits.
MAX_ELEMENTS = 2**40
MAX_RANK = 32  # of which NumPy can broadcast all
MAX_FILE_BYTES = 2**34


def read_tflite(path_or_bytes: str | os.PathLike[str] | bytes | bytearray) -> IntegerGraph:
    """Reads a `.tflite` model.

    Args:
        path_or_bytes: a file name, or the content of a file.

    Returns:
        The graph; constants are read-only views of the file's bytes where the type allows.

    Raises:
        ModelError: the file cannot be opened.
        TfliteFormatError: the bytes are not a well-formed model; the message says what and where.

    Example:
        >>> from tfxp.graph import IntegerGraph, write_tflite
        >>> read_tflite(write_tflite(IntegerGraph(name="empty"))).name
        'empty'
    """
    if isinstance(path_or_bytes, bytes | bytearray | memoryview):
        where, content = "the given bytes", bytes(path_or_bytes)
    else:
        where, content = str(path_or_bytes), _load(path_or_bytes)
    kind = file_kind(content)
    if kind not in (None, "a .tflite model"):
        advice = " Export it first" if is_keras(kind) else ""
        raise TfliteFormatError(f"{where}: got {kind}; expected a .tflite model.{advice}")
    try:
        return _Reader(checked_bytes(content)).read()
    except TfliteFormatError as error:
        raise TfliteFormatError(f"{where}: {error}") from None
    except (
        struct.error,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
    ) as error:
        raise TfliteFormatError(
            f"flatbuffer of {where}: got a value that cannot be read ({error}); expected a "
            ".tflite model. The file is damaged"
        ) from error


def _load(path: str | os.PathLike[str]) -> bytes:
    expected = "the path of a .tflite file, or its content in bytes"
    check_kind(path, (str, os.PathLike), "model file", expected, ModelError)
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"size of {path}: got more than {MAX_FILE_BYTES} bytes")
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            f"model file {path}: got {error.strerror}; expected a readable .tflite file"
        ) from None


def _text(raw: bytes | str | None) -> str:
    if raw is None:
        return ""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "surrogateescape")


def _listed(value: Iterable[Any] | int | None) -> list[Any]:
    """A vector of the object API as a list; absent vectors read as None or 0."""
    if value is None or isinstance(value, int):
        return []
    return [v.item() if hasattr(v, "item") else v for v in value]


def _array(value: object, dtype: type) -> NDArray[Any] | None:
    if value is None or isinstance(value, int):
        return None
    return np.array(value, dtype)


def _fail(what: str, got: object, expected: str) -> TfliteFormatError:
    return TfliteFormatError(f"{what}: got {got}; expected {expected}. The file is damaged")


class _Reader:
    """State of reading one file."""

    def __init__(self, content: CheckedBytes) -> None:
        self.content = content
        self.buffers: list[Any] = []

    def read(self) -> IntegerGraph:
        """The whole model."""
        if len(self.content) < 8:
            raise _fail("file", f"{len(self.content)} bytes", "at least 8")
        if self.content[4:8] != b"TFL3":
            raise _fail("file identifier", repr(bytes(self.content[4:8])), "b'TFL3'")
        root = struct.unpack_from("<I", self.content)[0]
        if not 8 <= root <= len(self.content) - 4:
            raise _fail("root offset", root, f"8 to {len(self.content) - 4}")
        model = S.ModelT.InitFromBuf(self.content, root)
        if model.version != 3:
            raise _fail("schema version", model.version, "3")
        self.buffers = model.buffers or []
        codes = [self._operator_code(i, c) for i, c in enumerate(model.operatorCodes or [])]
        graphs = [self._graph(index, sub, codes) for index, sub in enumerate(model.subgraphs or [])]
        if not graphs:
            raise _fail("subgraphs of the model", 0, "at least 1")
        main = graphs[0]
        main.version, main.description = model.version, _text(model.description)
        main.subgraphs = graphs[1:]
        self._metadata(model, main)
        self._signatures(model, graphs)
        return main

    def _metadata(self, model: Any, main: IntegerGraph) -> None:
        for entry in model.metadata or []:
            main.metadata[_text(entry.name)] = self._buffer(entry.buffer, "metadata").tobytes()
        if model.metadataBuffer is not None and not isinstance(model.metadataBuffer, int):
            indices = _listed(model.metadataBuffer)
            main.extra["metadata_buffer"] = [
                self._buffer(i, "metadata_buffer").tobytes() for i in indices
            ]
        for field in ("externalBufferGroups", "externalBuffers"):
            if getattr(model, field, None):
                main.extra[field] = getattr(model, field)

    def _signatures(self, model: Any, graphs: list[IntegerGraph]) -> None:
        for entry in model.signatureDefs or []:
            key = _text(entry.signatureKey)
            if not 0 <= entry.subgraphIndex < len(graphs):
                raise _fail(
                    f"subgraph of signature {key!r}", entry.subgraphIndex, f"below {len(graphs)}"
                )
            count = len(graphs[entry.subgraphIndex].tensors)
            maps = []
            for side in (entry.inputs, entry.outputs):
                pairs = {_text(item.name): item.tensorIndex for item in side or []}
                for name, index in pairs.items():
                    if not 0 <= index < count:
                        raise _fail(f"{name!r} of signature {key!r}", index, f"below {count}")
                maps.append(pairs)
            graphs[0].signatures.append(Signature(key, maps[0], maps[1], entry.subgraphIndex))

    @staticmethod
    def _operator_code(index: int, code: Any) -> tuple[str, int, str, int]:
        # old files hold the code in 8 bits, new ones in 32; the larger of the two is the one meant
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        if number < 0:
            raise _fail(f"operator code {index}", number, "0 or more")
        name = OPERATORS.get(number, f"BUILTIN_{number}")
        return name, code.version, _text(code.customCode), code.deprecatedBuiltinCode

    def _graph(self, index: int, sub: Any, codes: list[tuple[str, int, str, int]]) -> IntegerGraph:
        place = f"subgraph {index}"
        graph = IntegerGraph(name=_text(sub.name))
        for i, tensor in enumerate(sub.tensors or []):
            graph.tensors.append(self._tensor(f"tensor {i} of {place}", tensor))
        count = len(graph.tensors)
        graph.inputs = self._indices(sub.inputs, count, f"inputs of {place}", optional=False)
        graph.outputs = self._indices(sub.outputs, count, f"outputs of {place}", optional=False)
        for i, op in enumerate(sub.operators or []):
            graph.operators.append(self._operator(f"operator {i} of {place}", op, codes, count))
        if sub.debugMetadataIndex != -1:
            graph.extra["debugMetadataIndex"] = sub.debugMetadataIndex
        return graph

    @staticmethod
    def _indices(
        value: Iterable[Any] | int | None, count: int, what: str, optional: bool
    ) -> list[int]:
        indices = _listed(value)
        lowest = -1 if optional else 0
        for index in indices:
            if not lowest <= index < count:
                raise _fail(f"tensor index in {what}", index, f"{lowest} to {count - 1}")
        return indices

    def _buffer(self, index: int, what: str) -> NDArray[np.uint8]:
        if not 0 <= index < max(len(self.buffers), 1):
            raise _fail(f"buffer of {what}", index, f"0 to {len(self.buffers) - 1}")
        if not self.buffers:
            return np.zeros(0, np.uint8)
        buffer = self.buffers[index]
        if buffer.offset > 1:  # content lies behind the flatbuffer (files over 2 GiB)
            return self._outside(buffer.offset, buffer.size, f"buffer {index}")
        if buffer.data is None or isinstance(buffer.data, int):
            return np.zeros(0, np.uint8)
        return np.asarray(buffer.data, np.uint8)

    def _outside(self, start: int, size: int, what: str) -> NDArray[np.uint8]:
        if start + size > len(self.content):
            raise _fail(f"bytes of {what}", f"{start} to {start + size}", f"<= {len(self.content)}")
        return np.frombuffer(self.content, np.uint8, size, start)

    def _tensor(self, what: str, raw: Any) -> Tensor:
        if raw.type not in TENSOR_TYPES:
            raise _fail(f"type of {what}", raw.type, f"one of {sorted(TENSOR_TYPES)}")
        kind = TENSOR_TYPES[raw.type]
        shape = tuple(_listed(raw.shape))
        self._check_shape(what, shape)
        signature = _array(raw.shapeSignature, np.int64)
        tensor = Tensor(_text(raw.name), shape, kind, is_variable=bool(raw.isVariable))
        if signature is not None:
            tensor.shape_signature = tuple(int(v) for v in signature)
        extra = {"shape": None if raw.shape is None else True, "has_rank": bool(raw.hasRank)}
        for field in ("sparsity", "variantTensors", "externalBuffer"):
            if getattr(raw, field, None):
                extra[field] = getattr(raw, field)
        tensor.extra = {key: value for key, value in extra.items() if value}
        tensor.data = self._constant(what, tensor, raw)
        tensor.quantization = self._quantization(what, tensor, raw.quantization)
        return tensor

    @staticmethod
    def _check_shape(what: str, shape: tuple[int, ...]) -> None:
        if len(shape) > MAX_RANK:
            raise _fail(f"rank of {what}", len(shape), f"at most {MAX_RANK}")
        elements = 1
        for size in shape:
            if size < 0:
                raise _fail(f"shape of {what}", list(shape), "sizes of 0 or more")
            elements *= max(size, 1)
        if elements > MAX_ELEMENTS:
            raise _fail(f"shape of {what}", list(shape), f"at most {MAX_ELEMENTS} elements")

    def _constant(self, what: str, tensor: Tensor, raw: Any) -> NDArray[Any] | None:
        content = self._buffer(raw.buffer, what)
        if content.size == 0 and (raw.buffer == 0 or tensor.size or tensor.is_variable):
            return None
        if tensor.type in OPAQUE or raw.sparsity is not None:
            return content
        needed = stored_bytes(tensor.type, tensor.size)
        if content.size != needed:
            raise _fail(
                f"buffer {raw.buffer} of {what} ({tensor.type} {list(tensor.shape)})",
                f"{content.size} bytes",
                f"{needed}",
            )
        if element_bits(tensor.type) < 8:
            return unpack_codes(content, tensor.type, tensor.size).reshape(tensor.shape)
        dtype = numpy_type(tensor.type)
        if content.size and content.__array_interface__["data"][0] % dtype.itemsize:
            content = content.copy()  # an unaligned buffer; kernels want aligned arrays
        array = content.view(dtype).reshape(tensor.shape)
        array.flags.writeable = False
        return array

    @staticmethod
    def _quantization(what: str, tensor: Tensor, raw: Any) -> Quantization | None:
        if raw is None:
            return None
        scale = _array(raw.scale, np.float32)
        if scale is None or not scale.size:
            tensor.extra["quantization"] = raw  # ranges or details only: nothing that scales
            return None
        zeros = _array(raw.zeroPoint, np.int64)
        zeros = np.zeros(scale.size, np.int64) if zeros is None or not zeros.size else zeros
        axis, count = raw.quantizedDimension, scale.size
        if zeros.size not in (1, count):
            raise _fail(f"zero points of {what}", zeros.size, f"1 or {count}, one per scale")
        if count > 1:
            if not 0 <= axis < max(len(tensor.shape), 1):
                raise _fail(f"quantized_dimension of {what}", axis, f"below {len(tensor.shape)}")
            if tensor.shape and tensor.shape[axis] != count:
                raise _fail(
                    f"scales of {what}", count, f"1 or {tensor.shape[axis]} (dimension {axis})"
                )
        if not np.all(np.isfinite(scale)) or np.any(scale < 0):
            raise _fail(f"scales of {what}", "a negative or not finite value", "finite, >= 0")
        details = (raw.detailsType, raw.details) if raw.detailsType else None
        low, high = _array(raw.min, np.float32), _array(raw.max, np.float32)
        return Quantization(scale, zeros, axis, low, high, details)

    def _operator(
        self, what: str, raw: Any, codes: list[tuple[str, int, str, int]], count: int
    ) -> Operator:
        if not 0 <= raw.opcodeIndex < len(codes):
            raise _fail(f"opcode index of {what}", raw.opcodeIndex, f"below {len(codes)}")
        name, version, custom, _ = codes[raw.opcodeIndex]
        operator = Operator(
            name,
            self._indices(raw.inputs, count, f"inputs of {what} ({name})", optional=True),
            self._indices(raw.outputs, count, f"outputs of {what} ({name})", optional=False),
            version=version,
            custom_code=custom,
        )
        if raw.builtinOptionsType not in OPTION_TABLES:
            raise _fail(f"option table of {what}", raw.builtinOptionsType, "a known table")
        if raw.builtinOptionsType and raw.builtinOptions is not None:
            operator.options_type = OPTION_TABLES[raw.builtinOptionsType]
            operator.options = options_to_dict(raw.builtinOptions)
        else:
            operator.extra["no_options"] = True
        operator.intermediates = self._indices(
            raw.intermediates, count, f"intermediates of {what}", optional=True
        )
        if raw.customOptions is not None and not isinstance(raw.customOptions, int):
            operator.custom_options = np.asarray(raw.customOptions, np.uint8).tobytes()
        if raw.largeCustomOptionsOffset > 1:
            start, size = raw.largeCustomOptionsOffset, raw.largeCustomOptionsSize
            operator.custom_options = self._outside(start, size, f"options of {what}").tobytes()
        self._carry(raw, operator)
        return operator

    @staticmethod
    def _carry(raw: Any, operator: Operator) -> None:
        flags = _listed(raw.mutatingVariableInputs)
        if flags:
            operator.extra["mutating_variable_inputs"] = [bool(flag) for flag in flags]
        if raw.builtinOptions2Type and raw.builtinOptions2 is not None:
            operator.extra["options_2"] = (raw.builtinOptions2Type, raw.builtinOptions2)
        if raw.debugMetadataIndex != -1:
            operator.extra["debugMetadataIndex"] = raw.debugMetadataIndex
        if raw.customOptionsFormat:
            operator.extra["custom_options_format"] = raw.customOptionsFormat
