"""Floating-point types of models: everything that tfxp builds computes in float32.

Mixed precision, float64 and policies per layer speak of how a float model was trained. Its
quantized twin computes on grids, in float32, whatever policy was in force.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import keras

FLOAT32 = "float32"
# Names of types and of policies.
_OTHER_FLOAT = re.compile(r"(mixed_)?(b?float(16|64)|half|double)$")
_SHOWN = 5


def other_float(dtype: object) -> str | None:
    """The name of a floating-point type or policy that is not float32; None for all else.

    Example:
        >>> from tfxp.transforms.data_types import other_float
        >>> other_float("mixed_float16"), other_float("float32"), other_float("int32")
        ('mixed_float16', None, None)
    """
    if isinstance(dtype, Mapping):
        inner = dtype.get("config")
        dtype = inner.get("name") if isinstance(inner, Mapping) else None
    name = str(getattr(dtype, "name", dtype))
    return name if _OTHER_FLOAT.match(name) else None


def float32_config(config: dict[str, Any]) -> Any:
    """A layer's configuration with float32 for every other floating-point type, inner layers
    included."""
    if isinstance(config, Mapping):
        return {
            key: FLOAT32 if key == "dtype" and other_float(value) else float32_config(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple) and any(isinstance(v, Mapping) for v in config):
        return type(config)(float32_config(value) for value in config)
    return config


def float32_value(value: object) -> Any:
    """A variable, an array or the name of a type among a call's arguments, in float32."""
    if isinstance(value, tf.DType | str):
        return tf.float32 if other_float(value) else value
    if isinstance(value, np.ndarray | np.generic | tf.Tensor | tf.Variable):
        if other_float(value.dtype):
            return np.asarray(value).astype(np.float32)
    return value


@contextlib.contextmanager
def float32_policy() -> Iterator[None]:
    """Layers made inside take float32, whatever the global policy is."""
    floatx = keras.backend.floatx()
    keras.backend.set_floatx(FLOAT32)
    policy = keras.mixed_precision.global_policy()  # follows floatx unless it was set
    if policy.name != FLOAT32:
        keras.mixed_precision.set_global_policy(FLOAT32)
    try:
        yield
    finally:
        keras.backend.set_floatx(floatx)
        if policy.name != FLOAT32:
            keras.mixed_precision.set_global_policy(policy)


def warn_of_types(model: str, types: Mapping[str, str]) -> None:
    """Say which layers had another type, if any had.

    Args:
        model: its name.
        types: layer -> name of its type or policy.
    """
    if not types:
        return
    by_type: dict[str, list[str]] = {}
    for layer, dtype in types.items():
        by_type.setdefault(dtype, []).append(layer)
    listed = "; ".join(f"{dtype} in {_names(layers)}" for dtype, layers in by_type.items())
    warnings.warn(
        f"data types of model {model!r}: got {listed}; converted to float32, in which tfxp "
        "computes. Outputs may differ in the last digits of the other type.",
        stacklevel=2,
    )


def _names(layers: list[str]) -> str:
    more = len(layers) - _SHOWN
    return ", ".join(layers[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
