"""A layer as data: class, configuration and weights."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import keras
from tfxp.keras_types import KerasLayer
from tfxp.transforms.data_types import float32_value

# How many layers inside one another are looked into.
_DEPTH = 4


class Treatment(enum.Enum):
    """What becomes of a layer in a network that is quantized in parts."""

    DEFAULT = "as its class is"
    UNTOUCHED = "left alone, its output float"
    OUTPUT = "left alone, its output quantized"
    PASSED = "left alone, its output on its input's grid"


@dataclasses.dataclass
class LayerSpec:
    """A layer, ready to be built again: class, configuration and weights.

    `weights` holds the variables of the original layer until a transform replaces them by arrays;
    `arrays()` reads either. A wrapper takes the weights of the layer it wraps from `wraps`.
    `is_read` says whether any layer reads an output of it; `LayerGraph.sort` keeps it true.
    `activity_regularizer` is what training adds to the loss for the layer's outputs, and
    `frozen_parts` are paths of layers inside it that training leaves alone.
    `treatment` says that a layer is not quantized as its class would be.
    """

    name: str
    cls: Any
    config: dict[str, Any]
    weights: list[Any] = dataclasses.field(default_factory=list)
    weight_names: list[str] = dataclasses.field(default_factory=list)
    aliases: list[str] = dataclasses.field(default_factory=list)
    wraps: LayerSpec | None = None
    is_read: bool = True
    activity_regularizer: Callable[[tf.Tensor], tf.Tensor] | None = None
    frozen_parts: list[str] = dataclasses.field(default_factory=list)
    treatment: Treatment = Treatment.DEFAULT

    @property
    def kind(self) -> str:
        """The class name, such as "Conv2D"."""
        return self.cls.__name__

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights by name ("kernel", "bias", "gamma", …), in the layer's order; not to be written
        to, since they may be the variables' own memory."""
        values = [np.asarray(value_of(weight)) for weight in self.weights]
        return dict(zip(self.weight_names, values, strict=True))

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace all weights; the order of `arrays` must be the layer's own."""
        self.weights = list(arrays.values())
        self.weight_names = list(arrays)

    def become(self, layer: KerasLayer | LayerSpec) -> None:
        """Take the class and configuration of another layer; name and weights stay, and what
        was frozen stays frozen."""
        other = layer if isinstance(layer, LayerSpec) else make_spec(layer)
        trainable = self.is_trainable and other.is_trainable
        self.cls, self.config = other.cls, {**other.config, "name": self.name}
        if "trainable" in self.config:
            self.config["trainable"] = trainable
        self.frozen_parts = []
        written = self.config.get("activity_regularizer")
        if written is not None and self.activity_regularizer is None:
            self.activity_regularizer = keras.regularizers.get(written)

    def part(self, layer: KerasLayer) -> LayerSpec:
        """The spec of a layer that does part of this layer's work; frozen if this one is."""
        spec = make_spec(layer)
        spec.config["trainable"] = self.is_trainable
        return spec

    @property
    def is_trainable(self) -> bool:
        """Whether training changes the layer's weights."""
        return bool(self.config.get("trainable", True))

    def pass_on_activity(self, other: LayerSpec) -> None:
        """Let another layer, whose output is this one's from now on, regularize it."""
        if self.activity_regularizer is not None:
            other.activity_regularizer, self.activity_regularizer = self.activity_regularizer, None
        if "activity_regularizer" in self.config:
            self.config["activity_regularizer"] = None

    def absorb(self, other: LayerSpec) -> None:
        """Remember that `other` was folded into this layer."""
        self.aliases += [other.name, *other.aliases]


def make_spec(layer: KerasLayer) -> LayerSpec:
    """The spec of a Keras layer, its weights included where it has any already."""
    names = weight_names(layer) if layer.weights else []
    weights = [float32_value(weight) for weight in layer.weights]
    return LayerSpec(layer.name, type(layer), layer.get_config(), weights, names)


def value_of(weight: tf.Variable | np.ndarray) -> Any:
    """A weight's value without a copy: a tensor for variables."""
    return weight.read_value() if isinstance(weight, tf.Variable) else weight


def weight_name(variable: tf.Variable) -> str:
    """The last part of a variable's name: "kernel" of "block/conv/kernel:0"."""
    return variable.name.split("/")[-1].split(":")[0]


def weight_names(layer: KerasLayer) -> list[str]:
    """Where a layer keeps each of its weights, as paths of attributes.

    A layer's own weights are "kernel" or "bias", those of layers inside it "cell.kernel". Weights
    that no attribute holds directly (those of layers in lists) go by the end of their variable's
    name, as much of it as tells them apart.
    """
    found: dict[int, str] = {}
    _find_attributes(layer, "", found, _DEPTH)
    names: list[str] = []
    for variable in layer.weights:
        # A vocabulary among the weights of a layer for text has no name.
        parts = getattr(variable, "name", "vocabulary").split(":")[0].split("/")
        size = 1
        name = found.get(id(variable), parts[-1])
        while name in names and size < len(parts):
            size += 1
            name = "/".join(parts[-size:])
        names.append(name)
    return names


def frozen_parts(layer: KerasLayer) -> list[str]:
    """Paths of layers inside a layer that training leaves alone: "backward_layer"."""
    found: list[str] = []
    left: list[tuple[str, object]] = [("", layer)]
    while left:
        prefix, owner = left.pop()
        for key, value in _inner_layers(owner):
            if not value.trainable:
                found.append(f"{prefix}{key}")
            elif prefix.count(".") < _DEPTH:
                left.append((f"{prefix}{key}.", value))
    return found


def _inner_layers(owner: object) -> list[tuple[str, Any]]:
    return [
        (key, value)
        for key, value in vars(owner).items()
        if isinstance(value, keras.layers.Layer) and not isinstance(value, keras.Model)
    ]


def _find_attributes(owner: object, prefix: str, found: dict[int, str], depth: int) -> None:
    for key, value in vars(owner).items():
        if isinstance(value, tf.Variable):
            found.setdefault(id(value), f"{prefix}{key}")
    for key, value in _inner_layers(owner) if depth else []:
        _find_attributes(value, f"{prefix}{key}.", found, depth - 1)
