"""Pooling, reductions and resizing against LiteRT's own kernels, in both arithmetics."""

import numpy as np
import pytest

from tests.interpreter.litert_oracle import DTYPES, LIMITS, Model, T, check_equal, differences

ARITHMETICS = ("builtin", "litert")
KINDS = ("INT8", "UINT8", "INT16")


def step(kind, rng, high=-2):
    shift = 8 if kind == "INT16" else 0
    return float(np.float32(2.0 ** rng.uniform(high - 5 - shift, high - shift)))


def zero(kind, rng):
    return 0 if kind == "INT16" else int(rng.integers(*LIMITS[kind]))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pooling(op, kind, arithmetic, rng):
    for trial in range(12):
        height, width = (int(n) for n in rng.integers(3, 12, 2))
        window, stride = rng.integers(1, 4, 2).tolist(), rng.integers(1, 4, 2).tolist()
        padding = trial % 2
        if trial % 5 == 0:
            window, padding = [height, width], 1
        sizes = [
            -(-n // s) if padding == 0 else (n + s - w) // s
            for n, s, w in zip((height, width), stride, window, strict=True)
        ]
        scale, point = step(kind, rng), zero(kind, rng)
        options = dict(
            padding=padding,
            strideH=stride[0],
            strideW=stride[1],
            filterHeight=window[0],
            filterWidth=window[1],
            fusedActivationFunction=0 if kind == "INT16" else trial % 4,
        )
        tensors = [
            T(shape, kind, scale, point) for shape in ((2, height, width, 5), (2, *sizes, 5))
        ]
        case = Model(op, [tensors[0]], [tensors[1]], "Pool2DOptions", options, version=3)
        check_equal(case, rng, arithmetic)


REDUCED = [
    ((2, 5, 6, 7), (1, 2)),
    ((1, 8, 8, 16), (2, 1)),
    ((3, 40), (-1,)),
    ((4, 3, 2, 5), (0, 3)),
]


def reduction(op, kind, trial, rng):
    shape, axes = REDUCED[trial % 4]
    keep = bool(trial // 4 % 2)
    reduced = {axis % len(shape) for axis in axes}
    sizes = [1 if i in reduced else n for i, n in enumerate(shape) if keep or i not in reduced]
    scale, point = (None, 0) if kind == "INT32" else (step(kind, rng), zero(kind, rng))
    output = (scale, point)
    if scale is not None and op in ("MEAN", "SUM"):
        grow = 8.0 if op == "SUM" else 1.0
        output = (scale * grow * 2.0 ** rng.uniform(-1, 2), zero(kind, rng))
    inputs = [T(shape, kind, scale, point), T((len(axes),), "INT32", data=axes)]
    options = {"keepDims": keep}
    return Model(op, inputs, [T(tuple(sizes), kind, *output)], "ReducerOptions", options)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", [*KINDS, "INT32"])
@pytest.mark.parametrize("op", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_reductions(op, kind, arithmetic, rng):
    if (op, kind, arithmetic) == ("SUM", "INT16", "builtin"):
        pytest.skip("BUILTIN_REF reads INT16 sums byte by byte; tfxp sums the codes")
    for trial in range(8):
        check_equal(reduction(op, kind, trial, rng), rng, arithmetic)


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT32", "FLOAT32"])
def test_arg_extremes_take_the_first(op, kind, rng):
    scale = 0.1 if kind in LIMITS else None
    table = "ArgMaxOptions" if op == "ARG_MAX" else "ArgMinOptions"
    inputs = [T((3, 4, 9), kind, scale), T((1,), "INT32", data=[-1])]
    case = Model(op, inputs, [T((3, 4), "INT32")], table, {"outputType": 2})
    check_equal(case, rng, "builtin", [rng.integers(0, 5, (3, 4, 9)).astype(DTYPES[kind])])


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_resizing(op, kind, arithmetic, rng):
    table = "ResizeBilinearOptions" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    for trial in range(9):
        height, width, rows, columns = (int(n) for n in rng.integers(1, 13, 4))
        options = {"alignCorners": trial % 3 == 1, "halfPixelCenters": trial % 3 == 2}
        source = T((2, height, width, 3), kind, 0.1, zero(kind, rng))
        output = T((2, rows, columns, 3), kind, 0.1, source.zero)
        inputs = [source, T((2,), "INT32", data=[rows, columns])]
        check_equal(Model(op, inputs, [output], table, options, version=4), rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_floats_agree_to_a_few_units_in_the_last_place(arithmetic, rng):
    pool = dict(padding=0, strideH=2, strideW=2, filterHeight=3, filterWidth=3)
    image = T((1, 9, 8, 3), "FLOAT32")
    size = T((2,), "INT32", data=[17, 5])
    cases = [
        Model("AVERAGE_POOL_2D", [image], [T((1, 5, 4, 3), "FLOAT32")], "Pool2DOptions", pool),
        Model("MAX_POOL_2D", [image], [T((1, 5, 4, 3), "FLOAT32")], "Pool2DOptions", pool),
        Model(
            "MEAN", [image, T((2,), "INT32", data=[1, 2])], [T((1, 3), "FLOAT32")], "ReducerOptions"
        ),
        Model(
            "RESIZE_BILINEAR", [image, size], [T((1, 17, 5, 3), "FLOAT32")], "ResizeBilinearOptions"
        ),
    ]
    for case in cases:
        assert differences(case, rng, arithmetic)[1] < 3e-6
