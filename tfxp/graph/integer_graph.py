"""The integer graph: tensors with codes and scales, operators with options, as in a `.tflite` file.

The dataclasses are mutable on purpose: exporters build a graph step by step, and tools edit one.
Option tables are dictionaries with the schema's snake_case field names ("stride_h"); enums that
kernels read are spelt by name ("SAME", "RELU"). What tfxp itself has no use for is carried along in
`extra`, so that reading and writing a file loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.graph.element_types import numpy_type


@dataclass
class Quantization:
    """Affine quantization of a tensor: real = scale * (code - zero_point).

    Args:
        scale: float32 array of n scales; n = 1 is per tensor, else one per slice of `axis`.
        zero_point: int64 array of n codes that stand for zero.
        axis: the quantized dimension when n > 1.
        min, max: range statistics that some files carry; informative only.
        details: the schema's quantization details (type number, table), carried along.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0
    min: NDArray[np.float32] | None = None
    max: NDArray[np.float32] | None = None
    details: tuple[int, Any] | None = None

    def __post_init__(self) -> None:
        self.scale = np.atleast_1d(np.asarray(self.scale, np.float32))
        self.zero_point = np.atleast_1d(np.asarray(self.zero_point, np.int64))

    @property
    def per_channel(self) -> bool:
        """Whether there is more than one scale."""
        return self.scale.size > 1


@dataclass
class Tensor:
    """One tensor of a graph: a constant when `data` is given, else computed or fed.

    Args:
        name: its name in the file.
        shape: dimensions; a scalar has ().
        type: the schema's TensorType name, such as "INT8".
        quantization: None for tensors that are not quantized.
        data: the constant's codes in `shape` (INT4 and INT2 one code per byte), or None.
        is_variable: whether it keeps its content between runs.
        shape_signature: shape with -1 for free dimensions, if the file states one.
        extra: schema fields that tfxp carries along.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    quantization: Quantization | None = None
    data: NDArray[Any] | None = None
    is_variable: bool = False
    shape_signature: tuple[int, ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type of its codes in memory."""
        return numpy_type(self.type)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def free_shape(self) -> tuple[int, ...]:
        """The shape with -1 for sizes that are open until the run."""
        return self.shape_signature or self.shape

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """The shape of one sample, without the leading size; None where a size is open."""
        return tuple(None if size == -1 else size for size in self.free_shape[1:])

    @property
    def scale(self) -> float:
        """The per-tensor scale; 0.0 for tensors without one, as LiteRT has it."""
        if self.quantization is None or not self.quantization.scale.size:
            return 0.0
        return float(self.quantization.scale[0])

    @property
    def zero_point(self) -> int:
        """The per-tensor zero point; 0 for tensors without one."""
        if self.quantization is None or not self.quantization.zero_point.size:
            return 0
        return int(self.quantization.zero_point[0])


@dataclass
class Operator:
    """One operator: its kind, tensor indices and options.

    Args:
        name: the schema's BuiltinOperator name, or "CUSTOM".
        inputs: tensor indices; -1 marks an absent optional input.
        outputs: tensor indices.
        options: the option table, snake_case names; fields left out take the schema's defaults.
        version: operator version as LiteRT counts them.
        options_type: name of the option table; by default the one that belongs to `name`.
        custom_code: name of a custom operator.
        custom_options: its option bytes.
        intermediates: tensor indices of scratch tensors with scales (LSTM, SVDF).
        extra: schema fields that tfxp carries along.
    """

    name: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    options_type: str = ""
    custom_code: str = ""
    custom_options: bytes | None = None
    intermediates: list[int] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass
class Signature:
    """A named entry point: argument names to tensor indices of one subgraph.

    Args:
        key: its name.
        inputs, outputs: argument name -> index of a tensor.
        subgraph: whose tensors these are.
    """

    key: str
    inputs: dict[str, int]
    outputs: dict[str, int]
    subgraph: int = 0


@dataclass
class IntegerGraph:
    """A model: the main subgraph in full, other subgraphs, signatures and metadata.

    Args:
        tensors: all tensors; operators and ends name them by their index.
        operators: in the order in which they run.
        inputs, outputs: indices of tensors.
        metadata: name -> bytes.
        signatures: named entry points.
        name: of the main subgraph.
        description: free text of the file.
        version: of the schema.
        subgraphs: the others, that operators call.
        extra: parts of the file that are kept as they are.

    Example:
        >>> graph = IntegerGraph()
        >>> x = graph.add_tensor(Tensor("x", (1, 4), "INT8"))
        >>> y = graph.add_tensor(Tensor("y", (1, 4), "INT8"))
        >>> graph.add_operator(Operator("RELU", [x], [y]))
        >>> graph.inputs, graph.outputs = [x], [y]
        >>> len(graph.tensors), graph.operators[0].name
        (2, 'RELU')
    """

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    metadata: dict[str, bytes] = field(default_factory=dict)
    signatures: list[Signature] = field(default_factory=list)
    name: str = "main"
    description: str = ""
    version: int = 3
    subgraphs: list[IntegerGraph] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def add_tensor(self, tensor: Tensor) -> int:
        """Appends a tensor and returns its index."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def add_operator(self, operator: Operator) -> None:
        """Appends an operator; operators run in the order they were added."""
        self.operators.append(operator)
