"""Searching per-layer precision by measured accuracy."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.search.fast_evaluator import FastEvaluator, Score
from tfxp.search.fingerprint import scores_fingerprint
from tfxp.search.hparams_log import HparamsLog
from tfxp.search.precision_search import PrecisionSearch, SearchResult
from tfxp.search.search_goal import SearchGoal
from tfxp.search.search_settings import METHODS, SearchSettings
from tfxp.search.sqnr_table import sqnr_table
from tfxp.search.stream_evaluator import StreamEvaluator, make_evaluator
from tfxp.search.trial_record import SearchTrial, TrialRecord

__all__ = [
    "METHODS",
    "FastEvaluator",
    "HparamsLog",
    "PrecisionSearch",
    "Score",
    "SearchGoal",
    "SearchResult",
    "SearchSettings",
    "SearchTrial",
    "StreamEvaluator",
    "TrialRecord",
    "make_evaluator",
    "scores_fingerprint",
    "sqnr_table",
]
