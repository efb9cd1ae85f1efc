"""Data sets: `.npz` files, scikit-learn's digits, and what is counted on them."""

from tfxp.data.dataset import Dataset
from tfxp.data.digits import load_digits
from tfxp.data.input_scaling import InputScaling, scalings_of
from tfxp.data.metrics import AUTO, METRICS, Metric, choose_metric, evaluate_metric
from tfxp.data.model_data import ModelData, input_shapes, load_model_data, scaled_inputs
from tfxp.data.npz import load_npz

__all__ = [
    "AUTO",
    "METRICS",
    "Dataset",
    "InputScaling",
    "Metric",
    "ModelData",
    "choose_metric",
    "evaluate_metric",
    "input_shapes",
    "load_digits",
    "load_model_data",
    "load_npz",
    "scaled_inputs",
    "scalings_of",
]
