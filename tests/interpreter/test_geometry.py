"""Where taps fall, by hand, for strides and dilations of any size; limits on sizes."""

import itertools

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, draw, litert, ours
from tfxp.errors import TfliteFormatError
from tfxp.interpreter import Interpreter
from tfxp.interpreter.mac.geometry import convolution_axis


def reads(size, taps, stride, dilation, padding):
    """(position, tap, pixel) of all taps inside the image, by LiteRT's formula."""
    reach = (taps - 1) * dilation + 1
    out = -(-size // stride) if padding == "SAME" else -(-(size - reach + 1) // stride)
    pad = max(0, ((out - 1) * stride + reach - size) // 2) if padding == "SAME" else 0
    places = itertools.product(range(out), range(taps))
    pixels = [(p, t, p * stride - pad + t * dilation) for p, t in places]
    return out, [place for place in pixels if 0 <= place[2] < size]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_taps_that_fall_outside_may_be_anywhere(padding):
    for size, taps, stride, dilation in itertools.product(
        range(1, 8), range(1, 6), (1, 2, 3, 7, 8, 100, 2**31 - 1), (*range(1, 40), 2**31 - 1, 2**31)
    ):
        if padding == "VALID" and (taps - 1) * dilation >= size:
            continue
        axis = convolution_axis(size, taps, stride, dilation, padding)
        out, expected = reads(size, taps, stride, dilation, padding)
        places = itertools.product(range(axis.out), range(taps))
        got = [(p, t, axis.source(p, t)) for p, t in places]
        assert (axis.out, [g for g in got if 0 <= g[2] < size]) == (out, expected)
        assert axis.stride <= size and axis.dilation < 2 * (size + out * axis.stride) + 3


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("fields", ["strideW", "strideH", "dilationWFactor", "dilationHFactor"])
def test_large_numbers_do_the_same_as_small_ones(engine, fields, rng):
    """A stride beyond the image, taps beyond it: 2^31 - 1 took forever, or memory."""
    weights = T((5, 3, 3, 4), "INT8", 0.01, data=rng.integers(-127, 128, (5, 3, 3, 4)))
    bias = T((5,), "INT32", 0.0005, data=rng.integers(-50, 50, 5))
    x = draw(T((1, 6, 9, 4), "INT8", 0.05, 3), rng)
    results = []
    for number in (101, 2**31 - 1):
        options = {"padding": 0, "strideW": 1, "strideH": 1, fields: number}
        out = (1, 1 if fields == "strideH" else 6, 1 if fields == "strideW" else 9, 5)
        given = [T((1, 6, 9, 4), "INT8", 0.05, 3), weights, bias]
        model = Model("CONV_2D", given, [T(out, "INT8", 0.3, -4)], "Conv2DOptions", options)
        results.append(ours(model.bytes(), [x], "litert", engine)[0])
        if number == 101:
            np.testing.assert_array_equal(results[0], litert(model.bytes(), [x], "litert")[0])
    np.testing.assert_array_equal(*results)


def test_a_size_that_nothing_accounts_for_is_refused_unless_it_is_meant():
    shape = (1, 2**12, 2**12 + 1)
    content = Model("RELU", [T(shape, "INT8", 0.1)], [T(shape, "INT8", 0.1)]).bytes()
    with pytest.raises(TfliteFormatError, match="at most 16777216 elements.*largest_tensor="):
        Interpreter(model_content=content).allocate_tensors()
    Interpreter(model_content=content, largest_tensor=2**25).allocate_tensors()
    weighty = T(shape, "INT8", 0.1), T((2**19,), "INT8", 0.1, data=np.zeros(2**19))
    allowed = Model("RELU", list(weighty[:1]), [T(shape, "INT8", 0.1)], intermediates=[weighty[1]])
    Interpreter(model_content=allowed.bytes()).allocate_tensors()
