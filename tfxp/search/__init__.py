"""Searching per-layer precision by measured accuracy."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.search.fast_evaluator import FastEvaluator, Score
from tfxp.search.fingerprint import scores_fingerprint
from tfxp.search.sqnr_table import sqnr_table

__all__ = ["FastEvaluator", "Score", "scores_fingerprint", "sqnr_table"]
