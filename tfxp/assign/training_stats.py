"""What one float training run leaves behind for choosing the precisions of fixed-point training."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.errors import DataError
from tfxp.files import read_json, write_text

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class LayerTrainingStats:
    """One layer's figures; fields that do not apply are None.

    A layer with weights has the first group; a layer whose output is a quantized activation (what
    layers with weights read, or the network's output) has the second; many have both.

    Args:
        name: the layer.
        weight_gain: E_W = E[ sum |d(Z_i - Z_y)/dw|^2 / (24 |Z_i - Z_y|^2) ] at the trained point.
        weight_range: r_W, a power of two that the weights are clipped to.
        weight_gradient_sigma: largest and smallest standard deviation of dL/dW over the run.
        jacobian_singular_value: largest singular value of the element-wise squared Jacobian of
            this layer's weight gradient with respect to the gradient of `gradient_tensor`.
        gradient_tensor: the layer whose output gradient this layer's weight gradient is computed
            from; the layer itself by default (a convolution before an addition names the
            addition).
        activation_gain: E_A, as above for the output.
        activation_range: r_A, a power of two.
        activation_signed: whether the output may be negative.
        activation_gradient_sigma: largest standard deviation of the gradient of the output.

    Raises:
        DataError: a figure that is not positive, or deviations in the wrong order.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, and what the authors' scripts measure.
    """

    name: str
    weight_gain: float | None = None
    weight_range: float = 1.0
    weight_gradient_sigma: tuple[float, float] | None = None
    jacobian_singular_value: float | None = None
    gradient_tensor: str | None = None
    activation_gain: float | None = None
    activation_range: float = 2.0
    activation_signed: bool = False
    activation_gradient_sigma: float | None = None

    def __post_init__(self) -> None:
        for name in ("weight_gain", "activation_gain", "activation_gradient_sigma",
                     "jacobian_singular_value", "weight_range", "activation_range"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise DataError(
                    f"{name} of {self.name!r}: got {value}; expected a positive number. "
                    "Probe more steps of a run that learns."
                )
        if self.weight_gradient_sigma is not None:
            high, low = self.weight_gradient_sigma
            object.__setattr__(self, "weight_gradient_sigma", (float(high), float(low)))
            if not 0 < low <= high < float("inf"):
                raise DataError(
                    f"weight_gradient_sigma of {self.name!r}: got {high} and {low}; expected the "
                    "largest and the smallest, both positive."
                )


@dataclasses.dataclass(frozen=True)
class TrainingStats:
    """Every layer of a network after one float run.

    Args:
        layers: layer name -> its figures, in the order they run.
        min_learning_rate: the smallest learning rate of the run.
        history: one record per epoch: learning rate, running standard deviation and maximum of
            every gradient. The solver does not read it.

    Raises:
        DataError: a learning rate that is not positive.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, and what the authors' scripts measure.
    """

    layers: Mapping[str, LayerTrainingStats]
    min_learning_rate: float
    history: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not self.min_learning_rate > 0:
            raise DataError(
                f"min_learning_rate: got {self.min_learning_rate}; expected a positive number."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` is the inverse."""
        return {
            "schema": SCHEMA,
            "min_learning_rate": self.min_learning_rate,
            "layers": [dataclasses.asdict(layer) for layer in self.layers.values()],
            "history": list(self.history),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingStats:
        """From its JSON form.

        Raises:
            DataError: a field is missing, unknown or broken, or the schema is another one.
        """
        try:
            if data["schema"] != SCHEMA:
                raise DataError(
                    f"schema of training statistics: got {data['schema']!r}; expected {SCHEMA}."
                )
            layers = [LayerTrainingStats(**layer) for layer in data["layers"]]
            by_name = {layer.name: layer for layer in layers}
            history = tuple(data.get("history", ()))
            return cls(by_name, float(data["min_learning_rate"]), history)
        except (KeyError, TypeError) as error:
            raise DataError(f"training statistics: {error}. Probe the training again.") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainingStats:
        """Read a JSON file.

        Raises:
            DataError: the file is missing, is no JSON, or holds no training statistics.
        """
        return cls.from_dict(read_json(path, "training statistics", DataError))
