"""Running a model through one of its named signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfxp.errors import ConfigError, did_you_mean
from tfxp.graph import Signature
from tfxp.interpreter.registry import Array

if TYPE_CHECKING:
    from tfxp.interpreter.interpreter import Interpreter


class SignatureRunner:
    """Calls a signature with inputs by name; inputs of another size are resized.

    Args:
        interpreter: the model.
        key: the signature's key; None when there is only one.

    Raises:
        ConfigError: no such signature, or one of another subgraph.
    """

    def __init__(self, interpreter: Interpreter, key: str | None) -> None:
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

    def __call__(self, **inputs: Any) -> dict[str, Array]:
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
        self._interpreter.allocate_tensors()
        for name, value in inputs.items():
            self._interpreter.set_tensor(wanted[name], value)
        self._interpreter.invoke()
        return {
            name: self._interpreter.get_tensor(index)
            for name, index in self._signature.outputs.items()
        }
