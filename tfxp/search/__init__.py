"""Searching per-layer precision by measured accuracy."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.search.fast_evaluator import FastEvaluator, Score

__all__ = ["FastEvaluator", "Score"]
