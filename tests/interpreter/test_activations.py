"""Activations, tables and softmax against LiteRT's own kernels, in both arithmetics."""

import numpy as np
import pytest

from tests.interpreter.litert_oracle import (
    LIMITS,
    Model,
    T,
    check_equal,
    differences,
    draw,
    ours,
)
from tfxp.errors import DataError

ARITHMETICS = ("builtin", "litert")
SHAPE = (1, 6, 7, 8)


def scale(rng, low, high):
    return float(np.float32(2.0 ** rng.uniform(low, high)))


def zero(kind, rng):
    return 0 if kind == "INT16" else int(rng.integers(*LIMITS[kind]))


def pair(kind, rng, low=-8, high=-2):
    shift = 8 if kind == "INT16" else 0
    first = scale(rng, low - shift, high - shift)
    second = first * 2.0 ** rng.uniform(-1, 1.5)
    return (
        T(SHAPE, kind, first, zero(kind, rng)),
        T(SHAPE, kind, second, zero(kind, rng)),
    )


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("op", ["RELU", "RELU6", "RELU_N1_TO_1"])
def test_relu_family(op, kind, arithmetic, rng):
    if (op, kind) == ("RELU_N1_TO_1", "INT16"):
        pytest.skip("LiteRT has no INT16 form of RELU_N1_TO_1 to compare with")
    for _ in range(5):
        source, output = pair(kind, rng)
        version = 1 if op == "RELU_N1_TO_1" else 2
        check_equal(Model(op, [source], [output], version=version), rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("alpha", [0.1, 0.01, 1.5, -0.3, 0.001, 0.0])
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
def test_leaky_relu(kind, alpha, arithmetic, rng):
    source, output = pair(kind, rng)
    options = {"alpha": alpha}
    case = Model("LEAKY_RELU", [source], [output], "LeakyReluOptions", options)
    check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
def test_prelu(kind, arithmetic, rng):
    slope = "INT8" if kind == "INT16" else kind
    for shape in ((1, 1, 8), SHAPE, (8,)):
        source, output = pair(kind, rng)
        alpha = T(shape, slope, 0.01, zero(slope, rng), draw(T(shape, slope), rng))
        case = Model("PRELU", [source, alpha], [output], version=1)
        check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_hard_swish(kind, arithmetic, rng):
    for _ in range(12):
        source, output = pair(kind, rng, -8, 0)
        check_equal(Model("HARD_SWISH", [source], [output], version=1), rng, arithmetic)


OUTPUTS = {
    ("LOGISTIC", "INT8"): (1 / 256, -128),
    ("LOGISTIC", "UINT8"): (1 / 256, 0),
    ("LOGISTIC", "INT16"): (1 / 32768, 0),
    ("TANH", "INT8"): (1 / 128, 0),
    ("TANH", "UINT8"): (1 / 128, 128),
    ("TANH", "INT16"): (1 / 32768, 0),
}


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("op", "kind"), OUTPUTS)
def test_logistic_and_tanh(op, kind, arithmetic, rng):
    output = T((65536,) if kind == "INT16" else (256,), kind, *OUTPUTS[op, kind])
    codes = np.arange(LIMITS[kind][0], LIMITS[kind][1] + 1).astype(draw(output, rng).dtype)
    for trial in range(6):
        step = (
            [2.0**-12, 2.0**-11, scale(rng, -15, -10)][trial % 3]
            if kind == "INT16"
            else (scale(rng, -8, -2))
        )
        source = T(output.shape, kind, step, zero(kind, rng))
        version = 2 if op == "TANH" else 1
        check_equal(Model(op, [source], [output], version=version), rng, arithmetic, [codes])


def test_elu_by_xnnpack(rng):
    for _ in range(6):
        source, output = pair("INT8", rng)
        check_equal(Model("ELU", [source], [output], version=1), rng, "litert")


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_on_all_codes(approximate, arithmetic, rng):
    """Powers of two among the scales: large x give ties."""
    check_table("GELU", arithmetic, rng, "GeluOptions", {"approximate": approximate})


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_exponential_and_logarithm_on_all_codes(arithmetic, rng):
    check_table("EXP", arithmetic, rng, "ExpOptions")
    check_table("LOG", arithmetic, rng)


def check_table(op, arithmetic, rng, table=None, options=None):
    codes, is_log = np.arange(-128, 128).astype(np.int8), op == "LOG"
    codes = codes[is_log:]
    for trial in range(24):
        step, ratio = scale(rng, -7, -2), 2.0 ** rng.uniform(-2, 4)
        if trial % 2:
            step, ratio = 2.0 ** -int(rng.integers(2, 7)), 2.0 ** int(rng.integers(-2, 4))
        source = T(codes.shape, "INT8", step, -128 if is_log else zero("INT8", rng))
        output = T(codes.shape, "INT8", step * ratio, zero("INT8", rng))
        case = Model(op, [source], [output], table, options or {}, version=2)
        check_equal(case, rng, arithmetic, [codes])


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_rsqrt(kind, arithmetic, rng):
    low = -128 if kind == "INT8" else 0
    for _ in range(6):
        source = T((200,), kind, scale(rng, -8, -2), low)
        output = T((200,), kind, scale(rng, -6, -3), 0 if kind == "INT16" else zero(kind, rng))
        x = np.maximum(draw(source, rng), low).astype(draw(source, rng).dtype)
        check_equal(Model("RSQRT", [source], [output]), rng, arithmetic, [x])


def test_rsqrt_of_a_negative_number_is_refused():
    tensors = T((2,), "INT8", 0.1, 0), T((2,), "INT8", 0.1, 0)
    case = Model("RSQRT", [tensors[0]], [tensors[1]])
    with pytest.raises(DataError, match="got code -1; expected 0 or more"):
        ours(case.bytes(), [np.array([3, -1], np.int8)], "litert")


SOFTMAX = {
    ("INT8", "INT8"): (1 / 256, -128),
    ("UINT8", "UINT8"): (1 / 256, 0),
    ("INT8", "INT16"): (1 / 32768, 0),
    ("INT16", "INT16"): (1 / 32768, 0),
}


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("kind", "result"), SOFTMAX)
def test_softmax(kind, result, arithmetic, rng):
    for classes, beta in ((2, 1.0), (10, 1.0), (12, 0.7), (257, 1.0), (1001, 1.9)):
        low, high = (-16, -9) if kind == "INT16" else (-9, 0)
        source = T((4, classes), kind, scale(rng, low, high), zero(kind, rng))
        output = T((4, classes), result, *SOFTMAX[kind, result])
        case = Model("SOFTMAX", [source], [output], "SoftmaxOptions", {"beta": beta})
        check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("kind", "high"), [("INT8", 127), ("UINT8", 255)])
def test_log_softmax(kind, high, arithmetic, rng):
    for classes in (2, 10, 257):
        source = T((4, classes), kind, scale(rng, -9, 0), zero(kind, rng))
        output = T((4, classes), kind, 1 / 16, high)
        case = Model("LOG_SOFTMAX", [source], [output], "LogSoftmaxOptions")
        check_equal(case, rng, arithmetic)


FLOATS = [
    ("RELU", None, {}),
    ("RELU6", None, {}),
    ("LEAKY_RELU", "LeakyReluOptions", {"alpha": 0.2}),
    ("HARD_SWISH", None, {}),
    ("LOGISTIC", None, {}),
    ("TANH", None, {}),
    ("SOFTMAX", "SoftmaxOptions", {"beta": 1.0}),
    ("LOG_SOFTMAX", "LogSoftmaxOptions", {}),
]


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("op", "table", "options"), FLOATS)
def test_floats_agree_to_a_few_units_in_the_last_place(op, table, options, arithmetic, rng):
    tensors = T((5, 9), "FLOAT32"), T((5, 9), "FLOAT32")
    case = Model(op, [tensors[0]], [tensors[1]], table, options, version=1)
    _, worst, _ = differences(case, rng, arithmetic)
    assert worst < 3e-6
