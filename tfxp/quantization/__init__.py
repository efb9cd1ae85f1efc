"""Quantized Keras models: plan, formats, wrappers, and precision held in variables."""

from tfxp.quantization.layer_roles import LayerRole, WeightSpec, register_layer
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.quantize_model import precision_of, quantize_model, set_precision
from tfxp.quantization.strip import strip
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput

__all__ = [
    "FormatWrapper",
    "LayerRole",
    "QuantizeInput",
    "TensorQuantizeConfig",
    "WeightSpec",
    "precision_of",
    "quantize_model",
    "register_layer",
    "set_precision",
    "strip",
]
