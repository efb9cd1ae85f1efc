"""Lin's allocation: bits of weights from what they cost and how noise adds up."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfxp.assign import (
    Assignment,
    LinAssigner,
    best_saving,
    dense_sweep,
    result_tables,
    savings,
    size_curve,
    smallest_within,
)
from tfxp.cli import ToolFlags, format_table
from tfxp.cli.list_flags import numbers_file, pairs, real_number, whole_number
from tfxp.commands.assign_inputs import AssignInputs
from tfxp.data.source import Source
from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.precision import LayerKind, LayerPrecision, ModelStats, PrecisionMap
from tfxp.progress import Progress


class LinMethod:
    """Lin's allocation, its table of bits, and SQNR where that was measured.

    Args:
        flags: of the tool.
        inputs: what methods share.
    """

    def __init__(self, flags: ToolFlags, inputs: AssignInputs) -> None:
        self._inputs = inputs
        with flags.for_methods("lin"):
            self.anchor_bits = flags.DEFINE_float(
                "anchor_bits", None, "Bits of the first convolution."
            )
            self.target = flags.DEFINE_float(
                "target_db", None, "SQNR that all weights leave, instead."
            )
            self.anchor = flags.DEFINE_string("anchor", None, "The layer that has --anchor_bits.")
            self.rho = flags.DEFINE_string(
                "rho",
                "parameters",
                "What a bit costs: parameters, macs, or a .json of layer: cost.",
            )
            self.kappa = flags.DEFINE_string("kappa", "3", "dB per bit, or 'measured'.")
            self.dense = flags.DEFINE_integer(
                "dense_bits", 16, "Of dense layers; 0 allocates them too."
            )
            self.fixed = flags.DEFINE_list("fixed", [], "Pairs layer:bits that stay as they are.")
            self.excluded = flags.DEFINE_list("excluded", [], "Layers whose weights stay float.")
            self.widths = flags.DEFINE_list("widths", [], "Word lengths that the hardware has.")
            self.fraction = flags.DEFINE_enum(
                "fraction",
                "fit",
                ["fit", "ceil", "nearest", "mse"],
                "Write Lin's formats, or only bits.",
            )
            self.sweep_sizes = flags.DEFINE_boolean(
                "sweep", False, "Accuracy against size, beside equal bits."
            )
            self.sweep_dense = flags.DEFINE_boolean(
                "dense_sweep",
                False,
                "Lower dense layers, all else float, until accuracy drops; use that.",
            )

    def assign(self, stats: ModelStats, model: KerasModel, inputs: Source | None) -> Assignment:
        """Lin's allocation, its table of bits, and SQNR where that was measured.

        Args:
            stats: what was measured.
            model: the Keras model.
            inputs: what the other flags name.

        Raises:
            ConfigError: a sweep without a model and samples.
        """
        if (self.sweep_sizes.value or self.sweep_dense.value) and inputs is None:
            raise ConfigError("sweeps of --method=lin: got no model with --data; expected both.")
        dense = self._swept_dense_bits(stats, model) if self.sweep_dense.value else self.dense.value
        anchor = 8 if self.sweep_sizes.value and self.target.value is None else None
        assigner = LinAssigner(
            anchor_bits=self.anchor_bits.value or anchor,
            target_db=self.target.value,
            rho=numbers_file(self.rho) if self.rho.value.endswith(".json") else self.rho.value,
            kappa=self.kappa.value if self.kappa.value == "measured" else real_number(self.kappa),
            anchor=self.anchor.value,
            activation_bits=self._inputs.activation_bits.value or 16,
            dense_bits=dense or None,
            fixed={
                name: whole_number(self.fixed, bits) for name, bits in pairs(self.fixed).items()
            },
            excluded=self.excluded.value,
            widths=[whole_number(self.widths, width) for width in self.widths.value] or None,
            fraction=None if self.fraction.value == "fit" else self.fraction.value,
        )
        result, swept = (
            self._sweep(assigner, stats, model)
            if self.sweep_sizes.value
            else (assigner.assign(stats), {})
        )
        sqnr = self._inputs.sqnr(stats, result.map, model, inputs)
        print(format_table(*result_tables.lin_table(result, stats, sqnr)))
        print(f"\nsize of weights: {result.figures['size_bits']:,} bit")
        figures = {**result.figures, "sqnr": sqnr, **swept}
        return Assignment(result.map, result.trace, result.stop_reason, figures)

    def _swept_dense_bits(self, stats: ModelStats, model: KerasModel) -> int:
        """The fewest bits of dense layers that lose nothing while all else is float."""
        others = PrecisionMap(LayerPrecision(weights="float", activations="float", bias="float"))
        dense = [x.name for x in stats.layers.values() if x.kind == LayerKind.DENSE]
        start = {name: LayerPrecision(weights=16) for name in dense}
        scorer = self._inputs.evaluator(model, others.updated(start), stats)
        kept = self._inputs.kept_tolerance(scorer)
        result = dense_sweep(scorer.accuracy, others, stats, tolerance=kept)
        rows = [[point["bits"], point["accuracy"]] for point in result.figures["points"]]
        print(format_table(["dense bits", scorer.metric], rows))
        print(f"stopped: {result.stop_reason}\n")
        return result.trace[-1].value

    def _sweep(
        self, assigner: LinAssigner, stats: ModelStats, model: KerasModel
    ) -> tuple[Assignment, dict[str, Any]]:
        """Accuracy against size; the cheapest allocated map within the tolerance."""
        scorer = self._inputs.evaluator(model, assigner.assign(stats).map, stats)
        baseline = scorer.float_score.accuracy
        anchors = [bits / 2 for bits in range(6, 31)]
        with Progress(None, "size curve", "map", self._inputs.progress.value) as bar:
            points = size_curve(
                scorer.accuracy, stats, assigner, anchors, range(2, 13), lambda point: bar.step(1)
            )
        print(format_table(*result_tables.size_table(points, scorer.metric)))
        found = savings(points)
        print(f"\nfloat {scorer.metric}: {baseline:.4g}")
        print(format_table(*result_tables.saving_table(found, scorer.metric)) + "\n")
        chosen = smallest_within(points, baseline, self._inputs.kept_tolerance(scorer))
        knob = chosen.knob if chosen is not None else max(anchors)
        result = dataclasses.replace(assigner, anchor_bits=knob, target_db=None).assign(stats)
        best = best_saving(points, baseline)
        return result, {
            "baseline": baseline,
            "metric": scorer.metric,
            "samples": scorer.total,
            "sizes": [point.to_dict() for point in points],
            "savings": [saving.to_dict() for saving in found],
            "best_saving": best.to_dict() if best else None,
        }
