"""Tensors and operators of an integer graph while it is written."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfxp.export.indices import INDICES
from tfxp.formats import Format
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.transforms.layer_graph import Shape

LIMITS = {"INT8": (-128, 127), "INT16": (-32768, 32767)}
# Newest operator versions that int8 and int16 activations need.
_VERSIONS = {
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "FULLY_CONNECTED": 5,
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "BATCH_MATMUL": 4,
    "CONCATENATION": 2,
    "MAX_POOL_2D": 2,
    "MAXIMUM": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "L2_NORMALIZATION": 2,
    "PAD": 2,
    "PADV2": 2,
    "QUANTIZE": 2,
    "REDUCE_MAX": 2,
    "RELU": 2,
    "RELU6": 2,
    "SOFTMAX": 2,
    "EXPAND_DIMS": 1,
    "GATHER": 2,
    "LEAKY_RELU": 2,
    "LOGISTIC": 2,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 4,
}
Options = dict[str, Any]  # an operator's option table, snake_case names


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of the integer graph and the format of its codes.

    Args:
        index: number of the tensor.
        fmt: format of its codes.
        image: for a sequence (batch, steps, channels), the tensor that holds it as an image one
            row high, if there is one.
    """

    index: int
    fmt: Format
    image: int | None = None


class GraphParts:
    """Makes tensors in the formats of a network, and operators between them.

    Args:
        network: the network.
        batch: 1 if an operator states the number of samples; None if that is free.
        portable: whether all runtimes shall round alike.
    """

    def __init__(self, network: QuantizedNetwork, batch: int | None, portable: bool) -> None:
        self.network, self._batch, self.portable = network, batch, portable
        self.storage = network.storage
        self.graph = IntegerGraph(name=network.graph.name, description="written by tfxp")
        self.tensor_formats: dict[str, str] = {}
        self._constants: dict[tuple[str, str], int] = {}

    def zero_point(self, fmt: Format) -> int:
        """What code 0 of a format is stored as."""
        return 0 if fmt == INDICES else self.network.zero_point(fmt)

    def scheme(self, fmt: Format) -> Quantization:
        """How a tensor of a format is stored."""
        return Quantization(np.array([fmt.scale], np.float32), np.array([self.zero_point(fmt)]))

    def activation(self, name: str, shape: Shape, fmt: Format) -> Value:
        """A new tensor; `name` is made unique, the first size of `shape` is the batch."""
        plain = fmt == INDICES
        scheme = self.scheme(fmt)
        sizes = (1, *(int(size or 1) for size in shape[1:]))
        free = self.signature(shape)
        unique = self.unique(name)
        kind = "INT32" if plain else self.storage
        tensor = Tensor(unique, sizes, kind, None if plain else scheme, shape_signature=free)
        if not plain:
            self.tensor_formats[unique] = str(fmt)
        return Value(self.graph.add_tensor(tensor), fmt)

    def signature(self, shape: Shape) -> tuple[int, ...]:
        """A tensor's shape with -1 for what is free; the batch is, unless an operator fixes it."""
        return tuple(-1 if size is None else int(size) for size in (self._batch, *shape[1:]))

    def constant(
        self, name: str, data: np.ndarray, kind: str, scheme: Quantization | None = None
    ) -> int:
        """A constant tensor; the same name and type give the same tensor again."""
        key = (name, kind)
        if key not in self._constants:
            tensor = Tensor(name, data.shape, kind, scheme, data)
            self._constants[key] = self.graph.add_tensor(tensor)
        return self._constants[key]

    def emit(
        self, name: str, inputs: list[int], output: Value, options: Options | None = None
    ) -> Value:
        """Append an operator with one output."""
        version = _VERSIONS.get(name, 1)
        self.graph.add_operator(Operator(name, inputs, [output.index], options or {}, version))
        return output

    def like(self, value: Value, name: str) -> Value:
        """A new tensor of the same shape and format."""
        return self.activation(name, self.free_shape(value), value.fmt)

    def shape(self, value: Value) -> tuple[int, ...]:
        """The shape of a tensor, for one sample."""
        return self.graph.tensors[value.index].shape

    def free_shape(self, value: Value) -> Shape:
        """The shape of a tensor with None for free sizes, the batch among them."""
        signature = self.graph.tensors[value.index].shape_signature or self.shape(value)
        return (None, *(None if size < 0 else size for size in signature[1:]))

    def unique(self, name: str) -> str:
        """The name, with a number behind it if another tensor has it."""
        taken = {tensor.name for tensor in self.graph.tensors}
        unique, count = name, 1
        while unique in taken:
            unique, count = f"{name}_{count}", count + 1
        return unique


def zero_centred(scale: float) -> Quantization:
    """One scale, and no zero point: constants, biases and 16-bit tensors."""
    return Quantization(np.array([scale], np.float32), np.array([0]))
