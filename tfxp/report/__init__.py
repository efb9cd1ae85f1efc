"""Figures as one self-contained HTML page: live, without network; light, dark, phone and print."""

from tfxp.report.charts import (
    Bar,
    Histogram,
    Pair,
    RangeRow,
    bar_chart,
    histogram_chart,
    pair_chart,
    range_chart,
)
from tfxp.report.compare_report import compare_page
from tfxp.report.costs import model_costs
from tfxp.report.layer_figures import LayerFigures, layer_figures
from tfxp.report.live_data import compared_data, live_data
from tfxp.report.model_report import ModelFigures, model_page
from tfxp.report.node_data import node_data, write_node_data
from tfxp.report.page import Page, html_table
from tfxp.report.provenance import provenance
from tfxp.report.run_figures import RunFigures, read_run
from tfxp.report.search_charts import MarkRow, Series, heat_map, mark_chart, scatter_chart
from tfxp.report.search_report import Choice, ResultTable, SearchFigures, search_page
from tfxp.report.tensorboard_graph import write_tensorboard_graph
from tfxp.report.tool_figures import tool_figures

__all__ = [
    "Bar",
    "Choice",
    "Histogram",
    "LayerFigures",
    "MarkRow",
    "ModelFigures",
    "Page",
    "Pair",
    "RangeRow",
    "ResultTable",
    "RunFigures",
    "SearchFigures",
    "Series",
    "bar_chart",
    "compare_page",
    "compared_data",
    "heat_map",
    "histogram_chart",
    "html_table",
    "layer_figures",
    "live_data",
    "mark_chart",
    "model_costs",
    "model_page",
    "node_data",
    "pair_chart",
    "provenance",
    "range_chart",
    "read_run",
    "scatter_chart",
    "search_page",
    "tool_figures",
    "write_node_data",
    "write_tensorboard_graph",
]
