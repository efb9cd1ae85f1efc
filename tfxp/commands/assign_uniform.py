"""The same bits everywhere."""

from __future__ import annotations

from tfxp.assign import Assignment, UniformAssigner
from tfxp.cli import ToolFlags
from tfxp.commands.assign_inputs import AssignInputs
from tfxp.cost import resolve_precision
from tfxp.precision import ModelStats


class UniformMethod:
    """The same bits of weights and of activations everywhere.

    Args:
        flags: of the tool.
        inputs: what methods share.
    """

    def __init__(self, flags: ToolFlags, inputs: AssignInputs) -> None:
        self._inputs = inputs
        with flags.for_methods("uniform"):
            self.edge_bits = flags.DEFINE_integer(
                "edge_bits", None, "Bits of the first and last layer, where they differ."
            )

    def assign(self, stats: ModelStats) -> Assignment:
        """The same bits everywhere."""
        bits, activations = self._inputs.weight_bits.value, self._inputs.activation_bits.value
        result = UniformAssigner(bits, activations or 8, self.edge_bits.value).assign(stats)
        resolve_precision(stats, result.map)
        return result
