"""Data sets: `.npz` files, scikit-learn's digits, and what is counted on them."""

from tfxp.data.dataset import Dataset
from tfxp.data.digits import load_digits
from tfxp.data.metrics import METRICS, Metric, evaluate_metric
from tfxp.data.npz import load_npz

__all__ = ["METRICS", "Dataset", "Metric", "evaluate_metric", "load_digits", "load_npz"]
