"""ADaPTION's formats per layer, from ranges, a bit budget and a clip budget."""

from __future__ import annotations

from tfxp.assign import AdaptionAssigner, Assignment, result_tables
from tfxp.cli import ToolFlags, format_table
from tfxp.commands.assign_inputs import AssignInputs
from tfxp.precision import PLACEMENTS, ModelStats


class AdaptionMethod:
    """Formats per layer, and the table of zeros.

    Args:
        flags: of the tool.
        inputs: what methods share.
    """

    def __init__(self, flags: ToolFlags, inputs: AssignInputs) -> None:
        self._inputs = inputs
        with flags.for_methods("adaption"):
            self.weight_clip = flags.DEFINE_float("weight_clip", 0.0, "Share of weights to clip.")
            self.clip = flags.DEFINE_float("clip", 0.01, "Share of activations that may clip.")
            self.placement = flags.DEFINE_enum(
                "placement",
                "pre_activation",
                PLACEMENTS,
                "Choose formats before the ReLU or behind.",
            )
            self.round_bias = flags.DEFINE_boolean(
                "round_bias", True, "Biases on a grid, or float."
            )
            self.float_edges = flags.DEFINE_boolean(
                "float_edges", False, "Input and output stay float, as in the paper (no export)."
            )
            self.float_layers = flags.DEFINE_list(
                "float_layers", [], "Names or patterns, e.g. heads."
            )
            self.rounding = flags.DEFINE_enum(
                "rounding", "engine", ["engine", "half_away", "stochastic"], "Rounding of the map."
            )

    def assign(self, stats: ModelStats) -> Assignment:
        """Formats per layer, and the table of zeros."""
        result = AdaptionAssigner(
            self._inputs.weight_bits.value,
            self._inputs.activation_bits.value or self._inputs.weight_bits.value,
            self.weight_clip.value,
            self.clip.value,
            self.placement.value,
            self.round_bias.value,
            self.float_edges.value,
            tuple(self.float_layers.value),
            self.rounding.value,
        ).assign(stats)
        print(format_table(*result_tables.trace_table(result)))
        print(format_table(*result_tables.zero_table(result)))
        return result
