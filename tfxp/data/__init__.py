"""Data sets: `.npz` files, scikit-learn's digits, and what is counted on them."""

from tfxp.data.data_kind import DataKind, data_kind
from tfxp.data.dataset import Dataset
from tfxp.data.digits import load_digits
from tfxp.data.input_scaling import InputScaling, scalings_of
from tfxp.data.metrics import AUTO, METRICS, Metric, choose_metric, evaluate_metric
from tfxp.data.model_data import ModelData, input_shapes, load_model_data, scaled_inputs
from tfxp.data.npz import load_npz
from tfxp.data.preprocessing import Preprocessing
from tfxp.data.source import Batch, Source

__all__ = [
    "AUTO",
    "METRICS",
    "Batch",
    "DataKind",
    "Dataset",
    "InputScaling",
    "Metric",
    "ModelData",
    "Preprocessing",
    "Source",
    "choose_metric",
    "data_kind",
    "evaluate_metric",
    "input_shapes",
    "load_digits",
    "load_model_data",
    "load_npz",
    "scaled_inputs",
    "scalings_of",
]
