"""Layers that move codes about: views, padding, cuts, transposition, enlarging."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import Options, Value
from tfxp.export.indices import INDICES
from tfxp.export.operators.writers import UNKNOWN_SIZE, writes
from tfxp.transforms.layer_graph import Call, LayerSpec, Shape
from tfxp.transforms.normalize.channel_functions import function_of
from tfxp.transforms.normalize.single_functions import DEPTH_TO_SPACE, LARGEST
from tfxp.transforms.normalize.slices import index_of
from tfxp.transforms.training_only import TRAINING_ONLY

# (begin, end, step) along one axis; None stands for its border.
Range = tuple[int | None, int | None, int]
_WHOLE: Range = (None, None, 1)


@writes("Activation", *TRAINING_ONLY, operators="nothing")
def write_nothing(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """These do nothing at inference."""
    builder.put(number, builder.read(call)[0])


@writes("InputLayer", operators="an input")
def write_input(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """A tensor that is fed: codes, or the indices that embeddings take."""
    if spec.name in builder.formats:
        builder.put(number, builder.output(number, spec))
    else:
        builder.put(number, builder.activation(spec.name, call.output_shapes[0], INDICES))


def one_to_one(
    builder: GraphBuilder,
    number: int,
    call: Call,
    spec: LayerSpec,
    operator: str,
    constants: Sequence[int],
    options: Options | None = None,
) -> None:
    """An operator of one tensor that keeps its format."""
    source = builder.read(call)[0]
    output = builder.activation(spec.name, call.output_shapes[0], source.fmt)
    builder.put(number, builder.emit(operator, [source.index, *constants], output, options or {}))


def _refuse_reshape(spec: LayerSpec, call: Call) -> str | None:
    sizes = call.output_shapes[0][1:]
    return UNKNOWN_SIZE if sizes.count(None) > 1 else None


@writes("Flatten", "Reshape", operators="RESHAPE", refuses=_refuse_reshape)
def write_reshape(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The same elements in another shape; the batch stays free, or the one unknown size does."""
    shape = call.output_shapes[0]
    builder.put(number, _reshaped(builder, builder.read(call)[0], spec.name, shape))


def _reshaped(builder: GraphBuilder, source: Value, name: str, shape: Shape) -> Value:
    sizes = np.array(builder.signature(shape), np.int32)
    target = builder.constant(f"{name}/shape", sizes, "INT32")
    output = builder.activation(name, shape, source.fmt)
    return builder.emit("RESHAPE", [source.index, target], output, {"new_shape": sizes})


@writes("ZeroPadding1D", "ZeroPadding2D", operators="PAD")
def write_padding(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Zeros, stored as the zero point."""
    inside = np.reshape(np.asarray(spec.config["padding"], np.int32), (-1, 2)).tolist()
    pads = np.array([(0, 0), *inside, (0, 0)], np.int32)
    paddings = builder.constant(f"{spec.name}/paddings", pads, "INT32")
    one_to_one(builder, number, call, spec, "PAD", [paddings])


@writes("tf.pad by mirror", operators="MIRROR_PAD")
def write_mirror(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The border's own reflection, without the edge (REFLECT) or with it (SYMMETRIC)."""
    pads = np.array(call.kwargs["paddings"], np.int32)
    paddings = builder.constant(f"{spec.name}/paddings", pads, "INT32")
    one_to_one(builder, number, call, spec, "MIRROR_PAD", [paddings], {"mode": call.kwargs["mode"]})


@writes("tf.nn.depth_to_space", operators="DEPTH_TO_SPACE")
@writes("tf.nn.space_to_depth", operators="SPACE_TO_DEPTH")
def write_blocks(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Channels become blocks of pixels, or the reverse."""
    operator = "DEPTH_TO_SPACE" if function_of(spec) == DEPTH_TO_SPACE else "SPACE_TO_DEPTH"
    one_to_one(builder, number, call, spec, operator, [], {"block_size": call.kwargs["block_size"]})


@writes("tf.reduce_max", operators="REDUCE_MAX")
@writes("tf.reduce_min", operators="REDUCE_MIN")
def write_extreme(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The largest or smallest code along axes."""
    operator = "REDUCE_MAX" if function_of(spec) == LARGEST else "REDUCE_MIN"
    axes = builder.constant(f"{spec.name}/axes", np.array(call.kwargs["axis"], np.int32), "INT32")
    options = {"keep_dims": call.kwargs["keepdims"]}
    one_to_one(builder, number, call, spec, operator, [axes], options)


@writes("Permute", operators="TRANSPOSE")
def write_transpose(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Axes in another order."""
    order = np.array([0, *spec.config["dims"]], np.int32)
    constant = builder.constant(f"{spec.name}/order", order, "INT32")
    one_to_one(builder, number, call, spec, "TRANSPOSE", [constant])


@writes("Cropping1D", "Cropping2D", operators="STRIDED_SLICE")
def write_cropping(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """A cut at both ends of each axis."""
    pairs = np.reshape(np.asarray(spec.config["cropping"], np.int32), (-1, 2)).tolist()
    ranges = [_WHOLE, *((begin, -end or None, 1) for begin, end in pairs)]
    _cut(builder, number, call, spec, ranges, 0)


def _refuse_slice(spec: LayerSpec, call: Call) -> str | None:
    index = _index(call)
    if index is None:
        return f"index {index_of(call)!r}; expected constant numbers and slices of samples"
    return _refuse_reshape(spec, call) if index.added else None


@writes("SlicingOpLambda", operators="STRIDED_SLICE, or RESHAPE", refuses=_refuse_slice)
def write_slice(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """x[:, 1:] and the like; axes that the index adds are a RESHAPE behind the cut."""
    index = _index(call)
    assert index is not None  # checked before building
    if not index.added:
        _cut(builder, number, call, spec, index.ranges, index.taken)
        return
    source, shape = builder.read(call)[0], call.output_shapes[0]
    if index.taken or any(item != _WHOLE for item in index.ranges):
        inner = tuple(size for axis, size in enumerate(shape) if axis not in index.added)
        name = f"{spec.name}_cut"
        part = builder.activation(name, inner, source.fmt)
        source = cut(builder, source, part, name, index.ranges, index.taken)
    builder.put(number, _reshaped(builder, source, spec.name, shape))


@dataclasses.dataclass(frozen=True)
class _Index:
    """`x[…]` in parts: the cut along every axis of x, a bit for each axis that goes, and the
    output's axes that are new."""

    ranges: list[Range]
    taken: int
    added: list[int]


def _index(call: Call) -> _Index | None:
    """The index of a call; None where no integer operator cuts so."""
    ranges: list[Range] = []
    taken, axis, added = 0, 0, []
    for item in index_of(call):
        if item is None:
            added.append(axis)
            axis += 1
        elif isinstance(item, slice):
            parts = (item.start, item.stop, item.step)
            if not all(part is None or isinstance(part, int) for part in parts):
                return None
            ranges.append((item.start, item.stop, 1 if item.step is None else item.step))
            axis += 1
        elif isinstance(item, int) and not isinstance(item, bool):
            taken |= 1 << len(ranges)
            ranges.append((item, item + 1 or None, 1))
        else:
            return None
    whole_samples = bool(ranges) and ranges[0] == _WHOLE and not taken & 1 and 0 not in added
    return _Index(ranges, taken, added) if whole_samples else None


def _cut(
    builder: GraphBuilder, number: int, call: Call, spec: LayerSpec, ranges: list[Range], taken: int
) -> None:
    source = builder.read(call)[0]
    output = builder.activation(spec.name, call.output_shapes[0], source.fmt)
    builder.put(number, cut(builder, source, output, spec.name, ranges, taken))


def cut(
    builder: GraphBuilder, source: Value, output: Value, name: str, ranges: list[Range], taken: int
) -> Value:
    """A STRIDED_SLICE; `taken` has a bit for each axis of one element that goes.

    All axes are listed: TFLM does not take those left out for whole.
    """
    ranges = ranges + [_WHOLE] * (len(builder.shape(source)) - len(ranges))
    begins = np.array([begin or 0 for begin, _, _ in ranges], np.int32)
    ends = np.array([end or 0 for _, end, _ in ranges], np.int32)
    steps = np.array([step for _, _, step in ranges], np.int32)
    constants = [
        builder.constant(f"{name}/{part}", values, "INT32")
        for part, values in (("begin", begins), ("end", ends), ("step", steps))
    ]
    options = {
        "begin_mask": sum(1 << i for i, part in enumerate(ranges) if part[0] is None),
        "end_mask": sum(1 << i for i, part in enumerate(ranges) if part[1] is None),
        "ellipsis_mask": 0,
        "new_axis_mask": 0,
        "shrink_axis_mask": taken,
    }
    return builder.emit("STRIDED_SLICE", [source.index, *constants], output, options)


@writes("RepeatVector", operators="EXPAND_DIMS, TILE")
def write_repeat(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The same vector at every step."""
    source = builder.read(call)[0]
    shape = (None, 1, *builder.free_shape(source)[1:])
    axis = builder.constant("row_axis", np.array([1], np.int32), "INT32")
    row = builder.activation(f"{spec.name}_row", shape, source.fmt)
    builder.emit("EXPAND_DIMS", [source.index, axis], row)
    counts = np.array([1, spec.config["n"], 1], np.int32)
    multiples = builder.constant(f"{spec.name}/multiples", counts, "INT32")
    output = builder.activation(spec.name, call.output_shapes[0], source.fmt)
    builder.put(number, builder.emit("TILE", [row.index, multiples], output))


def _refuse_resizing(spec: LayerSpec, call: Call) -> str | None:
    if None in call.output_shapes[0][1:]:
        return UNKNOWN_SIZE
    if spec.config.get("crop_to_aspect_ratio"):
        return "crop_to_aspect_ratio; expected a plain enlargement"
    method = spec.config.get("interpolation", "nearest")
    return None if method in _RESIZERS else f"interpolation {method!r}; LiteRT has none such"


_RESIZERS = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "bilinear": "RESIZE_BILINEAR"}


@writes(
    "UpSampling2D",
    "Resizing",
    operators="RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR",
    exact="nearest; bilinear by powers of two",
    refuses=_refuse_resizing,
)
def write_resize(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """Codes of the nearest pixel, or means of four pixels weighted by distance."""
    builder.put(number, _resized(builder, builder.read(call)[0], call.output_shapes[0], spec))


@writes(
    "UpSampling1D",
    operators="EXPAND_DIMS, RESIZE_NEAREST_NEIGHBOR, SQUEEZE",
    refuses=_refuse_resizing,
)
def write_resized_sequence(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The same on an image one row high."""
    source = builder.as_image(builder.read(call)[0], spec.name)
    shape = call.output_shapes[0]
    result = _resized(builder, source, (shape[0], 1, *shape[1:]), spec)
    builder.put(number, builder.as_sequence(result, f"{spec.name}_sequence"))


def _resized(builder: GraphBuilder, source: Value, shape: Shape, spec: LayerSpec) -> Value:
    size = builder.constant(f"{spec.name}/size", np.array(shape[1:3], np.int32), "INT32")
    output = builder.activation(spec.name, shape, source.fmt)
    options = {"align_corners": False, "half_pixel_centers": True}
    operator = _RESIZERS[spec.config.get("interpolation", "nearest")]
    result = builder.emit(operator, [source.index, size], output, options)
    return result
