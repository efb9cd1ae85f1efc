"""Requantization: vectorised forms against exact definitions, definitions against formulas."""

import ast
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tfxp.errors import ConfigError, TfliteFormatError
from tfxp.formats import Rounding
from tfxp.interpreter.numerics import arithmetic as A

MODES = ("double_rounding", "double_half_up", "reduced")
ROOT = Path(__file__).resolve().parents[2]
REALS = (0.5, 0.75, 1.0, 1.9999999, 3.7, 100.25, 2.0**-7, 1e-3, 3.3e-7, 2.0**-31, 0.0)


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("mode", MODES)
def test_vector_form_equals_scalar_definition(real, mode, rng):
    by = A.QuantizedMultiplier.of(real)
    limit = 2**31 // 2 ** max(by.shift, 0)
    x = rng.integers(-limit, limit, 300)
    x = np.concatenate([x, np.arange(-9, 10), [limit - 1, -limit]])
    if mode == "reduced":
        x = np.clip(x, -(2**24), 2**24)
    expected = [A.requantize_scalar(int(v), by, mode) for v in x]
    assert A.requantize(x, by, mode).tolist() == expected


@pytest.mark.parametrize("real", [r for r in REALS if r])
def test_quantized_multiplier_is_the_nearest(real):
    by = A.QuantizedMultiplier.of(real)
    assert 2**30 <= by.multiplier < 2**31
    assert abs(by.value - Fraction(real)) <= Fraction(real) / 2**31


def test_quantized_multiplier_flushes_the_smallest_to_zero():
    assert A.QuantizedMultiplier.of(2.0**-33) == A.QuantizedMultiplier(0, 0)
    assert A.QuantizedMultiplier.of(-0.75).multiplier == -(3 << 29)
    with pytest.raises(TfliteFormatError, match="finite"):
        A.QuantizedMultiplier.of(float("inf"))


@pytest.mark.parametrize("exponent", range(0, 9))
def test_division_by_powers(exponent):
    x = np.arange(-600, 601)
    expected = [int(np.sign(v) * np.floor(abs(v) / 2**exponent + 0.5)) for v in x]
    assert A.divide_by_power(x, exponent).tolist() == expected
    up = [math.floor(Fraction(int(v), 2**exponent) + Fraction(1, 2)) for v in x]
    assert A.divide_by_power(x, exponent, Rounding.HALF_UP).tolist() == up


def test_doubling_high_product_on_limits():
    edge = [-(2**31), -(2**31) + 1, -1, 0, 1, 2**30, 2**31 - 1]
    a, b = np.meshgrid(edge, edge)
    pairs = zip(a.flat, b.flat, strict=True)
    expected = [A.doubling_high_mul_scalar(int(x), int(y)) for x, y in pairs]
    assert A.doubling_high_mul(a.ravel(), b.ravel()).tolist() == expected
    assert A.doubling_high_mul_scalar(-(2**31), -(2**31)) == 2**31 - 1


def test_float32_mode_rounds_half_even_and_clamps(rng):
    x = np.concatenate([np.arange(-1000, 1001), rng.integers(-(2**31), 2**31, 500)])
    for scale in (0.5, 0.25, 1.0, 3.1e-3, 7e-9):
        got = A.requantize_float32(x, scale, 5, -128, 127)
        expected = [A.requantize_float32_scalar(int(v), scale, 5, -128, 127) for v in x]
        assert got.tolist() == expected


def test_unknown_modes_are_refused():
    by = A.QuantizedMultiplier.of(0.5)
    with pytest.raises(ConfigError, match="expected one of double_rounding"):
        A.requantize(np.arange(3), by, "nearest")
    with pytest.raises(ConfigError, match="expected one of double_rounding"):
        A.requantize_scalar(3, by, "nearest")


def test_eights_of_channels_round_up_and_the_rest_away():
    by = A.QuantizedMultiplier.of(0.5)
    x = np.tile([-1, -3, 5], 7)[None]  # 21 channels: 16 and a tail of 5
    got = A.requantize_channels(x, by.multiplier, by.shift, "double_eights")
    up, away = (A.requantize(x, by, mode) for mode in ("double_half_up", "double_rounding"))
    assert got.tolist() == np.concatenate([up[:, :16], away[:, 16:]], axis=1).tolist()
    # the high product rounds -0.5 and -1.5 up first, so a second tie needs one shift more
    quarter = A.QuantizedMultiplier.of(0.25)
    assert A.requantize_scalar(-6, quarter, "double_half_up") == -1
    assert A.requantize_scalar(-6, quarter, "double_rounding") == -2


def test_float64_rounds_halves_away():
    got = A.requantize_float64(np.array([1, 3, -1, -3, 2**40]), np.array(0.5))
    assert got.tolist() == [1, 2, -1, -2, 2**31]


def test_the_page_prints_the_definitions():
    page = (ROOT / "docs/interpreter.md").read_text(encoding="utf-8")
    table = page[page.index("| mode |") :].split("\n\n")[0].splitlines()[2:]
    rows = [f"| `{name}` | {what} | {who} |" for name, (what, who) in A.REQUANTIZATIONS.items()]
    assert table == rows


def test_nothing_else_is_called_a_rounding():
    """One name for each rounding, in code and docs."""
    word = re.compile(r"(?:half|double|single|float)_[a-z_0-9]+|double|float(?:32|64)")
    known = {mode.value for mode in Rounding} | set(A.MODES)
    for page in ("interpreter", "operators", "formats"):
        text = (ROOT / f"docs/{page}.md").read_text("utf-8")
        assert {w for w in re.findall("`([^`]+)`", text) if word.fullmatch(w)} <= known, page
    for path in (ROOT / "tfxp/interpreter").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        words = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        found = {w for w in words if word.fullmatch(w)}
        assert found <= known | {"half_pixel_centers"}, (path, found)
