"""Types of the Keras objects in tfxp's signatures, without loading Keras to name them.

`KerasModel` lists the members of a Keras model that tfxp and its users rely on. A tf_keras model
has all of them; a Keras 3 model is accepted wherever a docstring says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

# Samples of a network: one array, one array an input, arrays by the inputs' names, or batches of
# these, such as a tf.data.Dataset.
Samples: TypeAlias = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray] | Iterable[Any]


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

    def __call__(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """The outputs for a batch of inputs."""

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Set optimizer, loss and metrics."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train; returns a History."""

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Loss and metrics on data."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs for data of any length."""

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Print the layers."""

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the model to a .keras or .h5 file or a SavedModel folder."""

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """A layer by name or number."""

    def get_weights(self) -> list[np.ndarray]:
        """The values of all variables."""

    def set_weights(self, weights: Any) -> None:
        """Give all variables values."""
