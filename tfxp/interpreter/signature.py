"""Running a model through one of its named signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from tfxp.errors import ConfigError, did_you_mean
from tfxp.graph import IntegerGraph, Signature
from tfxp.interpreter.registry import Array


class RunsTensors(Protocol):
    """The calls of an interpreter that a signature is made of."""

    graph: IntegerGraph

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """One dictionary per tensor."""

    def input_shape(self, tensor_index: int) -> tuple[int, ...]:
        """The shape that a model input has now."""

    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int]) -> None:
        """Gives a model input another shape."""

    def set_tensor(self, tensor_index: int, value: ArrayLike) -> None:
        """Copies an array into a model input."""

    def invoke(self) -> None:
        """Runs the model on what was set."""

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of a tensor's content."""


class SignatureRunner:
    """Calls a signature with inputs by name; inputs of another size are resized.

    Args:
        interpreter: the model.
        key: the signature's key; None when there is only one.

    Raises:
        ConfigError: no such signature, or one of another subgraph.
    """

    def __init__(self, interpreter: RunsTensors, key: str | None) -> None:
        signatures = {entry.key: entry for entry in interpreter.graph.signatures}
        if key is None and len(signatures) == 1:
            key = next(iter(signatures))
        if key not in signatures:
            raise ConfigError(
                f"signature: got {key!r}; expected one of {sorted(signatures)}."
                f"{did_you_mean(str(key), signatures)}"
            )
        self._interpreter = interpreter
        self._signature: Signature = signatures[key]
        if self._signature.subgraph != 0:
            raise ConfigError(
                f"signature {key!r}: got subgraph {self._signature.subgraph}; expected the main one"
            )

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """Details of the inputs by name."""
        return self._side(self._signature.inputs)

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """Details of the outputs by name."""
        return self._side(self._signature.outputs)

    def _side(self, names: dict[str, int]) -> dict[str, dict[str, Any]]:
        details = self._interpreter.get_tensor_details()
        return {name: details[index] for name, index in names.items()}

    def __call__(self, **inputs: ArrayLike) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            ConfigError: an input is missing or unknown.
        """
        wanted = self._signature.inputs
        if sorted(inputs) != sorted(wanted):
            raise ConfigError(
                f"inputs of signature {self._signature.key!r}: got {sorted(inputs)}; expected "
                f"{sorted(wanted)}"
            )
        for name, value in inputs.items():
            if np.shape(value) != self._interpreter.input_shape(wanted[name]):
                self._interpreter.resize_tensor_input(wanted[name], np.shape(value))
        for name, value in inputs.items():
            self._interpreter.set_tensor(wanted[name], value)
        self._interpreter.invoke()
        return {
            name: self._interpreter.get_tensor(index)
            for name, index in self._signature.outputs.items()
        }
