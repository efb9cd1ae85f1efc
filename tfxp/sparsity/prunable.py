"""The kernels of a model that can have zeros, and the masks that hold these."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, KerasModel
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.transforms.linear_layers import DEPTHWISE, LINEAR_LAYERS
from tfxp.transforms.zero_mask import ZeroMask


class Prunable:
    """One convolution or dense layer of a model, quantized or not.

    Args:
        layer: the layer itself, without a wrapper.
        wrapper: what carries its quantizers, if anything does.
    """

    def __init__(self, layer: KerasLayer, wrapper: FormatWrapper | None = None) -> None:
        self.layer, self.wrapper, self.name = layer, wrapper, str(layer.name)
        self._form = LINEAR_LAYERS[type(layer).__name__]

    @property
    def kernel(self) -> tf.Variable:
        """The float kernel."""
        return getattr(self.layer, self._form.kernel)

    @property
    def mask(self) -> ZeroMask | None:
        """What holds the kernel's zeros, if anything does."""
        return _mask_of(self.layer, self._field)

    def arranged(self, kernel: np.ndarray) -> np.ndarray:
        """A kernel as (taps, inputs, outputs); a depthwise one as (1, taps, outputs)."""
        if self._form is DEPTHWISE:
            return kernel.reshape(1, -1, kernel.shape[-2] * kernel.shape[-1])
        if self._form.trailing:
            kernel = np.swapaxes(kernel, -1, -2)
        return kernel.reshape(-1, kernel.shape[-2], kernel.shape[-1])

    def restored(self, arranged: np.ndarray) -> np.ndarray:
        """The inverse of `arranged`."""
        shape = tuple(self.kernel.shape)
        if not self._form.trailing:
            return arranged.reshape(shape)
        swapped = (*shape[:-2], shape[-1], shape[-2])
        return np.swapaxes(arranged.reshape(swapped), -1, -2)

    def hold(self, mask: np.ndarray, with_bias: bool = False) -> bool:
        """Set the kernel's other weights to zero, and hold them there.

        Args:
            mask: as `make_mask` returns it, (taps, inputs, outputs).
            with_bias: whether biases of outputs without weights become zero as well.

        Returns:
            Whether a training step that was compiled before has to be compiled again.
        """
        added = hold_zeros(self.layer, self._field, self.kernel, self.restored(mask))
        bias = getattr(self.layer, "bias", None)
        if with_bias and bias is not None:
            added |= hold_zeros(self.layer, "bias_constraint", bias, np.asarray(mask.any((0, 1))))
        return added

    def zeros(self) -> tuple[int, int]:
        """Weights of the kernel that are zero, and all; of its codes, if it is quantized."""
        values = self.kernel.numpy()
        if self.wrapper is not None and self._form.kernel in self.wrapper.weight_variables:
            values = self.wrapper.quantized_weights()[self._form.kernel].numpy()
        return int(np.count_nonzero(values == 0)), values.size

    @property
    def _field(self) -> str:
        return "depthwise_constraint" if self._form is DEPTHWISE else "kernel_constraint"

    @property
    def is_binary(self) -> bool:
        """Whether the kernel's format has no zero."""
        if self.wrapper is None:
            return False
        quantizer = self.wrapper.quantize_config.weight_quantizers.get(self._form.kernel)
        return bool(getattr(quantizer, "binary", False))


def prunables(model: KerasModel) -> dict[str, Prunable]:
    """Layer name -> its kernel, for all convolutions and dense layers, nested models included.

    Raises:
        ConfigError: the model has none.
    """
    found: dict[str, Prunable] = {}
    for layer in _layers(model):
        wrapper = layer if isinstance(layer, FormatWrapper) else None
        inner = layer.layer if wrapper is not None else layer
        if type(inner).__name__ in LINEAR_LAYERS and inner.built:
            found[inner.name] = Prunable(inner, wrapper)
    if not found:
        raise ConfigError(
            f"pruning of {getattr(model, 'name', model)!r}: got no convolution and no dense layer "
            "with weights; expected a built Keras model with at least one."
        )
    return found


def hold_zeros(layer: KerasLayer, field: str, variable: tf.Variable, mask: np.ndarray) -> bool:
    """Set weights to zero where a mask is False, and hold them there.

    Args:
        layer: the layer that has the weight.
        field: its setting for the weight's constraint.
        variable: the weight.
        mask: bool, of its shape.

    Returns:
        Whether the constraint is new.
    """
    held = _mask_of(layer, field)
    if held is None:
        new = ZeroMask.of(mask, getattr(layer, field, None))
        setattr(layer, field, new)
        variable._constraint = new  # as `add_weight(constraint=...)` would have set it
    else:
        held.assign(mask)
    variable.assign(tf.where(mask, variable, tf.zeros_like(variable)))
    return held is None


def copy_masks(source: KerasModel, target: KerasModel) -> None:
    """Hold the zeros of one model in another of the same layers."""
    theirs = prunables(source)
    for name, ours in prunables(target).items():
        mask = theirs[name].mask
        if mask is not None:
            ours.hold(ours.arranged(mask.mask))


def _mask_of(layer: KerasLayer, field: str) -> ZeroMask | None:
    found = getattr(layer, field, None)
    return found if isinstance(found, ZeroMask) else None


def _layers(model: KerasModel) -> list[Any]:
    result = []
    for layer in getattr(model, "layers", ()):
        result += _layers(layer) if isinstance(layer, keras.Model) else [layer]
    return result
