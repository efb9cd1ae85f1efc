"""The weights of a Keras 3 layer as its tf_keras twin takes them: plain, merged, as real numbers.

LoRA keeps what it learned beside the kernel, and `quantize` leaves whole numbers and scales:

    kernel = codes / scale + alpha / rank * A B

A layer that was trained in float8 holds its kernel as real numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfxp.keras_types import KerasLayer
from tfxp.transforms.data_types import float32_value

if TYPE_CHECKING:
    import tensorflow as tf

# Layers that can be quantized or carry LoRA -> where they keep what these change.
_KERNELS = {
    "Dense": "kernel",
    "EinsumDense": "kernel",
    "Embedding": "embeddings",
    "Conv1D": "kernel",
    "Conv2D": "kernel",
    "Conv3D": "kernel",
}
_SCALED = ("Dense", "Embedding")  # whose scales have the shape of a row of codes
_READABLE = (None, "int8", "float8")


def obstacle_of(layer: KerasLayer) -> str | None:
    """Why a layer's weights cannot be had as real numbers; None if they can."""
    for part in _all_layers(layer):
        mode, kind = getattr(part, "quantization_mode", None), type(part).__name__
        if mode not in _READABLE or (mode == "int8" and kind not in _SCALED):
            return f"it is quantized to {mode} already; take the model from before `quantize`"
        if _is_changed(part) and kind not in _KERNELS:
            return "LoRA or quantization inside it, which tfxp does not know there"
    return None


def was_quantized(layer: KerasLayer) -> bool:
    """Whether a layer, or one inside it, computes with whole numbers in Keras 3."""
    return any(getattr(part, "quantization_mode", None) for part in _all_layers(layer))


def weights_of(layer: KerasLayer) -> list[np.ndarray]:
    """All weights in tf_keras' order."""
    if type(layer).__name__ == "SpectralNormalization":
        return weights_of(layer.layer)  # training has normalized them
    if _is_changed(layer):
        kernel = _merged(layer, _KERNELS[type(layer).__name__])
        bias = getattr(layer, "bias", None)
        return [kernel] if bias is None else [kernel, _real(bias)]
    found = [_real(weight) for weight in _own(layer)]
    return found + [weight for inner in layer._layers for weight in weights_of(inner)]


def _all_layers(layer: KerasLayer) -> list[Any]:
    return [layer, *(part for inner in layer._layers for part in _all_layers(inner))]


def _is_changed(layer: KerasLayer) -> bool:
    return bool(getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))


def _own(layer: KerasLayer) -> list[Any]:
    """Variables of a layer itself, without those of layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _merged(layer: KerasLayer, name: str) -> np.ndarray:
    """A kernel with what LoRA added, divided by its scale."""
    kernel = _real(getattr(layer, f"_{name}"))
    if layer.quantization_mode == "int8":
        scale = _real(getattr(layer, f"{name}_scale"))
        kernel = kernel / (scale[:, None] if name == "embeddings" else scale)
    if not layer.lora_enabled:
        return kernel
    first, second = (_real(getattr(layer, f"lora_{name}_{side}")) for side in "ab")
    return np.asarray(kernel + layer.lora_alpha / layer.lora_rank * first @ second, np.float32)


def _real(weight: tf.Variable) -> np.ndarray:
    array = np.asarray(float32_value(np.asarray(weight)))
    return array.astype(np.float32) if array.dtype == np.int8 else array
