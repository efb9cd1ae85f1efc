"""The formats around a layer as they are in the middle of a training that moves them.

A bias lies on the accumulator's grid, whose step is the product of two others; a pool keeps its
input's format; tables and means know their input's step. Where formats stay, such numbers lie in
variables (`QuantizedNetwork.assign_formats`). Where a format is learned, whoever depends on it asks
for it in every forward pass, along the edges of the Keras graph. So a model in training is exact at
every moment, whoever calls it, and needs nothing but its own layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import tensorflow as tf

from tfxp.errors import UnsupportedLayerError
from tfxp.formats import Format
from tfxp.formats.storage import LARGEST_WEIGHT
from tfxp.keras_types import KerasLayer
from tfxp.quantization.layer_roles import role_of
from tfxp.quantizers import (
    FormatContext,
    FormatQuantizer,
    KernelQuantizer,
    Variables,
    WrpnActivationQuantizer,
    WrpnWeightQuantizer,
)
from tfxp.transforms.layer_graph import make_spec


class Grid(NamedTuple):
    """A quantizer and its variables."""

    quantizer: FormatQuantizer
    variables: Variables

    @property
    def scale(self) -> tf.Tensor:
        """The step as it is now."""
        step = self.quantizer.step(self.variables)
        return self.variables["scale"] if step is None else step.scale

    @property
    def has_power_of_two(self) -> tf.Tensor:
        """Whether the step is one, as all are but those of WRPN's grids of several codes."""
        if isinstance(self.quantizer, WrpnWeightQuantizer) and self.quantizer.binary:
            return tf.constant(False)
        wrpn = isinstance(self.quantizer, WrpnActivationQuantizer | WrpnWeightQuantizer)
        return self.variables["qmax"] == 1.0 if wrpn else tf.constant(True)

    @property
    def is_wide(self) -> tf.Tensor:
        """Whether activations are stored in 16 bits, as far as the quantizer knows."""
        return self.variables["wide"] > 0.0 if "wide" in self.variables else tf.constant(False)


class LiveFormat(NamedTuple):
    """What quantizers ask of a format whose step is a tensor."""

    scale: tf.Tensor


class Surroundings:
    """The tensors that a layer reads, and its kernels, wherever a format among them is learned.

    Args:
        layer: a wrapper of a Keras graph.
    """

    def __init__(self, layer: KerasLayer) -> None:
        self._inputs, self._keeps = list(_grids_read_by(layer)), keeps_format(layer)
        pairs = layer.quantize_config.weight_quantizers.items()
        self._kernels = [
            Grid(quantizer, layer.weight_variables[path])
            for path, quantizer in pairs
            if isinstance(quantizer, KernelQuantizer)
        ]
        self._output = _output_grid(layer)
        known = [*self._kernels, *(g for g in (*self._inputs, self._output) if g is not None)]
        self.learns = any(grid.quantizer.step(grid.variables) is not None for grid in known)

    def current(self, quantizer: FormatQuantizer, variables: Variables) -> Variables:
        """A quantizer's variables, those that follow from learned formats as these are now."""
        keeps = self._keeps and "qmin" in variables
        if not self.learns or not (keeps or quantizer.follows):
            return variables
        scales = self._input_scales()
        if quantizer.follows:
            kernels = [grid.scale for grid in self._kernels[:1]]
            context = FormatContext(
                inputs=tuple(None if scale is None else _live(scale) for scale in scales),
                weights=tuple(_live(tf.reshape(kernel, (-1,))[0]) for kernel in kernels),
                accumulator_step=_accumulator_step(scales, kernels),
                wide=self._inputs[0].is_wide if self._inputs and self._inputs[0] else False,
            )
            variables = quantizer.following(variables, context)
        if keeps and scales and scales[0] is not None:
            return {**variables, "scale": scales[0]}
        return variables

    def half_step(self, assigned: tf.Variable) -> tf.Tensor:
        """What a layer's sums carry, as `QuantizedNetwork.half_step` has it, of formats as now.

        Args:
            assigned: the variable, one number per channel, for formats that stay.
        """
        if not self.learns or self._output is None:
            return assigned
        scales, output = self._input_scales(), self._output
        step = _accumulator_step(scales, [grid.scale for grid in self._kernels[:1]])
        if step is None:
            return assigned
        grids, kernel = [grid for grid in self._inputs if grid is not None], self._kernels[0]
        largest = tf.maximum(kernel.variables["qmax"], -kernel.variables["qmin"])
        conditions = [grid.has_power_of_two for grid in (*grids, output, kernel)]
        # Only one format goes into a layer that carries half a step.
        first, *others = [
            tf.stack([scale, grid.variables["qmin"], grid.variables["qmax"]])
            for scale, grid in zip(scales, grids, strict=True)
        ]
        conditions += [tf.reduce_all(other == first) for other in others]
        conditions += [2.0 * largest <= LARGEST_WEIGHT, ~output.is_wide]
        step = tf.broadcast_to(tf.reshape(step, (-1,)), assigned.shape)
        carries = tf.reduce_all(tf.stack(conditions)) & (step < output.scale)
        return tf.where(carries, step / 2.0, tf.zeros_like(step))

    def _input_scales(self) -> list[tf.Tensor | None]:
        return [None if grid is None else grid.scale for grid in self._inputs]


def _accumulator_step(
    scales: Sequence[tf.Tensor | None], kernels: Sequence[tf.Tensor]
) -> tf.Tensor | None:
    if not kernels or not scales or any(scale is None for scale in scales):
        return None
    return tf.reduce_max(tf.stack(scales)) * kernels[0]


def keeps_format(wrapper: KerasLayer) -> bool:
    """Whether a wrapper quantizes its output to its input's format, as pools and lone ReLUs do."""
    alone = wrapper.owner == wrapper.name and wrapper.treatment != "output"
    return alone and _passes(wrapper.layer)


def _live(scale: tf.Tensor) -> Format:
    return cast(Format, LiveFormat(scale))


def _passes(layer: KerasLayer) -> bool:
    """Whether a plain layer's output has its input's format."""
    try:
        role = role_of(make_spec(layer)).role
    except UnsupportedLayerError:
        return False
    return not (role.owns_format or role.is_float or role.is_final)


def _output_grid(layer: KerasLayer) -> Grid | None:
    """Where a layer's sums are rounded: behind it, or behind the ReLU that closes it."""
    found: Any = layer
    while found.owner != layer.name or found.output_variables is None:
        readers = [node.outbound_layer for node in found.outbound_nodes]
        if len(readers) != 1 or not hasattr(readers[0], "output_variables"):
            return None
        found = readers[0]
    return Grid(found.quantize_config.output_quantizer, found.output_variables)


def _grids_read_by(layer: KerasLayer) -> Iterable[Grid | None]:
    """The grids of the tensors that all calls of a layer read; None for float ones."""
    for node in layer.inbound_nodes:
        for tensor in node.keras_inputs:
            source = tensor._keras_history.layer
            variables = getattr(source, "output_variables", None)
            wrapped = hasattr(source, "quantize_config")
            if variables is not None and not (wrapped and keeps_format(source)):
                config = getattr(source, "quantize_config", None)
                quantizer = source.quantizer if config is None else config.output_quantizer
                yield Grid(quantizer, variables)
            elif _passes(source.layer if wrapped else source):
                yield from _grids_read_by(source)
            else:
                yield None
