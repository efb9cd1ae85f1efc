"""A quantized tf_keras model as a quantized Keras 3 model that computes the same codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfxp.errors import ModelError
from tfxp.keras3.framework import K
from tfxp.keras3.quantized_layer import QuantizedLayer
from tfxp.keras3.tensor_quantizer import TensorQuantizer, native_quantizer
from tfxp.keras_types import KerasLayer, KerasModel
from tfxp.quantization.read_network import plan_of, wrappers_of
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.quantizers import BiasQuantizer
from tfxp.transforms.conversion.to_keras3 import graph_as_keras3
from tfxp.transforms.layer_graph import LayerSpec

# Layers that both frameworks compute to the last bit on grids, or that only move elements.
LAYERS = frozenset({
    "Activation", "Add", "AveragePooling1D", "AveragePooling2D", "Concatenate", "Conv1D", "Conv2D",
    "Dense", "DepthwiseConv2D", "Dropout", "Flatten", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "InputLayer",
    "MaxPooling1D", "MaxPooling2D", "ReLU", "Reshape", "Softmax", "ZeroPadding1D", "ZeroPadding2D",
})  # fmt: skip
_FUNCTIONS = ("linear", "relu", "softmax")


def native_model(qmodel: KerasModel) -> KerasModel:
    """The Keras 3 twin of a quantized model, to be trained with what Keras 3 has.

    Plan, formats and statistics are those of `quantize_model`; layers keep their names. On the
    TensorFlow backend outputs are equal bit for bit, and so are gradients up to the order of sums.
    BatchNormalization is folded before, as `quantize_model` does it.

    Args:
        qmodel: what `quantize_model` returned, of the layers in `LAYERS`, in fixed point.

    Returns:
        A Keras 3 model of `QuantizedLayer`; not compiled.

    Raises:
        PrecisionError: the model carries no quantizers.
        ModelError: some layers or quantizers have no native form; all are named.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="scores")])
        >>> q = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.5"))
        >>> native, x = tfxp.keras3.native_model(q), np.ones((2, 4), "float32")
        >>> type(native).__module__.split(".")[0], np.array_equal(native(x), q(x))
        ('keras', True)
    """
    plan = plan_of(qmodel)
    wrappers = {layer.name: layer for layer in wrappers_of(qmodel)}
    inputs = {layer.owner: layer for layer in qmodel.layers if isinstance(layer, QuantizeInput)}
    specs = plan.graph.layers
    complaints = [text for s in specs.values() if (text := _complaint(s, wrappers.get(s.name)))]
    complaints += [
        f"{name} (input): its rounding has no native form"
        for name, layer in inputs.items()
        if native_quantizer(layer.quantizer, values_of(layer.output_variables)) is None
    ]
    if complaints:
        raise ModelError(
            f"model {qmodel.name!r}: {'; '.join(complaints)}. Expected the layers, fixed-point "
            "formats and rounding that docs/keras3.md lists; train this model with tf_keras "
            "(fit, or tfxp.fine_tune), and take it to Keras 3 by tfxp.strip(qmodel, keras=3)."
        )
    made: dict[str, QuantizedLayer] = {}

    def around(spec: LayerSpec, layer: Any) -> Any:
        if layer is None and spec.name in inputs:
            layer = K.layers.Identity(name=f"{spec.name}_quantized")
            made[layer.name] = _quantized_layer(layer, inputs[spec.name])
        elif layer is not None and spec.name in wrappers:
            made[layer.name] = _quantized_layer(layer, wrappers[spec.name])
        if layer is None:
            return None
        layer.trainable = spec.is_trainable
        return made.get(layer.name, layer)

    native = graph_as_keras3(plan.graph, around)
    for name, layer in made.items():
        layer.assign_formats(format_values(qmodel.get_layer(name)))
    return native


def format_values(layer: FormatWrapper | QuantizeInput) -> dict[str, np.ndarray]:
    """The numbers of a quantized layer's formats, named as `QuantizedLayer` names them.

    Args:
        layer: of a quantized tf_keras model.
    """
    found: dict[str, np.ndarray] = {}
    for place, (_, variables) in _quantizers_of(layer).items():
        found |= {f"{place}_{name}": value for name, value in values_of(variables).items()}
    half = getattr(layer, "half_step", None)
    return found if half is None else {**found, "half_step": half.numpy()}


def values_of(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Variables of a quantizer as NumPy arrays."""
    return {name: np.asarray(variable) for name, variable in variables.items()}


def _quantizers_of(layer: FormatWrapper | QuantizeInput) -> dict[str, Any]:
    """Place of a tensor -> its quantizer and the variables of it."""
    if isinstance(layer, QuantizeInput):
        return {"output": (layer.quantizer, layer.output_variables)}
    config = layer.quantize_config
    numbers = {id(variable): str(n) for n, variable in enumerate(layer.layer.weights)}
    found = {
        numbers[id(layer.variable(path))]: (quantizer, layer.weight_variables[path])
        for path, quantizer in config.weight_quantizers.items()
    }
    if config.output_quantizer is not None:
        found["output"] = (config.output_quantizer, layer.output_variables)
    return found


def _native_quantizers(layer: FormatWrapper | QuantizeInput) -> dict[str, TensorQuantizer | None]:
    return {
        place: native_quantizer(quantizer, values_of(variables))
        for place, (quantizer, variables) in _quantizers_of(layer).items()
    }


def _quantized_layer(layer: KerasLayer, source: FormatWrapper | QuantizeInput) -> QuantizedLayer:
    found = _quantizers_of(source)
    biases = [int(place) for place, (q, _) in found.items() if isinstance(q, BiasQuantizer)]
    half = getattr(source, "half_step", None)
    channels = 0 if half is None else int(half.shape[0])
    quantizers = {p: q for p, q in _native_quantizers(source).items() if q is not None}
    return QuantizedLayer(layer, quantizers, biases[0] if biases else None, channels)


def _complaint(spec: LayerSpec, wrapper: FormatWrapper | None) -> str | None:
    """Why a layer has no native form; None if it has one."""
    place = f"{spec.name} ({spec.kind})"
    if spec.kind == "BatchNormalization":
        return f"{place}: is kept; quantize with fold_batch_norm=True"
    if spec.kind not in LAYERS:
        return f"{place}: is no native layer yet"
    function = spec.config.get("activation", "linear")
    if function not in _FUNCTIONS:
        return f"{place}: activation {function!r} has no native form"
    if wrapper is None:
        return None
    config = wrapper.quantize_config
    if config.gradient_quantizer is not None or config.backward_weights == "float":
        return f"{place}: its gradients are quantized, or are those of float weights"
    kinds = {p: type(q).__name__ for p, (q, _) in _quantizers_of(wrapper).items()}
    missing = [kinds[p] for p, q in _native_quantizers(wrapper).items() if q is None]
    return f"{place}: {', '.join(missing)} as it is set has no native form" if missing else None
