"""A network with the format of every tensor: what export, trace and search ask of a model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from tfxp.formats import Format, has_power_of_two, int8_zero_point, spare_bits
from tfxp.keras_types import KerasModel
from tfxp.precision import ENGINE, FLOAT, PORTABLE, PrecisionMap
from tfxp.quantization.integer_layer import IntegerLayer, encode_layer
from tfxp.quantization.layer_formats import NetworkFormats
from tfxp.quantization.layer_role import LayerRole
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.wrapper import FormatWrapper, QuantizeInput
from tfxp.quantizers import FormatContext
from tfxp.transforms.layer_graph import LayerGraph

Storage = Literal["INT8", "INT16"]
# float32 holds integers exactly up to here; Keras adds products in float32.
EXACT_LIMIT = 2**24


@dataclasses.dataclass(frozen=True)
class QuantizedNetwork:
    """A network with the format of every tensor, read once: `tfxp.quantization.read_network`.

    Args:
        plan: quantization points of the network, and its float weights as they were when read.
        formats: owner -> formats of its tensors.
        layers: name -> layer of the Keras model, wrappers and input quantizers included; empty
            for a network that no model was built of.
    """

    plan: QuantizationPlan
    formats: NetworkFormats
    layers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _integers: dict[str, IntegerLayer] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def graph(self) -> LayerGraph:
        """Layers and calls, without quantizers."""
        return self.plan.graph

    @property
    def precision(self) -> PrecisionMap:
        """What a precision map says of each layer."""
        rules = {name: layer.rule for name, layer in self.formats.items()}
        found = {rule.rounding for rule in rules.values()}
        rounding = ENGINE if ENGINE in found and PORTABLE not in found else PORTABLE
        for name, rule in rules.items():
            no_choice = rule.rounding == ENGINE and not self._takes_half_steps(name)
            if rule.rounding == rounding or no_choice:
                rules[name] = dataclasses.replace(rule, rounding=None)
        return PrecisionMap(layers=rules, rounding=rounding)

    @functools.cached_property
    def is_portable(self) -> bool:
        """Whether operators are written such that all runtimes round alike, where they can."""
        return self.precision.rounding == PORTABLE

    @property
    def wrappers(self) -> dict[str, FormatWrapper]:
        """Layers that carry quantizers, by name."""
        return {n: layer for n, layer in self.layers.items() if isinstance(layer, FormatWrapper)}

    @property
    def input_quantizers(self) -> dict[str, QuantizeInput]:
        """Quantizers of network inputs, by the input's name."""
        found = self.layers.values()
        return {layer.owner: layer for layer in found if isinstance(layer, QuantizeInput)}

    def of_model(self, model: KerasModel) -> QuantizedNetwork:
        """The same network with the layers of a Keras model."""
        return dataclasses.replace(self, layers={layer.name: layer for layer in model.layers})

    def with_formats(self, formats: NetworkFormats) -> QuantizedNetwork:
        """The same network in other formats."""
        return dataclasses.replace(self, formats=formats)

    @functools.cached_property
    def storage(self) -> Storage:
        """INT8 if every activation fits, else INT16 for all: LiteRT's kernels do not mix them."""
        formats = (layer.activations for layer in self.formats.values())
        bits = [fmt.bits for fmt in formats if fmt is not None]
        return "INT8" if max(bits, default=8) <= 8 else "INT16"

    def zero_point(self, fmt: Format) -> int:
        """What code 0 of an activation's format is stored as; int16 has no zero point."""
        return int8_zero_point(fmt) if self.storage == "INT8" else 0

    def assign_formats(self, only: Collection[str] | None = None) -> None:
        """Put the formats into the variables of the model's layers, or of some of them."""
        for name, layer in self.layers.items():
            quantized = isinstance(layer, FormatWrapper | QuantizeInput)
            if quantized and (only is None or name in only):
                layer.assign(self._context(layer))

    def _context(self, layer: FormatWrapper | QuantizeInput) -> FormatContext:
        """The formats that the quantizers of a layer take theirs from."""
        owner = self.formats.get(format_owner(layer, self.plan))
        output = None if owner is None else owner.activations
        if isinstance(layer, QuantizeInput):
            return FormatContext(output, wide=self.storage == "INT16")
        weights = self.formats[layer.name].weights if layer.name in self.formats else ()
        return FormatContext(
            output,
            weights,
            None if owner is None else owner.activation_gradients,
            tuple(self.input_grids(layer.name)),
            self.accumulator_step(layer.name) if weights else None,
            self.half_step(layer.name) if weights else None,
            wide=self.storage == "INT16",
        )

    def role(self, layer: str) -> LayerRole:
        """The role of a layer."""
        return self.plan.role(layer)

    def input_grids(self, layer: str) -> list[Format | None]:
        """Formats of the tensors that all calls of a layer read; None for float ones."""
        return [self.formats[owner].activations for owner in self.plan.input_owners(layer)]

    def integer_inputs(self, layer: str) -> list[Format]:
        """The same formats; empty if one of the tensors is float."""
        grids = self.input_grids(layer)
        known = [grid for grid in grids if grid is not None]
        return known if len(known) == len(grids) else []

    def accumulator_step(self, layer: str) -> np.ndarray | None:
        """Value of one accumulator step, float64, one number or one per output channel.

        A layer called on inputs of different formats takes the coarsest: its grid is part of all
        the finer ones, so one bias serves every call exactly. None if an input is float.
        """
        grids = self.integer_inputs(layer)
        if not grids:
            return None
        return max(grid.scale for grid in grids) * np.array(
            [fmt.scale for fmt in self.formats[layer].weights]
        )

    def may_round_half_up(self, layer: str) -> bool:
        """Whether a layer's sums take half a step where their formats allow it: `half_step`."""
        return self.formats[layer].rule.rounding == PORTABLE and self._takes_half_steps(layer)

    def _takes_half_steps(self, layer: str) -> bool:
        """Whether a layer's sums of products lie on a grid, and are rounded right behind."""
        return self.role(layer).role.adds_up and self.bias_has_grid(layer)

    def bias_has_grid(self, layer: str) -> bool:
        """Whether a bias lies on the accumulator's grid.

        Not with a float input, whose accumulator has none, nor before a kept BatchNormalization,
        nor beside a binary kernel, whose scale moves with its weights.
        """
        formats = self.formats[layer]
        free = formats.rule.bias == FLOAT or formats.is_binary or layer in self.plan.normalized
        return not free and bool(self.integer_inputs(layer))

    def half_step(self, layer: str) -> np.ndarray | None:
        """What a layer's sums carry so that their ties go up, in any runtime; None if nothing.

            (a + 1/2) 2^-s,  a whole,  s >= 1     is never a tie

        The file stores the codes doubled once or twice (`tfxp.export.mac_operators`), so weights
        need a spare bit in int8, and every step is a power of two. Channels whose output step is
        not coarser than an accumulator step are exact as they are.

        Returns:
            Real values, float64, one number or one per output channel.
        """
        output, weights = self.formats[layer].activations, self.formats[layer].weights
        if output is None or not weights or self.storage != "INT8":
            return None
        grids, steps = set(self.integer_inputs(layer)), self.accumulator_step(layer)
        exact = all(map(has_power_of_two, (output, *grids, *weights)))
        room = min(map(spare_bits, weights)) >= 1
        if steps is None or len(grids) != 1 or not exact or not room:
            return None
        if not self.may_round_half_up(layer):
            return None
        half = np.where(steps < output.scale, steps / 2, 0.0)
        return half if half.any() else None

    def integers(self, layer: str) -> IntegerLayer:
        """Codes of a layer's kernel and bias, encoded when first asked for."""
        if layer not in self._integers:
            self._integers[layer] = encode_layer(
                self.graph.layers[layer],
                self.role(layer),
                self.formats[layer],
                self.accumulator_step(layer),
            )
        return self._integers[layer]

    def forget_integers(self) -> None:
        """Let go of the codes, once they are held elsewhere."""
        self._integers.clear()


def format_owner(layer: FormatWrapper | QuantizeInput, plan: QuantizationPlan) -> str:
    """Whose activation format a layer's output has; pools and lone ReLUs keep their input's."""
    if layer.owner in plan.points or isinstance(layer, QuantizeInput):
        return layer.owner
    return plan.input_owners(layer.name)[0]
