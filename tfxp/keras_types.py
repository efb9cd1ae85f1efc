"""Types of the Keras objects in tfxp's signatures, without loading Keras to name them.

`KerasModel` lists the members of a Keras model that tfxp and its users rely on. A tf_keras model
has all of them; a Keras 3 model is accepted wherever a docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

# Samples of a network: one array, one array an input, arrays by the inputs' names, or batches of
# these, such as a tf.data.Dataset.
Samples: TypeAlias = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray] | Iterable[Any]


# Whether a call is one of training; None leaves it to Keras' learning phase.
Training: TypeAlias = "bool | tf.Tensor | None"


class Tensor(Protocol):
    """A tensor of whatever backend Keras 3 runs on, or a symbolic one."""

    @property
    def shape(self) -> Any:
        """Its sizes; None where one is unknown."""

    @property
    def dtype(self) -> Any:
        """The type of its elements."""

    def __getattr__(self, name: str) -> Any:
        """What its backend has besides."""

    def __add__(self, other: Any) -> Any:
        """The sum, element by element."""

    def __sub__(self, other: Any) -> Any:
        """The difference, element by element."""

    def __mul__(self, other: Any) -> Any:
        """The product, element by element."""

    def __rmul__(self, other: Any) -> Any:
        """The product, element by element."""

    def __gt__(self, other: Any) -> Any:
        """Whether each element is larger."""

    def __truediv__(self, other: Any) -> Any:
        """The quotient, element by element."""

    def __getitem__(self, key: Any) -> Any:
        """A part of it."""


class KerasLayer(Protocol):
    """A Keras layer; `__getattr__` stands for the attributes of its class, such as `kernel`."""

    name: str
    weights: list[tf.Variable]
    trainable: bool
    built: bool
    _activity_regularizer: Callable[[tf.Tensor], tf.Tensor] | None

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""

    def get_weights(self) -> list[np.ndarray]:
        """The values of its variables."""

    def set_weights(self, weights: Any) -> None:
        """Give its variables values."""

    def _flatten_layers(self) -> Iterable[Any]:
        """The layer, and all layers inside it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Its output."""

    def __getattr__(self, name: str) -> Any:
        """What its class has besides."""


class KerasNode(Protocol):
    """A call in the graph of a Keras model: of a layer, or of an operation of Keras 3."""

    outputs: list[Any]

    def __getattr__(self, name: str) -> Any:
        """What its Keras has besides."""


class KerasModel(Protocol):
    """A Keras model: Sequential, functional, or what tfxp returns.

    Args:
        optimizer: what `compile` was given; None before.
    """

    optimizer: Any

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def layers(self) -> list[Any]:
        """Its layers in the order they were made."""

    @property
    def inputs(self) -> list[Any]:
        """Its symbolic inputs."""

    @property
    def outputs(self) -> list[Any]:
        """Its symbolic outputs."""

    @property
    def trainable_variables(self) -> list[Any]:
        """What training changes."""

    @property
    def input_names(self) -> list[str]:
        """The names of its inputs, in order."""

    @property
    def output_names(self) -> list[str]:
        """The names of its outputs, in order."""

    @property
    def weights(self) -> list[Any]:
        """All variables, trained or not."""

    @property
    def trainable_weights(self) -> list[Any]:
        """The variables that `fit` changes."""

    @property
    def losses(self) -> list[Any]:
        """Its regularizers, and losses of `add_loss`, after a call."""

    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The outputs for a batch of inputs."""

    def compile(self, *args: object, **kwargs: object) -> None:
        """Set optimizer, loss and metrics."""

    def fit(self, *args: object, **kwargs: object) -> Any:
        """Train; returns a History."""

    def evaluate(self, *args: object, **kwargs: object) -> Any:
        """Loss and metrics on data."""

    def predict(self, *args: object, **kwargs: object) -> Any:
        """Outputs for data of any length."""

    def summary(self, *args: object, **kwargs: object) -> None:
        """Print the layers."""

    def save(self, *args: object, **kwargs: object) -> None:
        """Write the model to a .keras or .h5 file or a SavedModel folder."""

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """A layer by name or number."""

    def get_weights(self) -> list[np.ndarray]:
        """The values of all variables."""

    def set_weights(self, weights: Any) -> None:
        """Give all variables values."""
