"""Functional models whose outputs keep the user's names, whatever layers they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfxp.keras import keras
from tfxp.keras_types import KerasModel


@keras.utils.register_keras_serializable(package="tfxp")
class NamedOutputs(keras.Model):
    """A functional model that names its outputs itself.

    Keras names an output by the layer it comes from; losses, metrics and monitors go by that name.
    A rewritten network ends in other layers than the user's.
    """

    def get_config(self) -> dict[str, Any]:
        """The functional model's configuration, and the names."""
        return {**super().get_config(), "output_names": list(self.output_names)}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> NamedOutputs:
        """From its configuration."""
        plain = {key: value for key, value in config.items() if key != "output_names"}
        model = super().from_config(plain, custom_objects)
        name_outputs(model, config["output_names"])
        return model


def name_outputs(model: KerasModel, names: Sequence[str]) -> None:
    """Rename a model's outputs, past Keras' tracking of lists among a model's attributes."""
    object.__setattr__(model, "output_names", list(names))


# What .h5 files call the class; Keras looks it up without the package.
keras.utils.get_custom_objects()[NamedOutputs.__name__] = NamedOutputs


def named_model(
    inputs: list[Any],
    outputs: Any,
    names: Sequence[str] | None,
    name: str,
    kind: Any = None,
) -> Any:
    """A functional model; a plain one of Keras where its outputs have these names anyway.

    Args:
        inputs, outputs: symbolic tensors.
        names: of the outputs, in the order of `model.outputs`; None for those of the layers.
        name: the model's.
        kind: the user's class of functional models; its constructor is not called.

    Example:
        >>> from tfxp.keras import keras
        >>> from tfxp.transforms.named_outputs import named_model
        >>> x = keras.Input((3,), name="x")
        >>> named_model([x], x, ["age"], "faces").output_names
        ['age']
    """
    model = keras.Model(inputs, outputs, name=name)
    if kind is not None:
        functional, model = type(model), kind.__new__(kind, inputs, outputs)
        functional.__init__(model, inputs, outputs, name=name)
    if names is None or list(names) == model.output_names:
        return model
    if kind is None:
        model = NamedOutputs(inputs, outputs, name=name)
    name_outputs(model, names)
    return model
