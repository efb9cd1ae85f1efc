"""BATCH_MATMUL: matrices of activations times matrices of activations or constants.

Rounding: int8 double_rounding with 32-bit accumulators, int16 "reduced" with 64-bit ones, in both
arithmetics, except that XNNPACK takes int8 whose right side has zero point 0 (float32). A constant
right side may have a scale per column; LiteRT prepares such integer files and writes zeros, tfxp
rounds each column as it would be rounded with its scale alone. Float activations and a constant
INT8 matrix: `dynamic_range.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import TfliteFormatError, UnsupportedOpError
from tfxp.graph import Tensor
from tfxp.interpreter.kernels.dynamic_range import dynamic_range, prepare_rows
from tfxp.interpreter.mac.geometry import single_pixels
from tfxp.interpreter.mac.layer import MacLayer
from tfxp.interpreter.mac.reading import tensor_at
from tfxp.interpreter.mac.requantizer import Requantizer, build_requantizer
from tfxp.interpreter.mac.running import as_image, run_layer
from tfxp.interpreter.registry import Array, Node, kernel

_POINT = single_pixels(1)
_TYPES = {
    ("FLOAT32", "FLOAT32", "FLOAT32"),
    ("INT8", "INT8", "INT8"),
    ("INT16", "INT16", "INT16"),
    ("INT16", "INT8", "INT16"),
    ("FLOAT32", "INT8", "FLOAT32"),
}


def _prepare(node: Node) -> None:
    left, right, y = tensor_at(node, 0, "left side"), tensor_at(node, 1, "right side"), node.outputs
    types = (left.type, right.type, y[0].type)
    if types not in _TYPES:
        raise UnsupportedOpError(f"{node.name} has types {types}, which no kernel takes")
    if len(left.shape) < 2 or len(right.shape) < 2:
        raise TfliteFormatError(
            f"shapes of {node.name}: got {left.shape} and {right.shape}; expected matrices"
        )
    _oriented(node, np.empty(left.shape, np.int8), np.empty(right.shape, np.int8))
    node.cache["counts_macs"] = left.type != "FLOAT32"
    if right.type == "FLOAT32":
        return
    dynamic = left.type == "FLOAT32"
    ends = (right,) if dynamic else (left, right, y[0])
    if any(tensor.quantization is None for tensor in ends):
        raise UnsupportedOpError(f"{node.name} has a tensor without a scale")
    _check_columns(node, right)
    if dynamic:
        matrix = None if right.data is None else _turned(node, right.data, "adj_y")
        if matrix is None or matrix.size != matrix.shape[-1] * matrix.shape[-2]:
            raise UnsupportedOpError(
                f"{node.name} has float activations and a right side of {list(right.shape)} that "
                "is computed or of several matrices; expected one constant matrix"
            )
        codes = matrix.reshape(matrix.shape[-2:]).T.astype(np.int64)
        prepare_rows(node, right, np.ascontiguousarray(codes))


def _check_columns(node: Node, right: Tensor) -> None:
    """Refuses scales of the right side that are not one, or one per column of a constant."""
    scheme = right.quantization
    if scheme is None or not scheme.per_channel:
        return
    axis = len(right.shape) - (2 if node.options["adj_y"] else 1)
    per_column = scheme.axis == axis and scheme.scale.size == right.shape[axis]
    if right.data is None or not per_column or np.any(scheme.zero_point):
        raise UnsupportedOpError(
            f"{node.name} has {scheme.scale.size} scales along dimension {scheme.axis} of its "
            f"right side {list(right.shape)}; expected one, or one per column of a constant "
            "without zero points"
        )


def _turned(node: Node, side: Array, option: str) -> Array:
    return np.swapaxes(side, -1, -2) if node.options[option] else side


def _oriented(node: Node, left: Array, right: Array) -> tuple[Array, Array]:
    """Both sides as (..., rows, depth) and (..., depth, columns)."""
    left, right = _turned(node, left, "adj_x"), _turned(node, right, "adj_y")
    if left.shape[-1] != right.shape[-2]:
        raise TfliteFormatError(
            f"depths of {node.name}: got {left.shape} and {right.shape}; expected them to agree"
        )
    try:
        np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise TfliteFormatError(
            f"batch shapes of {node.name}: got {left.shape} and {right.shape}; expected shapes "
            "that broadcast"
        ) from None
    return left, right


def _mode(node: Node) -> str:
    left, right = tensor_at(node, 0, "left side"), tensor_at(node, 1, "right side")
    if left.type == "INT16":
        return "reduced"
    return "float32" if node.arithmetic == "litert" and right.zero_point == 0 else "double_rounding"


def matmul_requantizer(node: Node, units: int = 1) -> Requantizer:
    """How sums of products become codes, the same in every column."""
    left, right, y = tensor_at(node, 0, "left"), tensor_at(node, 1, "right"), node.outputs[0]
    assert right.quantization is not None
    scales = (left.scale, right.quantization.scale, y.scale)
    return build_requantizer(_mode(node), scales, units, y, "NONE", node.name)


def _layer(node: Node, matrix: NDArray[Any]) -> MacLayer:
    left, right, y = tensor_at(node, 0, "left"), tensor_at(node, 1, "right"), node.outputs[0]
    codes = matrix.astype(np.int32) - right.zero_point
    units = codes.shape[1]
    return MacLayer(
        np.ascontiguousarray(codes).reshape(1, 1, *codes.shape),
        np.zeros(units, np.int64),
        1,
        left.zero_point,
        left.type,
        y.type,
        matmul_requantizer(node, units),
        wide=left.type == "INT16",
        accumulator_bits=node.accumulator_bits,
        accumulator_overflow=node.accumulator_overflow,
        skip_zeros=node.skip_zeros,
    )


def _batches(node: Node) -> bool:
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None or len(left.shape) < 3:
        return False
    return right.data is not None or len(right.shape) == len(left.shape)


@kernel("BATCH_MATMUL", prepare=_prepare, batch=_batches)
def batch_matmul(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Products of the last two dimensions, leading ones broadcast."""
    left, right = _oriented(node, inputs[0], inputs[1])
    if "quantize" in node.cache:
        rows_of = np.ascontiguousarray(left).reshape(-1, left.shape[-1])
        shape = (*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], -1)
        return [dynamic_range(node, rows_of, None).reshape(shape)]
    if left.dtype == np.float32:
        return [np.matmul(left, right)]
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    rows, depth, units = left.shape[-2], left.shape[-1], right.shape[-1]
    many = np.broadcast_to(left, (*batch, rows, depth)).reshape(-1, rows, depth)
    matrices = np.broadcast_to(right, (*batch, depth, units)).reshape(-1, depth, units)
    result = np.empty((many.shape[0], rows, units), node.outputs[0].dtype)
    layer = _layer(node, matrices[0]) if matrices.shape[0] else None
    shared = right.size == depth * units
    for i, part in enumerate(many):
        if layer is None or (i and not shared):
            layer = _layer(node, matrices[i])
        out = run_layer(node, layer, as_image(part, depth), _POINT, _POINT)
        result[i] = out.reshape(rows, units)
    return [result.reshape(*batch, rows, units)]
