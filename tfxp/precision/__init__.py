"""Which tensor gets which format, as data."""

from tfxp.precision.layer_kind import LayerKind
from tfxp.precision.layer_precision import FLOAT, PLACEMENTS, LayerPrecision, TensorPrecision
from tfxp.precision.model_stats import LayerStats, ModelStats
from tfxp.precision.precision_map import PrecisionMap
from tfxp.precision.selectors import SELECTORS

__all__ = [
    "PLACEMENTS",
    "FLOAT",
    "SELECTORS",
    "LayerKind",
    "LayerPrecision",
    "LayerStats",
    "ModelStats",
    "PrecisionMap",
    "TensorPrecision",
]
