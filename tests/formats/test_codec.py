"""Encode and decode: every code of every small format, scalar and array, all modes."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.formats.test_fixed_point import ALL
from tfxp.errors import FormatError
from tfxp.formats import (
    FixedPointFormat,
    WrpnFormat,
    decode,
    decode_scalar,
    encode,
    encode_scalar,
    quantize,
)

MODES = ["half_even", "half_away", "half_up", "floor"]
OVERFLOWS = ["saturate", "wrap"]
WRPN = [WrpnFormat(k, role) for role in ("weights", "activations") for k in range(1, 9)]


def codes_of(fmt):
    return [
        code
        for code in range(fmt.qmin, fmt.qmax + 1)
        if code or not getattr(fmt, "is_binary", False)
    ]


def probes(fmt):
    """Every code, every half between codes, their float32 neighbours, limits and beyond."""
    codes = np.arange(fmt.qmin - 3, fmt.qmax + 4)
    steps = np.concatenate([codes, codes + 0.5, codes + 0.25]) / fmt.inverse_scale
    exact = steps.astype(np.float32)
    far = np.array([3, 17, 1000.5, 2.0**40], np.float32) * np.float32(fmt.max or fmt.scale)
    around = [np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))]
    values = np.concatenate([exact, *around, far, -far, np.float32([0.0, -0.0, 1e-30, -1e-30])])
    return np.unique(values)


def oracle(value, fmt, mode, overflow):
    """The sentence of the docstring in integers: no float beyond the input."""
    scaled = Fraction(float(np.float32(value))) * Fraction(2) ** fmt.fractional_bits
    below = math.floor(scaled)
    rest = scaled - below
    half = Fraction(1, 2)
    up = {
        "floor": False,
        "half_up": rest >= half,
        "half_even": rest > half or (rest == half and below % 2 == 1),
        "half_away": rest > half or (rest == half and scaled > 0),
    }[mode]
    code = below + up
    count = fmt.qmax - fmt.qmin + 1
    if overflow == "saturate":
        return sorted((fmt.qmin, code, fmt.qmax))[1]
    return fmt.qmin + (code - fmt.qmin) % count


def first_differences(values, got, want):
    bad = [(v, g, w) for v, g, w in zip(values, got, want, strict=True) if g != w]
    return f"{len(bad)} differ (input, got, expected): {bad[:5]}" if bad else ""


@pytest.mark.parametrize("fmt", ALL + WRPN, ids=repr)
def test_every_code_survives(fmt):
    codes = codes_of(fmt)
    values = decode(np.array(codes), fmt)
    assert values.dtype == np.float32
    assert values.tolist() == [decode_scalar(code, fmt) for code in codes]
    if not getattr(fmt, "is_binary", False):
        exact = [float(np.float32(float(Fraction(c) / Fraction(fmt.inverse_scale)))) for c in codes]
        assert values.tolist() == exact
    for mode in MODES if fmt in ALL else MODES[:3]:
        assert encode(values, fmt, mode).tolist() == codes
        assert [encode_scalar(value, fmt, mode) for value in values.tolist()] == codes
    stochastic = encode(values, fmt, "stochastic", generator=np.random.default_rng(3))
    if isinstance(fmt, FixedPointFormat):  # its values are exact, so nothing is left to chance
        assert stochastic.tolist() == codes


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("signed", [True, False])
def test_fixed_point_against_integer_oracle(mode, overflow, signed):
    """All word lengths 1 to 8; three positions of the point, full and symmetric range."""
    for bits in range(1, 9):
        for f in (-3, 0, bits + 2):
            for symmetric in (False, True) if signed and bits > 1 else (False,):
                fmt = FixedPointFormat.of_bits(bits, f, signed, symmetric)
                values = probes(fmt)
                want = [oracle(value, fmt, mode, overflow) for value in values]
                got = encode(values, fmt, mode, overflow)
                assert got.dtype == np.int64
                assert not (text := first_differences(values, got.tolist(), want)), (fmt, text)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fmt", ALL + WRPN, ids=repr)
def test_scalar_and_array_agree(fmt, mode):
    values = probes(fmt)[:: 1 if fmt.bits < 4 else 11]
    for overflow in OVERFLOWS if isinstance(fmt, FixedPointFormat) else ["saturate"]:
        got = encode(values, fmt, mode, overflow).tolist()
        want = [encode_scalar(value, fmt, mode, overflow) for value in values.tolist()]
        assert not (text := first_differences(values, got, want)), text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", [9, 12, 16, 24, 32])
def test_wide_formats_by_coprime_strides(bits, mode):
    for fmt in (FixedPointFormat.of_bits(bits, 7), FixedPointFormat.of_bits(bits, 7, False)):
        stride = max((fmt.qmax - fmt.qmin) // 401, 1) | 1
        codes = np.arange(fmt.qmin, fmt.qmax + 1, stride)
        codes = codes[codes.astype(np.float32) == codes]
        assert np.array_equal(encode(decode(codes, fmt), fmt, mode), codes)
        halves = (codes + 0.5) * fmt.scale
        for overflow in OVERFLOWS:
            got = encode(halves, fmt, mode, overflow).tolist()
            want = [oracle(value, fmt, mode, overflow) for value in halves]
            assert not (text := first_differences(halves, got, want)), text


def test_wrap_is_exact_far_outside():
    fmt = FixedPointFormat.parse("Q2.1")  # 4 bits: codes modulo 16
    values = np.float32([2.0**60, 2.0**60 * (1 + 2.0**-23), 3.4e38, -3.4e38, 1e20, -1e20])
    got = encode(values, fmt, overflow="wrap").tolist()
    assert got == [(int(Fraction(float(v)) * 2) + 8) % 16 - 8 for v in values]


def test_saturation_and_limits():
    fmt = FixedPointFormat.parse("Q2.1")
    assert encode([3.5, 3.74, 3.75, 4.0, 1e9, -4.0, -4.25, -1e9], fmt).tolist() == [
        7, 7, 7, 7, 7, -8, -8, -8,
    ]  # fmt: skip
    assert encode([3.75, 4.0, -4.5], fmt, overflow="wrap").tolist() == [-8, -8, 7]
    symmetric = FixedPointFormat.parse("Q2.1s")
    assert encode([-4.0, -3.5], symmetric).tolist() == [-7, -7]


def test_quantize_is_decode_of_encode(rng):
    fmt = FixedPointFormat.parse("Q0.3")
    x = rng.normal(size=(4, 5, 6))
    got = quantize(x, fmt, "half_up")
    assert got.shape == x.shape and got.dtype == np.float32
    assert np.array_equal(got, decode(encode(x, fmt, "half_up"), fmt))
    assert np.array_equal(quantize(got, fmt), got)
    inside = np.abs(x) < 0.8
    assert np.abs(got - x)[inside].max() <= fmt.scale / 2 + 1e-7


def test_shapes_and_empties():
    fmt = FixedPointFormat.parse("Q0.7")
    assert encode(np.zeros((0, 3)), fmt).shape == (0, 3)
    assert encode(0.5, fmt).shape == ()
    assert decode(np.zeros((2, 0), np.int64), fmt).shape == (2, 0)


def test_stochastic_codes_are_unbiased_and_seeded():
    fmt = FixedPointFormat.parse("Q0.3")
    n, value = 40_000, 0.3  # 2.4 steps
    runs = [
        encode(np.full(n, value), fmt, "stochastic", generator=np.random.default_rng(s))
        for s in (5, 5, 6)
    ]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    assert abs(runs[0].mean() - np.float32(value) * 8) < 5 * 0.5 / math.sqrt(n)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fmt", [FixedPointFormat(2, 5), WrpnFormat(4), WrpnFormat(1)], ids=str)
def test_not_finite(fmt, bad):
    with pytest.raises(
        FormatError, match="got 2 that are NaN or infinite; expected finite numbers"
    ):
        encode([1.0, bad, bad], fmt)
    with pytest.raises(FormatError, match="expected a finite number"):
        encode_scalar(bad, fmt)


def test_codes_that_the_format_lacks():
    fmt = FixedPointFormat.parse("Q0.3")
    with pytest.raises(FormatError, match="codes of Q0.3: got -8 to 8; expected -8 to 7"):
        decode(np.array([-8, 8]), fmt)
    with pytest.raises(FormatError, match="code of Q0.3: got 8; expected -8 to 7"):
        decode_scalar(8, fmt)
    with pytest.raises(FormatError, match="codes of wrpn:1: got 0; expected -1 or 1"):
        decode(np.array([-1, 0]), WrpnFormat(1))
    with pytest.raises(FormatError, match="code of wrpn:1: got 0; expected -1 or 1"):
        decode_scalar(0, WrpnFormat(1))


def paper(x, k, role):
    """WRPN, sec. 5, in exact fractions; ties to even as TensorFlow's round."""
    x = Fraction(float(x))
    if role == "weights" and k == 1:
        return 1 if x >= 0 else -1
    low, n = (-1, 2 ** (k - 1) - 1) if role == "weights" else (0, 2**k - 1)
    return Fraction(round(n * min(max(x, Fraction(low)), Fraction(1))), n)


@pytest.mark.parametrize("role", ["weights", "activations"])
@pytest.mark.parametrize("k", range(1, 9))
def test_wrpn_against_the_paper(k, role):
    fmt = WrpnFormat(k, role)
    n = fmt.qmax
    grid = np.linspace(-1.5, 1.5, 4001, dtype=np.float32)  # incl. -1, 0 and 1
    # The product n * x is rounded to float32, so stay a rounding error clear of the ties.
    scaled = grid.astype(np.float64) * n
    grid = grid[np.abs(scaled - np.floor(scaled) - 0.5) > 1e-5]
    values = np.concatenate([grid, np.float32([-1e30, -3e38, 3e38, 1e30, 0.0, 1e-30])])
    got = decode(encode(values, fmt), fmt)
    want = np.float32([float(paper(v, k, role)) for v in values])
    assert not (text := first_differences(values, got.tolist(), want.tolist())), text
    if role == "weights" and k == 2:
        assert set(got.tolist()) == {-1.0, 0.0, 1.0}


def test_wrpn_exact_halves():
    # k = 2: half of the one step is 0.5 exactly; half-even keeps 0.
    assert encode([0.5, -0.5, 0.50001], WrpnFormat(2)).tolist() == [0, 0, 1]
    assert encode([0.5, -0.5], WrpnFormat(2), "half_away").tolist() == [1, -1]
    assert encode([0.5, 1.0], WrpnFormat(1, "activations")).tolist() == [0, 1]


def test_wrpn_is_not_distillers_grid():
    # Distiller's weight grid for 2 bits has 1.5 codes per unit; the paper's has 1.
    assert quantize([1.0], WrpnFormat(2)).tolist() == [1.0]


def test_binary_weights_are_sign_times_mean(rng):
    w = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)
    w[0, 0, 0, 0] = 0.0
    mean = np.float32(np.abs(w.astype(np.float64)).mean())
    want = np.where(w >= 0, mean, -mean)
    assert np.array_equal(quantize(w, WrpnFormat(1)), want)


def test_wrpn_never_wraps():
    for call in (encode, encode_scalar):
        with pytest.raises(FormatError, match="overflow of wrpn:4: got wrap; expected saturate"):
            call(0.5, WrpnFormat(4), overflow="wrap")
