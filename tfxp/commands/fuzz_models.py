"""Small models that together hold every operator the interpreter knows: food for the fuzzer.

An operator stands in the table below once for each form that its kernel treats apart (element type,
constant or computed sides, grouped, dilated, stacked, stateful). A test holds the table against the
registry, and prepares and runs each file undamaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite

#: One form of an operator: name, inputs, outputs, options, further fields of the operator.
Form = tuple[str, Sequence[Tensor | None], Sequence[Tensor], dict[str, Any], dict[str, Any]]


def quantization(scales: Any, zeros: Any, axis: int = 0) -> Quantization:
    """Scales and zero points from anything that holds numbers."""
    return Quantization(np.array(scales, np.float32), np.array(zeros, np.int64), axis)


def tensor(shape: Sequence[int], kind: str = "INT8", scale: float = 0.05, **more: Any) -> Tensor:
    """A tensor; integer codes of up to 16 bits get a scale, and 8-bit ones a zero point."""
    scheme = None
    if kind in ("INT8", "UINT8", "INT16"):
        scheme = quantization([scale], [0 if kind == "INT16" else 3])
    return Tensor("", tuple(shape), kind, scheme, **more)


def constant(values: Any, kind: str = "INT32") -> Tensor:
    """A constant without a scale."""
    dtype = Tensor("", (), kind).dtype
    return Tensor("", np.shape(values), kind, None, np.asarray(values, dtype))


def weights(
    shape: Sequence[int], kind: str = "INT8", axis: int | None = None, zero: int = 0
) -> Tensor:
    """Drawn weights, per channel of `axis` or with one scale."""
    low, high = {"INT4": (-7, 8), "INT2": (-1, 2), "UINT8": (0, 256)}.get(kind, (-127, 128))
    rng = np.random.default_rng(sum(shape))
    data = rng.integers(low, high, shape).astype(Tensor("", (), kind).dtype)
    data[rng.random(shape) < 0.3] = zero
    count = 1 if axis is None else shape[axis]
    scheme = quantization(np.full(count, 0.01), np.full(count, zero), axis or 0)
    return Tensor("", tuple(shape), kind, scheme, data)


def bias(count: int, kind: str = "INT32", per_channel: bool = True) -> Tensor:
    """Drawn start values."""
    size = count if per_channel else 1
    data = np.random.default_rng(count).integers(-500, 500, count)
    data = data.astype(Tensor("", (), kind).dtype)
    return Tensor("", (count,), kind, quantization(np.full(size, 5e-4), np.zeros(size)), data)


def forms() -> list[Form]:
    """Every form of every operator."""
    return [
        *_convolutions(),
        *_products(),
        *_pointwise(),
        *_windows_and_rows(),
        *_moves(),
        *_indices(),
        *_stateful(),
    ]


def operator_models() -> list[bytes]:
    """A file for each form."""
    return [_file(form) for form in forms()]


def _file(form: Form) -> bytes:
    name, inputs, outputs, options, more = form
    graph = IntegerGraph()
    fields = dict(more)
    scratch = fields.pop("scratch", [])
    places = []
    for each in (*inputs, *outputs, *scratch):
        named = None if each is None else replace(each, name=f"t{len(graph.tensors)}")
        places.append(-1 if named is None else graph.add_tensor(named))
    first, last = len(inputs), len(inputs) + len(outputs)
    operator = Operator(name, places[:first], places[first:last], options, 2, **fields)
    operator.intermediates = places[last:]
    graph.add_operator(operator)
    fed = [i for i in operator.inputs if i >= 0]
    graph.inputs = [i for i in fed if graph.tensors[i].data is None]
    graph.inputs = [i for i in graph.inputs if not graph.tensors[i].is_variable]
    graph.outputs = list(operator.outputs)
    return write_tflite(graph)


def _convolutions() -> list[Form]:
    same = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    strided = {"padding": "VALID", "stride_h": 2, "stride_w": 2}
    wide = {**same, "dilation_h_factor": 2, "dilation_w_factor": 2}
    deep = {**same, "depth_multiplier": 1}
    image, wide_image = tensor((1, 6, 6, 8)), tensor((1, 6, 6, 8), "INT16")
    small = {"fused_activation_function": "RELU"}
    table = [
        ("CONV_2D", image, weights((16, 3, 3, 8), axis=0), (1, 6, 6, 16), {**same, **small}),
        ("CONV_2D", image, weights((5, 2, 3, 8), axis=0), (1, 3, 2, 5), strided),
        ("CONV_2D", image, weights((8, 1, 1, 8), axis=0), (1, 6, 6, 8), same),
        ("CONV_2D", image, weights((6, 3, 3, 4), axis=0), (1, 6, 6, 6), wide),
        ("CONV_2D", image, weights((6, 3, 3, 8), "INT4", 0), (1, 6, 6, 6), same),
        ("CONV_2D", image, weights((6, 3, 3, 8), "INT2", 0), (1, 6, 6, 6), same),
        ("CONV_2D", wide_image, weights((6, 3, 3, 8), axis=0), (1, 6, 6, 6), same),
        ("DEPTHWISE_CONV_2D", image, weights((1, 3, 3, 8), axis=3), (1, 6, 6, 8), deep),
        ("DEPTHWISE_CONV_2D", image, weights((1, 3, 3, 16), axis=3), (1, 6, 6, 16),
         {**same, "depth_multiplier": 2}),
        ("DEPTHWISE_CONV_2D", image, weights((1, 2, 2, 8), axis=3), (1, 3, 3, 8), strided),
        ("DEPTHWISE_CONV_2D", wide_image, weights((1, 3, 3, 8), axis=3), (1, 6, 6, 8), deep),
    ]  # fmt: skip
    found: list[Form] = []
    for name, x, kernel, shape, options in table:
        start = bias(shape[-1], "INT64" if x.type == "INT16" else "INT32")
        found.append((name, [x, kernel, start], [tensor(shape, x.type, 0.3)], options, {}))
    unsigned = [tensor((1, 6, 6, 8), "UINT8"), weights((6, 3, 3, 8), "UINT8", zero=7)]
    found.append(
        ("CONV_2D", [*unsigned, bias(6, per_channel=False)], [tensor((1, 6, 6, 6), "UINT8", 0.3)],
         same, {})
    )  # fmt: skip
    for name, axis, kernel_shape in (
        ("CONV_2D", 0, (6, 3, 3, 8)), ("DEPTHWISE_CONV_2D", 3, (1, 3, 3, 8))
    ):  # fmt: skip
        units = kernel_shape[axis]
        offset = constant(np.ones(units), "FLOAT32")
        reals = [tensor((2, 6, 6, 8), "FLOAT32"), weights(kernel_shape, axis=axis), offset]
        options = deep if axis else same
        found.append((name, reals, [tensor((2, 6, 6, units), "FLOAT32")], options, {}))
    size, twice = constant([1, 8, 8, 6]), {"padding": "SAME", "stride_h": 2, "stride_w": 2}
    given = [size, weights((6, 3, 3, 4), axis=0), tensor((1, 4, 4, 4)), bias(6)]
    found.append(("TRANSPOSE_CONV", given, [tensor((1, 8, 8, 6), scale=0.3)], twice, {}))
    return found


def _products() -> list[Form]:
    dense: dict[str, Any] = {"fused_activation_function": "NONE"}
    found: list[Form] = []
    for kind, start, matrix in (
        ("INT8", bias(6, per_channel=False), weights((6, 16))),
        ("INT8", bias(6), weights((6, 16), axis=0)),
        ("INT8", bias(6), weights((6, 16), "INT4", 0)),
        ("UINT8", bias(6, per_channel=False), weights((6, 16), "UINT8", zero=9)),
        ("INT16", bias(6, "INT64", False), weights((6, 16))),
    ):
        x, y = tensor((2, 16), kind), tensor((2, 6), kind, 0.3)
        found.append(("FULLY_CONNECTED", [x, matrix, start], [y], dense, {}))
    reals = [tensor((2, 16), "FLOAT32"), weights((6, 16), axis=0), None]
    found.append(("FULLY_CONNECTED", reals, [tensor((2, 6), "FLOAT32")], dense, {}))
    sides = [tensor((2, 1, 5, 8)), tensor((1, 3, 8, 4))]
    found.append(("BATCH_MATMUL", sides, [tensor((2, 3, 5, 4), scale=0.3)], {}, {}))
    turned = [tensor((2, 8, 5), "INT16"), tensor((2, 4, 8), "INT16")]
    turns = {"adj_x": True, "adj_y": True}
    found.append(("BATCH_MATMUL", turned, [tensor((2, 5, 4), "INT16", 0.3)], turns, {}))
    return found


def _pointwise() -> list[Form]:
    shape, row = (2, 3, 4, 8), (8,)
    found: list[Form] = []
    for name in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"):
        for kind in ("INT8", "UINT8", "INT16", "FLOAT32", "INT32"):
            if kind in ("UINT8", "INT16") and name == "SQUARED_DIFFERENCE":
                continue
            sides = [tensor(shape, kind), tensor(row if kind == "INT8" else shape, kind)]
            found.append((name, [*sides], [tensor(shape, kind)], {}, {}))
    for name in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"):
        for kind in ("INT8", "FLOAT32", "INT64"):
            sides = [tensor(shape, kind), tensor(row, kind)]
            found.append((name, [*sides], [tensor(shape, "BOOL")], {}, {}))
    for name in ("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT"):
        sides = [tensor(row, "BOOL") for _ in range(1 if name == "LOGICAL_NOT" else 2)]
        found.append((name, [*sides], [tensor(row, "BOOL")], {}, {}))
    for name in ("FLOOR_DIV", "FLOOR_MOD"):
        for kind in ("INT32", "FLOAT32"):
            divisor = constant([3, -2, 5, 1, 7, -4, 2, 9], kind)
            found.append((name, [tensor(shape, kind), divisor], [tensor(shape, kind)], {}, {}))
    for name in ("ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "RELU", "RELU6",
                 "RELU_N1_TO_1", "RSQRT", "LOGISTIC", "TANH"):  # fmt: skip
        scale = {"LOGISTIC": 1 / 256, "TANH": 1 / 128}.get(name, 0.05)
        y = tensor(shape, scale=scale)
        assert y.quantization is not None
        if name in ("LOGISTIC", "TANH"):
            y.quantization.zero_point[:] = -128 if name == "LOGISTIC" else 0
        x = tensor(shape)
        assert x.quantization is not None
        if name in ("LOG", "RSQRT"):
            x.quantization.zero_point[:] = -128
        found.append((name, [x], [y], {}, {}))
    for name in ("LEAKY_RELU", "LOGISTIC", "TANH"):
        scale = 0.05 if name == "LEAKY_RELU" else 1 / 32768
        found.append((name, [tensor(row, "INT16")], [tensor(row, "INT16", scale)], {}, {}))
    slope = weights((1, 1, 8))
    found.append(("PRELU", [tensor(shape), slope], [tensor(shape)], {}, {}))
    found.append(("QUANTIZE", [tensor(shape, "FLOAT32")], [tensor(shape)], {}, {}))
    found.append(("QUANTIZE", [tensor(shape)], [tensor(shape, "UINT8", 0.07)], {}, {}))
    found.append(("DEQUANTIZE", [tensor(shape, "INT16")], [tensor(shape, "FLOAT32")], {}, {}))
    cast = {"in_data_type": "INT32", "out_data_type": "FLOAT32"}
    found.append(("CAST", [tensor(row, "INT32")], [tensor(row, "FLOAT32")], cast, {}))
    return found


def _windows_and_rows() -> list[Form]:
    found: list[Form] = []
    window = {"padding": "SAME", "stride_h": 2, "stride_w": 2, "filter_height": 3,
              "filter_width": 3}  # fmt: skip
    for kind in ("INT8", "UINT8", "INT16", "FLOAT32"):
        image, half = (1, 6, 6, 8), (1, 3, 3, 8)
        for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            if (name, kind) != ("AVERAGE_POOL_2D", "FLOAT32"):
                found.append((name, [tensor(image, kind)], [tensor(half, kind)], window, {}))
    for kind in ("INT8", "INT16", "FLOAT32"):
        axes = constant([1, 2])
        for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
            out = tensor((2, 1, 1, 8), kind)
            keep = {"keep_dims": True}
            found.append((name, [tensor((2, 4, 4, 8), kind), axes], [out], keep, {}))
    product = [tensor((3, 4), "INT32"), constant([0])]
    found.append(("REDUCE_PROD", [*product], [tensor((4,), "INT32")], {}, {}))
    for kind in ("INT8", "UINT8"):
        y = tensor((2, 10), kind, 1 / 256)
        assert y.quantization is not None
        y.quantization.zero_point[:] = -128 if kind == "INT8" else 0
        found.append(("SOFTMAX", [tensor((2, 10), kind)], [y], {"beta": 1.0}, {}))
    y = tensor((2, 10), scale=16 / 256)
    assert y.quantization is not None
    y.quantization.zero_point[:] = 127
    found.append(("LOG_SOFTMAX", [tensor((2, 10))], [y], {}, {}))
    y = tensor((2, 10), scale=1 / 128)
    assert y.quantization is not None
    y.quantization.zero_point[:] = 0
    found.append(("L2_NORMALIZATION", [tensor((2, 10))], [y], {}, {}))
    for name in ("ARG_MAX", "ARG_MIN"):
        found.append((name, [tensor((2, 10)), constant(1)], [tensor((2,), "INT64")],
                      {"output_type": "INT64"}, {}))  # fmt: skip
    size = constant([9, 7])
    for name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        found.append((name, [tensor((1, 4, 5, 8)), size], [tensor((1, 9, 7, 8))], {}, {}))
    spectrum = [tensor((3, 1, 16), "FLOAT32"), constant([1, 16])]
    found.append(("RFFT2D", [*spectrum], [tensor((3, 1, 9), "COMPLEX64")], {}, {}))
    found.append(("COMPLEX_ABS", [tensor((3, 9), "COMPLEX64")], [tensor((3, 9), "FLOAT32")], {},
                  {}))  # fmt: skip
    return found


def _moves() -> list[Form]:
    x, flat = (2, 4, 6, 8), (2, 8)
    two = constant([2, 2])
    table: list[tuple[str, list[Any], list[Any], dict[str, Any]]] = [
        ("RESHAPE", [x, constant([2, -1, 16])], [(2, 12, 16)], {"new_shape": [2, -1, 16]}),
        ("SQUEEZE", [(1, 4, 1, 8)], [(4, 8)], {}),
        ("EXPAND_DIMS", [(4, 8), constant([-2])], [(4, 1, 8)], {}),
        ("TRANSPOSE", [x, constant([0, 3, 1, 2])], [(2, 8, 4, 6)], {}),
        ("GATHER", [x, constant([[1, 0, 3], [2, 2, 1]])], [(2, 2, 3, 6, 8)], {"axis": 1}),
        ("SLICE", [x, constant([0, 1, 2, 0]), constant([-1, 2, 3, 8])], [(2, 2, 3, 8)], {}),
        ("STRIDED_SLICE", [x, constant([0, 1, 0, 0]), constant([2, 4, 6, 8]),
                           constant([1, 2, 1, 3])], [(2, 2, 6, 3)], {}),
        ("SPLIT", [constant(-1), x], [(2, 4, 6, 4)] * 2, {"num_splits": 2}),
        ("SPLIT_V", [x, constant([1, -1, 2]), constant(1)],
         [(2, 1, 6, 8), (2, 1, 6, 8), (2, 2, 6, 8)], {"num_splits": 3}),
        ("PACK", [(2, 3), (2, 3)], [(2, 2, 3)], {"values_count": 2, "axis": 1}),
        ("UNPACK", [(2, 3, 4)], [(2, 4)] * 3, {"num": 3, "axis": -2}),
        ("CONCATENATION", [(2, 3, 4), (2, 5, 4)], [(2, 8, 4)], {"axis": 1}),
        ("PAD", [x, constant([[0, 0], [1, 2], [3, 0], [0, 1]])], [(2, 7, 9, 9)], {}),
        ("PADV2", [(2, 3), constant([[0, 1], [2, 0]]), tensor((1,), data=np.array([7], np.int8))],
         [(3, 5)], {}),
        ("MIRROR_PAD", [x, constant([[0, 0], [1, 2], [3, 0], [0, 1]])], [(2, 7, 9, 9)], {}),
        ("SPACE_TO_DEPTH", [x], [(2, 2, 3, 32)], {"block_size": 2}),
        ("DEPTH_TO_SPACE", [(2, 2, 3, 32)], [x], {"block_size": 2}),
        ("SPACE_TO_BATCH_ND", [(2, 4, 6, 3), two, constant([[0, 0], [0, 0]])], [(8, 2, 3, 3)], {}),
        ("BATCH_TO_SPACE_ND", [(8, 2, 3, 3), two, constant([[0, 0], [0, 0]])], [(2, 4, 6, 3)], {}),
        ("TILE", [flat, constant([2, 3])], [(4, 24)], {}),
        ("BROADCAST_TO", [flat, constant([3, 2, 8])], [(3, 2, 8)], {}),
    ]  # fmt: skip
    return [
        (name, [_made(i) for i in inputs], [_made(o) for o in outputs], options, {})
        for name, inputs, outputs, options in table
    ]


def _made(given: Any) -> Tensor:
    return given if isinstance(given, Tensor) else tensor(given)


def _indices() -> list[Form]:
    whole = tensor((4, 5, 3), "INT32")
    places = constant([[0, 1], [3, 4], [2, 2]])
    table: list[Form] = [
        ("SHAPE", [tensor((2, 3, 4))], [tensor((3,), "INT32")], {"out_type": "INT32"}, {}),
        ("FILL", [constant([2, 3]), tensor((), "INT32")], [tensor((2, 3), "INT32")], {}, {}),
        ("RANGE", [tensor((), "INT32") for _ in range(3)], [tensor((), "INT32")], {}, {}),
        ("RANGE", [constant(1), constant(9), constant(2)], [tensor((4,), "INT32")], {}, {}),
        ("WHERE", [tensor((4, 5), "BOOL")], [tensor((0, 2), "INT64")], {}, {}),
        ("GATHER_ND", [whole, places], [tensor((3, 3), "INT32")], {}, {}),
        ("SCATTER_ND", [places, tensor((3, 3), "INT32"), constant([4, 5, 3])],
         [tensor((4, 5, 3), "INT32")], {}, {}),
        ("SELECT", [tensor((4, 3), "BOOL"), tensor((4, 3)), tensor((4, 3))], [tensor((4, 3))], {},
         {}),
        ("SELECT_V2", [tensor((4, 1), "BOOL"), tensor((3,)), tensor((4, 3))], [tensor((4, 3))],
         {}, {}),
        ("UNSORTED_SEGMENT_PROD", [tensor((5, 3), "INT32"), constant([1, 0, 1, -1, 3]),
                                   constant(4)], [tensor((4, 3), "INT32")], {}, {}),
        ("RESHAPE", [tensor((2, 8)), tensor((2,), "INT32")], [tensor((4, 4))], {}, {}),
    ]  # fmt: skip
    return table


def _stateful() -> list[Form]:
    cells, inputs, batch, steps, filters, memory = 6, 5, 2, 3, 4, 5
    state: dict[str, Any] = {"is_variable": True}
    gates = [weights((cells, inputs)) for _ in range(4)]
    gates += [weights((cells, cells)) for _ in range(4)]
    given: list[Tensor | None] = [tensor((batch, steps, inputs)), *gates, None, None, None]
    given += [bias(cells, per_channel=False) for _ in range(4)]
    given += [None, None, tensor((batch, cells), scale=0.008, **state)]
    given.append(tensor((batch, cells), "INT16", 2.0**-11, **state))
    options = {"fused_activation_function": "TANH", "time_major": False}
    scratch = [tensor((0,), "INT16", 2.0**-12) for _ in range(4)]
    scratch.append(tensor((0,), scale=0.008))
    fading = [
        tensor((batch, 7)), weights((filters, 7)), weights((filters, memory), "INT16"),
        bias(filters, per_channel=False), tensor((batch, memory * filters), "INT16", **state),
    ]  # fmt: skip
    detected = {
        "max_detections": 4, "max_classes_per_detection": 1, "num_classes": 2,
        "nms_score_threshold": 0.1, "nms_iou_threshold": 0.5, "y_scale": 10.0, "x_scale": 10.0,
        "h_scale": 5.0, "w_scale": 5.0,
    }  # fmt: skip
    anchors = np.random.default_rng(0).random((9, 4)).astype(np.float32)
    boxes = [
        tensor((1, 9, 4), "FLOAT32"),
        tensor((1, 9, 3), "FLOAT32"),
        constant(anchors, "FLOAT32"),
    ]
    found = [tensor(shape, "FLOAT32") for shape in ((1, 4, 4), (1, 4), (1, 4), (1,))]
    custom = {
        "custom_code": "TFLite_Detection_PostProcess",
        "custom_options": bytes(flexbuffers.Dumps(detected)),
    }
    return [
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", given, [tensor((batch, steps, cells), scale=0.008)],
         options, {"scratch": scratch}),
        ("SVDF", [*fading], [tensor((batch, filters))],
         {"rank": 1, "fused_activation_function": "RELU"}, {}),
        ("CUSTOM", [*boxes], found, {}, custom),
    ]  # fmt: skip
