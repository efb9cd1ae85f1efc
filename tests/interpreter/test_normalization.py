"""Rows divided by their length, against LiteRT's own kernels."""

import math

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, check_equal, draw, ours
from tfxp.errors import UnsupportedOpError
from tfxp.interpreter.kernels.transcendental import inverse_square_root as one_by_one
from tfxp.interpreter.numerics.fixed_point_math import inverse_square_root

OUTPUT = {"scale": 1 / 128, "zero": 0}


def model(source, **output):
    return Model("L2_NORMALIZATION", [source], [T(source.shape, source.type, **output)])


@pytest.mark.parametrize("arithmetic", ["builtin", "litert"])
@pytest.mark.parametrize("shape", [(40, 7), (1, 9, 64), (3, 2, 5, 33), (2, 600)])
def test_rows_of_codes(shape, arithmetic, rng):
    for zero in (-128, 0, 127, int(rng.integers(-127, 127))):
        source = T(shape, "INT8", float(np.float32(2.0 ** rng.uniform(-8, -2))), zero)
        x = draw(source, rng)
        x[0] = zero  # a row of zeros
        narrow = np.clip(rng.normal(zero, 2, shape).round(), -128, 127).astype(np.int8)
        for data in (x, narrow):
            check_equal(model(source, **OUTPUT), rng, arithmetic, [data])


def test_every_sum_of_three_squares_of_few_codes(rng):
    """Short rows have sums below 50, where the first Newton step starts furthest away."""
    codes = np.arange(-4, 5)
    x = np.stack(np.meshgrid(codes, codes, codes), -1).reshape(-1, 3).astype(np.int8)
    check_equal(model(T(x.shape, "INT8", 0.5, 0), **OUTPUT), rng, "litert", [x])


def test_real_rows(rng):
    source = T((5, 8), "FLOAT32")
    x = draw(source, rng)
    (found,) = ours(model(source).bytes(), [x], "litert")
    wanted = x / np.sqrt((x.astype(np.float64) ** 2).sum(-1, keepdims=True))
    assert np.abs(found - wanted).max() < 1e-6


def test_inverse_roots_are_those_of_the_definition(rng):
    values = np.concatenate([np.arange(300), rng.integers(1, 2**31, 300), 2 ** np.arange(31)])
    multipliers, shifts = inverse_square_root(values)
    for value, *pair in zip(values.tolist(), multipliers.tolist(), shifts.tolist(), strict=True):
        assert tuple(pair) == one_by_one(value)
        if value > 1:
            exact = 1 / math.sqrt(value)
            assert abs(pair[0] * 2.0 ** (pair[1] - 31) / exact - 1) < 2e-6


def test_other_scales_are_refused():
    source = T((2, 8), "INT8", 0.5, 0)
    content = model(source, scale=1 / 64, zero=0).bytes()
    with pytest.raises(UnsupportedOpError) as caught:
        ours(content, [np.zeros((2, 8), np.int8)], "litert")
    assert "scale and zero point of output 0" in str(caught.value)
