"""Quantizers whose binary point is trained; the bits stay, and every forward pass is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.formats import Format
from tfxp.keras import keras
from tfxp.quantizers.format_context import FormatContext
from tfxp.quantizers.format_quantizer import (
    FormatQuantizer,
    VariableOwner,
    Variables,
    float_variable,
)
from tfxp.quantizers.learned_step import LearnedStep, check_rule, trained_from
from tfxp.quantizers.quantizers import ActivationQuantizer, WeightQuantizer
from tfxp.quantizers.replica_variables import same_on_replicas, summed_over_replicas

_register = keras.utils.register_keras_serializable(package="tfxp")


class LearnedFormat(FormatQuantizer):
    """Base of the quantizers with a trained step; `scale` is the step of what is frozen.

    References:
        Jain et al., TQT, MLSys 2020; Esser et al., LSQ, ICLR 2020; Choi et al., PACT, 2018:
        see `tfxp.quantizers.learned_step`.
    """

    method: str = "tqt"

    @property
    def scale_options(self) -> dict[str, Any]:
        """Every step writes the scale, for those who watch."""
        return same_on_replicas()

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: VariableOwner) -> Variables:
        """The format, the trained variable, and what freezing looks at."""
        check_rule(self.method)
        variables = super().build(tensor_shape, name, layer)
        shape = self.scale_shape(tensor_shape)
        variables["trained"] = layer.add_weight(
            name=f"{name}_{self.method}", shape=shape, dtype=tf.float32, trainable=True
        )
        kinds = {"average": same_on_replicas(), "slope": summed_over_replicas(), "frozen": {}}
        for part, kind in kinds.items():
            variables[part] = float_variable(layer, f"{name}_{part}", 0.0, shape, **kind)
        self._start(variables)
        return variables

    def assign(self, variables: Variables, context: FormatContext) -> None:
        """Put the tensor's format into the variables, and let it be learned from there."""
        super().assign(variables, context)
        self._start(variables)

    def formats(self, variables: Variables) -> tuple[Format, ...]:
        """The format as it is learned so far, or one per scale."""
        return super().formats({**variables, "scale": self.step(variables).scale})

    def step(self, variables: Variables) -> LearnedStep:
        """The trained step."""
        is_kernel = isinstance(self, WeightQuantizer)
        return LearnedStep(check_rule(self.method), variables, sample_axis=not is_kernel)

    def _start(self, variables: Variables) -> None:
        scale, levels = variables["scale"].numpy(), float(variables["qmax"].numpy()) + 1
        start = trained_from(check_rule(self.method), scale, levels)
        for name, value in (
            ("trained", start),
            ("average", start),
            ("slope", np.zeros_like(scale)),
            ("frozen", np.zeros_like(scale)),
        ):
            variables[name].assign(value)


@_register
@dataclass(eq=False)
class LearnedWeightQuantizer(LearnedFormat, WeightQuantizer):
    """Quantizes a kernel with a trained step per output channel, or one for all of them.

    Args:
        channel_axes, trailing, rounding, seed: see `KernelQuantizer`.
        saturation_gradient: "zero", as the papers have it, or "pass".
        method: "tqt", "lsq" or "pact"; see `tfxp.quantizers.learned_step`.
        per_channel: a step per output channel; otherwise one for the kernel.

    Example:
        >>> from tfxp.keras import layers
        >>> from tfxp.quantizers import LearnedWeightQuantizer
        >>> layer, kernel = layers.Layer(), tf.constant([[0.3, 9.0]])
        >>> quantizer = LearnedWeightQuantizer(per_channel=True)
        >>> variables = quantizer.build(kernel.shape, "kernel", layer)
        >>> with tf.GradientTape() as tape:
        ...     y = tf.reduce_sum(quantizer(kernel, True, variables))
        >>> slope = tape.gradient(y, variables["trained"])  # only 9.0 asks for more range
        >>> bool(slope[1] > 100 * abs(slope[0]))
        True

    References:
        Jain et al., TQT, MLSys 2020; Esser et al., LSQ, ICLR 2020; Choi et al., PACT, 2018:
        see `tfxp.quantizers.learned_step`.
    """

    saturation_gradient: str = "zero"
    method: str = "tqt"
    per_channel: bool = False

    def scale_shape(self, tensor_shape: tf.TensorShape) -> tuple[int, ...]:
        """One step per output channel, or one for the kernel."""
        return super().scale_shape(tensor_shape) if self.per_channel else ()


@_register
@dataclass(eq=False)
class LearnedActivationQuantizer(LearnedFormat, ActivationQuantizer):
    """Quantizes a layer's output with a trained step.

    Args:
        rounding, nonnegative, saturation_gradient, seed, wide_rounding, no_value: see
            `ActivationQuantizer`.
        method: "tqt", "lsq" or "pact"; see `tfxp.quantizers.learned_step`.

    References:
        Jain et al., TQT, MLSys 2020; Esser et al., LSQ, ICLR 2020; Choi et al., PACT, 2018:
        see `tfxp.quantizers.learned_step`.
    """

    method: str = "tqt"
