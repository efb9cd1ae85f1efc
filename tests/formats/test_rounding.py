"""Rounding modes: the definition against hand-written answers, the array twin against it."""

import decimal
import math
from fractions import Fraction

import numpy as np
import pytest

from tfxp.errors import FormatError
from tfxp.formats import Overflow, Rounding, round_array, round_scalar

DETERMINISTIC = ["half_even", "half_away", "half_up", "floor"]
_DECIMAL = {
    "half_even": decimal.ROUND_HALF_EVEN,
    "half_away": decimal.ROUND_HALF_UP,  # decimal's word for it
    "floor": decimal.ROUND_FLOOR,
}

# The edges of float64, where adding one half first goes wrong.
_BELOW_HALF = np.nextafter(0.5, 0)
_HARD = [
    _BELOW_HALF, 0.5, np.nextafter(0.5, 1), 1.5, np.nextafter(1.5, 1), np.nextafter(1.5, 2),
    1 - 2.0**-53, 2.5, 3.5, 4.5, 2.0**52 + 0.5, 2.0**52 + 1, 2.0**53, 2.0**60, 1e300, 5e-324,
    1e-30, 0.1, 0.9, 0.49999997, 0.50000003, 127.5, 128.5, 32767.5, 0.0,
]  # fmt: skip
HARD = [sign * value for value in _HARD for sign in (1, -1)]


def exact_decimal(value, mode):
    """An oracle of other make: the decimal module on the exact expansion of the double."""
    with decimal.localcontext() as context:
        context.prec = 1200
        number = decimal.Decimal(float(value))
        if mode == "half_up":
            return int((number + decimal.Decimal("0.5")).to_integral_value(decimal.ROUND_FLOOR))
        return int(number.to_integral_value(_DECIMAL[mode]))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("half_even", [2, -2, 4, -4, 0, 0, 3, -3]),
        ("half_away", [3, -3, 4, -4, 1, -1, 3, -3]),
        ("half_up", [3, -2, 4, -3, 1, 0, 3, -3]),
        ("floor", [2, -3, 3, -4, 0, -1, 3, -4]),
    ],
)
def test_table_of_halves(mode, expected):
    values = [2.5, -2.5, 3.5, -3.5, 0.5, -0.5, 3.25, -3.25]
    assert [round_scalar(value, mode) for value in values] == expected
    assert round_array(np.array(values), mode).tolist() == expected


@pytest.mark.parametrize("mode", DETERMINISTIC)
def test_scalar_definition_against_decimal(mode):
    for value in HARD:
        assert round_scalar(value, mode) == exact_decimal(value, mode), value


@pytest.mark.parametrize("mode", DETERMINISTIC)
def test_array_twin_bit_for_bit(mode, rng):
    halves = np.arange(-600, 601) / 2
    around = np.concatenate([np.nextafter(halves, np.inf), np.nextafter(halves, -np.inf)])
    drawn = rng.normal(scale=10.0 ** rng.uniform(-9, 9, 2000))
    values = np.concatenate([halves, around, drawn, HARD])
    got = round_array(values, mode)
    for value, code in zip(values.tolist(), got.tolist(), strict=True):
        assert code == round_scalar(value, mode), (value, code)


def test_fractions_are_taken_exactly():
    third = Fraction(1, 3)
    assert round_scalar(Fraction(1, 2) - third / 10**30, "half_away") == 0
    assert round_scalar(Fraction(-5, 2), "half_up") == -2


class _Draws:
    """Stands in for a generator and hands out the draws given."""

    def __init__(self, draws):
        self.draws = np.asarray(draws)

    def random(self, shape):
        return np.broadcast_to(self.draws, shape)


def test_stochastic_is_floor_of_value_plus_draw(rng):
    values = np.concatenate([np.arange(-8, 9) / 4, rng.normal(size=500).astype(np.float32)])
    for draw in [0.0, 0.25, 0.5, 0.75, 1 - 2.0**-53, *rng.random(20)]:
        got = round_array(values.astype(np.float64), "stochastic", _Draws(draw))
        want = [math.floor(Fraction(float(v)) + Fraction(float(draw))) for v in values]
        assert got.tolist() == want
        assert [round_scalar(float(v), "stochastic", draw) for v in values] == want


def test_stochastic_is_seeded():
    values = np.linspace(-3, 3, 1001)
    runs = [round_array(values, "stochastic", np.random.default_rng(s)) for s in (7, 7, 8)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_stochastic_is_exact_on_integers(rng):
    values = np.arange(-1000, 1001, dtype=np.float64)
    for _ in range(20):
        assert np.array_equal(round_array(values, "stochastic", rng), values)


@pytest.mark.parametrize("value", [0.03125, 0.3, 0.5, 0.9, -0.3, -0.75, 5.125, -17.6])
def test_stochastic_is_unbiased(value):
    # Standard deviation of the mean is sqrt(p (1 - p) / n) <= 0.5 / sqrt(n): 5 of them.
    n = 40_000
    got = round_array(np.full(n, value), "stochastic", np.random.default_rng(11))
    assert set(np.unique(got)) <= {math.floor(value), math.floor(value) + 1}
    assert abs(got.mean() - value) < 5 * 0.5 / math.sqrt(n)


def test_stochastic_wants_a_generator():
    with pytest.raises(FormatError, match="got no random generator; expected a seeded"):
        round_array(np.zeros(3), "stochastic")


def test_modes_by_name():
    for mode in Rounding:
        assert Rounding.parse(mode.value) is mode and Rounding.parse(mode) is mode
    with pytest.raises(
        FormatError, match="rounding mode: got 'nearest'; expected one of half_even"
    ):
        Rounding.parse("nearest")
    for overflow in Overflow:
        assert Overflow.parse(overflow.value) is overflow
    with pytest.raises(FormatError, match="overflow: got 'modulo'; expected saturate or wrap"):
        Overflow.parse("modulo")
