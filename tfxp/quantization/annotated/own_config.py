"""A QuantizeConfig of a user's own, read as one of tfxp's where its quantizers are tfxp's."""

from __future__ import annotations

from tfxp.keras_types import KerasLayer
from tfxp.quantization.layer_table import LAYERS
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantizers import BiasQuantizer, FormatQuantizer
from tfxp.tfmot import QuantizeConfig
from tfxp.transforms.layer_graph import make_spec, weight_names

# Activation functions that close the layer; others are operators with a format of their own.
_CLOSING = ("linear", "relu", "relu6")


def own_config(layer: KerasLayer, config: QuantizeConfig) -> TensorQuantizeConfig | None:
    """What a config asks for, as attribute paths and one output quantizer.

    Args:
        layer: the layer, built.
        config: a QuantizeConfig for it.

    Returns:
        A config for tfxp's wrapper; None if that cannot do what `config` asks for, because
        quantizers are not tfxp's or stand where the integer operator has none.
    """
    role = LAYERS.get(type(layer).__name__)
    spec = make_spec(layer)
    if role is None or not role.role.only_rounds or role.accepts(spec):
        return None
    if spec.config.get("activation", "linear") not in _CLOSING:
        return None
    paths = {id(v): path for path, v in zip(weight_names(layer), layer.weights, strict=True)}
    pairs = config.get_weights_and_quantizers(layer)
    weights = {paths.get(id(variable), ""): quantizer for variable, quantizer in pairs}
    outputs = [quantizer for _, quantizer in config.get_activations_and_quantizers(layer)]
    outputs += config.get_output_quantizers(layer)
    kernels = {weight.attribute for weight in role.weights}
    fits = all(
        _is_tfxps(quantizer) and (path in kernels or _is_bias(path, role.bias, quantizer))
        for path, quantizer in weights.items()
    )
    if not fits or len(outputs) > 1 or not all(map(_is_tfxps, outputs)):
        return None
    return TensorQuantizeConfig(weights, outputs[0] if outputs else None)


def _is_tfxps(quantizer: object) -> bool:
    """Whether a quantizer is one that an integer file can repeat; a subclass may do otherwise."""
    return isinstance(quantizer, FormatQuantizer) and type(quantizer).__module__.startswith("tfxp.")


def _is_bias(path: str, bias: str | None, quantizer: object) -> bool:
    return path == bias and isinstance(quantizer, BiasQuantizer)
