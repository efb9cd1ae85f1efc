"""ADD, SUB, MUL, MAXIMUM, MINIMUM against LiteRT's own kernels, in both arithmetics."""

import numpy as np
import pytest

from tests.interpreter.litert_oracle import LIMITS, Model, T, check_equal, draw, litert, ours

ARITHMETICS = ("builtin", "litert")
SHAPES = [((2, 5, 4, 3), (2, 5, 4, 3)), ((1, 5, 4, 3), (3,)), ((5, 1, 3), (4, 1)), ((7, 11), (1,))]
TABLES = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}


def model(op, kind, shapes, rng, activation=0, pot=False, ratio=None):
    zero = (lambda: 0) if kind == "INT16" else (lambda: int(rng.integers(*LIMITS[kind])))
    shift = 8 if kind == "INT16" else 0
    a, b = (float(np.float32(2.0 ** rng.uniform(-9 - shift, -3 - shift))) for _ in range(2))
    spread = 2.0 ** rng.uniform(0, 9) if op == "MUL" else 2.0 ** rng.uniform(-1, 2)
    out = (a * b if op == "MUL" else max(a, b)) * (ratio or spread)
    options = {"fusedActivationFunction": activation}
    if op != "MUL":
        options["potScaleInt16"] = pot
    sizes = np.broadcast_shapes(*shapes)
    inputs = [T(shapes[0], kind, a, zero()), T(shapes[1], kind, b, zero())]
    return Model(op, inputs, [T(sizes, kind, out, zero())], TABLES[op], options)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("op", TABLES)
def test_quantized_equals_litert(op, kind, arithmetic, rng):
    for trial in range(8):
        activation = 0 if kind == "INT16" else trial % 4
        check_equal(model(op, kind, SHAPES[trial % 4], rng, activation), rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("op", ["ADD", "SUB"])
def test_int16_powers_of_two(op, arithmetic, rng):
    for shifts in ((12, 14, 12), (14, 12, 12), (13, 13, 13)):
        tensors = [T((2, 8, 5), "INT16", 2.0**-s) for s in shifts]
        options = {"potScaleInt16": True}
        check_equal(Model(op, tensors[:2], tensors[2:], TABLES[op], options), rng, arithmetic)


def test_int16_add_in_blocks(rng):
    """The vectorised kernel differs from the plain one in a few elements of many."""
    check_equal(model("ADD", "INT16", ((1, 100, 101, 7),) * 2, rng), rng, "litert")


@pytest.mark.parametrize("op", ["ADD", "SUB"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_ratios_that_xnnpack_declines(op, arithmetic, rng):
    a, shape = 0.02, (3, 40)
    tensors = [T(shape, "INT8", a, 4), T(shape, "INT8", a * 2.0**-12, -7), T(shape, "INT8", a, 1)]
    check_equal(Model(op, tensors[:2], tensors[2:], TABLES[op]), rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT32", "FLOAT32"])
@pytest.mark.parametrize("op", TABLES)
def test_plain_numbers(op, kind, arithmetic, rng):
    for activation in (0, 1, 3):
        options = {"fusedActivationFunction": activation}
        inputs = [T((3, 4, 5), kind), T((4, 1), kind)]
        case = Model(op, inputs, [T((3, 4, 5), kind)], TABLES[op], options)
        check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "INT32", "FLOAT32"])
def test_squared_differences(kind, arithmetic, rng):
    for shapes in SHAPES:
        a, b = (float(s) for s in 2.0 ** rng.uniform(-7, -2, 2))
        out = max(a, b) ** 2 * 2.0 ** rng.uniform(0, 8)
        zero = [int(z) for z in rng.integers(-128, 128, 3)]
        scales = (None, None, None) if kind != "INT8" else (a, b, out)
        inputs = [T(s, kind, scale, z) for s, scale, z in zip(shapes, scales, zero, strict=False)]
        output = T(np.broadcast_shapes(*shapes), kind, scales[2], zero[2])
        case = Model("SQUARED_DIFFERENCE", inputs, [output], "SquaredDifferenceOptions")
        check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16", "INT32", "FLOAT32"])
@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM"])
def test_extremes(op, kind, arithmetic, rng):
    scale = None if kind in ("INT32", "FLOAT32") else 0.1
    for shapes in SHAPES:
        inputs = [T(s, kind, scale) for s in shapes]
        output = T(np.broadcast_shapes(*shapes), kind, scale)
        case = Model(op, inputs, [output], "MaximumMinimumOptions", version=3)
        check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_images_in_a_stack_equal_single_images(engine, rng):
    """Operators that permit stacking give each image what it gets alone."""
    from tfxp.interpreter import Interpreter

    spec = [T((1, 6, 5, 4), "INT8", 0.05, 3), T((4,), "INT8", 0.02, -9, data=[1, -5, 100, 7])]
    case = Model("ADD", spec, [T((1, 6, 5, 4), "INT8", 0.06, 11)], "AddOptions")
    x = np.concatenate([draw(spec[0], rng) for _ in range(5)])
    runner = Interpreter(model_content=case.bytes(), engine=engine)
    stacked = runner.predict_codes(x)
    singles = [litert(case.bytes(), [x[i : i + 1]], "litert")[0] for i in range(5)]
    assert (stacked == np.concatenate(singles)).all()
    assert (ours(case.bytes(), [x[:1]], "litert", engine)[0] == singles[0]).all()
