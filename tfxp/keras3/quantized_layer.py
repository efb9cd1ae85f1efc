"""The Keras 3 layer that carries quantizers around any layer of Keras 3."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfxp.keras3.arithmetic import State
from tfxp.keras3.framework import K
from tfxp.keras3.tensor_quantizer import TensorQuantizer
from tfxp.keras_types import KerasLayer, Tensor

_OUTPUT = "output"


@K.saving.register_keras_serializable(package="tfxp")
class QuantizedLayer(K.layers.Layer):
    """Runs a Keras 3 layer with its weights on their grids, and quantizes its output.

        y = Q_y(layer(x; Q_w(w), Q_b(b) + h))

    Formats are non-trainable variables, saved in `.keras` files; a Python that loads one imports
    `tfxp.keras3` first.

    Args:
        layer: the layer to run.
        quantizers: number of a weight in `layer.weights`, or "output", -> its quantizer.
        bias: number of the weight that takes half a step; None without a bias.
        half_steps: how many output channels carry half an accumulator step `h`; 0 if none do.
    """

    def __init__(
        self,
        layer: KerasLayer,
        quantizers: Mapping[str, TensorQuantizer],
        bias: int | None = None,
        half_steps: int = 0,
        **kwargs: object,
    ) -> None:
        kwargs.setdefault("name", layer.name)
        super().__init__(**kwargs)
        self.layer = layer
        self.quantizers = dict(quantizers)
        self.bias, self.half_steps = bias, half_steps
        self.supports_masking = layer.supports_masking
        self._takes_training = "training" in inspect.signature(layer.call).parameters

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Build the layer, and the variables of the formats."""
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        self.formats = {}
        for place, quantizer in self.quantizers.items():
            for name, shape in quantizer.shapes.items():
                self.formats[f"{place}_{name}"] = self._format(f"{place}_{name}", shape)
        if self.half_steps:
            self.formats["half_step"] = self._format("half_step", [self.half_steps])
        self.built = True

    def _format(self, name: str, shape: list[int]) -> Any:
        name = f"weight_{name}" if name[0].isdigit() else name
        return self.add_weight(
            shape=tuple(shape), initializer="ones", trainable=False, dtype="float32", name=name
        )

    def assign_formats(self, values: Mapping[str, np.ndarray]) -> None:
        """Put numbers into the variables of the formats.

        Args:
            values: name of a variable -> its value; see `format_values`.
        """
        for name, variable in self.formats.items():
            variable.assign(values[name])

    def format_values(self) -> dict[str, np.ndarray]:
        """The numbers of every format: "0_scale", "output_qmax", "half_step" and so on."""
        found = {name: K.ops.convert_to_numpy(value) for name, value in self.formats.items()}
        return {name: np.asarray(value) for name, value in found.items()}

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Run the layer on quantized weights and quantize what comes out."""
        outputs = self._run(inputs, training)
        if self.half_steps and self.bias is None:
            outputs = outputs + self.formats["half_step"]
        if _OUTPUT not in self.quantizers:
            return outputs
        return self.quantizers[_OUTPUT](outputs, self._state(_OUTPUT))

    def _run(self, inputs: Tensor, training: bool | None) -> Tensor:
        """The layer's output, with tensors in the places of its variables for this call."""
        with K.StatelessScope(state_mapping=self._values()) as scope:
            phase = {"training": training} if self._takes_training else {}
            outputs = self.layer(inputs, **phase)
        weights = {id(variable) for variable in self.layer.weights}
        for variable in self.layer.variables:  # seeds of dropout move on; weights are not touched
            new = None if id(variable) in weights else scope.get_current_value(variable)
            if new is not None:
                variable.assign(new)
        return outputs

    def _values(self) -> list[tuple[Any, Tensor]]:
        """Every variable of the layer with its value for this call."""
        numbers = {id(variable): str(n) for n, variable in enumerate(self.layer.weights)}
        values = []
        for variable in self.layer.variables:
            value, place = variable.value, numbers.get(id(variable), "")
            if place in self.quantizers:
                value = self.quantizers[place](value, self._state(place))
            if self.half_steps and place == str(self.bias):
                value = value + self.formats["half_step"]
            values.append((variable, value))
        return values

    def _state(self, place: str) -> State:
        names = self.quantizers[place].shapes
        return {n: K.ops.convert_to_tensor(self.formats[f"{place}_{n}"]) for n in names}

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Shape of the wrapped layer's output."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, the layer's own included."""
        return {
            **super().get_config(),
            "layer": K.saving.serialize_keras_object(self.layer),
            "quantizers": {place: q.get_config() for place, q in self.quantizers.items()},
            "bias": self.bias,
            "half_steps": self.half_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantizedLayer:
        """From its constructor arguments."""
        layer = K.saving.deserialize_keras_object(config["layer"])
        quantizers = {place: TensorQuantizer(**q) for place, q in config["quantizers"].items()}
        return cls(**{**config, "layer": layer, "quantizers": quantizers})
