"""Each image of a stack gets what it gets alone, whatever the operator says about stacking."""

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, draw
from tfxp.interpreter import Interpreter


def constant(values):
    return T(np.shape(values), "INT32", data=values)


def t(*shape):
    return T(shape, "INT8", 0.1, 3)


def given(*shape):
    data = np.random.default_rng(5).integers(-128, 128, shape)
    return T(shape, "INT8", 0.1, 3, data=data)


X = t(1, 4, 6, 8)
POOL = dict(padding=0, strideH=2, strideW=2, filterHeight=3, filterWidth=3)
SOFT = T((1, 10), "INT8", 1 / 256, -128)
CASES = [
    Model("ADD", [X, given(8)], [X], "AddOptions"),
    Model("ADD", [X, given(1, 1, 6, 1)], [X], "AddOptions"),
    Model("MUL", [t(1, 6, 8), given(4, 6, 8)], [t(4, 6, 8)], "MulOptions"),
    Model("MAXIMUM", [given(1, 4, 1, 8), X], [X], "MaximumMinimumOptions"),
    Model("AVERAGE_POOL_2D", [X], [t(1, 2, 3, 8)], "Pool2DOptions", POOL),
    Model("MAX_POOL_2D", [X], [t(1, 2, 3, 8)], "Pool2DOptions", POOL),
    Model("MEAN", [X, constant([1, 2])], [t(1, 8)], "ReducerOptions"),
    Model("MEAN", [X, constant([0, 1])], [t(6, 8)], "ReducerOptions"),
    Model("MEAN", [X, constant([0, 1])], [t(1, 1, 6, 8)], "ReducerOptions", {"keepDims": True}),
    Model("REDUCE_MAX", [X, constant([-1])], [t(1, 4, 6)], "ReducerOptions"),
    Model(
        "ARG_MAX", [X, constant([3])], [T((1, 4, 6), "INT32")], "ArgMaxOptions", {"outputType": 2}
    ),
    Model(
        "ARG_MAX", [X, constant([0])], [T((4, 6, 8), "INT32")], "ArgMaxOptions", {"outputType": 2}
    ),
    Model("SOFTMAX", [t(1, 10)], [SOFT], "SoftmaxOptions", {"beta": 1.0}),
    Model("RESHAPE", [X, constant([1, -1])], [t(1, 192)], "ReshapeOptions"),
    Model("RESHAPE", [X, constant([-1, 192])], [t(1, 192)], "ReshapeOptions"),
    Model("RESHAPE", [X, constant([4, 48])], [t(4, 48)], "ReshapeOptions"),
    Model("RESHAPE", [X, constant([1, 1, 192])], [t(1, 1, 192)], "ReshapeOptions"),
    Model("SQUEEZE", [t(1, 1, 4, 1)], [t(1, 4)], "SqueezeOptions", {"squeezeDims": [0, 3]}),
    Model("SQUEEZE", [t(1, 1, 4, 1)], [t(1, 4)], "SqueezeOptions", {"squeezeDims": [1, 3]}),
    Model("EXPAND_DIMS", [t(1, 4), constant([0])], [t(1, 1, 4)], "ExpandDimsOptions"),
    Model("EXPAND_DIMS", [t(1, 4), constant([1])], [t(1, 1, 4)], "ExpandDimsOptions"),
    Model("TRANSPOSE", [t(1, 1, 6), constant([1, 0, 2])], [t(1, 1, 6)], "TransposeOptions"),
    Model("TRANSPOSE", [X, constant([0, 3, 1, 2])], [t(1, 8, 4, 6)], "TransposeOptions"),
    Model("SHAPE", [X], [T((4,), "INT32")], "ShapeOptions", {"outType": 2}),
    Model(
        "SLICE",
        [X, constant([0, 1, 0, 2]), constant([1, 2, -1, 3])],
        [t(1, 2, 6, 3)],
        "SliceOptions",
    ),
    Model(
        "STRIDED_SLICE",
        [X, constant([0, 1, 0, 0]), constant([1, 4, 6, 8]), constant([1, 2, 1, 3])],
        [t(1, 2, 6, 3)],
        "StridedSliceOptions",
    ),
    Model(
        "STRIDED_SLICE",
        [X, constant([0]), constant([1]), constant([1])],
        [t(4, 6, 8)],
        "StridedSliceOptions",
        {"shrinkAxisMask": 1},
    ),
    Model(
        "STRIDED_SLICE",
        [X, constant([0]), constant([1]), constant([1])],
        [t(1, 1, 4, 6, 8)],
        "StridedSliceOptions",
        {"newAxisMask": 1},
    ),
    Model("SPLIT", [constant(2), X], [t(1, 4, 3, 8)] * 2, "SplitOptions", {"numSplits": 2}),
    Model("PACK", [X, X], [t(2, 1, 4, 6, 8)], "PackOptions", {"valuesCount": 2, "axis": 0}),
    Model(
        "PACK",
        [X, given(1, 4, 6, 8)],
        [t(1, 4, 6, 8, 2)],
        "PackOptions",
        {"valuesCount": 2, "axis": 4},
    ),
    Model("UNPACK", [t(1, 3, 4)], [t(1, 4)] * 3, "UnpackOptions", {"num": 3, "axis": 1}),
    Model(
        "CONCATENATION",
        [X, given(1, 2, 6, 8)],
        [t(1, 6, 6, 8)],
        "ConcatenationOptions",
        {"axis": 1},
    ),
    Model(
        "CONCATENATION",
        [X, given(2, 4, 6, 8)],
        [t(3, 4, 6, 8)],
        "ConcatenationOptions",
        {"axis": 0},
    ),
    Model("GATHER", [X, constant([3, 0])], [t(1, 2, 6, 8)], "GatherOptions", {"axis": 1}),
    Model("GATHER", [X, constant([0, 0])], [t(2, 4, 6, 8)], "GatherOptions", {"axis": 0}),
    Model("PAD", [X, constant([[0, 0], [1, 2], [3, 0], [0, 1]])], [t(1, 7, 9, 9)], "PadOptions"),
    Model("PAD", [X, constant([[0, 1], [0, 0], [0, 0], [0, 0]])], [t(2, 4, 6, 8)], "PadOptions"),
    Model("TILE", [X, constant([2, 1, 1, 1])], [t(2, 4, 6, 8)], "TileOptions"),
    Model("RESIZE_BILINEAR", [X, constant([5, 9])], [t(1, 5, 9, 8)], "ResizeBilinearOptions"),
    Model("SPACE_TO_DEPTH", [X], [t(1, 2, 3, 32)], "SpaceToDepthOptions", {"blockSize": 2}),
    Model("QUANTIZE", [X], [T(X.shape, "UINT8", 0.07, 9)], "QuantizeOptions"),
    Model("QUANTIZE", [t(1, 7)], [T((1, 7), "UINT8", 0.07, 9)], "QuantizeOptions"),
    Model("FULLY_CONNECTED", [X, given(5, 192)], [t(1, 5)], "FullyConnectedOptions"),
    Model("FULLY_CONNECTED", [X, given(5, 24)], [t(8, 5)], "FullyConnectedOptions"),
    Model("FULLY_CONNECTED", [X, given(5, 8)], [t(24, 5)], "FullyConnectedOptions"),
    Model(
        "FULLY_CONNECTED",
        [X, given(5, 8)],
        [t(1, 4, 6, 5)],
        "FullyConnectedOptions",
        {"keepNumDims": True},
    ),
    Model("FULLY_CONNECTED", [t(1, 8), t(1, 8)], [t(1, 1)], "FullyConnectedOptions"),
    Model("LEAKY_RELU", [X], [X], "LeakyReluOptions", {"alpha": 0.1}),
    Model("PRELU", [X, given(1, 1, 8)], [X]),
]


@pytest.mark.parametrize("arithmetic", ["builtin", "litert"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_stack_equals_single_images(case, arithmetic, rng):
    images = 5
    feeds = [np.concatenate([draw(spec, rng) for _ in range(images)]) for spec in case.fed]
    runner = Interpreter(model_content=case.bytes(), arithmetic=arithmetic)
    stacked = runner.predict_codes(feeds if len(feeds) > 1 else feeds[0], batch_size=images)
    runner.allocate_tensors()
    singles = []
    for image in range(images):
        for detail, feed in zip(runner.get_input_details(), feeds, strict=True):
            runner.set_tensor(detail["index"], feed[image : image + 1])
        runner.invoke()
        singles.append([runner.get_tensor(d["index"]) for d in runner.get_output_details()])
    stacked = stacked if isinstance(stacked, list) else [stacked]
    for position, got in enumerate(stacked):
        want = np.concatenate([np.atleast_1d(outputs[position]) for outputs in singles])
        assert got.shape == want.shape and (got == want).all()
