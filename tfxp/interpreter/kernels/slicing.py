"""SLICE, STRIDED_SLICE, SPLIT, SPLIT_V, PACK, UNPACK and CONCATENATION.

Codes pass as they are, with one exception: CONCATENATION of UINT8 rescales inputs whose scale or
zero point is not the output's, half_away(code * s - zero * s) + zero_out with s = float32(scale *
float32(1 / scale_out)), in both arithmetics. INT8 inputs must share the output's scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfxp.formats.rounding import round_half_away
from tfxp.graph.integer_graph import Tensor
from tfxp.interpreter.kernels import requirements as need
from tfxp.interpreter.kernels.shaping import require_passed_type
from tfxp.interpreter.registry import Array, Node, as_ints, kernel

Cut = tuple[Any, ...]


def _prepare_slice(node: Node) -> None:
    need.require_counts(node, 3)
    require_passed_type(node)
    for position in (1, 2):
        need.require_type(node, position, ("INT32", "INT64"))
    begin, size = node.constant(1), node.constant(2)
    if begin is None or size is None:
        return
    shape = need.tensor(node, 0).shape
    cut = _slice_of(node, shape, as_ints(begin), as_ints(size))
    need.require_output_shape(node, [part.stop - part.start for part in cut])
    node.cache["cut"] = cut
    node.cache["whole_first"] = bool(shape) and cut[0] == slice(0, shape[0])


def _slice_of(node: Node, shape: Sequence[int], begin: list[int], size: list[int]) -> Cut:
    if not len(begin) == len(size) == len(shape):
        got = f"{len(begin)} starts and {len(size)} sizes"
        raise need.malformed(node, "slice", got, f"{len(shape)} of each")
    cut = []
    for start, length, whole in zip(begin, size, shape, strict=True):
        stop = whole if length == -1 else start + length
        if not 0 <= start <= stop <= whole:
            raise need.malformed(node, "slice", [start, length], f"a range inside 0 to {whole}")
        cut.append(slice(start, stop))
    return tuple(cut)


def _keeps_first(node: Node) -> bool:
    return bool(node.cache.get("whole_first"))


def _is_prepared(node: Node, x: Array) -> bool:
    """Whether the cut that was prepared is meant for `x`, which a resized input may have changed
    along more than the leading dimension."""
    return "cut" in node.cache and x.shape[1:] == need.tensor(node, 0).shape[1:]


def _over_images(node: Node, cut: Cut) -> Cut:
    """The cut with its leading dimension opened, when that one is taken whole."""
    return (slice(None), *cut[1:]) if node.cache.get("whole_first") else cut


@kernel("SLICE", prepare=_prepare_slice, batch=_keeps_first, form="moves")
def slice_(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """A box of the input, given by start and size per dimension."""
    x = inputs[0]
    if not _is_prepared(node, x):
        return [x[_slice_of(node, x.shape, as_ints(inputs[1]), as_ints(inputs[2]))].copy()]
    return [x[_over_images(node, node.cache["cut"])].copy()]


def _prepare_strided(node: Node) -> None:
    need.require_counts(node, 4)
    require_passed_type(node)
    for position in (1, 2, 3):
        need.require_type(node, position, ("INT32", "INT64"))
    vectors = [node.constant(position) for position in (1, 2, 3)]
    if any(vector is None for vector in vectors):
        return
    shape = need.tensor(node, 0).shape
    begin, end, step = (as_ints(vector) for vector in vectors if vector is not None)
    cut = _strided_of(node, shape, begin, end, step)
    empty = np.broadcast_to(np.zeros((), np.int8), shape)
    need.require_output_shape(node, empty[cut].shape)
    node.cache["cut"] = cut
    node.cache["whole_first"] = bool(shape) and cut[:1] == (slice(0, shape[0], 1),)


def _strided_of(
    node: Node, shape: Sequence[int], begin: list[int], end: list[int], step: list[int]
) -> Cut:
    """NumPy's index for the operator's begin, end, strides and masks."""
    if not len(begin) == len(end) == len(step):
        got = [len(begin), len(end), len(step)]
        raise need.malformed(node, "lengths of begin, end and strides", got, "three equal ones")
    masks = node.options
    ellipsis, new_axis = masks["ellipsis_mask"], masks["new_axis_mask"]
    consumed = sum(1 for i in range(len(begin)) if not (ellipsis | new_axis) >> i & 1)
    cut: list[Any] = []
    axis = 0
    for i in range(len(begin)):
        if ellipsis >> i & 1:
            skip = len(shape) - consumed
            cut += [slice(0, n, 1) for n in shape[axis : axis + skip]]
            axis += skip
        elif new_axis >> i & 1:
            cut.append(np.newaxis)
        else:
            if axis >= len(shape):
                raise need.malformed(node, "begin", begin, f"at most {len(shape)} entries")
            cut.append(_one_range(node, i, shape[axis], begin[i], end[i], step[i]))
            axis += 1
    return tuple(cut + [slice(0, n, 1) for n in shape[axis:]])


def _one_range(node: Node, i: int, size: int, begin: int, end: int, step: int) -> Any:
    masks = node.options
    if step == 0:
        raise need.malformed(node, f"stride {i}", step, "a number other than 0")
    if masks.get("offset"):
        end += begin
    if masks["shrink_axis_mask"] >> i & 1:
        index = 0 if masks["begin_mask"] >> i & 1 else begin
        if not -size <= index < size:
            raise need.malformed(node, f"index {i}", index, f"{-size} to {size - 1}")
        return index % size
    start = None if masks["begin_mask"] >> i & 1 else begin
    stop = None if masks["end_mask"] >> i & 1 else end
    first, last, step = slice(start, stop, step).indices(size)
    return slice(first, None if last < 0 else last, step)


@kernel("STRIDED_SLICE", prepare=_prepare_strided, batch=_keeps_first, form="moves")
def strided_slice(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Elements from begin to end in steps, with masks for open ends and dropped dimensions."""
    x = inputs[0]
    if _is_prepared(node, x):
        return [np.array(x[_over_images(node, node.cache["cut"])])]
    begin, end, step = (as_ints(vector) for vector in inputs[1:])
    return [np.array(x[_strided_of(node, x.shape, begin, end, step)])]


def _prepare_split(node: Node) -> None:
    has_sizes = node.operator.name == "SPLIT_V"
    need.require_counts(node, 3 if has_sizes else 2, len(node.outputs))
    data_at, axis_at = (0, 2) if has_sizes else (1, 0)
    shape = need.tensor(node, data_at).shape
    axis = need.require_axis(node, need.constant_ints(node, axis_at)[0], len(shape))
    parts = len(node.outputs)
    if parts < 1 or int(node.options["num_splits"]) != parts:
        raise need.malformed(node, "num_splits", node.options["num_splits"], f"{parts} outputs")
    if has_sizes:
        sizes = _split_sizes(node, need.constant_ints(node, 1), shape[axis])
    elif shape[axis] % parts:
        raise need.malformed(node, "split dimension", shape[axis], f"a multiple of {parts}")
    else:
        sizes = [shape[axis] // parts] * parts
    for i, size in enumerate(sizes):
        need.require_output_type(node, (need.tensor(node, data_at).type,), i)
        need.require_output_shape(node, (*shape[:axis], size, *shape[axis + 1 :]), i)
    node.cache.update(axis=axis, stops=np.cumsum(sizes)[:-1], data_at=data_at)


def _split_sizes(node: Node, sizes: list[int], whole: int) -> list[int]:
    free = [i for i, n in enumerate(sizes) if n == -1]
    if len(free) == 1:
        sizes = [whole - sum(sizes) - 1 if n == -1 else n for n in sizes]
    if len(sizes) != len(node.outputs) or min(sizes) < 0 or sum(sizes) != whole:
        expected = f"{len(node.outputs)} sizes that add up to {whole}"
        raise need.malformed(node, "split sizes", sizes, expected)
    return sizes


def _inner_axis(node: Node) -> bool:
    return bool(node.cache["axis"] > 0)


@kernel("SPLIT", "SPLIT_V", prepare=_prepare_split, batch=_inner_axis, form="moves")
def split(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The input in parts along an axis: equal ones, or of given sizes."""
    x = inputs[node.cache["data_at"]]
    parts = np.split(x, node.cache["stops"], axis=node.cache["axis"])
    return [np.ascontiguousarray(part) for part in parts]


def _prepare_pack(node: Node) -> None:
    count = int(node.options["values_count"])
    need.require_counts(node, count)
    if count < 1:
        raise need.malformed(node, "values_count", count, "1 or more")
    first = need.tensor(node, 0)
    need.require_same_type(node)
    shapes = [need.tensor(node, i).shape for i in range(count)]
    if any(shape != first.shape for shape in shapes):
        raise need.malformed(node, "input shapes", shapes, "equal shapes")
    _require_equal_scales(node, [need.tensor(node, i) for i in range(count)])
    axis = need.require_axis(node, int(node.options["axis"]), len(first.shape) + 1)
    need.require_output_shape(node, (*first.shape[:axis], count, *first.shape[axis:]))
    constants = any(need.tensor(node, i).data is not None for i in range(count))
    node.cache["axis"] = 0 if constants else axis  # constants have no images to stack
    node.cache["stack_axis"] = axis


def _require_equal_scales(node: Node, tensors: list[Tensor]) -> None:
    output = node.outputs[0]
    for item in tensors:
        got = (item.scale, item.zero_point)
        if got != (output.scale, output.zero_point):
            expected = f"the output's {(output.scale, output.zero_point)}"
            raise need.unsupported(node, f"scale and zero point of {item.name!r}", got, expected)


@kernel("PACK", prepare=_prepare_pack, batch=_inner_axis, form="moves")
def pack(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Inputs of one shape stacked along a new axis."""
    return [np.stack(list(inputs), axis=node.cache["stack_axis"])]


def _prepare_unpack(node: Node) -> None:
    need.require_counts(node, 1, len(node.outputs))
    shape = need.tensor(node, 0).shape
    axis = need.require_axis(node, int(node.options["axis"]), len(shape))
    count = int(node.options["num"])
    if not count == len(node.outputs) == shape[axis]:
        raise need.malformed(node, "num", count, f"{shape[axis]}, the unpacked dimension")
    for i in range(count):
        need.require_output_type(node, (need.tensor(node, 0).type,), i)
        need.require_output_shape(node, (*shape[:axis], *shape[axis + 1 :]), i)
    node.cache["axis"] = axis


@kernel("UNPACK", prepare=_prepare_unpack, batch=_inner_axis, form="moves")
def unpack(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """The slices of the input along an axis."""
    moved = np.moveaxis(inputs[0], node.cache["axis"], 0)
    return [np.array(part) for part in moved]


def _prepare_concatenation(node: Node) -> None:
    need.require_counts(node, (1, max(1, len(node.inputs))))
    activation = node.options.get("fused_activation_function", "NONE")
    if activation != "NONE":
        raise need.unsupported(node, "fused activation", activation, "NONE")
    tensors = [need.tensor(node, i) for i in range(len(node.inputs))]
    kind = need.require_same_type(node)
    rank = len(tensors[0].shape)
    axis = need.require_axis(node, int(node.options["axis"]), rank)
    outside = [(*t.shape[:axis], *t.shape[axis + 1 :]) for t in tensors]
    if any(
        shape != outside[0] or len(t.shape) != rank
        for shape, t in zip(outside, tensors, strict=True)
    ):
        shapes = [list(t.shape) for t in tensors]
        raise need.malformed(node, "input shapes", shapes, f"equal shapes but for axis {axis}")
    total = sum(t.shape[axis] for t in tensors)
    first = tensors[0].shape
    need.require_output_shape(node, (*first[:axis], total, *first[axis + 1 :]))
    node.cache["axis"] = axis
    node.cache["scalings"] = [None] * len(tensors)
    if kind == "INT8" and node.outputs[0].quantization is not None:
        _require_equal_scales(node, tensors)
    if kind == "INT16":
        need.require_symmetric(node, *tensors, node.outputs[0])
    if kind == "UINT8":
        node.cache["scalings"] = [_rescale_uint8(t, node.outputs[0]) for t in tensors]


def _rescale_uint8(source: Tensor, output: Tensor) -> Callable[[Array], Array] | None:
    if (source.scale, source.zero_point) == (output.scale, output.zero_point):
        return None
    if not (source.scale > 0.0 and output.scale > 0.0):
        return None
    scale = np.float32(source.scale) * (np.float32(1.0) / np.float32(output.scale))
    bias = np.float32(-source.zero_point) * scale

    def apply(x: Array) -> Array:
        codes = round_half_away(x.astype(np.float32) * scale + bias) + output.zero_point
        return np.clip(codes, 0, 255).astype(np.uint8)

    return apply


@kernel("CONCATENATION", prepare=_prepare_concatenation, batch=_inner_axis, form="moves")
def concatenation(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Inputs one after the other along an axis; constants repeat for every stacked image."""
    axis = node.cache["axis"]
    arrays = list(inputs)
    for i, apply in enumerate(node.cache["scalings"]):
        if apply is not None:
            arrays[i] = apply(arrays[i])
    if axis > 0:
        images = max(array.shape[0] for array in arrays)
        arrays = [
            np.broadcast_to(a, (images, *a.shape[1:])) if a.shape[0] == 1 else a for a in arrays
        ]
    return [np.concatenate(arrays, axis=axis)]
