"""The Keras constraint that holds the zeros of a weight."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ModelError
from tfxp.keras import keras
from tfxp.transforms.layer_spec import LayerSpec


@keras.utils.register_keras_serializable(package="tfxp")
class ZeroMask(keras.constraints.Constraint):
    """Holds weights at zero after every step of any optimizer.

        w <- w where the mask is True, else 0

    It is part of the layer's configuration, one bit for each weight, so it is saved with the model,
    survives every rewrite that keeps the kernel's shape, and a loaded model trains on with it. The
    mask is a variable: a schedule changes it under a compiled training step.

    Args:
        shape: of the weight.
        bits: the mask, packed (`numpy.packbits`), deflated and in base 64.
        before: another constraint, applied first; its saved form or itself.

    Raises:
        ModelError: the bits are damaged, or too few.

    Example:
        >>> from tfxp.sparsity import ZeroMask
        >>> mask = ZeroMask.of(np.array([True, False]))
        >>> mask(np.array([3.0, 4.0], np.float32)).numpy().tolist()
        [3.0, 0.0]
    """

    def __init__(
        self, shape: Sequence[int], bits: str, before: keras.constraints.Constraint | None = None
    ) -> None:
        self.mask = _unpacked(tuple(map(int, shape)), bits)
        self.before = keras.constraints.get(before)
        # Outside of whatever function a model happens to be built in.
        with tf.init_scope():
            self._variable = tf.Variable(self.mask, trainable=False, name="zero_mask")

    @classmethod
    def of(cls, mask: np.ndarray, before: keras.constraints.Constraint | None = None) -> ZeroMask:
        """From an array of bool, True where a weight stays."""
        return cls(mask.shape, _packed(mask), before)

    def __call__(self, w: tf.Tensor) -> tf.Tensor:
        """The weights with their zeros."""
        value = tf.convert_to_tensor(w if self.before is None else self.before(w))
        return tf.where(self._variable, value, tf.zeros_like(value))

    def assign(self, mask: np.ndarray) -> None:
        """Hold other weights from now on."""
        self.mask = np.array(mask, bool)
        self._variable.assign(self.mask)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config: dict[str, Any] = {"shape": list(self.mask.shape), "bits": _packed(self.mask)}
        if self.before is not None:
            config["before"] = keras.constraints.serialize(self.before)
        return config


# Keras reads .h5 files by short names, without the package of a registered one.
keras.utils.get_custom_objects()["ZeroMask"] = ZeroMask


def refresh_masks(spec: LayerSpec) -> None:
    """Hold the zeros that a layer's weights have now, where it held zeros before."""
    arrays = spec.arrays()
    for key, value in spec.config.items():
        if isinstance(value, dict) and value.get("class_name") == "ZeroMask":
            weight = key.removesuffix("_constraint")
            array = arrays.get(weight, arrays.get(f"{weight}_kernel"))
            if array is not None:
                mask = ZeroMask.of(array != 0, value["config"].get("before"))
                spec.config[key] = keras.constraints.serialize(mask)


def drop_masks(spec: LayerSpec) -> None:
    """Let go of the masks of a layer whose weights get another shape."""
    for key, value in spec.config.items():
        if isinstance(value, dict) and value.get("class_name") == "ZeroMask":
            spec.config[key] = value["config"].get("before")


def _packed(mask: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode("ascii")


def _unpacked(shape: tuple[int, ...], bits: str) -> np.ndarray:
    count = int(np.prod(shape))
    try:
        # A damaged size cannot make it hold more than the mask itself.
        packed = zlib.decompressobj().decompress(base64.b64decode(bits), (count + 7) // 8 + 1)
    except (binascii.Error, zlib.error, ValueError):
        packed = b""
    if len(packed) != (count + 7) // 8:
        raise ModelError(
            f"mask of zeros: got {8 * len(packed)} bits for a weight of shape {shape}; expected "
            f"{count}. The model's configuration is damaged."
        )
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=count).astype(bool).reshape(shape)
