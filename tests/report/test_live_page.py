"""Live pages in a browser: the graph, one selection everywhere, sorting, filters, two runs."""

import dataclasses
import math

import pytest

from tests.report.browser import needs_chromium, probe
from tfxp.report import (
    LayerFigures,
    Page,
    RunFigures,
    bar_chart,
    compare_page,
    compared_data,
    html_table,
    live_data,
)
from tfxp.report.charts import Bar
from tfxp.report.live_data import decibels


def layer(name, kind, inputs, sqnr, macs=0, bits=4, **more):
    return LayerFigures(
        name, kind, inputs, (), (8, 8, 4), 36 if macs else 0, macs, "Q0.3 (4 bits)",
        "UQ1.3 (4 bits)", bits, bits, -1.5, 2.5, 0.25, 0.5, sqnr_db=sqnr, **more,
    )  # fmt: skip


@pytest.fixture
def layers():
    """A residual block: image -> a -> b, and add(a, b)."""
    return [
        layer("image", "input", (), math.inf),
        layer("a", "conv", ("image",), 9.5, 1000),
        layer("b", "conv", ("a",), 21.25, 20000, 8),
        layer("add", "add", ("a", "b"), 14.0),
    ]


def live_page(layers):
    page = Page("net")
    rows = [[x.name, x.macs, decibels(x.sqnr_db)] for x in layers]
    table = html_table(["layer", "MACs", "SQNR"], rows, ["total", 21000, ""], [r[0] for r in rows])
    bars = bar_chart([Bar(x.name, (float(x.macs),), str(x.macs)) for x in layers])
    page.section("Layers", "", table, bars)
    page.live(live_data(layers))
    return page.html()


@needs_chromium
def test_a_click_on_a_node_selects_its_layer_everywhere(layers, tmp_path):
    found = probe(
        live_page(layers),
        """
        click(document.querySelector('.node[data-node="b"] rect'));
        const first = {
          marked: all("main .selected", e => e.getAttribute("data-layer")),
          card: all(".card dd", e => e.textContent), hash: location.hash,
          node: all(".node.selected", e => e.getAttribute("data-node"))};
        click(document.querySelector('tr[data-layer="a"]'));
        return [first, all(".node.selected", e => e.getAttribute("data-node")),
                all(".card b", e => e.textContent)];
        """,
        tmp_path,
    )
    first, nodes, title = found
    assert first["marked"] == ["b", "b"] and first["node"] == ["b"]
    for text in ("conv", "8 x 8 x 4", "8 bit", "21.3 dB", "50 %", "20,000", "a"):
        assert text in first["card"], text
    assert first["hash"] == "#layer=b"
    assert nodes == ["a"] and title == ["a"]


@needs_chromium
def test_headings_sort_and_filters_count(layers, tmp_path):
    found = probe(
        live_page(layers),
        """
        const names = () => all("tbody tr:not(.out) td:first-child", e => e.textContent);
        const type = words => {
          const field = document.querySelector(".toolbar input");
          field.value = words; field.dispatchEvent(new Event("input"));
          return [names(), document.querySelector(".toolbar output").textContent];
        };
        const head = document.querySelectorAll("thead th")[2];
        const order = [1, 2, 3].map(() => { click(head); return names(); });
        return {order, foot: all("tfoot td", e => e.textContent)[0], word: type("conv"),
          less: type("sqnr<15"), share: type("zeros>=25% w=4 macs>10"), none: type("nothing"),
          faint: all(".node.out", e => 1).length, bars: all(".row.out", e => 1).length,
          again: type("")};
        """,
        tmp_path,
    )
    assert found["order"] == [
        ["image", "b", "add", "a"],
        ["a", "add", "b", "image"],
        ["image", "a", "b", "add"],
    ]
    assert found["foot"] == "total"
    assert found["word"] == [["a", "b"], "2 of 4 layers · 72 weights · 21,000 MACs"]
    assert found["less"] == [["a", "add"], "2 of 4 layers · 36 weights · 1,000 MACs"]
    assert found["share"] == [["a"], "1 of 4 layers · 36 weights · 1,000 MACs"]
    assert found["none"] == [[], "0 of 4 layers"] and found["faint"] == found["bars"] == 4
    assert found["again"][1].startswith("4 of 4 layers")


@needs_chromium
def test_the_graph_has_the_networks_edges_below_each_other(layers, tmp_path):
    script = """
    const place = Object.fromEntries(all(".node", e => [e.getAttribute("data-node"),
      e.getBoundingClientRect().top]));
    return [place, all(".edge", e => 1).length, all(".node text", e => e.textContent),
            all(".node.selected", e => e.getAttribute("data-node")),
            all(".toolbar output", e => e.textContent)];
    """
    place, edges, texts, selected, count = probe(
        live_page(layers), script, tmp_path, address="#layer=add&filter=conv"
    )
    assert place["image"] < place["a"] < place["b"] < place["add"] and edges == 4
    assert "conv · w8 a8 · 21.2 dB" in texts and "-1.5 … 2.5 · 50 % zeros · 20 k MACs" in texts
    assert selected == ["add"] and count == ["2 of 4 layers · 72 weights · 21,000 MACs"]


@needs_chromium
@pytest.mark.parametrize("width", [400, 1300])
def test_no_text_is_cut(layers, tmp_path, width):
    """Sentences at the beginning of rows, layers with long names, and headings with arrows."""
    name = "block_16_depthwise_relu_of_a_very_long_network"
    page = compare_page(
        RunFigures(
            "first", (*layers, layer(name, "conv", ("add",), 3.0)),
            {"multiplications with no zero in them": "40 %"}, {"integers in LiteRT": 0.9},
            {"RAM for activations at their peak, KiB": (1.0, 2.0)},
        ),
        RunFigures("Handwritten digits", tuple(layers), {}, {"integers in LiteRT": 0.8}),
    ).html()  # fmt: skip
    found = probe(
        page,
        """
        const cut = all("th, td, .row .label, .row .value, .facts dd", e => e).filter(
          e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0);
        const narrow = all(".words tbody td:first-child", e => e.clientWidth).filter(w => w < 140);
        return [cut.map(e => e.textContent), narrow.length, all(".words", e => 1).length];
        """,
        tmp_path,
        width,
    )
    assert found == [[], 0, 2]


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [500, 1300])
def test_150_layers_stay_legible(tmp_path, width):
    """Text stays inside its node, nodes do not overlap, nothing is wider than the window."""
    layers = [layer("image", "input", (), math.inf)]
    for i in range(150):
        inputs = [layers[-1].name] + ([layers[-4].name] if i % 3 == 2 and i > 5 else [])
        name = f"block_{i}_depthwise_project"
        new = layer(name, "depthwise_conv", tuple(inputs), 20.0, 55_021_952)
        layers.append(dataclasses.replace(new, low=-0.00069, high=0.00056, quantized_zeros=0.026))
    nodes, overlap, wide, out, scroll = probe(
        live_page(layers),
        """
        const boxes = all(".node .box", e => e.getBoundingClientRect());
        const overlap = boxes.filter((a, i) => boxes.some((b, j) => i < j && a.left < b.right
          && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
        const wide = all(".node", e => { const b = e.querySelector(".box").getBoundingClientRect();
          return [...e.querySelectorAll("text")].some(t =>
            t.getBoundingClientRect().right > b.right); }).filter(Boolean).length;
        const out = all("body *", e => !e.closest(".scroll, .graph") && e.id !== "probe"
          && e.getBoundingClientRect().right > innerWidth + 1).filter(Boolean).length;
        const graph = document.querySelector(".graph");
        return [boxes.length, overlap, wide, out, graph.scrollHeight > graph.clientHeight];
        """,
        tmp_path,
        width,
    )
    assert (nodes, overlap, wide, out, scroll) == (151, 0, 0, 0, True)


@needs_chromium
def test_two_runs_show_their_differences(layers, tmp_path):
    other = [layer(x.name, x.kind, x.inputs, 6.0, x.macs) for x in layers[:3]]
    page = compare_page(
        RunFigures("first", tuple(layers), {}, {"test": 0.9}, {"flash, KiB": (8.0, 32.0)}),
        RunFigures("second", tuple(other), {}, {"test": 0.875}, {"flash, KiB": (4.0, 32.0)}),
    ).html()
    found = probe(
        page,
        """
        const field = document.querySelector(".toolbar input");
        field.value = "d.sqnr<-10"; field.dispatchEvent(new Event("input"));
        click(document.querySelector('.node[data-node="b"] rect'));
        return [all("tr.layer:not(.out)", e => e.getAttribute("data-layer")),
                all(".card dd", e => e.textContent), all(".node text", e => e.textContent)];
        """,
        tmp_path,
    )
    assert found[0] == ["image", "b"]
    assert "21.3 dB → 6.0 dB (-15.3 dB)" in found[1] and "8 bit → 4 bit (-4 bit)" in found[1]
    assert "21.2 dB → 6.0 dB (-15.2)" in found[2] and "in the first only" in found[2]
    for text in ("-2.50 points", "50 %", "exact no more"):
        assert text in page, text


def test_data_of_two_runs_has_changes(layers):
    data = compared_data(layers, [layer("a", "conv", (), 3.5)], ("x", "y"))
    row = next(x for x in data["layers"] if x["name"] == "a")
    assert row["a.sqnr"] == 9.5 and row["b.sqnr"] == 3.5 and row["d.sqnr"] == -6.0
    assert next(x for x in data["layers"] if x["name"] == "image")["d.sqnr"] is None


def test_scripts_cannot_be_ended_by_names():
    name = "</script><b>&"
    page = live_page([layer(name, "conv", (), 1.0)])
    assert page.count("</script>") == 4 and "<b>&" not in page
