"""The report page: well-formed, self-contained, and true to its figures."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from math import inf, nan

import numpy as np
import pytest

from tests.report.browser import needs_chromium, probe
from tfxp.formats import TensorStats, WrpnFormat, parse_format
from tfxp.precision import LayerPrecision, LayerStats, ModelStats, PrecisionMap
from tfxp.report import (
    Bar,
    Histogram,
    ModelFigures,
    Page,
    RangeRow,
    bar_chart,
    histogram_chart,
    html_table,
    model_page,
    range_chart,
)
from tfxp.report.page import cell_text


def _stats(values):
    stats = TensorStats()
    stats.update(np.asarray(values, np.float64))
    return stats


def _xml(block):
    """Blocks are well-formed; entities of HTML are not used."""
    return ElementTree.fromstring(f"<div>{block}</div>")


def test_everything_from_outside_is_escaped():
    page = Page("<b>title</b>", "a & b")
    page.tiles([("<1", "a & b")])
    page.section("<i>", "x < y", html_table(["<th>"], [["<td>"]]), bar_chart([Bar("<bar>", (1,))]))
    for danger in ("<b>title", "<i>", "<th><", "<td><", "<bar>", "a & b"):
        assert danger not in page.html()
    assert "&lt;bar&gt;" in page.html()


def test_page_needs_no_network():
    page = Page("title").html()
    assert not re.search(r"(src|href)=|@import|url\(|<script", page)
    live = Page("title")
    live.live()
    assert not re.search(r"""(src|href)=["']|@import|url\(|import\(|fetch\(|XMLHttp""", live.html())
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert 'name="viewport"' in page


def test_table_cells():
    block = html_table(["a", "b"], [["x", 1234567], [None, 0.123456]], ["sum", None])
    cells = [cell.text for cell in _xml(block).iter("td")]
    assert cells == ["x", "1,234,567", "–", "0.1235", "sum", "–"]


def test_large_figures_have_no_exponent():
    assert [cell_text(value) for value in (12501.632, 9999.96, 0.05, -3e4, 2e13, nan)] == [
        "12,502", "1e+04", "0.05", "-30,000", "2e+13", "nan"
    ]  # fmt: skip


def test_bars_are_as_long_as_their_parts():
    block = bar_chart([Bar("a", (3, 1)), Bar("b", (1, 1))], ["one", "two"], "caption")
    strips = [svg for svg in _xml(block).iter("svg") if svg.get("role")]
    widths = [[float(rect.get("width")) for rect in svg.iter("rect")] for svg in strips]
    assert widths == [[75, 25], [25, 25]]
    lefts = [[float(rect.get("x")) for rect in svg.iter("rect")] for svg in strips]
    assert lefts == [[0, 75], [0, 25]]


def test_bars_of_nothing():
    _xml(bar_chart([]))
    _xml(bar_chart([Bar("zero", (0.0,))]))


def test_range_row_says_what_is_lost():
    """Shares by hand: UQ0.2 has 0, 1/4, 1/2, 3/4; below 1/8 rounds to zero, above 7/8 clips."""
    stats = _stats([0, 0, 0.0625, 0.25, 0.5, 0.75, 0.8, 1.5])
    block = range_chart([RangeRow("layer", stats, parse_format("UQ0.2"))])
    assert "UQ0.2 ↓12 % ↑12 %" in block
    band = next(rect for rect in _xml(block).iter("rect") if rect.get("class") == "band")
    assert float(band.get("width")) > 0


def test_range_band_lies_where_the_format_is():
    """Axis from 2^-3 (half a step of UQ0.2) to 2^1 (octave of 1.5): four octaves."""
    stats = _stats([0.25, 1.5])
    block = range_chart([RangeRow("layer", stats, parse_format("UQ0.2"))])
    strip = next(svg for svg in _xml(block).iter("svg") if svg.get("role"))
    band = next(strip.iter("rect"))
    assert float(band.get("x")) == 0
    right = 25 * (3 + np.log2(0.75))
    assert float(band.get("width")) == pytest.approx(right, abs=0.01)


@pytest.mark.parametrize("values", [[0.0], [1e-30], [1e30, -1e-30], np.linspace(-3, 5, 100)])
@pytest.mark.parametrize("name", [None, "Q0.3s", "Q-2.9", "UQ8.0", "Q0.31"])
def test_any_tensor_can_be_drawn(values, name):
    fmt = None if name is None else parse_format(name)
    for chart in (
        range_chart([RangeRow("x", _stats(values), fmt)]),
        histogram_chart([Histogram("x", _stats(values), fmt)]),
    ):
        _xml(chart)
        assert "nan" not in chart and "inf" not in chart


def test_grids_of_binary_weights_have_no_zero_line():
    chart = histogram_chart([Histogram("x", _stats([-1, 1]), WrpnFormat(1, "weights"))])
    assert chart.count('class="grid"') == 2
    chart = histogram_chart([Histogram("x", _stats([-1, 1]), WrpnFormat(2, "weights"))])
    assert chart.count('class="grid"') == 3


@pytest.fixture
def figures(rng):
    def layer(name, kind, shape, weights=(), macs=0):
        kernel = _stats(rng.normal(0, 0.2, 500)) if weights else None
        acts = _stats(np.maximum(rng.normal(0, 1, 500), 0))
        return LayerStats(name, kind, (), shape, weights, macs, weights=kernel, activations=acts)

    layers = [
        layer("image", "input", (8, 8, 1)),
        layer("conv", "conv", (8, 8, 4), (3, 3, 1, 4), 2304),
        layer("dense", "dense", (10,), (256, 10), 2560),
    ]
    full = LayerPrecision(weights=parse_format("Q0.3s"), activations=parse_format("UQ2.2"))
    many = LayerPrecision(weights=tuple(map(parse_format, ["Q0.3", "Q1.2"])), activations="float")
    run = {
        "runs": 2, "macs_total": 4608, "macs_executed": 2304, "macs_skipped_activation": 1152,
        "macs_skipped_weight": 1152, "zero_fraction_input": 0.25, "zero_fraction_weights": 0.125,
    }  # fmt: skip
    return ModelFigures(
        "Net",
        ModelStats({layer.name: layer for layer in layers}, samples=100),
        PrecisionMap(layers={"image": full, "conv": full, "dense": many}),
        [{"name": "conv", **run}],
        {"float": 0.99, "w4a4": 0.985},
        21 * 1024,
        64 * 1024,
        1000,
        {"LiteRT": 0},
        after=ModelStats(
            {
                layer.name: dataclasses.replace(layer, sqnr={"activations": 21.25, "weights": inf})
                for layer in layers
            },
            ("dense",),
        ),
        costs={"traffic, KiB": (1000.0, 8000.0)},
    )


def test_model_page_shows_every_figure(figures):
    page = model_page(figures).html()
    for text in (
        "Net in few bits",
        "2,596 weights",
        "99.00 %",
        "98.50 %",
        "0 of 1,000",
        "21.0 KiB",
        "Q0.3s (4 bits)",
        "Q0.3 and 1 more",
        "50 % of 2,304",
        "25 %",
        "12 %",
        "21.2 dB",
        "exact",
        "traffic, KiB",
    ):
        assert text in page, text
    body = page[page.index("<body>") : page.index("</body>") + 7]
    assert len(list(ElementTree.fromstring(body).iter("figure"))) == 10


def test_model_page_leaves_out_what_is_not_known(figures):
    bare = ModelFigures("Net", figures.stats, figures.precision)
    page = model_page(bare).html()
    assert "Zeros" in page  # as measured
    for heading in ("Accuracy", "Multiplications", "Noise", "Costs"):
        assert f">{heading}</h2>" not in page


@needs_chromium
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_the_figures(figures, tmp_path, width):
    """Every chart has a size, and nothing but tables is wider than the window."""
    count, bad, wide = probe(
        model_page(figures).html(),
        """
        const bad = all("figure svg[role]", s => s.getBoundingClientRect()).filter(
          box => box.width < 60 || box.height < 10);
        const wide = [...document.querySelectorAll("body *")].filter(
          e => !e.closest(".scroll, .graph") && !e.closest("svg")
            && e.getBoundingClientRect().right > innerWidth + 1);
        return [all("figure", e => 1).length, bad.length, wide.length];
        """,
        tmp_path,
        width,
    )
    assert (count, bad, wide) == (10, 0, 0)
