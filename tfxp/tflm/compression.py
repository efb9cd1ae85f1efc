"""Weights of few values in few bits: TFLM's value tables.

A weight tensor of at most 128 different codes becomes indices of 1 to 7 bits and a table of values.
The operator TFLM_DECODE before each reader unpacks it into the arena, code for code, so nothing
changes but sizes. Other runtimes do not know the operator.

Layout, as tflite-micro's `decode_state_lut.cc` reads it: indices in C order, most significant bit
first. The ancillary tensor begins with 16 bytes: decode type 0, version 1, two zeros, table version
1, axis * 16 + bits, table length, zeros; the tables follow. A tensor with several scales has a
table for each slice along its axis, others one table, and axis 15 says so. (The released runtime
looks at the number of scales; the layout also has the axis.)
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import EngineError, ExportError
from tfxp.files import PathLike, write_bytes
from tfxp.graph import IntegerGraph, Operator, Tensor, read_tflite, write_tflite
from tfxp.interpreter.encoding import encode_input
from tfxp.interpreter.prediction import Rows, rows_by_input
from tfxp.runtimes import open_runtime
from tfxp.tflm.memory import arena_bytes
from tfxp.tflm.operators import DECODE

#: Where operators have weights that their kernels take from the arena too.
_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_ONE_TABLE = 15
_MOST_VALUES = 128
_DRAWN = 8


@dataclasses.dataclass(frozen=True)
class CompressedWeights:
    """One tensor: its name, bits of an index, and bytes before and after (indices and tables)."""

    name: str
    bits: int
    plain_bytes: int
    compressed_bytes: int


@dataclasses.dataclass(frozen=True)
class CompressedFile:
    """A file with compressed weights.

    Args:
        path: where it is.
        plain_bytes, compressed_bytes: of the file without and with compression.
        plain_arena_bytes, arena_bytes: of TFLM's tensor arena; None where TFLM is missing.
        samples: on which TFLM's outputs were compared with those of the plain file; all equal.
        weights: what became of each tensor.
        note: why nothing was compared; "" if it was.
    """

    path: str
    plain_bytes: int
    compressed_bytes: int
    plain_arena_bytes: int | None
    arena_bytes: int | None
    samples: int
    weights: tuple[CompressedWeights, ...]
    note: str = ""

    def sentence(self) -> str:
        """What was written, for people."""
        sizes = f"{self.compressed_bytes:,} bytes instead of {self.plain_bytes:,}"
        if self.note:
            return f"{self.path}: {sizes}; not compared with the plain file ({self.note})"
        return (
            f"{self.path}: {sizes}, an arena of {self.arena_bytes:,} instead of "
            f"{self.plain_arena_bytes:,}; the same outputs in TFLM on {self.samples:,} samples"
        )

    def to_dict(self) -> dict[str, object]:
        """Figures for a JSON file."""
        return dataclasses.asdict(self)


def compress_weights(
    graph: IntegerGraph,
) -> tuple[IntegerGraph, tuple[CompressedWeights, ...]]:
    """A graph whose weights are value tables and indices, wherever that is smaller.

    Args:
        graph: an integer graph; it is not changed.

    Example:
        >>> from tfxp.graph import Quantization
        >>> scale = Quantization([0.5], [0])
        >>> codes = np.resize(np.array([-1, 0, 1, 1], np.int8), (64, 4))
        >>> x, y = (Tensor(n, (1, k), "INT8", scale) for n, k in (("x", 4), ("y", 64)))
        >>> dense = Operator("FULLY_CONNECTED", [0, 1], [2])
        >>> plain = IntegerGraph([x, Tensor("w", (64, 4), "INT8", scale, codes), y], [dense], [0],
        ...                      [2])
        >>> graph, (weights,) = compress_weights(plain)
        >>> [operator.custom_code or operator.name for operator in graph.operators]
        ['TFLM_DECODE', 'FULLY_CONNECTED']
        >>> weights.bits, weights.plain_bytes, weights.compressed_bytes
        (2, 256, 83)
    """
    result = dataclasses.replace(graph, tensors=list(graph.tensors), operators=[])
    done: dict[int, CompressedWeights] = {}
    tables: dict[int, int] = {}
    others = _other_uses(graph)
    for operator in graph.operators:
        place = operator.inputs[1] if operator.name in _WEIGHTS else -1
        if place >= 0 and place not in {*others, *tables} and _fits(graph.tensors[place]):
            tensor = graph.tensors[place]
            bits, indices, ancillary = _encoded(tensor)
            size = len(indices) + len(ancillary)
            if size < tensor.size:
                result.tensors[place] = _bytes_tensor(tensor.name, indices)
                ancillary_tensor = _bytes_tensor(f"{tensor.name}_tables", ancillary)
                tables[place] = result.add_tensor(ancillary_tensor)
                done[place] = CompressedWeights(tensor.name, bits, tensor.size, size)
        if place in tables:
            index = result.add_tensor(_decoded_tensor(graph.tensors[place]))
            inputs = [place, tables[place]]
            # right before its reader, and once for each, as TFLM asks
            result.add_operator(Operator("CUSTOM", inputs, [index], custom_code=DECODE))
            rest = operator.inputs[2:]
            operator = dataclasses.replace(operator, inputs=[operator.inputs[0], index, *rest])
        result.operators.append(operator)
    return result, tuple(done.values())


def write_compressed(
    path: PathLike, content: bytes, samples: Rows | None = None, limit: int = 100
) -> CompressedFile:
    """Write a file with compressed weights, after TFLM has computed the same from it.

    Args:
        path: file to write.
        content: the plain file.
        samples: codes or real values (N, ...) as `Interpreter.predict_codes` and `predict` take
            them; drawn codes if left out.
        limit: at most so many samples are run.

    Raises:
        ExportError: there is nothing to compress, or TFLM computes something else from it.
        EngineError: TFLM does not run the file.
        OutputError: it cannot be written.
    """
    graph = read_tflite(content)
    smaller, weights = compress_weights(graph)
    if not weights:
        raise ExportError(
            "weights to compress: got none of at most 128 different codes in which tables would "
            "save bytes; expected a layer of at most 7 bits. Write the file without compression."
        )
    compressed = write_tflite(smaller)
    feeds = _drawn(graph)
    if samples is not None:
        given = rows_by_input(graph, samples, "write_compressed")
        feeds = [encode_input(graph.tensors[i], rows[:limit], "auto") for i, rows in given.items()]
    arenas: tuple[int | None, int | None] = (None, None)
    note, compared = "", len(feeds[0])
    try:
        plain, decoded = (_outputs(each, feeds) for each in (content, compressed))
        arenas = arena_bytes(content), arena_bytes(compressed)
    except EngineError as error:
        if error.outcome != "missing":
            raise
        note, compared = str(error), 0
    else:
        _require_equal(plain, decoded)
    write_bytes(path, compressed)
    return CompressedFile(
        str(path), len(content), len(compressed), *arenas, compared, weights, note
    )


def _outputs(content: bytes, feeds: list[NDArray[Any]]) -> list[NDArray[Any]]:
    with open_runtime("tflm", content) as engine:
        return engine.run(feeds)


def _require_equal(plain: list[NDArray[Any]], decoded: list[NDArray[Any]]) -> None:
    differ = sum(int((a != b).sum()) for a, b in zip(plain, decoded, strict=True))
    if differ:
        raise ExportError(
            f"compressed weights in LiteRT for Microcontrollers: got {differ} outputs that differ "
            "from the plain file's; expected none. Write the file without compression."
        )


def _drawn(graph: IntegerGraph) -> list[NDArray[Any]]:
    """Some random codes for each input."""
    draws, feeds = np.random.default_rng(0), []
    for tensor in (graph.tensors[index] for index in graph.inputs):
        shape = (_DRAWN, *tensor.shape[1:])
        whole = np.iinfo(tensor.dtype) if tensor.scale > 0 else None
        low, high = (whole.min, whole.max + 1) if whole else (0, 2)
        feeds.append(draws.integers(low, high, shape).astype(tensor.dtype))
    return feeds


def _other_uses(graph: IntegerGraph) -> set[int]:
    """Tensors that something else reads than an operator as its weights."""
    used = set(graph.outputs)
    for operator in graph.operators:
        weights = 1 if operator.name in _WEIGHTS else None
        used |= {tensor for i, tensor in enumerate(operator.inputs) if i != weights}
    return used


def _fits(tensor: Tensor) -> bool:
    return tensor.type == "INT8" and tensor.data is not None and tensor.size > 0


def _encoded(tensor: Tensor) -> tuple[int, bytes, bytes]:
    """Bits of an index, indices, and the ancillary tensor; empty tables if there are too many."""
    assert tensor.data is not None and tensor.quantization is not None
    axis = tensor.quantization.axis if tensor.quantization.per_channel else _ONE_TABLE
    slices = [tensor.data] if axis == _ONE_TABLE else list(np.moveaxis(tensor.data, axis, 0))
    tables = [np.unique(part) for part in slices]
    length = max(table.size for table in tables)
    if length > _MOST_VALUES:
        return 8, bytes(tensor.size), b""
    found = [np.searchsorted(t, part) for t, part in zip(tables, slices, strict=True)]
    indices = found[0] if axis == _ONE_TABLE else np.moveaxis(np.stack(found), 0, axis)
    bits = max(1, (length - 1).bit_length())
    head = bytes([0, 1, 0, 0, 1, axis << 4 | bits, length]) + bytes(9)
    values = b"".join(table.astype(np.int8).tobytes().ljust(length, b"\0") for table in tables)
    return bits, _packed(indices, bits), head + values


def _packed(indices: NDArray[Any], bits: int) -> bytes:
    """Indices one after the other, the most significant bit of each first."""
    planes = (indices.reshape(-1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.astype(np.uint8).reshape(-1)).tobytes()


def _decoded_tensor(tensor: Tensor) -> Tensor:
    """What TFLM decodes weights to; it refuses the axis of a single scale unless that is 0."""
    scheme = tensor.quantization
    if scheme is not None and not scheme.per_channel:
        scheme = dataclasses.replace(scheme, axis=0)
    name = f"{tensor.name}_decoded"
    return dataclasses.replace(tensor, name=name, data=None, quantization=scheme)


def _bytes_tensor(name: str, content: bytes) -> Tensor:
    data = np.frombuffer(content, np.uint8)
    return Tensor(name, data.shape, "UINT8", data=data)
