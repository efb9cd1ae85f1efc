"""AVERAGE_POOL_2D and MAX_POOL_2D over NHWC images.

AVERAGE_POOL_2D of codes: half_away(sum of the window's stored codes / number of them inside the
image), in both arithmetics; scales and zero points play no part. MAX_POOL_2D takes the largest
code; the two arithmetics differ only in how the limits of a fused activation round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.interpreter.compiled import record as R
from tfxp.interpreter.compiled.record import make_record
from tfxp.interpreter.fused_activation import ACTIVATION_LIMITS
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.registry import Array, Node, kernel
from tfxp.interpreter.step import Step

#: Along one dimension: (output size, padding before, padding after).
Extent = tuple[int, int, int]


def window_extent(size: int, window: int, stride: int, padding: str) -> Extent:
    """Output size and padding of a sliding window along one dimension."""
    if padding == "SAME":
        count = -(-size // stride)
        total = max(0, (count - 1) * stride + window - size)
        return count, total // 2, total - total // 2
    return (size + stride - window) // stride, 0, 0


def _prepare(node: Node) -> None:
    need.require_counts(node, 1)
    kind = need.require_type(node, 0, (*need.CODE_TYPES, "FLOAT32"))
    need.require_output_type(node, (kind,))
    need.require_rank(node, 0, 4)
    options, output = node.options, node.outputs[0]
    for field in ("stride_h", "stride_w", "filter_height", "filter_width"):
        if not 1 <= options[field] <= need.MAX_SIDE:
            raise need.malformed(node, field, options[field], f"1 to {need.MAX_SIDE}")
    if options["padding"] not in ("SAME", "VALID"):
        raise need.unsupported(node, "padding", options["padding"], "SAME or VALID")
    activation = need.require_activation(node)
    if kind == "FLOAT32":
        node.cache["limits"] = ACTIVATION_LIMITS[activation]
    else:
        in_xnnpack = _xnnpack_takes(node)
        node.cache["limits"] = need.activation_code_limits(node, activation, output, in_xnnpack)
    batch, height, width, channels = need.tensor(node, 0).shape
    (rows, _, _), (columns, _, _) = _extents(node, height, width)
    if rows < 1 or columns < 1:
        raise need.malformed(node, "image", [height, width], "at least one window")
    need.require_output_shape(node, (batch, rows, columns, channels))


def _xnnpack_takes(node: Node) -> bool:
    if node.arithmetic != "litert" or node.operator.name != "MAX_POOL_2D":
        return False
    o = node.options
    strides_fit = o["stride_h"] <= o["filter_height"] and o["stride_w"] <= o["filter_width"]
    return strides_fit and need.byte_quantized(need.tensor(node, 0), node.outputs[0])


def _extents(node: Node, height: int, width: int) -> tuple[Extent, Extent]:
    o = node.options
    return (
        window_extent(height, o["filter_height"], o["stride_h"], o["padding"]),
        window_extent(width, o["filter_width"], o["stride_w"], o["padding"]),
    )


def _slide(
    x: Array, axis: int, window: int, stride: int, extent: Extent, fill: Any, take: Any
) -> Array:
    """Reduces sliding windows along one axis with the binary function `take`."""
    count, before, after = extent
    if before or after:
        pad = [(0, 0)] * x.ndim
        pad[axis] = (before, after)
        x = np.pad(x, pad, constant_values=fill)
    reach = (count - 1) * stride + 1
    index: list[slice] = [slice(None)] * x.ndim
    index[axis] = slice(0, reach, stride)
    total = x[tuple(index)].copy()
    for offset in range(1, window):
        index[axis] = slice(offset, offset + reach, stride)
        take(total, x[tuple(index)], out=total)
    return total


def _pool(node: Node, x: Array, fill: Any, take: Any) -> Array:
    o = node.options
    rows, columns = _extents(node, x.shape[1], x.shape[2])
    x = _slide(x, 1, o["filter_height"], o["stride_h"], rows, fill, take)
    return _slide(x, 2, o["filter_width"], o["stride_w"], columns, fill, take)


def _counts(size: int, window: int, stride: int, extent: Extent) -> Array:
    """How many elements of each window lie inside the image."""
    count, before, _ = extent
    start = np.arange(count) * stride - before
    return np.minimum(start + window, size) - np.maximum(start, 0)


def _window_sizes(node: Node, height: int, width: int) -> Array:
    o = node.options
    rows, columns = _extents(node, height, width)
    per_row = _counts(height, o["filter_height"], o["stride_h"], rows)
    per_column = _counts(width, o["filter_width"], o["stride_w"], columns)
    return np.asarray(per_row[:, None] * per_column)[None, :, :, None]


def _covers_image(node: Node, shape: Sequence[int]) -> bool:
    o = node.options
    return (o["filter_height"], o["filter_width"]) == tuple(shape[1:3]) and o["padding"] == "VALID"


def _compiled(node: Node, name: str, x: Array) -> Array:
    # imported here so that loading the interpreter does not load Numba
    from tfxp.interpreter.compiled.running import run_step

    o = node.options
    rows, columns = _extents(node, x.shape[1], x.shape[2])
    x, out = np.ascontiguousarray(x), np.empty((len(x), rows[0], columns[0], x.shape[3]), x.dtype)
    (height, width, channels), (low, high) = x.shape[1:], node.cache["limits"]
    record = make_record(
        {
            R.POOL_UNSIGNED: x.dtype.kind == "u", R.POOL_HEIGHT: height, R.POOL_WIDTH: width,
            R.POOL_CHANNELS: channels, R.POOL_OUT_HEIGHT: rows[0], R.POOL_OUT_WIDTH: columns[0],
            R.WINDOW_Y: o["filter_height"], R.WINDOW_X: o["filter_width"],
            R.POOL_STRIDE_Y: o["stride_h"], R.POOL_STRIDE_X: o["stride_w"],
            R.POOL_PAD_Y: rows[1], R.POOL_PAD_X: columns[1], R.POOL_LOW: low, R.POOL_HIGH: high,
        }
    )  # fmt: skip
    node.step = Step(name, (x,), out, len(x), record, scratch_bytes=4 * x.shape[3])
    run_step(node.step)
    return out


@kernel("AVERAGE_POOL_2D", prepare=_prepare, batch=True)
def average_pool(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Average of each window over the elements inside the image; halves of codes go away from 0."""
    x = inputs[0]
    low, high = node.cache["limits"]
    is_float = x.dtype.kind == "f"
    if node.engine == "fast" and x.dtype.itemsize == 1:
        return [_compiled(node, "average_pool", x)]
    wide = np.float32 if is_float else np.int32
    if _covers_image(node, x.shape):
        total = x.sum(axis=(1, 2), keepdims=True, dtype=wide)
        sizes = np.array(x.shape[1] * x.shape[2], wide)
    else:
        total = _pool(node, x.astype(wide), 0, np.add)
        sizes = _window_sizes(node, x.shape[1], x.shape[2]).astype(wide)
    if is_float:
        return [np.clip(total / sizes, np.float32(low), np.float32(high))]
    magnitude = (np.abs(total) + sizes // 2) // sizes
    mean = np.where(total < 0, -magnitude, magnitude)
    return [np.clip(mean, low, high).astype(x.dtype)]


@kernel("MAX_POOL_2D", prepare=_prepare, batch=True)
def max_pool(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Largest element of each window, limited by the fused activation."""
    x = inputs[0]
    low, high = node.cache["limits"]
    if node.engine == "fast" and x.dtype.itemsize == 1:
        return [_compiled(node, "max_pool", x)]
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    if x.dtype.kind == "f":
        low, high = np.float32(low), np.float32(high)
    return [np.clip(_pool(node, x, lowest, np.maximum), low, high).astype(x.dtype)]
