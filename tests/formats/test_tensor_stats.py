"""Streaming statistics against NumPy on the raw data."""

import json
import math

import numpy as np
import pytest

from tfxp.errors import DataError
from tfxp.formats import TensorStats


def data_sets():
    rng = np.random.default_rng(42)
    n = 20_000
    spiky = rng.normal(size=n)
    spiky[::4000] *= 300
    return {
        "gaussian": rng.normal(size=n),
        "laplacian": rng.laplace(size=n) * 3,
        "uniform": rng.uniform(-0.3, 1.7, n),
        "relu": np.maximum(rng.normal(size=n), 0),
        "integers": rng.integers(0, 256, n),
        "grid": rng.integers(-8, 8, n) / 16,
        "spiky": spiky,
        "zeros": np.zeros(n),
        "tiny": rng.normal(size=n) * 1e-9,
        "huge": rng.normal(size=n) * 1e9,
        "constant": np.full(n, -0.7),
        "negative": -rng.exponential(size=n),
    }


DATA = {name: np.asarray(x, np.float32) for name, x in data_sets().items()}
EXACT = ("integers", "grid", "zeros", "constant")


def measured(*arrays):
    stats = TensorStats()
    for array in arrays:
        stats.update(array)
    return stats


def same(a, b, exact_sums=False):
    assert (a.count, a.zeros, a.min, a.max, a.exponent) == (
        b.count,
        b.zeros,
        b.min,
        b.max,
        b.exponent,
    )
    assert np.array_equal(a.counts, b.counts) and np.array_equal(a.log2_counts, b.log2_counts)
    for name in ("power_sums", "offsets", "squares"):
        x, y = getattr(a, name), getattr(b, name)
        # Sums in another order: rounding errors relative to what was added up.
        scale = np.abs(x).max() + (a.count * a.max_abs**3 if name == "power_sums" else 0)
        tolerance = 0 if exact_sums else 1e-12 * scale
        np.testing.assert_allclose(x, y, rtol=0 if exact_sums else 1e-9, atol=tolerance)


@pytest.mark.parametrize("name", DATA)
def test_moments_and_shares_against_numpy(name):
    x = DATA[name].astype(np.float64)
    stats = measured(DATA[name])
    assert stats.count == x.size
    assert (stats.min, stats.max, stats.max_abs) == (x.min(), x.max(), np.abs(x).max())
    assert stats.zero_fraction == (x == 0).mean()
    scale = max(stats.max_abs, 1e-30)
    assert stats.mean == pytest.approx(x.mean(), abs=1e-9 * scale)
    assert stats.std == pytest.approx(x.std(), rel=1e-6, abs=1e-7 * scale)
    assert stats.power == pytest.approx((x**2).mean(), rel=1e-12)
    if x.std() > 1e-6 * scale:
        kurtosis = ((x - x.mean()) ** 4).mean() / x.std() ** 4
        assert stats.kurtosis == pytest.approx(kurtosis, rel=1e-6)
    else:
        assert stats.kurtosis == pytest.approx(0, abs=10)


@pytest.mark.parametrize("name", DATA)
def test_bins_are_the_smallest_that_hold_the_data(name):
    stats = measured(DATA[name])
    x = DATA[name].astype(np.float64)
    assert stats.counts.sum() == x.size
    if stats.max_abs > 0:
        assert stats.max_abs < 2.0**stats.exponent <= 2 * stats.max_abs
        assert stats.bin_width == 2.0 ** (stats.exponent - 12)
        index = [math.floor(v / stats.bin_width) + 4096 for v in x.tolist()]
        assert np.array_equal(stats.counts, np.bincount(index, minlength=8192))


@pytest.mark.parametrize("name", DATA)
def test_pieces_equal_the_whole(name):
    x = DATA[name]
    whole = measured(x)
    same(measured(*np.array_split(x, 7)), whole)
    ordered = np.sort(np.abs(x))  # the range grows from piece to piece
    same(measured(*np.array_split(ordered, 13)), measured(ordered))
    same(measured(ordered[::-1][:100], ordered[::-1][100:]), measured(ordered))
    same(measured(x.reshape(100, 10, 20), np.zeros((0, 3))), whole)


@pytest.mark.parametrize("first", ["gaussian", "tiny", "zeros", "huge"])
@pytest.mark.parametrize("second", ["gaussian", "tiny", "zeros", "integers"])
def test_merge_equals_the_whole(first, second):
    a, b = measured(DATA[first]), measured(DATA[second])
    before = json.dumps([a.to_dict(), b.to_dict()])
    merged = a.merge(b)
    assert json.dumps([a.to_dict(), b.to_dict()]) == before
    same(merged, measured(DATA[first], DATA[second]))
    same(b.merge(a), merged)


def test_merge_with_nothing():
    stats = measured(DATA["gaussian"])
    for merged in (stats.merge(TensorStats()), TensorStats().merge(stats)):
        same(merged, stats, exact_sums=True)
    assert TensorStats().merge(TensorStats()).count == 0


@pytest.mark.parametrize("name", DATA)
def test_json_round_trip(name):
    stats = measured(DATA[name])
    text = json.dumps(stats.to_dict(), allow_nan=False)
    back = TensorStats.from_dict(json.loads(text))
    same(back, stats, exact_sums=True)
    back.update(DATA["gaussian"])  # still alive
    stats.update(DATA["gaussian"])
    same(back, stats, exact_sums=True)


def test_json_round_trip_of_nothing():
    back = TensorStats.from_dict(json.loads(json.dumps(TensorStats().to_dict(), allow_nan=False)))
    assert back.count == 0
    back.update([1.0])
    assert back.max == 1.0


@pytest.mark.parametrize(
    "damage",
    [
        {"count": None}, {"counts": "AAAA"}, {"offsets": "!"}, {"power_sums": [1, 2]},
        {"log2_counts": [1, 2]}, {"min": "x"}, {"squares": 3},
    ],
)  # fmt: skip
def test_broken_json_is_refused(damage):
    good = measured(DATA["gaussian"]).to_dict()
    with pytest.raises(DataError, match="tensor statistics: .*Measure the model again"):
        TensorStats.from_dict({**good, **damage})
    good.pop(next(iter(damage)))
    with pytest.raises(DataError, match="tensor statistics"):
        TensorStats.from_dict(good)


def nearest_rank(x, q):
    return np.sort(x)[max(math.ceil(round(q * x.size / 100, 9)), 1) - 1]


@pytest.mark.parametrize("name", DATA)
def test_percentiles(name):
    stats, x = measured(DATA[name]), DATA[name].astype(np.float64)
    width = 0 if name in EXACT else stats.bin_width
    for q in (0, 0.01, 0.1, 1, 7, 25, 50, 75, 99, 99.9, 99.99, 100):
        assert abs(stats.percentile(q) - nearest_rank(x, q)) <= width, q
    assert (stats.percentile(0), stats.percentile(100)) == (x.min(), x.max())


@pytest.mark.parametrize("name", DATA)
def test_clipped_share(name):
    stats, x = measured(DATA[name]), DATA[name].astype(np.float64)
    limits = np.quantile(np.abs(x), [0.1, 0.5, 0.9, 0.99, 1.0]).tolist()
    for low, high in [(-v, v) for v in limits] + [(0.0, v) for v in limits] + [(-1.0, 0.5)]:
        want = ((x < low) | (x > high)).mean()
        if name in EXACT:
            assert stats.clipped_fraction(low, high) == want
        unsure = sum(
            (np.floor(x / stats.bin_width) == v // stats.bin_width).mean() for v in (low, high)
        )
        assert abs(stats.clipped_fraction(low, high) - want) <= unsure + 1e-12


@pytest.mark.parametrize("name", EXACT)
def test_one_value_per_bin_is_exact(name):
    stats, x = measured(*np.array_split(DATA[name], 9)), DATA[name]
    values, counts = stats.bin_values()
    want_values, want_counts = np.unique(x, return_counts=True)
    assert np.array_equal(values, want_values.astype(np.float64))
    assert np.array_equal(counts, want_counts)
    assert not stats.bin_variances().any()


@pytest.mark.parametrize("name", ["gaussian", "spiky", "tiny", "huge", "uniform", "relu"])
def test_bin_means_and_variances(name):
    stats, x = measured(*np.array_split(DATA[name], 5)), DATA[name].astype(np.float64)
    index = np.where(x == 0, -0.5, np.floor(x / stats.bin_width))  # zeros: a bin of their own
    bins = np.unique(index)
    values, counts = stats.bin_values()
    assert np.array_equal(counts, [(index == k).sum() for k in bins])
    np.testing.assert_allclose(
        values, [x[index == k].mean() for k in bins], atol=1e-9 * stats.bin_width
    )
    want = [x[index == k].var() for k in bins]
    np.testing.assert_allclose(stats.bin_variances(), want, atol=1e-9 * stats.bin_width**2)


def test_log2_histogram():
    stats = measured(np.float32([0, 1, 1.99, 2, -0.5, -0.75, 0.25, 2.0**-60, 2.0**100]))
    occupied = {int(k) - 40: int(stats.log2_counts[k]) for k in np.flatnonzero(stats.log2_counts)}
    assert occupied == {0: 2, 1: 1, -1: 2, -2: 1, -40: 1, 39: 1}


def test_extremes_of_float32():
    edges = np.float32([3.4e38, -3.4e38, 1e-45, -1e-45, 0])
    stats = measured(edges)
    assert stats.count == 5 and stats.counts.sum() == 5 and stats.zeros == 1
    same(measured(*edges.reshape(5, 1)), stats)
    same(measured(*edges[::-1].reshape(5, 1)), stats)
    powers = measured(np.float32([-4.0]), np.float32([4.0]), np.float32([-(2.0**20)]))
    assert powers.counts.sum() == 3 and powers.percentile(50) == pytest.approx(-4, abs=2**-10)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_not_finite_is_refused_and_leaves_no_trace(bad):
    stats = measured(DATA["gaussian"])
    before = json.dumps(stats.to_dict())
    with pytest.raises(
        DataError, match="values: got 2 of 4 that are NaN or infinite; expected finite"
    ):
        stats.update(np.array([1.0, bad, 2.0, bad]))
    assert json.dumps(stats.to_dict()) == before


def test_nothing_measured():
    stats = TensorStats()
    stats.update(np.zeros((0, 5)))
    assert stats.count == 0
    for figure in ("max_abs", "mean", "std", "kurtosis", "power", "zero_fraction"):
        with pytest.raises(
            DataError, match="tensor statistics: got no values; expected at least one"
        ):
            getattr(stats, figure)
    for call in (
        stats.bin_values,
        lambda: stats.percentile(50),
        lambda: stats.clipped_fraction(0, 1),
    ):
        with pytest.raises(DataError, match="got no values"):
            call()


def test_memory_does_not_grow_with_the_data():
    small, large = measured(DATA["gaussian"][:100]), measured(*[DATA["gaussian"]] * 20)
    size = {s.counts.nbytes + s.offsets.nbytes + s.squares.nbytes for s in (small, large)}
    assert size == {3 * 8 * 8192}


def test_large_arrays_are_added_in_parts(rng, monkeypatch):
    values = rng.normal(size=1000).astype(np.float32)
    values[::7] = 0
    whole, parts = TensorStats(), TensorStats()
    whole.update(values)
    monkeypatch.setattr("tfxp.formats.tensor_stats._PART", 64)
    parts.update(values)
    assert np.array_equal(whole.counts, parts.counts) and whole.zeros == parts.zeros
    assert np.array_equal(whole.log2_counts, parts.log2_counts)
    assert np.allclose(whole.power_sums, parts.power_sums, rtol=1e-12)
    assert np.allclose(whole.squares, parts.squares, rtol=1e-9)
