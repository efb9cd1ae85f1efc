"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR of NHWC images.

RESIZE_BILINEAR, builtin: INT8 and INT16 weigh with 10 fractional bits per direction, half away;
UINT8 and FLOAT32 weigh in float32, UINT8 adding 1/2 and cutting off. litert, INT8 and UINT8:
XNNPACK, 11 fractional bits per direction, halves up, unless the size is computed in the graph:
then as builtin. RESIZE_NEAREST_NEIGHBOR copies codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.shaping import require_passed_type
from tfxp.interpreter.registry import Array, Node, kernel

#: Along one dimension: lower indices, upper indices, weight of the upper one.
Taps = tuple[Array, Array, Array]
Locate = Callable[[int, int, bool, bool], Taps]


def _prepare(node: Node) -> None:
    need.require_counts(node, 2)
    need.require_type(node, 0, ("INT8", "UINT8", "INT16", "FLOAT32"))
    require_passed_type(node)
    need.require_rank(node, 0, 4)
    size = need.constant_ints(node, 1)
    if len(size) != 2 or not 1 <= min(size) <= max(size) <= need.MAX_SIDE:
        raise need.malformed(node, "new size", size, f"two numbers, 1 to {need.MAX_SIDE}")
    batch, height, width, depth = need.tensor(node, 0).shape
    if min(height, width) < 1:
        raise need.malformed(node, "image", [height, width], "1 or more pixels each way")
    align, half = bool(node.options["align_corners"]), bool(node.options["half_pixel_centers"])
    if align and half:
        raise need.unsupported(node, "align_corners and half_pixel_centers", "both", "at most one")
    need.require_output_shape(node, (batch, *size, depth))
    if node.operator.name == "RESIZE_NEAREST_NEIGHBOR":
        rows = _nearest(height, size[0], align, half)
        node.cache["taps"] = (rows, _nearest(width, size[1], align, half))
        return
    locate, node.cache["mix"] = _choose(node)
    rows_taps = locate(height, size[0], align, half)
    node.cache["taps"] = (rows_taps, locate(width, size[1], align, half))


def _choose(node: Node) -> tuple[Locate, Callable[..., Array]]:
    kind = node.outputs[0].type
    in_xnnpack = node.static and need.byte_quantized(need.tensor(node, 0), node.outputs[0])
    if node.arithmetic == "litert" and in_xnnpack:
        return _locate_xnnpack, _mix_xnnpack
    if kind in ("FLOAT32", "UINT8"):
        return _locate_float, _mix_float
    return _locate_integer, _mix_integer


def _nearest(size: int, count: int, align: bool, half: bool) -> Array:
    if align and count > 1:
        scale = np.float32(size - 1) / np.float32(count - 1)
    else:
        scale = np.float32(size) / np.float32(count)
    position = (np.arange(count, dtype=np.float32) + np.float32(0.5 if half else 0.0)) * scale
    index = np.floor(position + np.float32(0.5)) if align else np.floor(position)
    return np.clip(index.astype(np.int64), 0, size - 1)


def _locate_float(size: int, count: int, align: bool, half: bool) -> Taps:
    if align and count > 1:
        scale = np.float32(size - 1) / np.float32(count - 1)
    else:
        scale = np.float32(size) / np.float32(count)
    index = np.arange(count, dtype=np.float32)
    offset = np.float32(0.5)
    position = (index + offset) * scale - offset if half else index * scale
    lower = np.maximum(np.floor(position), 0).astype(np.int64)
    upper = np.minimum(np.ceil(position).astype(np.int64), size - 1)
    return lower, upper, position - lower.astype(np.float32)


def _mix_float(corners: tuple[Array, ...], wy: Array, wx: Array, dtype: Any) -> Array:
    one = np.float32(1.0)
    top_left, top_right, bottom_left, bottom_right = corners
    total = top_left * (one - wy) * (one - wx)
    total = total + bottom_left * wy * (one - wx)
    total = total + top_right * (one - wy) * wx
    total = total + bottom_right * wy * wx
    if np.dtype(dtype).kind == "f":
        return total
    return np.trunc(total + np.float32(0.5)).astype(dtype)


def _locate_integer(size: int, count: int, align: bool, half: bool) -> Taps:
    scale = (1024 * size + count // 2) // count
    if align and count > 1:
        scale = (1024 * (size - 1) + (count - 1) // 2) // (count - 1)
    position = np.arange(count, dtype=np.int64) * scale
    if half:
        position = position + scale // 2 - 512
    lower = np.maximum(np.sign(position) * (np.abs(position) >> 10), 0)
    above = position + 1023
    upper = np.minimum(np.sign(above) * (np.abs(above) >> 10), size - 1)
    return lower, upper, position - 1024 * lower


def _mix_integer(corners: tuple[Array, ...], wy: Array, wx: Array, dtype: Any) -> Array:
    top_left, top_right, bottom_left, bottom_right = (c.astype(np.int64) for c in corners)
    total = top_left * (1024 - wy) * (1024 - wx) + bottom_left * wy * (1024 - wx)
    total = total + top_right * (1024 - wy) * wx + bottom_right * wy * wx
    magnitude = (np.abs(total) + (1 << 19)) >> 20
    return np.where(total < 0, -magnitude, magnitude).astype(dtype)


def _locate_xnnpack(size: int, count: int, align: bool, half: bool) -> Taps:
    less = 1 if align and count != 1 else 0
    scale = np.float32(size - less) / np.float32(count - less)
    position = np.arange(count, dtype=np.float32) * scale
    if half:
        position = position + (np.float32(0.5) * scale - np.float32(0.5))
    position = np.clip(position, np.float32(0), np.float32(size - 1))
    lower = position.astype(np.int64)
    upper = np.minimum(lower + 1, size - 1)
    weight = np.rint((position - lower.astype(np.float32)) * np.float32(2048))
    return lower, upper, weight.astype(np.int64)


def _mix_xnnpack(corners: tuple[Array, ...], wy: Array, wx: Array, dtype: Any) -> Array:
    top_left, top_right, bottom_left, bottom_right = (c.astype(np.int64) for c in corners)
    top = (top_left << 11) + (top_right - top_left) * wx
    bottom = (bottom_left << 11) + (bottom_right - bottom_left) * wx
    return (((top << 11) + (bottom - top) * wy + (1 << 21)) >> 22).astype(dtype)


@kernel("RESIZE_BILINEAR", prepare=_prepare, batch=True)
def resize_bilinear(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Weighted mean of the four nearest pixels: see the module for the weights."""
    x = inputs[0]
    (y0, y1, wy), (x0, x1, wx) = node.cache["taps"]
    top, bottom = x[:, y0], x[:, y1]
    corners = (top[:, :, x0], top[:, :, x1], bottom[:, :, x0], bottom[:, :, x1])
    return [node.cache["mix"](corners, wy[:, None, None], wx[:, None], x.dtype)]


@kernel("RESIZE_NEAREST_NEIGHBOR", prepare=_prepare, batch=True, form="moves")
def resize_nearest(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The nearest pixel; codes pass as they are."""
    rows, columns = node.cache["taps"]
    return [np.ascontiguousarray(inputs[0][:, rows][:, :, columns])]
