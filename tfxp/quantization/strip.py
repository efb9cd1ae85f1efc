"""A quantized model back to a plain Keras model."""

from __future__ import annotations

import numpy as np

from tfxp.data.model_notes import keep_notes, notes_of
from tfxp.keras_types import KerasModel
from tfxp.quantization.read_network import plan_of, wrappers_of
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.transforms.named_outputs import name_outputs
from tfxp.transforms.normalize.activations import merge_last_activations
from tfxp.transforms.normalize.constants import constants_to_functions


def strip(qmodel: KerasModel) -> KerasModel:
    """The same network without quantizers, its weights and biases on their grids.

    Activations are float again, so outputs differ from the quantized model's by what quantizing
    the activations does.

    Args:
        qmodel: what `quantize_model` returned.

    Returns:
        A new tf_keras model of standard layers.

    Example:
        >>> plain = tfxp.strip(qmodel)  # doctest: +SKIP
        >>> plain.save("plain.h5")      # doctest: +SKIP
    """
    plan = plan_of(qmodel)
    for layer in wrappers_of(qmodel):
        if layer.quantize_config.weight_quantizers:
            spec = plan.graph.layers[layer.name]
            spec.set_arrays(quantized_arrays(layer, spec.arrays()))
    constants_to_functions(plan.graph)
    merge_last_activations(plan.graph)
    plan.graph.output_names = None  # a model that keeps other names in a file is none of Keras'
    model = plan.graph.to_model(qmodel.name)
    name_outputs(model, qmodel.output_names)
    return keep_notes(model, notes_of(qmodel))


def quantized_arrays(layer: FormatWrapper, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A wrapper's weights with those that have a quantizer put on their grids."""
    result = dict(arrays)
    for path, quantizer in layer.quantize_config.weight_quantizers.items():
        value = quantizer(arrays[path], False, layer.current_weight(path))
        result[path] = np.asarray(value)
    return result
