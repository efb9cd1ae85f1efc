"""Which tensor gets which format, as data."""

from tfxp.precision.layer_kind import LayerKind
from tfxp.precision.layer_precision import (
    ARITHMETICS,
    ENGINE,
    FLOAT,
    PLACEMENTS,
    PORTABLE,
    LayerPrecision,
    TensorPrecision,
)
from tfxp.precision.model_stats import LayerStats, ModelStats
from tfxp.precision.precision_map import PrecisionMap
from tfxp.precision.selectors import SELECTORS

__all__ = [
    "ARITHMETICS",
    "ENGINE",
    "FLOAT",
    "PLACEMENTS",
    "PORTABLE",
    "SELECTORS",
    "LayerKind",
    "LayerPrecision",
    "LayerStats",
    "ModelStats",
    "PrecisionMap",
    "TensorPrecision",
]
