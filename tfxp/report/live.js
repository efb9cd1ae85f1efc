/* Makes a page live: the graph of its layers, one selection everywhere, sorting, filters, hover.
 * Works on the JSON of <script id="data"> and on elements with data-layer="name". The state is
 * in the address: #layer=name&filter=words. Uses d3-selection (global d3) and dagre (global). */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const layers = new Map(data.layers.map(layer => [layer.name, layer]));
  const marked = () => d3.selectAll("main [data-layer]");
  const name = element => element.getAttribute("data-layer");
  const known = layers.size ? new Set(layers.keys())
    : new Set(marked().nodes().filter(e => e.tagName === "TR").map(name));
  const state = {layer: "", filter: ""};

  // Figures as text ---------------------------------------------------------------------------
  function number(value) {
    if (value === "exact") return Infinity;
    if (value === "inexact") return -Infinity;
    return typeof value === "number" ? value : NaN;
  }
  function text(value, unit) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "string") return value;
    if (unit === "share") return percent(value);
    if (unit === "dB") return value.toFixed(1) + " dB";
    if (unit === "count") return Math.round(value).toLocaleString("en");
    return unit === "bit" ? value + " bit" : String(Number(value.toPrecision(4)));
  }
  function percent(share) {
    const value = 100 * share;
    return (Math.abs(value) >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(2)) + " %";
  }
  function facts(layer) {
    const rows = [["kind", layer.kind.replaceAll("_", " ")]];
    if (layer.output_shape.length) rows.push(["output", layer.output_shape.join(" x ")]);
    for (const key of ["weight_format", "activation_format"])
      if (layer[key]) rows.push(["format of " + key.replace("_format", "s"), layer[key]]);
    for (const f of data.pairs || []) {
      const [a, b, d] = ["a.", "b.", "d."].map(part => layer[part + f.short]);
      const change = typeof d === "number" && d ? ` (${d > 0 ? "+" : ""}${text(d, f.unit)})` : "";
      rows.push([f.label, `${text(a, f.unit)} → ${text(b, f.unit)}${change}`]);
    }
    for (const f of data.pairs ? [] : data.figures)
      if (layer[f.key] !== null && layer[f.key] !== undefined)
        rows.push([f.label, text(layer[f.key], f.unit)]);
    if (layer.inputs.length) rows.push(["reads", layer.inputs.join(", ")]);
    if (layer.folded.length) rows.push(["folded into it", layer.folded.join(", ")]);
    return rows;
  }

  // Filters: words that a name, kind or format contains, and comparisons such as sqnr<20 --------
  const short = new Map(data.figures.map(f => [f.short, f]));
  function passes(layerName) {
    const layer = layers.get(layerName);
    const words = layer
      ? [layerName, layer.kind, layer.weight_format, layer.activation_format].join(" ")
      : layerName;
    return state.filter.toLowerCase().split(/\s+/).filter(Boolean).every(token => {
      const part = token.match(/^([a-z.]+)(<=|>=|=|<|>)(-?[\d.]+(?:e[+-]?\d+)?)(%?)$/);
      if (!part || !short.has(part[1])) return words.toLowerCase().includes(token);
      if (!layer) return false;
      const figure = short.get(part[1]);
      const value = number(layer[figure.key]);
      const bound = Number(part[3]) / (part[4] ? 100 : 1);
      return {"<": value < bound, ">": value > bound, "<=": value <= bound,
        ">=": value >= bound, "=": value === bound}[part[2]];
    });
  }
  function count(shown) {
    const parts = [`${shown.length} of ${known.size} layers`];
    for (const key of ["weights", "macs"]) {
      const sum = shown.reduce((all, one) => all + (number((layers.get(one) || {})[key]) || 0), 0);
      if (sum) parts.push(`${sum.toLocaleString("en")} ${key === "macs" ? "MACs" : key}`);
    }
    return parts.join(" · ");
  }

  // State --------------------------------------------------------------------------------------
  function remember() {
    const parts = [];
    if (state.layer) parts.push("layer=" + encodeURIComponent(state.layer));
    if (state.filter) parts.push("filter=" + encodeURIComponent(state.filter));
    history.replaceState(null, "", parts.length ? "#" + parts.join("&") : location.pathname);
  }
  function recall() {
    const found = new URLSearchParams(location.hash.slice(1));
    if (!found.has("layer") && !found.has("filter")) return;
    state.filter = found.get("filter") || "";
    toolbar.select("input").property("value", state.filter);
    filter();
    select(found.get("layer") || "", true);
  }
  function filter() {
    const shown = [...known].filter(passes);
    const visible = new Set(shown);
    marked().classed("out", function () {
      return known.has(name(this)) && !visible.has(name(this));
    });
    d3.selectAll(".node").classed("out", layer => !visible.has(layer.name));
    toolbar.select("output").text(count(shown));
  }
  function select(chosen, scroll) {
    state.layer = known.has(chosen) ? chosen : "";
    marked().classed("selected", function () { return name(this) === state.layer; });
    d3.selectAll(".node").classed("selected", layer => layer.name === state.layer)
      .attr("aria-pressed", layer => String(layer.name === state.layer));
    showCard();
    const node = d3.selectAll(".node.selected").node();
    if (scroll && node) center(node);
  }
  function center(node) {
    const box = document.querySelector(".graph");
    const place = node.getBoundingClientRect(), frame = box.getBoundingClientRect();
    box.scrollTop += place.top - frame.top - (frame.height - place.height) / 2;
    box.scrollLeft += place.left - frame.left - (frame.width - place.width) / 2;
  }

  // The card of the selected layer ---------------------------------------------------------------
  function showCard() {
    const layer = layers.get(state.layer);
    card.style("display", layer ? null : "none").html("");
    if (!layer) return;
    const head = card.append("div").attr("class", "card-head");
    head.append("b").text(layer.name);
    head.append("button").attr("type", "button").attr("aria-label", "close").text("×")
      .on("click", () => { select("", false); remember(); });
    const list = card.append("dl").attr("class", "facts");
    for (const [key, value] of facts(layer)) {
      list.append("dt").text(key);
      list.append("dd").text(value);
    }
    d3.selectAll("main .histograms [data-layer]").filter(function () {
      return name(this) === layer.name;
    }).each(function () { card.append(() => this.cloneNode(true)).attr("class", "histogram"); });
  }

  // Graph ----------------------------------------------------------------------------------------
  const WIDTH = 244, HEIGHT = 58;
  function drawGraph(side) {
    const head = side.append("div").attr("class", "graph-head");
    const choice = head.append("label").text("colour: ").append("select");
    choice.selectAll("option").data(data.figures.filter(f => f.unit !== "real")).join("option")
      .attr("value", f => f.key).text(f => f.label);
    const key = head.append("span").attr("class", "key");
    const fit = head.append("button").attr("type", "button").text("whole graph");
    const box = side.append("div").attr("class", "graph");
    const graph = new dagre.graphlib.Graph();
    graph.setGraph({rankdir: "TB", nodesep: 14, ranksep: 22, marginx: 6, marginy: 6});
    graph.setDefaultEdgeLabel(() => ({}));
    for (const layer of data.layers) graph.setNode(layer.name, {width: WIDTH, height: HEIGHT});
    for (const layer of data.layers)
      for (const input of layer.inputs) if (layers.has(input)) graph.setEdge(input, layer.name);
    dagre.layout(graph);
    const size = graph.graph();
    // Shrunk to the pane's width (less a scroll bar), but only as far as the text stays legible.
    const room = (box.node().clientWidth || size.width) - 16;
    const shown = Math.max(Math.min(1, room / size.width), 0.65);
    const svg = box.append("svg").attr("viewBox", `0 0 ${size.width} ${size.height}`)
      .attr("width", shown * size.width).attr("height", shown * size.height);
    svg.selectAll(".edge").data(graph.edges()).join("path").attr("class", "edge")
      .attr("d", e => "M" + graph.edge(e).points.map(p => `${p.x} ${p.y}`).join("L"));
    const nodes = svg.selectAll(".node").data(data.layers).join("g").attr("class", "node")
      .attr("data-node", l => l.name).attr("tabindex", 0).attr("role", "button")
      .attr("transform", l => {
        const at = graph.node(l.name);
        return `translate(${at.x - WIDTH / 2} ${at.y - HEIGHT / 2})`;
      });
    nodes.append("rect").attr("class", "box").attr("width", WIDTH).attr("height", HEIGHT)
      .attr("rx", 5);
    nodes.append("rect").attr("class", "tint").attr("width", WIDTH).attr("height", HEIGHT)
      .attr("rx", 5);
    nodes.append("text").attr("class", "title").attr("x", 8).attr("y", 17)
      .text(l => l.name.length > 32 ? "…" + l.name.slice(-31) : l.name);
    for (const i of [0, 1])
      nodes.append("text").attr("x", 8).attr("y", 34 + 16 * i).text(l => l.lines[i]);
    // Long figures are squeezed into their box rather than cut or run over its edge.
    nodes.selectAll("text").each(function () {
      if (this.getComputedTextLength() > WIDTH - 16)
        d3.select(this).attr("textLength", WIDTH - 16).attr("lengthAdjust", "spacingAndGlyphs");
    });
    nodes.on("click keydown", (event, l) => {
      if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      select(state.layer === l.name ? "" : l.name, false);
      remember();
    });
    // What is the same everywhere tells nothing.
    const varied = f => new Set(data.layers.map(l => l[f.key])
      .filter(v => v !== null && v !== undefined)).size > 1;
    const telling = data.figures.find(f => f.key === data.colour) || data.figures.find(f => f.unit !== "real" && varied(f));
    if (telling) choice.property("value", telling.key);
    choice.on("change", () => tint(nodes, choice.property("value"), key));
    tint(nodes, choice.property("value"), key);
    fit.on("click", () => {
      const whole = box.classed("whole");
      box.classed("whole", !whole);
      fit.text(whole ? "whole graph" : "full size");
      const node = d3.selectAll(".node.selected").node();
      if (whole && node) center(node);
    });
  }
  function tint(nodes, key, legend) {
    const figure = data.figures.find(f => f.key === key);
    if (!figure) return;
    const values = data.layers.map(l => number(l[key])).filter(Number.isFinite);
    const least = Math.min(...values), most = Math.max(...values);
    const scale = figure.unit === "count" ? v => Math.log1p(v) : v => v;
    nodes.select(".tint").attr("fill-opacity", l => {
      const value = Math.min(number(l[key]), most);
      if (Number.isNaN(value)) return 0;
      const span = scale(most) - scale(least);
      return 0.08 + 0.5 * (span ? (scale(value) - scale(least)) / span : 1);
    });
    legend.text(values.length ? `pale ${text(least, figure.unit)}, dark ${text(most, figure.unit)}`
      : "");
  }

  // Tables -----------------------------------------------------------------------------------------
  function sortable(table) {
    const body = table.querySelector("tbody");
    const heads = d3.select(table).selectAll("thead th");
    const first = [...body.rows];
    heads.filter(function () { return this.textContent; }).attr("tabindex", 0)
      .attr("aria-sort", "none").on("click keydown", function (event) {
        if (event.type === "keydown" && event.key !== "Enter") return;
        const column = [...this.parentNode.children].indexOf(this);
        const was = this.getAttribute("aria-sort");
        const next = {none: "descending", descending: "ascending", ascending: "none"}[was];
        heads.attr("aria-sort", "none");
        this.setAttribute("aria-sort", next);
        const rows = next === "none" ? first : sorted([...body.rows], column, next);
        body.append(...rows);
      });
  }
  function sorted(rows, column, direction) {
    const cell = row => row.cells[column].textContent.trim();
    const value = row => {
      if (cell(row) === "exact") return Infinity;
      return parseFloat(cell(row).replaceAll(",", "").replace("−", "-"));
    };
    const empty = row => cell(row) === "" || cell(row) === "–";
    const numeric = rows.every(row => empty(row) || !Number.isNaN(value(row)));
    const sign = direction === "ascending" ? 1 : -1;
    return rows.map((row, i) => [row, i]).sort(([a, i], [b, j]) => {
      if (empty(a) !== empty(b)) return empty(a) ? 1 : -1; // what is not known stays below
      const order = numeric ? value(a) - value(b) || 0
        : cell(a).localeCompare(cell(b), "en", {numeric: true});
      return sign * order || i - j;
    }).map(([row]) => row);
  }

  // Hover ------------------------------------------------------------------------------------------
  const tip = d3.select(document.body).append("div").attr("class", "tip").attr("role", "tooltip");
  function hover(event) {
    const target = event.target.closest("[data-tip], [data-layer], .node");
    const own = target && (name(target) || target.getAttribute("data-node"));
    const layer = layers.get(own);
    const words = target && target.getAttribute("data-tip");
    if (!target || event.target.closest("aside .card") || (!layer && !words)) {
      tip.style("display", "none");
      return;
    }
    tip.html("").style("display", "block");
    tip.append("b").text(words || layer.name);
    if (layer && !words)
      for (const [key, value] of facts(layer)) tip.append("div").text(`${key}: ${value}`);
    const box = tip.node().getBoundingClientRect();
    const x = event.clientX + 14 + box.width > innerWidth ? event.clientX - box.width - 14
      : event.clientX + 14;
    tip.style("left", Math.max(x, 4) + "px")
      .style("top", Math.max(Math.min(event.clientY + 14, innerHeight - box.height - 4), 4) + "px");
  }

  // Putting it together ------------------------------------------------------------------------------
  const toolbar = d3.select("header").append("div").attr("class", "toolbar");
  const card = d3.create("section").attr("class", "card").attr("aria-live", "polite");
  toolbar.append("input").attr("type", "search").attr("aria-label", "filter layers")
    .attr("placeholder", data.pairs ? "filter: conv  d.sqnr<-3  b.w<=4"
      : data.figures.length ? "filter: conv  sqnr<20  w<=4  zeros>50%" : "filter")
    .on("input", function () { state.filter = this.value; filter(); remember(); });
  toolbar.append("output");
  if (!known.size) toolbar.remove();
  if (layers.size) {
    d3.select(document.body).classed("live", true);
    const side = d3.select(document.body).insert("aside", "main").attr("aria-label", "Graph");
    drawGraph(side);
    side.append(() => card.node());
  }
  marked().filter(function () { return known.has(name(this)); }).classed("layer", true)
    .on("click", function () {
      if (String(getSelection())) return; // somebody marks text
      select(state.layer === name(this) ? "" : name(this), true);
      remember();
    });
  d3.selectAll("svg[role] > title").each(function () {
    // The browser's own hint would lie over ours.
    if (layers.size && this.parentNode.closest("[data-layer]")) this.remove();
  });
  document.querySelectorAll("main table:not(.heat)").forEach(sortable);
  document.addEventListener("pointermove", hover);
  document.addEventListener("pointerleave", () => tip.style("display", "none"));
  addEventListener("hashchange", recall);
  filter();
  showCard();
  recall();
});
