"""Fits against brute force over every number of fractional bits on the raw data."""

import math

import numpy as np
import pytest

from tests.formats.test_tensor_stats import DATA, measured
from tfxp.errors import DataError, FormatError
from tfxp.formats import (
    FITS,
    FixedPointFormat,
    TensorStats,
    candidates,
    fit_clip_budget,
    fit_max_abs,
    fit_mse,
    mean_squared_error,
    sqnr_db,
)

KINDS = [(True, False), (True, True), (False, False)]
STATS = {name: measured(*np.array_split(x, 3)) for name, x in DATA.items()}


def limits(bits, f, signed, symmetric):
    top = 2 ** (bits - signed) - 1
    bottom = (-top - (not symmetric)) if signed else 0
    return bottom * 2.0**-f, top * 2.0**-f


def raw_mse(x, bits, f, signed, symmetric):
    """Rounding and clipping by hand on all the data."""
    low, high = limits(bits, f, signed, symmetric)
    x = x.astype(np.float64)
    return np.square(x - np.clip(np.round(x * 2.0**f) * 2.0**-f, low, high)).mean()


def raw_clipped(x, bits, f, signed, symmetric):
    low, high = limits(bits, f, signed, symmetric)
    half = 2.0**-f / 2
    return ((x < low - half) | (x > high + half)).mean()


def all_f(bits, signed):
    return range(max(bits - signed - 64, -40), 50)


def suits(name, signed):
    return signed or DATA[name].min() >= 0


CASES = [
    (name, bits, *kind)
    for name in DATA
    for bits in (2, 3, 4, 8, 12, 16)
    for kind in KINDS
    if suits(name, kind[0])
]


@pytest.mark.parametrize(("name", "bits", "signed", "symmetric"), CASES)
def test_max_abs_is_the_finest_that_clips_nothing(name, bits, signed, symmetric):
    x, fmt = DATA[name].astype(np.float64), fit_max_abs(STATS[name], bits, signed, symmetric)
    assert (fmt.bits, fmt.signed, fmt.symmetric) == (bits, signed, symmetric)
    f = fmt.fractional_bits
    assert (
        np.abs(x - np.clip(np.round(x / fmt.scale) * fmt.scale, fmt.min, fmt.max)).max()
        <= fmt.scale / 2
    )
    if name == "zeros":
        assert fmt.integer_bits == 0
    else:
        clips = [f for f in all_f(bits, signed) if raw_clipped(x, bits, f, signed, symmetric) == 0]
        assert f == max(clips)


def test_max_abs_by_hand():
    def fit(*values, **options):
        return str(fit_max_abs(measured(np.array(values)), **options))

    assert fit(-1.0, 3.9, bits=8) == "Q2.5"
    assert fit(-4.0, 3.9, bits=8) == "Q2.5"
    assert fit(-4.0, 3.9, bits=8, symmetric=True) == "Q3.4s"  # a whole step past 3.96875
    assert fit(-3.98, 3.9, bits=8, symmetric=True) == "Q2.5s"  # less than half of one
    assert fit(4.0, bits=8) == "Q3.4"
    assert fit(255.0, 0.0, bits=8, signed=False) == "UQ8.0"
    assert fit(1.0, 0.0, bits=8, signed=False) == "UQ1.7"  # 1 is 256 steps of 2^-8
    assert fit(0.9979, 0.0, bits=8, signed=False) == "UQ0.8"  # half a step past 255/256


@pytest.mark.parametrize("budget", [0.001, 0.01, 0.3, 0.6])
@pytest.mark.parametrize(("name", "bits", "signed", "symmetric"), CASES)
def test_clip_budget_against_brute_force(name, bits, signed, symmetric, budget):
    x, stats = DATA[name], STATS[name]
    fmt = fit_clip_budget(stats, bits, signed, symmetric, budget=budget)
    f = fmt.fractional_bits
    if name == "zeros":
        assert fmt.integer_bits == 0
        return
    allowed = [
        f for f in all_f(bits, signed) if raw_clipped(x, bits, f, signed, symmetric) <= budget
    ]
    best = min(max(allowed), 64)
    if (x != 0).mean() <= budget:  # all but zero may be clipped: a range of one bin is kept
        best = min(best, bits - signed - round(math.log2(stats.bin_width)))
    if fmt.scale >= 2 * stats.bin_width:
        assert f == best
    else:  # a limit inside a bin: right but for what that bin holds
        edges = [v for limit in limits(bits, f, signed, symmetric) for v in (limit,)]
        width = stats.bin_width
        unsure = sum((np.abs(x - v) <= 2 * width).mean() for v in edges)
        assert raw_clipped(x, bits, f, signed, symmetric) <= budget + unsure
        assert abs(f - best) <= 1


def test_clip_budget_counts_both_tails_and_magnitudes():
    # ADaPTION's tool looks at max(x) and at one tail only; here the left tail is the long one.
    x = np.concatenate([np.linspace(-0.9, 0.9, 98), [-6.0, 6.0]])
    stats = measured(x)
    assert str(fit_clip_budget(stats, 8, budget=0.02)) == "Q0.7"
    assert str(fit_clip_budget(stats, 8, budget=0.01)) == "Q3.4"
    assert str(fit_clip_budget(measured(-np.abs(x)), 8, budget=0.01)) == "Q3.4"
    assert str(fit_clip_budget(measured(-np.abs(x)), 8, budget=0.02)) == "Q0.7"
    assert fit_clip_budget(stats, 8, budget=0) == fit_max_abs(stats, 8)


@pytest.mark.parametrize("log2", range(2, 31, 4))
@pytest.mark.parametrize("signed", [True, False])
def test_clip_budget_with_outliers_far_away(log2, signed):
    """0.2 % of outliers within a budget of 1 % change nothing, however far they are."""
    body = np.linspace(-0.99 if signed else 0, 0.99, 4990)
    stats = measured(np.concatenate([body, np.full(10, 2.0**log2)]))
    assert fit_clip_budget(stats, 8, signed).integer_bits == 0
    assert fit_clip_budget(stats, 8, signed, budget=0.001).integer_bits == log2 + 1


@pytest.mark.parametrize(("name", "bits", "signed", "symmetric"), CASES)
def test_mse_against_brute_force(name, bits, signed, symmetric):
    x, stats = DATA[name], STATS[name]
    got = fit_mse(stats, bits, signed, symmetric)
    assert (got.bits, got.signed, got.symmetric) == (bits, signed, symmetric)
    errors = {f: raw_mse(x, bits, f, signed, symmetric) for f in all_f(bits, signed)}
    best = min(errors.values())
    if got.scale >= 2 * stats.bin_width or best == 0:
        assert errors[got.fractional_bits] <= best * (1 + 1e-9)
    else:
        assert errors[got.fractional_bits] <= best * 1.02


@pytest.mark.parametrize(("name", "bits", "signed", "symmetric"), CASES)
def test_estimated_error_against_the_raw_data(name, bits, signed, symmetric):
    x, stats = DATA[name], STATS[name]
    widest = fit_max_abs(stats, bits, signed, symmetric).fractional_bits
    for f in range(widest - 1, min(widest + 5, 64)):
        fmt = FixedPointFormat.of_bits(bits, f, signed, symmetric)
        want = raw_mse(x, bits, f, signed, symmetric)
        got = mean_squared_error(stats, fmt)
        scale = stats.power
        if fmt.scale >= 2 * stats.bin_width or not stats.bin_variances().any():
            assert got == pytest.approx(want, rel=1e-7, abs=1e-15 * scale)
        else:
            assert got == pytest.approx(want, rel=0.05, abs=1e-15 * scale)
        if want > 1e-15 * scale and got > 0:
            want_db = 10 * math.log10((x.astype(np.float64) ** 2).mean() / want)
            assert sqnr_db(stats, fmt) == pytest.approx(want_db, abs=0.25)


def test_sqnr_of_lossless_formats():
    assert sqnr_db(STATS["integers"], FixedPointFormat.parse("UQ8.0")) == math.inf
    assert sqnr_db(STATS["integers"], FixedPointFormat.parse("UQ8.8")) == math.inf
    assert sqnr_db(STATS["grid"], FixedPointFormat.parse("Q-1.4")) == math.inf
    assert sqnr_db(STATS["zeros"], FixedPointFormat.parse("Q0.7")) == math.inf
    assert str(fit_mse(STATS["integers"], 8, signed=False)) == "UQ8.0"
    assert str(fit_mse(STATS["grid"], 4)) == "Q-1.4"


def gaussian_sqnr_db(bits, step):
    """The same figure by integration over the density."""
    x = np.linspace(-8, 8, 400_001)
    top = 2 ** (bits - 1)
    error = np.square(x - step * np.clip(np.round(x / step), -top, top - 1))
    return -10 * math.log10(
        (error * np.exp(-(x**2) / 2)).sum() * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_sqnr_of_a_gaussian_matches_integration(bits):
    stats = measured(np.random.default_rng(9).normal(size=400_000))
    fmt = fit_mse(stats, bits)
    by_step = {2.0**-f: gaussian_sqnr_db(bits, 2.0**-f) for f in range(-3, 12)}
    assert fmt.scale == max(by_step, key=by_step.get)
    assert sqnr_db(stats, fmt) == pytest.approx(by_step[fmt.scale], abs=0.3)  # rare tails


def test_mse_gives_up_range_for_resolution_where_it_pays():
    spiky = STATS["spiky"]
    assert fit_mse(STATS["laplacian"], 4).max < fit_max_abs(STATS["laplacian"], 4).max
    assert fit_mse(spiky, 16) == fit_max_abs(spiky, 16)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_bad_input(fit):
    stats = STATS["gaussian"]
    for bits, text in [(0, "got 0 bits; expected 1 to 32"), (40, "got 40 bits; expected 1 to 32")]:
        with pytest.raises(FormatError, match=text):
            fit(stats, bits, True, False)
    with pytest.raises(FormatError, match="symmetric range of .*: got unsigned"):
        fit(stats, 8, False, True)
    with pytest.raises(DataError, match="got no values; expected at least one"):
        fit(TensorStats(), 8, True, False)


@pytest.mark.parametrize("fit", [fit_max_abs, fit_mse])
def test_a_range_beyond_every_format(fit):
    with pytest.raises(
        FormatError, match="range of tensor: got -1e\\+30 to 1; expected one that 8"
    ):
        fit(measured([1.0, -1e30]), 8)


@pytest.mark.parametrize("budget", [-0.1, 1.0, 2, math.nan])
def test_bad_budget(budget):
    with pytest.raises(FormatError, match="clip budget: got .*; expected 0 <= budget < 1"):
        fit_clip_budget(STATS["gaussian"], 8, budget=budget)


@pytest.mark.parametrize("bits", [1, 24, 32])
def test_extreme_word_lengths(bits):
    for name, stats in STATS.items():
        for fit in FITS.values():
            fmt = fit(stats, bits, True, False)
            assert fmt.bits == bits, name
            assert fit(stats, bits, bool(stats.min < 0), False).bits == bits


@pytest.mark.parametrize("log2", [4, 12, 20, 30])
def test_candidates_reach_a_body_far_below_its_outliers(log2):
    """They end where the body clips, which the histogram alone does not show."""
    x = np.concatenate([np.linspace(-0.99, 0.99, 4990), np.full(10, 2.0**log2)])
    found = candidates(measured(x), 8)
    assert [made.fmt.integer_bits for made in found] == list(range(log2 + 1, -1, -1))
    assert found[0].clipped == 0 and all(made.clipped == 0.002 for made in found[2:])
