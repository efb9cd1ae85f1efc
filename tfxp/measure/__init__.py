"""Ranges, zeros and sizes of a network: what is known before precision is chosen."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.measure.any_layer import uncounted_layers
from tfxp.measure.evaluate import evaluate_model
from tfxp.measure.jacobian import jacobian_singular_values
from tfxp.measure.measure_model import measure_model
from tfxp.measure.noise_gains import noise_gains
from tfxp.measure.scorer import Scorer, make_scorer
from tfxp.measure.sqnr import LayerSqnr, measure_sqnr, weights_sqnr
from tfxp.measure.training_taps import TrainingTaps, training_taps
from tfxp.measure.word_lengths import word_length_losses
from tfxp.measure.workload import count_model
from tfxp.quantization.read_network import is_quantized

__all__ = [
    "LayerSqnr",
    "TrainingTaps",
    "Scorer",
    "count_model",
    "evaluate_model",
    "is_quantized",
    "jacobian_singular_values",
    "measure_model",
    "make_scorer",
    "measure_sqnr",
    "noise_gains",
    "training_taps",
    "uncounted_layers",
    "weights_sqnr",
    "word_length_losses",
]
