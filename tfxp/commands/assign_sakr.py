"""Sakr's five criteria, for all tensors of fixed-point training."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfxp.assign import Assignment, SakrAssigner, TrainingStats, result_tables, with_more_bits
from tfxp.assign.sakr import TENSORS, mismatch_bound, smallest_b_min
from tfxp.assign.training_variants import READINGS
from tfxp.cli import ToolFlags, format_table
from tfxp.commands.assign_inputs import AssignInputs
from tfxp.errors import ConfigError
from tfxp.progress import Progress


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
            self.sweep = flags.DEFINE_boolean(
                "b_min_sweep",
                False,
                "Find B_min by accuracy, as the authors do: the smallest from which on --model, "
                "weights and activations rounded, loses at most --tolerance on --eval_data.",
            )
            self.held_out = flags.DEFINE_integer(
                "held_out",
                None,
                "Sweep on the last N samples of --eval_data only, those that train_model "
                "--held_out=N did not train on.",
                lower_bound=1,
            )
            self.mismatch = flags.DEFINE_float("mismatch_target", 0.01, "Largest bound on p_m.")
            self.variant = flags.DEFINE_enum(
                "variant",
                "code",
                ["code", "paper"],
                "Bound the gradients as the authors' code or as the paper.",
            )
            self.perturb = flags.DEFINE_integer(
                "perturb", 0, "Bits more or fewer for --perturb_tensors."
            )
            self.tensors = flags.DEFINE_list(
                "perturb_tensors", list(TENSORS), "Those of the five that --perturb changes."
            )
            self.reading = flags.DEFINE_enum(
                "perturb_accumulators",
                "range",
                list(READINGS),
                "How accumulators take part: their range follows the weights and they have the "
                "bits, or the step, of the others; or all as in the authors' script.",
            )

    def assign(self) -> Assignment:
        """Sakr's five criteria.

        Raises:
            ConfigError: flags that do not go together, or a sweep without model and samples.
        """
        stats = TrainingStats.load(self._inputs.required(self.training))
        assigner = SakrAssigner(self.b_min.value, self.mismatch.value, self.variant.value)
        swept: dict[str, Any] = {}
        if self.sweep.value:
            swept = self._swept(assigner, stats)
            assigner = dataclasses.replace(assigner, b_min=swept["b_min"])
        result = assigner.assign(stats)
        pmap = with_more_bits(
            result.map, self.perturb.value, self.tensors.value, self.reading.value
        )
        print(format_table(*result_tables.training_table(pmap)))
        figures = result.figures
        print(f"\nB_min {figures['b_min']}: p_m <= {figures['mismatch_bound']:.3g}")
        for warning in figures["warnings"]:
            print(f"WARNING: {warning}")
        if swept:
            figures = {**figures, "b_min_sweep": swept}
        return Assignment(pmap, result.trace, result.stop_reason, figures)

    def _swept(self, assigner: SakrAssigner, stats: TrainingStats) -> dict[str, Any]:
        """Accuracy of the rounded float network for every B_min up to the bound's."""
        if assigner.b_min is not None:
            raise ConfigError("b_min and b_min_sweep: got both; expected one of them.")
        network, model, data = self._inputs.load()
        if model is None or data is None:
            raise ConfigError("--b_min_sweep: got no Keras --model with --data; expected both.")
        most = int(assigner.assign(stats).figures["b_min"])
        maps = {b_min: assigner.forward(stats, b_min) for b_min in range(1, most + 1)}
        scorer = self._inputs.evaluator(
            model, maps[most], network, fold_batch_norm=False, held_out=self.held_out.value
        )
        scores: dict[int, float] = {}
        with Progress(most, "B_min", "map", self._inputs.progress.value) as bar:
            for b_min, pmap in maps.items():
                scores[b_min] = scorer.accuracy(pmap)
                bar.step(1)
        baseline = scorer.float_score.accuracy
        rows = [[b, f"{mismatch_bound(stats, b):.3g}", score] for b, score in scores.items()]
        print(f"{scorer.metric} of the float network on {scorer.total} samples: {baseline:.4g}")
        print(format_table(["B_min", "bound on p_m", scorer.metric], rows) + "\n")
        return {
            "b_min": smallest_b_min(scores, baseline, self._inputs.kept_tolerance(scorer)),
            "baseline": baseline,
            "samples": scorer.total,
            "scores": {str(b_min): score for b_min, score in scores.items()},
        }
