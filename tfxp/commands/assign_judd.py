"""Judd's descent on measured accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfxp.assign import (
    Assignment,
    BitSpace,
    EvaluationLedger,
    JuddAssigner,
    result_tables,
    sensitivity_profile,
)
from tfxp.assign.judd import uniform_start, wide_values
from tfxp.assign.search_space import ARITHMETICS, RANGES
from tfxp.cli import ToolFlags, format_table
from tfxp.cli.list_flags import pairs, whole_number
from tfxp.commands.assign_inputs import AssignInputs
from tfxp.cost import CostSettings
from tfxp.data.source import Source
from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.progress import Progress

if TYPE_CHECKING:
    from tfxp.search.stream_evaluator import Evaluator


class JuddMethod:
    """Greedy descent; run the same command again to go on after a stop.

    Args:
        flags: of the tool.
        inputs: what methods share.
    """

    def __init__(self, flags: ToolFlags, inputs: AssignInputs) -> None:
        self._inputs = inputs
        with flags.for_methods("judd"):
            self.report_data = flags.samples(
                "report_data", "Samples kept from the search; chosen maps are scored on them too."
            )
            self.stop = flags.DEFINE_float(
                "stop_error", 0.10, "Relative error that ends the descent."
            )
            self.start = flags.DEFINE_float("start_error", 0.001, "Relative error at the start.")
            self.freeze = flags.DEFINE_list("freeze", [], "Pairs such as data_fraction:0.")
            self.blocks = flags.DEFINE_list(
                "blocks", [], "Pairs name:layer+layer+…, one precision for all."
            )
            self.arithmetic = flags.DEFINE_enum(
                "arithmetic",
                "quantized",
                ARITHMETICS,
                "All on grids, or only what is stored rounded.",
            )
            self.ranges = flags.DEFINE_enum(
                "ranges",
                "uniform",
                RANGES,
                "Integer bits at the start, alike or as measured by layer.",
            )
            self.ledger = flags.output("File of all scores; makes it resumable.", name="ledger")
            self.profile = flags.plot("Also plot accuracy against single bits", "profile")

    def assign(
        self, stats: ModelStats, model: KerasModel, inputs: Source | None, profile: bool = False
    ) -> Assignment:
        """Judd's descent on measured accuracy.

        Args:
            stats: what was measured.
            model: the Keras model.
            inputs: what the other flags name.
            profile: what scores depend on besides the network.

        Raises:
            ConfigError: no model with samples, or flags that do not go together.
        """
        from tfxp.search import scores_fingerprint

        if inputs is None:
            raise ConfigError("--method=judd: got no model with --data; expected both. Name them.")
        freeze = {
            name: whole_number(self.freeze, bits) for name, bits in pairs(self.freeze).items()
        }
        blocks = {name: layers.split("+") for name, layers in pairs(self.blocks).items()}
        space = BitSpace(stats, blocks, freeze, arithmetic=self.arithmetic.value)
        wide = space.to_map(space.uniform(wide_values(space)))
        scorer = self._inputs.evaluator(model, wide, stats)
        data = self._inputs.evaluation_data(model)
        fingerprint = scores_fingerprint(model, data, scorer.metric)
        with Progress(None, "greedy descent", "map", self._inputs.progress.value) as bar:
            assigner = JuddAssigner(
                scorer, scorer.float_score.accuracy, self._inputs.tolerance.value,
                self.start.value, self.stop.value,
                blocks, freeze, self.arithmetic.value, self.ranges.value,
                CostSettings(batch_size=self._inputs.batch.value), self.ledger.value, fingerprint,
                lambda descent: bar.step(1, f"round {len(descent.path)}"),
                self._inputs.margin.value, scorer.total,
            )  # fmt: skip
            result = assigner.assign(stats)
        figures: dict[str, Any] = {
            **result.figures, "metric": scorer.metric, "samples": scorer.total,
            "stop_reason": result.stop_reason,
        }  # fmt: skip
        if self.profile.value or profile:
            figures["profile"] = self._profile(space, scorer, fingerprint)
        if self.report_data.value:
            figures |= self._reported(model, wide, stats, figures["selected"])
        figures["sqnr"] = self._inputs.sqnr(stats, result.map, model, inputs)
        print(f"float {scorer.metric}: {figures['baseline']:.4g}; maps: {len(figures['visited'])}")
        print(format_table(*result_tables.selected_table(figures["selected"], scorer.metric)))
        print(f"\nstopped: {result.stop_reason}")
        return Assignment(result.map, result.trace, result.stop_reason, figures)

    def _profile(
        self, space: BitSpace, scorer: Evaluator, fingerprint: str
    ) -> list[dict[str, Any]]:
        """The one-at-a-time profile around the start of the descent."""
        ledger = EvaluationLedger(self.ledger.value, f"{fingerprint} {space.fingerprint()}")
        baseline = scorer.float_score.accuracy
        base, _ = uniform_start(
            space, scorer, baseline, self.start.value, ledger, self.ranges.value
        )
        with Progress(None, "sensitivity", "map", self._inputs.progress.value) as bar:
            points = sensitivity_profile(
                space, scorer, base, baseline, ledger=ledger, on_point=lambda point: bar.step(1)
            )
        return [point.to_dict() for point in points]

    def _reported(
        self, model: KerasModel, wide: PrecisionMap, stats: ModelStats, selected: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Scores of the chosen maps, and of float, on samples that the search has not seen."""
        scorer = self._inputs.evaluator(model, wide, stats, self.report_data.value)
        for entry in selected.values():
            if entry is not None:
                entry["report_accuracy"] = scorer.accuracy(PrecisionMap.from_dict(entry["map"]))
        return {"report_baseline": scorer.float_score.accuracy, "report_samples": scorer.total}
