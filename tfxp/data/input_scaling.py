"""The scaling that inputs need before a network sees them, a note that the model carries.

A network that was trained on x / 255 says so wherever it goes (`tfxp.data.model_notes`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.data.model_notes import keep_notes, notes_of, read_notes
from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel

_KEY = "input_scaling"


@dataclass(frozen=True)
class InputScaling:
    """One input: x * scale + shift, per column of the last axis or for all of them.

    Args:
        scale: one factor, or one a column.
        shift: one number, or one a column.

    Raises:
        ConfigError: numbers that are not finite, a factor of 0, or unequal lengths.

    Example:
        >>> InputScaling((0.5, 2.0), (0.0, 1.0)).apply(np.array([[2.0, 3.0]]))
        array([[1., 7.]], dtype=float32)
    """

    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        finite = all(math.isfinite(value) for value in (*self.scale, *self.shift))
        if not finite or 0.0 in self.scale or len(self.scale) != len(self.shift):
            raise ConfigError(
                f"input scaling: got {self.scale} and {self.shift}; expected as many finite "
                "factors other than 0 as numbers to add."
            )

    def apply(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Scaled inputs, computed in float32."""
        scale, shift = np.array(self.scale, np.float32), np.array(self.shift, np.float32)
        return np.asarray(x, np.float32) * scale + shift

    @property
    def is_one(self) -> bool:
        """Whether it changes nothing."""
        return set(self.scale) == {1.0} and set(self.shift) == {0.0}

    def __str__(self) -> str:
        if len(self.scale) > 1:
            return f"x · scale + shift, each of {len(self.scale)} columns with its own"
        return f"x · {self.scale[0]:g} + {self.shift[0]:g}"

    def to_dict(self) -> dict[str, list[float]]:
        """JSON form."""
        return {"scale": list(self.scale), "shift": list(self.shift)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Sequence[float]]) -> InputScaling:
        """From the JSON form.

        Raises:
            ConfigError: it is none.
        """
        try:
            return cls(*(tuple(float(v) for v in data[key]) for key in ("scale", "shift")))
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(
                f"input scaling: got {data!r}; expected scale and shift ({error})."
            ) from None


# Input name -> its scaling; inputs that need none are absent.
Scalings = Mapping[str, InputScaling]


def scalings_of(model: KerasModel) -> dict[str, InputScaling]:
    """What the inputs of a Keras model need; empty where nothing is known.

    Args:
        model: a tf_keras model, quantized or not.
    """
    return scalings_in_notes(notes_of(model))


def keep_scalings(model: KerasModel, scalings: Scalings) -> Any:
    """Note on a Keras model what its inputs need, so that `model.save` writes it; the same model.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,))])
        >>> scaling = {model.input_names[0]: InputScaling((1 / 255,))}
        >>> scalings_of(keep_scalings(model, scaling)) == scaling
        True
    """
    needed = {name: item.to_dict() for name, item in scalings.items() if not item.is_one}
    return keep_notes(model, {_KEY: needed})


def scalings_in_notes(notes: Mapping[str, Any]) -> dict[str, InputScaling]:
    """Input name -> scaling, from the notes that a model carries.

    Raises:
        ConfigError: they say something that is no scaling.

    Example:
        >>> scalings_in_notes({"input_scaling": {"x": {"scale": [0.5], "shift": [0]}}})["x"].scale
        (0.5,)
        >>> scalings_in_notes({"schema": 1})
        {}
    """
    found = notes.get(_KEY, {})
    if not isinstance(found, dict):
        raise ConfigError(f"input scaling of the model: got {found!r}; expected an object.")
    return {str(name): InputScaling.from_dict(data) for name, data in found.items()}


def read_scalings(path: str | os.PathLike[str]) -> dict[str, InputScaling]:
    """What a saved Keras model says of its inputs; empty where it says nothing.

    Raises:
        ConfigError: it says something that is no scaling.
    """
    return scalings_in_notes(read_notes(path))


def crushed_columns(low: NDArray[Any], high: NDArray[Any], deviation: NDArray[Any]) -> list[int]:
    """Columns that one 8-bit format for all of them would crush to a code or two.

        deviation_j < max_k |x_k| / 2^8,  for columns that vary at all

    Args:
        low, high: smallest and largest value of every column.
        deviation: standard deviation of every column.

    Example:
        >>> crushed_columns(np.array([0, 0, 5]), np.array([1, 4000, 5]), np.array([0.3, 900, 0]))
        [0]
    """
    largest = float(np.max(np.maximum(np.abs(low), np.abs(high)), initial=0.0))
    small = (deviation < largest / 256) & (low < high)
    return [int(column) for column in np.flatnonzero(small)]


def saturated_share(x: NDArray[Any], low: float, high: float) -> float:
    """The share of values beyond a format's range.

    Example:
        >>> saturated_share(np.array([0.0, 0.5, 200.0, 255.0]), 0.0, 0.996)
        0.5
    """
    return float(np.mean((x < low) | (x > high)))
