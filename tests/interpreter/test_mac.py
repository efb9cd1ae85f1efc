"""Multiply-accumulate operators: against LiteRT, the twin against the definition, counts."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, check_equal, draw, litert, ours
from tests.interpreter.mac_cases import OURS_ALONE, SAME_EVERYWHERE, Case
from tfxp.errors import UnsupportedOpError
from tfxp.interpreter import Interpreter
from tfxp.interpreter.compiled import layer as compiled_layer
from tfxp.interpreter.compiled.planes_layout import WeightLists

C = "TRANSPOSE_CONV"


def drawn(case, rng, zeros=0.4):
    """An input with many zeros."""
    x = draw(case.model().fed[0], rng)
    x[rng.random(x.shape) < zeros] = case.input_zero
    return x


def run(case, x, **settings):
    """Output codes, and the report's only row."""
    runner = Interpreter(model_content=case.model().bytes(), **settings)
    runner.allocate_tensors()
    runner.set_tensor(runner.graph.inputs[0], x)
    runner.invoke()
    return runner.get_tensor(runner.graph.outputs[0]), runner.report().rows[0].to_dict()


@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
@pytest.mark.parametrize("case", SAME_EVERYWHERE, ids=str)
def test_equals_litert(case, arithmetic, rng):
    check_equal(case.model(), rng, arithmetic, [drawn(case, rng)])


@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
@pytest.mark.parametrize("types", ["INT8", "UINT8"])
@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"])
def test_scales_whose_product_float32_rounds_to_a_tie(op, types, arithmetic, rng):
    """Input scale 1 / 49, weights 49 / 1024: 2^-10 in float32, a little less exactly."""
    assert np.float32(1 / 49) * np.float32(49) == 1 and float(np.float32(1 / 49)) * 49 < 1
    out = (40, 40) if op == C else None
    case = Case(op, (1, 40, 40, 16), 16, x=types, w=types, per_channel=False, out=out)
    model = case.model()
    fed = model.fed[0]
    fed.scale, model.inputs[1].scale, model.outputs[0].scale = 1 / 49, [49 / 1024], 1.0
    if op != C:
        model.inputs[2].scale = [1 / 1024]
    check_equal(model, rng, arithmetic)


@pytest.mark.parametrize("skip", [True, False], ids=["skip", "all"])
@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
@pytest.mark.parametrize("case", [*SAME_EVERYWHERE, *OURS_ALONE], ids=str)
def test_engines_agree_on_codes_and_counts(case, arithmetic, skip, rng):
    x = drawn(case, rng)
    settings = {"arithmetic": arithmetic, "skip_zeros": skip}
    fast, fast_row = run(case, x, engine="fast", **settings)
    slow, slow_row = run(case, x, engine="reference", **settings)
    np.testing.assert_array_equal(fast, slow)
    assert fast_row == slow_row


DENSE = [
    Case(shape=(1, 9, 8, 3), units=8, stride=2, weight_zeros=0),
    Case(shape=(2, 9, 11, 3), units=70, padding=1, dilation=1, weight_zeros=0),
    Case(shape=(1, 6, 6, 5), units=40, taps=(1, 1), weight_zeros=0),
    Case(shape=(2, 8, 6, 16), units=24, taps=(1, 1), stride=2, weight_zeros=0, zero=-128),
    Case(shape=(2, 8, 6, 16), units=24, weight_zeros=0, zero=-128),
    Case(shape=(1, 8, 9, 4), units=17, taps=(5, 3), weight_zeros=0),
    Case(shape=(1, 7, 9, 6), units=33, x="UINT8", w="UINT8", per_channel=False, weight_zeros=0),
    Case(shape=(1, 7, 5, 6), units=16, x="INT16", bias="INT64", weight_zeros=0),
]


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.7], ids=str)
@pytest.mark.parametrize("case", DENSE, ids=str)
def test_layers_that_multiply_everything(case, zeros, rng):
    """Dense or listing, by the zeros of each image: the same codes and counts."""
    x = drawn(case, rng, zeros)
    fast, fast_row = run(case, x, engine="fast")
    slow, slow_row = run(case, x, engine="reference")
    np.testing.assert_array_equal(fast, slow)
    assert fast_row == slow_row
    check_equal(case.model(), rng, "litert", [x])


LISTED = [
    # strides, taps, paddings; with and without whole blocks of pixels and channels
    *(
        Case(shape=(1, *size, channels), units=60, taps=taps, stride=stride, padding=padding)
        for size, channels in (((17, 22), 3), ((19, 33), 18))
        for taps in ((3, 3), (2, 5), (1, 1))
        for stride in (1, 2, 3)
        for padding in (0, 1)
    ),
    Case(shape=(1, 56, 56, 16), units=60, taps=(8, 8), stride=8, padding=1),
    Case(shape=(1, 30, 31, 20), units=60, stride=2, x="UINT8", w="UINT8", per_channel=False),
    Case(shape=(1, 30, 31, 20), units=60, stride=2, groups=2, activation=1),
    Case(shape=(1, 30, 31, 6), units=60, stride=2, x="INT16", bias="INT64"),
]


@pytest.mark.parametrize("case", LISTED, ids=str)
def test_weights_that_are_listed(case, rng, monkeypatch):
    """Whether it pays or not, which differs from processor to processor."""
    made = []
    for worth in ("_WORTH_LISTING", "_WORTH_LISTING_BESIDE_DENSE", "_BESIDE_BYTES"):
        monkeypatch.setattr(compiled_layer, worth, np.inf)
    monkeypatch.setattr(
        compiled_layer, "WeightLists", lambda *taken: made.append(WeightLists(*taken)) or made[-1]
    )
    case = replace(case, weight_zeros=0.97)
    x = drawn(case, rng, zeros=0.0)
    fast, fast_row = run(case, x, engine="fast")
    assert made, "the layer does not list its weights"
    slow, slow_row = run(case, x, engine="reference")
    np.testing.assert_array_equal(fast, slow)
    assert fast_row == slow_row
    check_equal(case.model(), rng, "litert", [x])


BATCHED = [
    Case("FULLY_CONNECTED", (1, 70), 10, weight_zeros=0),
    Case("FULLY_CONNECTED", (1, 9), 130, x="UINT8", w="UINT8", per_channel=False),
    Case("FULLY_CONNECTED", (1, 33), 5, x="INT16", bias="INT64"),
    Case("FULLY_CONNECTED", (1, 33), 5, weight_zeros=0.9, zero=-128),
    Case(shape=(1, 3, 3, 20), units=24, taps=(1, 1), weight_zeros=0),
    Case(shape=(1, 5, 2, 16), units=70, taps=(1, 1), weight_zeros=0.9),
    Case(shape=(1, 4, 3, 12), units=18, taps=(1, 1), groups=3),
    Case(shape=(1, 20, 25, 3), units=70, taps=(1, 1), weight_zeros=0),
    Case(shape=(1, 5, 7, 8), units=16, weight_zeros=0),
    Case("DEPTHWISE_CONV_2D", (1, 5, 5, 16), taps=(1, 1)),
]


@pytest.mark.parametrize("images", [2, 7, 32])
@pytest.mark.parametrize("case", BATCHED, ids=str)
def test_batches_equal_single_images(case, images, rng):
    """Pixels of several images side by side: codes and counts of each image alone."""
    shares = rng.permutation(np.linspace(0, 1, images))
    batches = [np.concatenate([drawn(case, rng, zeros) for zeros in shares]) for _ in range(3)]
    fast, slow = (
        Interpreter(model_content=case.model().bytes(), engine=engine)
        for engine in ("fast", "reference")
    )
    for x in batches:  # the second and third repeat the first as one compiled call
        together = fast.predict_codes(x, batch_size=images)
        np.testing.assert_array_equal(together, slow.predict_codes(x, batch_size=1))
    assert fast.report().to_dict() == slow.report().to_dict()


def brute_force(case, x):
    """MACs by four nested loops over pixels and taps: total, executed, by activation, by weight."""
    weights = case.weights()
    total = executed = by_weight = 0
    if case.op == "FULLY_CONNECTED":
        for row, unit in itertools.product(x.reshape(-1, x.shape[-1]), weights):
            total += row.size
            by_weight += np.sum(unit == case.weight_zero)
            executed += np.sum((unit != case.weight_zero) & (row != case.input_zero))
        return total, executed, total - executed - by_weight, by_weight
    _, height, width, _ = x.shape
    _, oh, ow, _ = case.output_shape()
    pads = [
        max(0, (out - 1) * case.stride + (taps - 1) * case.dilation + 1 - size) // 2
        * (case.padding == 0)
        for out, taps, size in zip((oh, ow), case.taps, (height, width), strict=True)
    ]  # fmt: skip
    for image, oy, ox, ky, kx in itertools.product(
        range(len(x)), range(oh), range(ow), *map(range, case.taps)
    ):
        iy = oy * case.stride - pads[0] + ky * case.dilation
        ix = ox * case.stride - pads[1] + kx * case.dilation
        inside = 0 <= iy < height and 0 <= ix < width
        pixel = x[image, iy, ix] if inside else np.full(x.shape[3], case.input_zero)
        for unit in range(case.out_channels):
            if case.op == "DEPTHWISE_CONV_2D":
                row, used = weights[0, ky, kx, unit : unit + 1], [unit // case.multiplier]
            else:
                row = weights[unit, ky, kx]
                group = unit // (case.units // case.groups)
                used = range(group * row.size, (group + 1) * row.size)
            present = row != case.weight_zero
            total += row.size
            by_weight += np.sum(~present)
            executed += np.sum(present & (pixel[list(used)] != case.input_zero))
    return total, executed, total - executed - by_weight, by_weight


COUNTED = [
    Case(),
    Case(shape=(2, 12, 11, 3), units=4, weight_zeros=0.9),
    Case(stride=2, padding=1, shape=(2, 7, 6, 3), units=4),
    Case(dilation=2, shape=(1, 6, 6, 4), units=6, groups=2),
    Case(op="DEPTHWISE_CONV_2D", shape=(1, 5, 5, 4), multiplier=2),
    Case(op="FULLY_CONNECTED", shape=(3, 20), units=6),
    Case(x="UINT8", w="UINT8", per_channel=False, shape=(1, 5, 5, 3)),
]


@pytest.mark.parametrize("case", COUNTED, ids=str)
def test_counts_equal_brute_force(case, rng):
    x = drawn(case, rng)
    total, executed, by_activation, by_weight = brute_force(case, x)
    codes, row = run(case, x)
    assert row["macs_total"] == total
    assert row["macs_executed"] == executed
    assert row["macs_skipped_activation"] == by_activation
    assert row["macs_skipped_weight"] == by_weight
    assert row["input_zeros"] == np.sum(x == case.input_zero)
    assert row["weight_zeros"] == np.sum(case.weights() == case.weight_zero)
    bits = 8
    zeros_out = row["output_zeros"]
    assert row["bits_dense"] == bits * (x.size + codes.size)
    moved = x.size + codes.size + bits * (x.size - row["input_zeros"] + codes.size - zeros_out)
    assert row["bits_compressed"] == moved


def test_transposed_macs_count_cropped_products(rng):
    case = Case(op=C, shape=(1, 3, 3, 2), units=4, stride=2, out=(6, 6), weight_zeros=0)
    x = np.full((1, 3, 3, 2), 50, np.int8)
    _, row = run(case, x)
    assert row["macs_total"] == 3 * 3 * 3 * 3 * 2 * 4
    # SAME padding of 6 = 3 * 2 crops the last row and column of the 7 x 7 that taps reach
    inside = sum(2 * i + k < 6 for i in range(3) for k in range(3))
    assert row["macs_executed"] == inside**2 * 2 * 4


def exact_accumulators(case, x):
    """Accumulators of a dense layer by plain integer arithmetic, bias included."""
    model = case.model()
    weights = np.asarray(model.inputs[1].data, np.int64)
    return (x.astype(np.int64) - case.input_zero) @ weights.T + model.inputs[2].data


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_accumulator_range_and_overflows(engine, rng):
    case = Case(op="FULLY_CONNECTED", shape=(20, 60), units=11)
    x = drawn(case, rng)
    exact = exact_accumulators(case, x)
    _, row = run(case, x, engine=engine)
    assert (row["accumulator_min"], row["accumulator_max"]) == (exact.min(), exact.max())
    bits = row["accumulator_bits"]
    assert -(2 ** (bits - 1)) <= exact.min() and exact.max() < 2 ** (bits - 1)
    assert exact.min() < -(2 ** (bits - 2)) or exact.max() >= 2 ** (bits - 2)
    assert row["accumulator_bits_worst"] >= bits
    narrow = bits - 2
    limit = 2 ** (narrow - 1)
    codes, row = run(case, x, engine=engine, accumulator_bits=narrow, arithmetic="builtin")
    assert row["accumulator_overflows"] == np.sum((exact < -limit) | (exact >= limit)) > 0
    wrapped = (exact + limit) % (2 * limit) - limit
    scale, weight_scales, out_scale = case.scales()
    real = wrapped * (scale * weight_scales.astype(float) / out_scale)
    expected = np.clip(np.floor(np.abs(real) + 0.5) * np.sign(real) - 5, -128, 127)
    assert np.abs(codes - expected).max() <= 1 and np.mean(codes != expected) < 0.01


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_saturating_accumulator(engine):
    """Order matters: 100 + 100 saturates at 127, then -100 leaves 27."""
    y = T((1, 1), "INT8", 1.0, 0)
    weights = T((1, 3), "INT8", [1.0], 0, [[100, 100, -100]])
    bias = T((1,), "INT32", [1.0], 0, [0])
    x = T((1, 3), "INT8", 1.0, 0)
    model = Model("FULLY_CONNECTED", [x, weights, bias], [y], "FullyConnectedOptions")
    runner = Interpreter(
        model_content=model.bytes(), engine=engine, accumulator_bits=8,
        accumulator_overflow="saturate",
    )  # fmt: skip
    runner.allocate_tensors()
    runner.set_tensor(runner.graph.inputs[0], np.ones((1, 3), np.int8))
    runner.invoke()
    assert runner.get_tensor(runner.graph.outputs[0])[0, 0] == 27
    assert runner.report().rows[0].counters.accumulator_overflows == 1


def test_saturations_count_what_the_type_clamps(rng):
    case = Case(op="FULLY_CONNECTED", shape=(30, 40), units=9)
    x = drawn(case, rng, zeros=0)
    model = case.model()
    model.outputs[0].scale = 0.05
    runner = Interpreter(model_content=model.bytes(), engine="fast")
    runner.allocate_tensors()
    runner.set_tensor(runner.graph.inputs[0], x)
    runner.invoke()
    scale, weight_scales, _ = case.scales()
    real = exact_accumulators(case, x) * (scale * weight_scales.astype(float) / 0.05) - 5
    # values within rounding distance of the limits may fall on either side
    sure = np.sum((real > 128) | (real < -129))
    unsure = np.sum((real > 127) | (real < -128)) - sure
    assert sure <= runner.report().rows[0].counters.saturations <= sure + unsure


@pytest.mark.parametrize("types", [("INT8", "INT8"), ("INT16", "INT16"), ("INT16", "INT8")])
@pytest.mark.parametrize("constant", [False, True], ids=["computed", "constant"])
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
def test_batch_matmul(types, constant, adjoint, arithmetic, rng):
    right_shape = (2, 6, 9) if adjoint else (2, 9, 6)
    zero = 4 if types[0] == "INT8" else 0
    # XNNPACK takes a right side of zero point 0 only
    right_zero = -7 if types[1] == types[0] == "INT8" and not constant else 0
    right = T(right_shape, types[1], 0.02, right_zero)
    if constant:
        right.data = draw(right, rng)
    left, y = T((2, 5, 9), types[0], 0.05, zero), T((2, 5, 6), types[0], 0.3, zero)
    model = Model(
        "BATCH_MATMUL",
        [left, right],
        [y],
        "BatchMatMulOptions",
        {"adjX": False, "adjY": adjoint},
        4,
    )
    check_equal(model, rng, arithmetic)


def columns_model(types, adjoint, scales, rng, more=None):
    shape = (6, 9) if adjoint else (9, 6)
    codes = rng.integers(-127, 128, shape)
    right = T(shape, "INT8", scales, 0, codes, 0 if adjoint else 1)
    if types[0] == "FLOAT32":
        left, y = T((2, 5, 9), "FLOAT32"), T((2, 5, 6), "FLOAT32")
    else:
        zero = 4 if types[0] == "INT8" else 0
        left, y = T((2, 5, 9), types[0], 0.05, zero), T((2, 5, 6), types[0], 0.3, zero)
    options = {"adjX": False, "adjY": adjoint, **(more or {})}
    return Model("BATCH_MATMUL", [left, right], [y], "BatchMatMulOptions", options, 4)


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
def test_batch_matmul_by_columns(kind, adjoint, arithmetic, rng):
    """LiteRT writes zeros for them; so each column is held against it with its scale alone."""
    scales = rng.uniform(0.01, 0.03, 6).astype(np.float32)
    state = rng.bit_generator.state
    case = columns_model((kind, "INT8"), adjoint, scales, rng)
    x = draw(case.inputs[0], rng)
    got = {e: ours(case.bytes(), [x], arithmetic, e)[0] for e in ("fast", "reference")}
    for column, scale in enumerate(scales):
        rng.bit_generator.state = state
        alone = columns_model((kind, "INT8"), adjoint, scale, rng)
        (want,) = litert(alone.bytes(), [x], arithmetic)
        for codes in got.values():
            np.testing.assert_array_equal(codes[..., column], want[..., column])


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
def test_batch_matmul_of_floats_and_codes(adjoint, asymmetric, arithmetic, rng):
    for scales in (0.02, rng.uniform(0.01, 0.03, 6)):
        more = {"asymmetricQuantizeInputs": asymmetric}
        case = columns_model(("FLOAT32",), adjoint, scales, rng, more)
        x = rng.normal(size=(2, 5, 9)) * 10.0 ** np.arange(-2, 3)[:, None]
        check_equal(case, rng, arithmetic, [x.astype(np.float32)])


def test_scales_across_columns_are_refused(rng):
    case = columns_model(("INT8", "INT8"), False, rng.uniform(0.01, 0.03, 9), rng)
    case.inputs[1].axis = 0
    with pytest.raises(UnsupportedOpError, match="9 scales along dimension 0"):
        Interpreter(model_content=case.bytes()).allocate_tensors()


def test_unsupported_types_are_named():
    x, y = T((1, 4), "FLOAT32"), T((1, 2), "FLOAT32")
    weights = T((2, 4), "INT16", [1.0], 0, np.ones((2, 4)))
    model = Model("FULLY_CONNECTED", [x, weights], [y], "FullyConnectedOptions")
    named = r"operator 0 \(FULLY_CONNECTED\) has types FLOAT32 x INT16"
    with pytest.raises(Exception, match=named):
        Interpreter(model_content=model.bytes()).allocate_tensors()
