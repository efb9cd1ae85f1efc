"""Runs integer `.tflite` models without TensorFlow, skipping and counting zeros."""

from tfxp.interpreter.counters import Counters
from tfxp.interpreter.interpreter import Interpreter
from tfxp.interpreter.report import LayerRow, Report

__all__ = ["Counters", "Interpreter", "LayerRow", "Report"]
