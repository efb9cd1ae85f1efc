"""Quantized models of Keras 3: trained with its optimizers, metrics and callbacks."""

from tfxp.keras3.native_model import native_model
from tfxp.keras3.quantized_layer import QuantizedLayer
from tfxp.keras3.return_weights import return_weights
from tfxp.keras3.tensor_quantizer import TensorQuantizer

__all__ = ["QuantizedLayer", "TensorQuantizer", "native_model", "return_weights"]
