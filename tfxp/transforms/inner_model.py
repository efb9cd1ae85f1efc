"""The model inside a layer, such as TimeDistributed around a small network."""

from __future__ import annotations

from typing import Any

from tfxp.keras import keras
from tfxp.transforms.layer_spec import LayerSpec, value_of, weight_name

_MODELS = ("Functional", "Sequential", "Model")


def model_inside(spec: LayerSpec) -> Any:
    """A new model like the one inside a layer, with its weights.

    None where there is no model, or one that its configuration alone does not bring back: classes
    that are not registered, inputs of unknown shape, weights in another order.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.transforms.layer_graph import LayerGraph
        >>> inner = keras.Sequential([layers.Dense(2, name="d", input_shape=(5,))])
        >>> model = keras.Sequential([layers.TimeDistributed(inner, input_shape=(3, 5), name="t")])
        >>> model_inside(LayerGraph.from_model(model).layers["t"]).layers[0].name
        'd'
    """
    written = spec.config.get("layer") or {}
    if written.get("class_name") not in _MODELS:
        return None
    try:
        model = keras.layers.deserialize(written)
    except (TypeError, ValueError):
        return None
    if not model.inputs:
        return None
    # As Keras lists the weights of a layer around a model: those that train come first.
    trained_first = model.trainable_weights + model.non_trainable_weights
    own = trained_first if spec.is_trainable else model.weights
    given = [
        (name.split("/")[-1], weight.shape)
        for name, weight in zip(spec.weight_names, spec.weights, strict=True)
    ]
    if [(weight_name(variable), variable.shape) for variable in own] != given:
        return None
    for variable, weight in zip(own, spec.weights, strict=True):
        variable.assign(value_of(weight))
    return model
