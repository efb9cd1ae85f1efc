"""Sakr's five criteria, for all tensors of fixed-point training."""

from __future__ import annotations

from tfxp.assign import Assignment, SakrAssigner, TrainingStats, perturbed, result_tables
from tfxp.assign.sakr import TENSORS
from tfxp.cli import ToolFlags, format_table
from tfxp.commands.assign_inputs import AssignInputs


class SakrMethod:
    """All five tensors of fixed-point training from the statistics of one float run.

    Args:
        flags: of the tool.
        inputs: what methods share.
    """

    def __init__(self, flags: ToolFlags, inputs: AssignInputs) -> None:
        self._inputs = inputs
        with flags.for_methods("sakr"):
            self.training = flags.DEFINE_string(
                "training_stats", None, "Statistics of a float run."
            )
            self.b_min = flags.DEFINE_integer(
                "b_min", None, "B_min; found by --mismatch_target if absent."
            )
            self.mismatch = flags.DEFINE_float("mismatch_target", 0.01, "Largest bound on p_m.")
            self.variant = flags.DEFINE_enum(
                "variant", "code", ["code", "paper"], "Gradient clipping."
            )
            self.perturb = flags.DEFINE_integer(
                "perturb", 0, "Bits more or fewer for --perturb_tensors."
            )
            self.tensors = flags.DEFINE_list("perturb_tensors", list(TENSORS), "Which of the five.")

    def assign(self) -> Assignment:
        """Sakr's five criteria."""
        stats = TrainingStats.load(self._inputs.required(self.training))
        result = SakrAssigner(self.b_min.value, self.mismatch.value, self.variant.value).assign(
            stats
        )
        pmap = (
            perturbed(result.map, self.perturb.value, self.tensors.value)
            if self.perturb.value
            else result.map
        )
        print(format_table(*result_tables.training_table(pmap)))
        figures = result.figures
        print(f"\nB_min {figures['b_min']}: p_m <= {figures['mismatch_bound']:.3g}")
        for warning in figures["warnings"]:
            print(f"WARNING: {warning}")
        return Assignment(pmap, result.trace, result.stop_reason, figures)
