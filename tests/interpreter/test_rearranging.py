"""Shape, slicing, joining and padding operators against LiteRT's own kernels."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tests.interpreter.litert_oracle import LIMITS, Model, T, check_equal, draw
from tfxp.interpreter import Interpreter

SHAPE = (2, 4, 6, 8)


def constant(values):
    return T(np.shape(values), "INT32", data=values)


def tensor(shape, kind):
    if kind in ("FLOAT32", "INT32"):
        return T(shape, kind)
    return T(shape, kind, 0.1, 0 if kind == "INT16" else 5)


def cases(kind):
    """(name, model) of every operator that moves elements."""
    t = lambda *shape: tensor(shape, kind)  # noqa: E731
    x = tensor(SHAPE, kind)
    later = kind == "INT16"
    return [
        Model("RESHAPE", [x, constant([2, -1, 16])], [t(2, 12, 16)], "ReshapeOptions", version=1),
        Model("RESHAPE", [x], [t(2, 12, 16)], "ReshapeOptions", {"newShape": [2, -1, 16]}, 1),
        Model("SQUEEZE", [t(1, 4, 1, 8)], [t(4, 8)], "SqueezeOptions", version=1),
        Model("SQUEEZE", [t(1, 4, 1, 8)], [t(1, 4, 8)], "SqueezeOptions", {"squeezeDims": [-2]}, 1),
        Model("EXPAND_DIMS", [t(4, 8), constant([-2])], [t(4, 1, 8)], "ExpandDimsOptions", {}, 1),
        Model("TRANSPOSE", [x, constant([0, 3, 1, 2])], [t(2, 8, 4, 6)], "TransposeOptions"),
        Model("SHAPE", [x], [T((4,), "INT32")], "ShapeOptions", {"outType": 2}, 1),
        Model(
            "GATHER",
            [x, constant([[1, 0, 3], [2, 2, 1]])],
            [t(2, 2, 3, 6, 8)],
            "GatherOptions",
            {"axis": 1},
            4 if later else 1,
        ),
        Model(
            "GATHER",
            [x, constant([[1, 0, 3], [2, 2, 1]])],
            [t(2, 3, 6, 8)],
            "GatherOptions",
            {"axis": 1, "batchDims": 1},
            5,
        ),
        Model(
            "SLICE",
            [x, constant([0, 1, 2, 0]), constant([-1, 2, 3, 8])],
            [t(2, 2, 3, 8)],
            "SliceOptions",
            version=4 if later else 2,
        ),
        Model("SPLIT", [constant(-1), x], [t(2, 4, 6, 4)] * 2, "SplitOptions", {"numSplits": 2}, 4),
        Model(
            "SPLIT_V",
            [x, constant([1, -1, 2]), constant(1)],
            [t(2, 1, 6, 8), t(2, 1, 6, 8), t(2, 2, 6, 8)],
            "SplitVOptions",
            {"numSplits": 3},
        ),
        Model(
            "PACK",
            [t(2, 3), t(2, 3)],
            [t(2, 2, 3)],
            "PackOptions",
            {"valuesCount": 2, "axis": 1},
            3 if later else 2,
        ),
        Model(
            "UNPACK",
            [t(2, 3, 4)],
            [t(2, 4)] * 3,
            "UnpackOptions",
            {"num": 3, "axis": -2},
            4 if later else 2,
        ),
        Model(
            "CONCATENATION",
            [t(2, 3, 4), t(2, 5, 4)],
            [t(2, 8, 4)],
            "ConcatenationOptions",
            {"axis": -2},
            3 if later else 2,
        ),
        Model(
            "PAD", [x, constant([[0, 0], [1, 2], [3, 0], [0, 1]])], [t(2, 7, 9, 9)], "PadOptions"
        ),
        Model(
            "MIRROR_PAD",
            [x, constant([[0, 0], [1, 3], [3, 0], [0, 1]])],
            [t(2, 8, 9, 9)],
            "MirrorPadOptions",
            {"mode": 0},
            3 if later else 2,
        ),
        Model(
            "MIRROR_PAD",
            [x, constant([[0, 0], [1, 3], [3, 0], [0, 1]])],
            [t(2, 8, 9, 9)],
            "MirrorPadOptions",
            {"mode": 1},
            3 if later else 2,
        ),
    ]


@pytest.mark.parametrize("arithmetic", ["builtin", "litert"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16", "INT32", "FLOAT32"])
def test_elements_arrive_where_litert_puts_them(kind, arithmetic, rng):
    for case in cases(kind):
        check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT32", "FLOAT32"])
def test_blocks_and_depth(kind, rng):
    deep, flat = tensor((2, 2, 3, 32), kind), tensor(SHAPE, kind)
    options = {"blockSize": 2}
    check_equal(
        Model("SPACE_TO_DEPTH", [flat], [deep], "SpaceToDepthOptions", options, 1), rng, "builtin"
    )
    check_equal(
        Model("DEPTH_TO_SPACE", [deep], [flat], "DepthToSpaceOptions", options, 1), rng, "litert"
    )


STRIDED = [
    ([0, 1, -3, 0], [2, 4, 6, 8], [1, 2, 1, 3], {}, (2, 2, 3, 3)),
    ([0, -1, 0, 7], [2, -5, 0, 0], [1, -1, 1, -2], {"endMask": 12}, (2, 4, 6, 4)),
    ([1, 0, 1], [0, 0, 2], [1, 1, 1], {"shrinkAxisMask": 1, "ellipsisMask": 2}, (4, 6, 1)),
    (
        [0, 0, 2],
        [0, 0, 4],
        [1, 1, 1],
        {"newAxisMask": 1, "beginMask": 2, "endMask": 2},
        (1, 2, 2, 6, 8),
    ),
    ([0, 9], [9, -9], [1, -1], {}, (2, 4, 6, 8)),
    ([1, 3], [0, 0], [1, 1], {"shrinkAxisMask": 3}, (6, 8)),
]


@pytest.mark.parametrize("case", STRIDED)
@pytest.mark.parametrize("arithmetic", ["builtin", "litert"])
@pytest.mark.parametrize("kind", ["INT8", "FLOAT32"])
def test_strided_slice(kind, arithmetic, case, rng):
    begin, end, strides, masks, shape = case
    options = dict.fromkeys(
        ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0
    )
    inputs = [tensor(SHAPE, kind), constant(begin), constant(end), constant(strides)]
    model = Model(
        "STRIDED_SLICE",
        inputs,
        [tensor(shape, kind)],
        "StridedSliceOptions",
        {**options, **masks},
        4,
    )
    check_equal(model, rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ["builtin", "litert"])
@pytest.mark.parametrize("kind", ["INT32", "FLOAT32"])
def test_sizes_are_multiplied_and_filled(kind, arithmetic, rng):
    x = T((5, 3), kind)
    cases = [
        Model(
            "UNSORTED_SEGMENT_PROD",
            [x, constant([1, 0, 1, -1, 3]), constant(4)],
            [T((4, 3), kind)],
            "UnsortedSegmentProdOptions",
            version=1,
        ),
        Model("REDUCE_PROD", [x, constant([0])], [T((3,), kind)], "ReducerOptions", version=1),
        Model("FILL", [constant([2, 3]), T((), kind)], [T((2, 3), kind)], "FillOptions", version=1),
    ]
    for case in cases:
        check_equal(case, rng, arithmetic)


def test_cuts_of_a_resized_input(rng):
    """The end of a sequence that is longer than the file says; LiteRT resizes no SLICE."""
    given, x = tensor((1, 2, 3), "INT8"), draw(T((1, 9, 3), "INT8"), rng)
    inputs = [given, constant([0, -1, 0]), constant([0, 0, 0]), constant([1, 1, 1])]
    masks = {"beginMask": 5, "endMask": 7, "shrinkAxisMask": 2}
    last = tensor((1, 3), "INT8")
    case = Model("STRIDED_SLICE", inputs, [last], "StridedSliceOptions", masks, 4)
    for runner in (LiteRT(model_content=case.bytes()), Interpreter(model_content=case.bytes())):
        assert np.array_equal(resized(runner, x), x[:, -1])
    inputs = [given, constant([0, 1, 0]), constant([-1, -1, 2])]
    case = Model("SLICE", inputs, [tensor((1, 1, 2), "INT8")], "SliceOptions")
    assert np.array_equal(resized(Interpreter(model_content=case.bytes()), x), x[:, 1:, :2])


def resized(runner, x):
    runner.allocate_tensors()
    runner.resize_tensor_input(0, x.shape)
    runner.allocate_tensors()
    runner.set_tensor(0, x)
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


def test_uint8_concatenation_rescales(rng):
    for _ in range(8):
        parts = [
            T((2, n, 4), "UINT8", 2.0 ** rng.uniform(-6, -4), int(rng.integers(*LIMITS["UINT8"])))
            for n in (3, 5, 8)
        ]
        case = Model("CONCATENATION", parts[:2], parts[2:], "ConcatenationOptions", {"axis": 1}, 1)
        check_equal(case, rng, "builtin")
        check_equal(case, rng, "litert")


def test_padding_with_a_given_code(rng):
    inputs = [
        tensor((2, 3), "INT8"),
        constant([[0, 1], [2, 0]]),
        T((1,), "INT8", 0.1, 5, data=[7]),
    ]
    check_equal(Model("PADV2", inputs, [tensor((3, 5), "INT8")], "PadV2Options"), rng, "builtin")


def test_reshape_to_a_computed_shape(rng):
    inputs = [tensor(SHAPE, "INT8"), T((2,), "INT32")]
    case = Model("RESHAPE", inputs, [tensor((8, 48), "INT8")], "ReshapeOptions", version=1)
    feeds = [draw(inputs[0], rng), np.array([-1, 48], np.int32)]
    check_equal(case, rng, "builtin", feeds)


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "FLOAT32"])
def test_batches_and_space(kind, rng):
    image = tensor((2, 5, 6, 3), kind)
    blocks, paddings = constant([2, 3]), constant([[1, 2], [0, 3]])
    moved = tensor((12, 4, 3, 3), kind)
    check_equal(
        Model("SPACE_TO_BATCH_ND", [image, blocks, paddings], [moved], "SpaceToBatchNDOptions"),
        rng,
        "builtin",
    )
    check_equal(
        Model("BATCH_TO_SPACE_ND", [moved, blocks, paddings], [image], "BatchToSpaceNDOptions"),
        rng,
        "litert",
    )
    row, one = tensor((2, 8, 3), kind), constant([4])
    check_equal(
        Model(
            "SPACE_TO_BATCH_ND",
            [row, one, constant([[0, 0]])],
            [tensor((8, 2, 3), kind)],
            "SpaceToBatchNDOptions",
        ),
        rng,
        "builtin",
    )


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "FLOAT32"])
def test_repetition(kind, rng):
    x = tensor((2, 1, 3), kind)
    case = Model("TILE", [x, constant([1, 4, 2])], [tensor((2, 4, 6), kind)], "TileOptions")
    check_equal(case, rng, "builtin")
    output = tensor((5, 2, 4, 3), kind)
    case = Model("BROADCAST_TO", [x, constant([5, 2, 4, 3])], [output], "BroadcastToOptions")
    check_equal(case, rng, "litert")
