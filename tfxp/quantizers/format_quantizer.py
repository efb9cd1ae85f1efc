"""The base of tfxp's quantizers: tfmot Quantizers that own the variables of their format."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfxp.autograph import as_keras_calls
from tfxp.formats import Format, format_of_scale
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, Training
from tfxp.quantizers.format_context import Constant, FormatContext
from tfxp.quantizers.fused import on_grid
from tfxp.quantizers.learned_step import LearnedStep
from tfxp.quantizers.straight_through import straight_through
from tfxp.tfmot import Quantizer

Variables = dict[str, tf.Variable]


class VariableOwner(Protocol):
    """The layer that keeps a quantizer's variables."""

    def add_weight(self, *args: object, **kwargs: object) -> tf.Variable:
        """Create a variable of the layer."""


@dataclass(eq=False)
class FormatQuantizer(Quantizer):
    """A quantizer whose format lives in variables: it creates, assigns and reads them.

    `scale`, `qmin` and `qmax` are non-trainable weights of the layer it serves, and so are its
    `constants`, so that a built, compiled model changes precision by assignment. The settings of a
    quantizer are the fields of a dataclass, which is all that Keras saves of it. Those with the
    metadata "since" were added later: a model saved before lacks their variables, and still counts
    as having the same quantizer.
    """

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Numbers that the quantizer needs besides its format."""
        return ()

    @property
    def rounding(self) -> str | None:
        """The rounding mode; None if the operator's arithmetic is repeated."""
        return None

    @property
    def takes_relu(self) -> bool:
        """Whether a call may ask for `relu=True`: the tensor on its grid behind a ReLU."""
        return False

    def __call__(self, values: tf.Tensor, /, training: Training, weights: Variables,
                 **context: Any) -> tf.Tensor:  # fmt: skip
        """The tensor on its grid.

        Args:
            values: the tensor.
            training: whether the call belongs to training.
            weights: what `build` returned.
            context: `inputs`, what the layer read; and `relu`, where `takes_relu` says so.
        """
        raise NotImplementedError

    @property
    def scale_options(self) -> dict[str, Any]:
        """Further keywords of `add_weight` for the scale."""
        return {}

    def run_layer(
        self, layer: KerasLayer, inputs: tf.Tensor, variables: Variables, **kw: Any
    ) -> Any:
        """The layer's output, which `__call__` then puts on its grid.

        Args:
            layer: the layer, its weights on their grids.
            inputs: what it reads.
            variables: what `build` returned.
            kw: further arguments of the layer's call.
        """
        return as_keras_calls(layer.call)(inputs, **kw)

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: VariableOwner) -> Variables:
        """Create the variables; a wide 8-bit format until one is assigned.

        Args:
            tensor_shape: shape of the tensor to quantize; None if it does not matter.
            name: of the tensor, the first part of the variables' names.
            layer: whose variables they become.
        """
        shape = self.scale_shape(tensor_shape)
        variables = {
            "scale": float_variable(layer, f"{name}_scale", 2.0**-4, shape, **self.scale_options),
            "qmin": float_variable(layer, f"{name}_qmin", -128.0),
            "qmax": float_variable(layer, f"{name}_qmax", 127.0),
        }
        for constant in self.constants:
            variable = float_variable(layer, f"{name}_{constant.name}", constant.initial)
            variables[constant.name] = variable
        return variables

    def assign(self, variables: Variables, context: FormatContext) -> None:
        """Put the tensor's format, and the constants, into the variables.

        Args:
            variables: what `build` returned.
            context: formats of the layer's tensors.
        """
        formats = self.wanted_formats(context)
        if formats:
            scales = np.array([fmt.scale for fmt in formats], np.float32)
            shape = variables["scale"].shape
            same = shape.num_elements() == scales.size
            scales = scales.reshape(shape) if same else np.broadcast_to(scales[0], shape)
            variables["scale"].assign(scales)
            variables["qmin"].assign(formats[0].qmin)
            variables["qmax"].assign(formats[0].qmax)
        for constant in self.constants:
            variables[constant.name].assign(constant.of(context))

    def wanted_formats(self, context: FormatContext) -> tuple[Format, ...]:
        """The tensor's format among a layer's, one per channel of a kernel; none if it is float."""
        return () if context.output is None else (context.output,)

    def formats(self, variables: Variables) -> tuple[Format, ...]:
        """The format in the variables, or one per scale.

        Raises:
            PrecisionError: no format has these numbers.
        """
        qmin, qmax = code_limit(variables["qmin"]), code_limit(variables["qmax"])
        scales = np.atleast_1d(variables["scale"].numpy()).ravel()
        unique = {float(s): format_of_scale(float(s), qmin, qmax) for s in np.unique(scales)}
        return tuple(unique[float(scale)] for scale in scales)

    def step(self, variables: Variables) -> LearnedStep | None:
        """The step that is trained; None where the format stays until another is assigned."""
        return None

    @property
    def follows(self) -> bool:
        """Whether some of its variables follow from the steps of other tensors."""
        return any(one.is_step for one in self.constants)

    def following(self, variables: Variables, context: FormatContext) -> Variables:
        """The variables, with those that follow from the steps of other tensors as these are now.

        Args:
            variables: what `build` returned.
            context: formats around the layer, some of them in training.
        """
        moved = {one.name: one.of(context) for one in self.constants if one.is_step}
        return {**variables, **moved}

    def scale_shape(self, tensor_shape: tf.TensorShape) -> tuple[int, ...]:
        """Shape of the scale: one number for activations."""
        return ()

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self).__name__, str(self._compared())))

    def _compared(self) -> dict[str, Any]:
        """The settings that make another quantizer of one."""
        names = [field.name for field in fields(self) if "since" not in field.metadata]
        return {name: getattr(self, name) for name in names}


def coded(real: tf.Tensor, codes: tf.Tensor, variables: Variables) -> tf.Tensor:
    """clip(codes, qmin, qmax) * scale forward, the gradient of `real` backward.

    Args:
        real: what the layer computed.
        codes: what the integer operator computes, in steps of the scale.
        variables: of the format.
    """
    held = on_grid(codes, variables["scale"], variables["qmin"], variables["qmax"])
    return straight_through(real, held)


def code_limit(variable: tf.Variable) -> int:
    """A code limit; beyond 2^24 float32 has rounded 2^k - 1 to 2^k."""
    value = int(variable.numpy())
    return value - 1 if value >= 2**24 else value


def float_variable(
    layer: VariableOwner, name: str, value: float, shape: tuple[int, ...] = (), **options: object
) -> tf.Variable:
    """A float32 variable of a layer that holds part of a format; not trained.

    Args:
        layer: whose variable it becomes.
        name: of the variable.
        value: its first value.
        shape: of the variable.
        options: further keywords of `add_weight`.
    """
    return layer.add_weight(
        name=name,
        shape=shape,
        initializer=keras.initializers.Constant(value),
        dtype=tf.float32,
        **{"trainable": False, **options},
    )
