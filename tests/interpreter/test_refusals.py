"""What cannot run is refused by `allocate_tensors` in one sentence, never by a crash in a run."""

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T
from tfxp.errors import DataError, TfliteFormatError, UnsupportedOpError
from tfxp.interpreter import Interpreter


def constant(values):
    return T(np.shape(values), "INT32", data=values)


X = T((2, 4, 6, 8), "INT8", 0.1, 3)
ROW = T((1, 10), "INT8", 0.1)
POOL = dict(padding=0, strideH=1, strideW=1, filterHeight=2, filterWidth=2)

MALFORMED = [
    (
        Model(
            "BROADCAST_TO",
            [T((2, 8), "INT8", 0.1), constant([2] * 33)],
            [T((3, 2, 8), "INT8", 0.1)],
            "BroadcastToOptions",
        ),
        "one that broadcasts to",
    ),
    (
        Model(
            "ADD",
            [T((2, 3), "INT8", 0.1), T((4,), "INT8", 0.1)],
            [T((2, 3), "INT8", 0.1)],
            "AddOptions",
        ),
        "expected shapes that broadcast",
    ),
    (
        Model(
            "ADD",
            [T((2, 3), "INT8", 0.1), T((3,), "INT8", 0.0)],
            [T((2, 3), "INT8", 0.1)],
            "AddOptions",
        ),
        "got 0.0; expected a number > 0",
    ),
    (
        Model(
            "MUL",
            [T((2,), "INT8", 0.1), T((2,), "INT8", 0.1, 300)],
            [T((2,), "INT8", 0.1)],
            "MulOptions",
        ),
        "got 300; expected -128 to 127",
    ),
    (
        Model(
            "ADD",
            [T((2, 3), "INT8", 0.1), T((3,), "INT8", 0.1)],
            [T((3, 2), "INT8", 0.1)],
            "AddOptions",
        ),
        r"got \[3, 2\]; expected \[2, 3\]",
    ),
    (Model("ADD", [X], [X], "AddOptions"), "inputs of operator 0 .ADD.: got 1; expected 2"),
    (
        Model("AVERAGE_POOL_2D", [X], [X], "Pool2DOptions", {**POOL, "strideH": 0}),
        "stride_h .* got 0; expected 1 to",
    ),
    (Model("MAX_POOL_2D", [T((4, 6), "INT8", 0.1)], [X], "Pool2DOptions", POOL), "expected 4"),
    (Model("RESHAPE", [X, constant([7, -1])], [X], "ReshapeOptions"), "one of 384 elements"),
    (Model("RESHAPE", [X, constant([-1, -1])], [X], "ReshapeOptions"), "at most one -1"),
    (Model("TRANSPOSE", [X, constant([0, 1, 1, 2])], [X], "TransposeOptions"), "each of 0 to 3"),
    (
        Model(
            "CONCATENATION",
            [X, T((2, 5, 5, 8), "INT8", 0.1, 3)],
            [X],
            "ConcatenationOptions",
            {"axis": 1},
        ),
        "equal shapes but for axis 1",
    ),
    (Model("CONCATENATION", [X, X], [X], "ConcatenationOptions", {"axis": 9}), "got 9; expected"),
    (
        Model("SLICE", [X, constant([0, 0, 9, 0]), constant([2, 4, 1, 8])], [X], "SliceOptions"),
        "a range inside 0 to 6",
    ),
    (Model("SPLIT", [constant(1), X], [X] * 3, "SplitOptions", {"numSplits": 3}), "multiple of 3"),
    (
        Model("GATHER", [X, constant([0, 4])], [X], "GatherOptions", {"axis": 1}),
        "got 0 to 4; expected 0 to 3",
    ),
    (
        Model(
            "MIRROR_PAD", [X, constant([[0, 0], [4, 0], [0, 0], [0, 0]])], [X], "MirrorPadOptions"
        ),
        "expected at most 3",
    ),
    (
        Model("RESIZE_BILINEAR", [X, constant([0, 5])], [X], "ResizeBilinearOptions"),
        "two numbers, 1 to",
    ),
    (
        Model(
            "MUL",
            [T((2**20, 1), "INT8", 0.1), T((2**20,), "INT8", 0.1)],
            [T((), "INT8", 0.1)],
            "MulOptions",
        ),
        "at most 16777216 elements",
    ),
    (Model("MEAN", [X, constant([4])], [X], "ReducerOptions"), "got 4; expected -4 to 3"),
    (Model("SQUEEZE", [X], [X], "SqueezeOptions", {"squeezeDims": [1]}), "sizes of 1"),
    (Model("DEPTH_TO_SPACE", [X], [X], "DepthToSpaceOptions", {"blockSize": 3}), "multiple of 9"),
]


@pytest.mark.parametrize(("case", "text"), MALFORMED, ids=lambda v: getattr(v, "op", ""))
def test_malformed_operators(case, text):
    with pytest.raises(TfliteFormatError, match=text):
        Interpreter(model_content=case.bytes()).allocate_tensors()


UNSUPPORTED = [
    (Model("ADD", [X, X], [X], "AddOptions", {"fusedActivationFunction": 4}), "got TANH"),
    (Model("MUL", [X, X], [T(X.shape, "INT32")], "MulOptions"), "type of output 0"),
    (
        Model("SOFTMAX", [ROW], [T((1, 10), "INT8", 0.1)], "SoftmaxOptions", {"beta": 1.0}),
        "expected .0.00390625, -128.",
    ),
    (Model("MEAN", [X, T((2,), "INT32")], [X], "ReducerOptions"), "a computed tensor"),
    (
        Model(
            "CONCATENATION",
            [X, T(X.shape, "INT8", 0.2, 3)],
            [T((2, 8, 6, 8), "INT8", 0.1, 3)],
            "ConcatenationOptions",
            {"axis": 1},
        ),
        "expected the output's",
    ),
    (
        Model("REDUCE_MAX", [X, constant([1, 2])], [T((2, 8), "INT8", 0.3)], "ReducerOptions"),
        "the same for input and output",
    ),
    (
        Model(
            "PAD",
            [X, constant([[0, 0], [-1, 0], [0, 0], [0, 0]])],
            [T((2, 3, 6, 8), "INT8", 0.1)],
            "PadOptions",
        ),
        "numbers >= 0",
    ),
    (
        Model("QUANTIZE", [T((2,), "INT32", 0.1)], [T((2,), "UINT8", 0.1)], "QuantizeOptions"),
        "expected one of INT8, INT16",
    ),
]


@pytest.mark.parametrize(("case", "text"), UNSUPPORTED, ids=lambda v: getattr(v, "op", ""))
def test_unsupported_forms(case, text):
    with pytest.raises(UnsupportedOpError, match=text):
        Interpreter(model_content=case.bytes()).allocate_tensors()


def test_computed_indices_out_of_range_are_refused_in_the_run():
    case = Model(
        "GATHER",
        [X, T((2,), "INT32")],
        [T((2, 2, 6, 8), "INT8", 0.1, 3)],
        "GatherOptions",
        {"axis": 1},
    )
    runner = Interpreter(model_content=case.bytes())
    runner.allocate_tensors()
    runner.set_tensor(1, np.array([0, 4], np.int32))
    with pytest.raises(DataError, match="expected 0 to 3"):
        runner.invoke()
