"""A quantized model back to a plain Keras model."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from tfxp.data.model_notes import keep_notes, notes_of
from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.quantization.read_network import plan_of, wrappers_of
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.transforms.conversion.to_keras3 import as_keras3
from tfxp.transforms.named_outputs import name_outputs
from tfxp.transforms.normalize.activations import merge_last_activations
from tfxp.transforms.normalize.constants import constants_to_functions
from tfxp.transforms.normalize.step_mask import StepMask

KerasVersion = Literal[2, 3]


def strip(qmodel: KerasModel, keras: KerasVersion = 2) -> KerasModel:
    """The same network without quantizers, its weights and biases on their grids.

    Activations are float again, so outputs differ from the quantized model's by what quantizing
    the activations does.

    Args:
        qmodel: what `quantize_model` returned.
        keras: the Keras that the new model is made with: 2 (tf_keras), or 3, whose `.keras` files
            Keras 3 loads without tfxp, on any backend. Outputs of the two are equal up to the
            order of float32 sums.

    Returns:
        A new model of standard layers, of tf_keras or of Keras 3.

    Raises:
        ConfigError: `keras` is neither.
        ModelError: Keras 3 is not installed, or some layers have no twin in it; all are named.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="scores")])
        >>> q = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.5"))
        >>> plain = tfxp.strip(q, keras=3)
        >>> type(plain).__module__.split(".")[0], [layer.name for layer in plain.layers[1:]]
        ('keras', ['scores'])
    """
    if keras not in get_args(KerasVersion):
        raise ConfigError(f"keras of strip: got {keras!r}; expected 2 (tf_keras) or 3.")
    plan = plan_of(qmodel)
    for layer in wrappers_of(qmodel):
        if layer.quantize_config.weight_quantizers:
            spec = plan.graph.layers[layer.name]
            spec.set_arrays(quantized_arrays(layer, spec.arrays()))
    for number, _, spec in plan.graph.in_order():
        if spec.kind == StepMask.__name__:  # tfxp's own, for a training that is over
            plan.graph.bypass(number)
    constants_to_functions(plan.graph)
    merge_last_activations(plan.graph)
    plan.graph.output_names = None  # a model that keeps other names in a file is none of Keras'
    model = plan.graph.to_model(qmodel.name)
    if keras == 3:
        return keep_notes(as_keras3(model), notes_of(qmodel))
    name_outputs(model, qmodel.output_names)
    return keep_notes(model, notes_of(qmodel))


def quantized_arrays(layer: FormatWrapper, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A wrapper's weights with those that have a quantizer put on their grids."""
    result = dict(arrays)
    for path, quantizer in layer.quantize_config.weight_quantizers.items():
        value = quantizer(arrays[path], False, layer.current_weight(path))
        result[path] = np.asarray(value)
    return result
