"""Data sets: `.npz` files, scikit-learn's digits, and what is counted on them."""

from tfxp.data.dataset import Dataset
from tfxp.data.digits import load_digits
from tfxp.data.metrics import METRICS, Metric, evaluate_metric
from tfxp.data.model_data import ModelData, input_shapes, load_model_data
from tfxp.data.npz import load_npz

__all__ = [
    "METRICS",
    "Dataset",
    "Metric",
    "ModelData",
    "evaluate_metric",
    "input_shapes",
    "load_digits",
    "load_model_data",
    "load_npz",
]
