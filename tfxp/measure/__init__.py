"""Ranges, zeros and sizes of a network: what is known before precision is chosen."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.measure.measure_model import batches, measure_model
from tfxp.measure.sqnr import LayerSqnr, measure_sqnr, weights_sqnr
from tfxp.measure.workload import count_model

__all__ = ["LayerSqnr", "batches", "count_model", "measure_model", "measure_sqnr", "weights_sqnr"]
