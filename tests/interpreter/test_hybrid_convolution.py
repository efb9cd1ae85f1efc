"""Convolutions with float activations and integer weights, against LiteRT: every bit."""

import itertools

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, litert, ours
from tfxp.errors import UnsupportedOpError
from tfxp.interpreter import Interpreter

CHANNELS, SIZE = 4, (6, 7)


def model(
    op, scales, rng, stride=1, dilation=1, activation=0, groups=1, padding=0, bias=True, images=3
):
    depthwise = op == "DEPTHWISE_CONV_2D"
    shape = (1, 3, 3, 2 * CHANNELS) if depthwise else (6, 3, 3, CHANNELS // groups)
    units = shape[3] if depthwise else shape[0]
    codes = rng.integers(-127, 128, shape)
    codes[rng.random(shape) < 0.3] = 0
    scale = rng.uniform(0.5, 1.5, units if scales == "channels" else 1) / 127
    given = [T((images, *SIZE, CHANNELS), "FLOAT32")]
    given.append(T(shape, "INT8", scale, 0, codes, 3 if depthwise else 0))
    if bias:
        given.append(T((units,), "FLOAT32", data=rng.normal(size=units)))
    reach = 2 * dilation
    out = [-(-n // stride) if padding == 0 else -(-(n - reach) // stride) for n in SIZE]
    options = {
        "padding": padding, "strideH": stride, "strideW": stride, "dilationHFactor": dilation,
        "dilationWFactor": dilation, "fusedActivationFunction": activation,
    }  # fmt: skip
    options |= {"depthMultiplier": 2} if depthwise else {}
    table = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    return Model(op, given, [T((images, *out, units), "FLOAT32")], table, options, 5)


def images(rng, count=3):
    """Images of very different ranges, one of them zero everywhere."""
    x = (
        rng.normal(0, 1, (count, *SIZE, CHANNELS))
        * 10.0 ** np.arange(-1, count - 1)[:, None, None, None]
    )
    x[rng.random(x.shape) < 0.3] = 0
    x[-1] = np.abs(x[-1])
    return x.astype(np.float32)


FORMS = [
    {}, {"stride": 2}, {"dilation": 2}, {"activation": 1}, {"activation": 3}, {"padding": 1},
    {"padding": 1, "stride": 2, "activation": 1},
]  # fmt: skip
KINDS = [("CONV_2D", "channels"), ("CONV_2D", "one"), ("DEPTHWISE_CONV_2D", "channels")]


@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
@pytest.mark.parametrize(("op", "scales"), KINDS)
def test_equals_litert(op, scales, arithmetic, rng):
    for form in FORMS:
        content = model(op, scales, rng, **form).bytes()
        x = images(rng)
        x[0] = 0 if form == {} else x[0]
        (want,) = litert(content, [x], arithmetic)
        for engine in ("fast", "reference"):
            (got,) = ours(content, [x], arithmetic, engine)
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want, err_msg=f"{form}")


@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
def test_groups(arithmetic, rng):
    content = model("CONV_2D", "channels", rng, groups=2).bytes()
    x = images(rng)
    (want,), (got,) = litert(content, [x], arithmetic), ours(content, [x], arithmetic)
    np.testing.assert_array_equal(got, want)


def test_counts_equal_brute_force(rng):
    """Each product of a code that is not the zero with a weight that is none."""
    case = model("CONV_2D", "channels", rng, images=1)
    x = images(rng, 1)
    runner = Interpreter(model_content=case.bytes(), arithmetic="builtin")
    runner.set_tensor(0, x)
    runner.invoke()
    (row,) = runner.report().rows
    scale = np.float32(max(x.max(), 0) - min(x.min(), 0)) / 255
    near_zero = np.abs(x[0]) < 0.5 * scale  # rounds to the zero
    executed = 0
    for oy, ox, ky, kx in itertools.product(range(SIZE[0]), range(SIZE[1]), range(3), range(3)):
        y, z = oy + ky - 1, ox + kx - 1
        if 0 <= y < SIZE[0] and 0 <= z < SIZE[1]:
            for channel in range(CHANNELS):
                live = case.inputs[1].data[:, ky, kx, channel] != 0
                executed += int(live.sum()) * int(not near_zero[y, z, channel])
    counters = row.counters
    assert counters.macs_total == 6 * 3 * 3 * CHANNELS * SIZE[0] * SIZE[1]
    assert counters.input_zeros == near_zero.sum() and counters.macs_executed == executed
    assert counters.accumulator_bits_worst >= counters.accumulator_bits


def test_what_litert_refuses_is_refused(rng):
    case = model("DEPTHWISE_CONV_2D", "one", rng)
    with pytest.raises(UnsupportedOpError, match="expected zero points 0 and 8 scales"):
        Interpreter(model_content=case.bytes()).allocate_tensors()
    case = model("CONV_2D", "channels", rng)
    case.inputs[1].zero = 3
    with pytest.raises(UnsupportedOpError, match="zero points"):
        Interpreter(model_content=case.bytes()).allocate_tensors()
