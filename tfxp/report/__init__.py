"""Figures as one self-contained HTML page: no network, no script, light, dark, phone and print."""

from tfxp.report.charts import (
    Bar,
    Histogram,
    RangeRow,
    bar_chart,
    histogram_chart,
    range_chart,
)
from tfxp.report.model_report import ModelFigures, model_page
from tfxp.report.page import Page, html_table

__all__ = [
    "Bar",
    "Histogram",
    "ModelFigures",
    "Page",
    "RangeRow",
    "bar_chart",
    "histogram_chart",
    "html_table",
    "model_page",
    "range_chart",
]
