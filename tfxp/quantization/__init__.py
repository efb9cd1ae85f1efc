"""Quantized Keras models: plan, formats, wrappers, and precision held in variables."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.quantization.annotated.scheme import FormatScheme, rebuild
from tfxp.quantization.backward_settings import BackwardSettings
from tfxp.quantization.layer_role import LayerRole, WeightSpec
from tfxp.quantization.layer_roles import register_layer
from tfxp.quantization.load_model import load_model
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.quantize_model import precision_of, quantize_model
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import is_quantized, read_network
from tfxp.quantization.set_precision import PrecisionSetter, set_precision
from tfxp.quantization.strip import strip
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.quantization.wrpn_scheme import WrpnScheme, wrpn_precision

__all__ = [
    "BackwardSettings",
    "FormatScheme",
    "FormatWrapper",
    "LayerRole",
    "PrecisionSetter",
    "QuantizeInput",
    "QuantizedNetwork",
    "TensorQuantizeConfig",
    "WeightSpec",
    "WrpnScheme",
    "is_quantized",
    "load_model",
    "precision_of",
    "quantize_model",
    "read_network",
    "rebuild",
    "register_layer",
    "set_precision",
    "strip",
    "wrpn_precision",
]
