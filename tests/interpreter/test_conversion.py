"""QUANTIZE, DEQUANTIZE and CAST against LiteRT's own kernels."""

import numpy as np
import pytest

from tests.interpreter.litert_oracle import LIMITS, Model, T, check_equal, draw

ARITHMETICS = ("builtin", "litert")
PAIRS = [
    ("FLOAT32", "INT8"),
    ("FLOAT32", "UINT8"),
    ("FLOAT32", "INT16"),
    ("INT8", "INT8"),
    ("INT8", "UINT8"),
    ("INT8", "INT16"),
    ("UINT8", "INT8"),
    ("UINT8", "UINT8"),
    ("UINT8", "INT16"),
    ("INT16", "INT8"),
    ("INT16", "INT16"),
    ("INT16", "INT32"),
    ("INT32", "INT8"),
    ("INT32", "INT16"),
]


def quantized(kind, rng, shape=(3, 7, 11), low=-9, high=-2):
    zero = int(rng.integers(*LIMITS[kind])) if kind in ("INT8", "UINT8") else 0
    return T(shape, kind, float(np.float32(2.0 ** rng.uniform(low, high))), zero)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize(("source", "result"), PAIRS)
def test_quantize(source, result, arithmetic, rng):
    for trial in range(6):
        output = quantized(result, rng)
        shape = output.shape
        given = T(shape, source) if source == "FLOAT32" else quantized(source, rng)
        x = draw(given, rng)
        if source == "FLOAT32" and trial % 2:
            ties = rng.integers(-400, 400, shape) * np.float32(0.5) * np.float32(output.scale)
            x = ties.astype(np.float32)
            x.reshape(-1)[:7] = [np.inf, -np.inf, 1e20, -1e20, 3e9, -3e9, np.nan]
        check_equal(
            Model("QUANTIZE", [given], [output], "QuantizeOptions", version=3), rng, arithmetic, [x]
        )


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("log_ratio", [-8.4, -7.9, 6.9])
def test_requantize_at_the_limits_of_xnnpack(kind, log_ratio, rng):
    source = quantized(kind, rng)
    output = T(source.shape, kind, source.scale * 2.0**-log_ratio, 3)
    check_equal(Model("QUANTIZE", [source], [output], "QuantizeOptions"), rng, "litert")


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
def test_dequantize(kind, arithmetic, rng):
    source = quantized(kind, rng)
    case = Model("DEQUANTIZE", [source], [T(source.shape, "FLOAT32")], "DequantizeOptions")
    check_equal(case, rng, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_per_channel(arithmetic, rng):
    source = T((3, 7), "INT8", [0.1, 0.2, 0.3], [1, 2, 3])
    case = Model("DEQUANTIZE", [source], [T((3, 7), "FLOAT32")], "DequantizeOptions")
    check_equal(case, rng, arithmetic)
    output = T((4, 3), "INT8", [0.1, 0.2, 0.3], [1, 2, 3], axis=1)
    check_equal(
        Model("QUANTIZE", [T((4, 3), "FLOAT32")], [output], "QuantizeOptions", version=3),
        rng,
        arithmetic,
    )


CASTS = [
    ("FLOAT32", "INT8"),
    ("FLOAT32", "INT16"),
    ("FLOAT32", "INT32"),
    ("FLOAT32", "INT64"),
    ("FLOAT32", "UINT8"),
    ("FLOAT32", "BOOL"),
    ("INT8", "FLOAT32"),
    ("INT32", "INT8"),
    ("INT32", "FLOAT32"),
    ("INT32", "BOOL"),
    ("INT16", "INT32"),
    ("UINT8", "INT16"),
    ("BOOL", "INT32"),
    ("INT64", "INT32"),
]


@pytest.mark.parametrize(("source", "result"), CASTS)
def test_cast(source, result, rng):
    tensors = T((4, 50), source), T((4, 50), result)
    x = draw(tensors[0], rng)
    if source == "FLOAT32":
        x = x * 50
        x.reshape(-1)[:6] = [1e6, -1e6, 1e12, -1e12, -0.7, 0.5]
    version = 4 if "INT16" in (source, result) else 1
    case = Model("CAST", [tensors[0]], [tensors[1]], "CastOptions", version=version)
    check_equal(case, rng, "builtin", [x])
