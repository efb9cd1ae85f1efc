"""Figures as one self-contained HTML page: no network, no script, light, dark, phone and print."""

from tfxp.report.charts import (
    Bar,
    Histogram,
    RangeRow,
    bar_chart,
    histogram_chart,
    range_chart,
)
from tfxp.report.model_report import ModelFigures, model_costs, model_page
from tfxp.report.page import Page, html_table
from tfxp.report.search_charts import MarkRow, Series, heat_map, mark_chart, scatter_chart
from tfxp.report.search_report import Choice, SearchFigures, search_page

__all__ = [
    "Bar",
    "Choice",
    "Histogram",
    "MarkRow",
    "ModelFigures",
    "Page",
    "RangeRow",
    "SearchFigures",
    "Series",
    "bar_chart",
    "heat_map",
    "histogram_chart",
    "html_table",
    "mark_chart",
    "model_costs",
    "model_page",
    "range_chart",
    "scatter_chart",
    "search_page",
]
