"""Weights that were trained in Keras 3, back into the quantized tf_keras model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.errors import ModelError
from tfxp.keras3.framework import K
from tfxp.keras3.native_model import format_values
from tfxp.keras3.quantized_layer import QuantizedLayer
from tfxp.keras_types import KerasModel
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput


def return_weights(native: KerasModel, qmodel: KerasModel) -> KerasModel:
    """Copy the weights of a native model into the quantized model that it was made from.

    From there everything goes on as always: `export_tflite`, `precision_of`, `strip`, costs.

    Args:
        native: what `native_model` returned, trained, or loaded from a `.keras` file.
        qmodel: the quantized tf_keras model; changed in place, or not at all.

    Returns:
        `qmodel`.

    Raises:
        ModelError: layers, shapes or formats of the two differ, or weights are NaN or infinite.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="scores")])
        >>> q = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.5"))
        >>> native, x = tfxp.keras3.native_model(q), np.ones((2, 4), "float32")
        >>> _ = native.get_layer("scores").layer.kernel.assign(np.full((4, 3), 0.5))
        >>> np.asarray(tfxp.keras3.return_weights(native, q)(x)).tolist()
        [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    found = {layer.name: layer for layer in native.layers}
    wanted = [layer for layer in qmodel.layers if layer.weights]
    copies: list[tuple[Any, np.ndarray]] = []
    complaints = []
    for layer in wanted:
        complaint, pairs = _pairs(layer, found.get(layer.name))
        complaints += [f"{layer.name}: {complaint}"] if complaint else []
        copies += pairs
    if complaints:
        raise ModelError(
            f"weights of model {native.name!r}: {'; '.join(complaints)}. Expected finite weights "
            f"of what native_model made of {qmodel.name!r} as it is now; nothing was copied."
        )
    for variable, value in copies:
        variable.assign(value)
    return qmodel


def _pairs(layer: Any, native: Any) -> tuple[str, list[tuple[Any, np.ndarray]]]:
    """What is wrong with a layer's twin, or "", and variables with the values they take."""
    if native is None:
        return "is missing", []
    quantized = isinstance(layer, FormatWrapper | QuantizeInput)
    if quantized != isinstance(native, QuantizedLayer):
        return "is quantized in one model only", []
    if quantized and not _equal(format_values(layer), native.format_values()):
        return "has another format", []
    if isinstance(layer, QuantizeInput):
        return "", []
    inner, trained = (layer.layer, native.layer) if quantized else (layer, native)
    values = [np.asarray(K.ops.convert_to_numpy(value)) for value in trained.weights]
    shapes, expected = [v.shape for v in values], [tuple(w.shape) for w in inner.weights]
    if shapes != expected:
        return f"got shapes {shapes}, expected {expected}", []
    if not all(np.isfinite(value).all() for value in values):
        return "got NaN or infinite weights", []
    return "", list(zip(inner.weights, values, strict=True))


def _equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(value, b[name]) for name, value in a.items())
