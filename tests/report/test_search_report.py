"""The page of a search: what is drawn, where, and that it is escaped."""

import re
from importlib import resources

import pytest

from tfxp.report import (
    Choice,
    MarkRow,
    ResultTable,
    SearchFigures,
    Series,
    heat_map,
    mark_chart,
    scatter_chart,
    search_page,
)
from tfxp.report.search_charts import _range
from tfxp.report.search_figures import search_figures


def dots(chart, colour):
    """(x, y) in per cent of the dots of one colour."""
    found = re.findall(rf'class="dot {colour} [^"]*" x1="([\d.-]+)" x2="\1" y1="([\d.-]+)"', chart)
    return [(float(x), float(y)) for x, y in found]


def test_scatter_places_points():
    chart = scatter_chart(
        [Series("a", [(0.1, 1.0), (0.5, 3.0)]), Series("b", [(0.3, 2.0), (0.3, 0.5)], joined=True)],
        "cost", "score", (2.5, "float"), bottom=0.9,
    )  # fmt: skip
    # axes 0.1 … 0.5 and 1 … 3; up is small y; what lies below `bottom` is gone
    assert dots(chart, "one") == [(0, 100), (100, 0)]
    assert dots(chart, "two") == [(50, 50)]
    assert 'class="level" x1="0" x2="100" y1="25.00"' in chart and "dashed: float" in chart
    assert scatter_chart([Series("a", [])], "x", "y") == ""


@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [0.12, 0.49], [-3.0, 8.0], [5.0, 5.0], [0.0, 0.0], [0.871, 0.8716]]
)
def test_axes_hold_their_values_and_have_round_ticks(values):
    low, high, ticks = _range(values)
    assert low <= min(values) and high >= max(values) and low < high
    assert ticks[0] == low and ticks[-1] == high and 2 <= len(ticks) <= 12
    steps = {round(b - a, 9) for a, b in zip(ticks, ticks[1:], strict=False)}
    assert len(steps) == 1


def test_heat_grows_with_the_loss():
    chart = heat_map({"<conv>": {4: 0.0, 3: 0.02, 2: 0.5, 1: 0.9}, "fc": {3: -0.001}})
    heats = [int(h) for h in re.findall(r"--heat:(\d+)%", chart)]
    assert heats == [0, 20, 100, 100, 0]
    assert re.findall(r"<th>(\d)</th>", chart) == ["4", "3", "2", "1"]
    assert "&lt;conv&gt;" in chart and "<conv>" not in chart
    assert ">2.0<" in chart and ">50<" in chart and ">-0.1<" in chart


def test_marks_share_one_axis():
    chart = mark_chart([MarkRow("a", (10.0, None, 20.0)), MarkRow("b", (15.0, 12.0, 10.0))],
                       ["one", "two", "three"])  # fmt: skip
    assert [x for x, _ in dots(chart, "one")] == [0, 50]
    assert [x for x, _ in dots(chart, "two")] == [20]
    assert [x for x, _ in dots(chart, "three")] == [100, 0]


def figures(**more):
    return SearchFigures("<net>", "descent", 0.9, visited=[(0.2, 0.89), (0.1, 0.3)],
                         front=[(0.2, 0.89), (0.1, 0.3)], **more)  # fmt: skip


def test_page_says_what_was_chosen():
    choice = Choice("1 %", 0.89, 0.2, {"conv": (6, 5), "add": (None, 4)}, 0.88)
    page = search_page(figures(choices=[choice], report_baseline=0.895)).html()
    assert "&lt;net&gt;" in page and "<net>" not in page
    for text in ("89.00 %", "1.11 %", "88.00 %", "6/5", "–/4", "Not shown below 0.72: 1 map."):
        assert text in page, text
    assert "Sensitivity" not in page and "noise" not in page


def test_a_share_stands_with_its_unit():
    choice = Choice("trial 3", 0.89, 7.667, {})
    page = search_page(figures(choices=[choice], cost="traffic in batches, % of float")).html()
    assert "<b>7.67 %</b><span>traffic in batches, share of float</span>" in page


def test_maps_far_below_float_are_shown_where_there_are_no_others():
    poor = SearchFigures("net", "random", 1.0, visited=[(0.2, 0.5), (0.1, 0.3), (0.3, 0.1)])
    page = search_page(poor).html()
    assert page.count('class="dot one faint"') == 2 and "Not shown below 0.25: 1 map." in page


def test_a_method_without_evaluation_shows_its_bits_and_no_accuracy():
    table = ResultTable("Losses", "Of every tensor.", ["layer", "bits"], [["conv", 4]])
    page = search_page(
        SearchFigures("net", "a program", bits={"conv": (4, 6), "add": (None, 8)}, tables=[table],
                      costs={"traffic, KiB": (1.0, 8.0)})
    ).html()  # fmt: skip
    assert "in float<" not in page and "100.00 %" not in page
    for text in ("bits of weights", "bits of data", "8 bit", ">Losses<", "traffic, KiB", "12 %"):
        assert text in page, text


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_stands_out_from_what_is_behind_it(scheme):
    """The contrast of WCAG 2.1, section 1.4.3: 4.5 for text."""
    css = resources.files("tfxp.report").joinpath("page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): #(\w{6})\b", blocks[scheme]))

    def luminance(name):
        parts = [int(colours[name][i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text, behind in (("ink", "page"), ("ink", "panel"), ("ink", "hot"), ("soft", "page"),
                         ("soft", "panel"), ("one", "page")):  # fmt: skip
        dark, light = sorted([luminance(text), luminance(behind)])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, behind)


def test_figures_from_the_tools_json():
    entry = {"accuracy": 0.8, "traffic_ratio": 0.3, "bits": {"a": [4, 6]}, "report_accuracy": 0.7}
    data = {
        "method": "judd",
        "figures": {
            "baseline": 0.81, "front": ["k1"], "samples": 100, "arithmetic": "storage",
            "settings": {"batch_size": 64, "baseline_bits": 16},
            "visited": [
                {"configuration": "k1", "accuracy": 0.8, "traffic_ratio": 0.3, "complete": True},
                {"configuration": "k2", "accuracy": 0.7, "traffic_ratio": 0.2, "complete": False},
            ],
            "selected": {"0.01": None, "0.02": entry, "0.05": {**entry, "accuracy": 0.79}},
            "sizes": [], "best_saving": {"share": 0.25, "accuracy": 0.78},
        },
    }  # fmt: skip
    found = search_figures(data, "net", tolerance=0.05)
    assert found.visited == [(30, 0.8)] and found.front == [(30, 0.8)]
    assert [choice.label for choice in found.choices] == ["within 5 %", "within 2 %"]
    assert found.choices[1].bits == {"a": (4, 6)} and found.choices[1].report_score == 0.7
    assert found.cost == "batch traffic, % of 16 bits" and found.saving == (0.25, 0.78)
    assert "arithmetic is float" in " ".join(found.notes)
