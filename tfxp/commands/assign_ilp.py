"""An integer linear program over measured losses."""

from __future__ import annotations

import dataclasses

from tfxp.assign import Assignment, IlpAssigner, result_tables
from tfxp.assign.ilp import total_of
from tfxp.cli import ToolFlags, format_table
from tfxp.cli.list_flags import whole_number
from tfxp.commands.assign_inputs import AssignInputs
from tfxp.cost import CostSettings
from tfxp.data.source import Source
from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.progress import Progress


class IlpMethod:
    """Word lengths of least summed loss under a bound on a total of the cost report.

    Args:
        flags: of the tool.
        inputs: what methods share.
    """

    def __init__(self, flags: ToolFlags, inputs: AssignInputs) -> None:
        self._inputs = inputs
        with flags.for_methods("ilp"):
            self.lengths = flags.DEFINE_list(
                "word_lengths", [2, 3, 4, 6, 8], "Bits that tensors may have."
            )
            self.tensors = flags.DEFINE_enum(
                "tensors", "both", ["both", "weights", "activations"], "Which tensors vary."
            )
            self.total = flags.DEFINE_string(
                "total", "model_size_bits", "The total of the cost report that is bounded."
            )
            self.bound = flags.DEFINE_string(
                "bound", None, "The most it may be: a number, or the total of a map such as w4a4."
            )
            self.per_channel = flags.DEFINE_boolean(
                "per_channel", False, "Give every output channel's kernel a format of its own."
            )

    def assign(self, stats: ModelStats, model: KerasModel, inputs: Source | None) -> Assignment:
        """Measure the loss of every tensor at every word length, and solve.

        Args:
            stats: what was measured.
            model: the Keras model.
            inputs: what the other flags name.

        Raises:
            ConfigError: no model with samples, or flags that do not go together.
        """
        from tfxp.measure import word_length_losses

        if inputs is None:
            raise ConfigError("--method=ilp: got no model with --data; expected both. Name them.")
        lengths = sorted({whole_number(self.lengths, str(text)) for text in self.lengths.value})
        settings = CostSettings(batch_size=self._inputs.batch.value)
        base = PrecisionMap.uniform(
            max(lengths, default=8), max(lengths, default=8), None, self.per_channel.value or None
        )
        bound = self._bound(stats, settings)
        chosen = self.tensors.value
        with Progress(None, "losses", "word length", self._inputs.progress.value) as bar:
            losses = word_length_losses(
                model,
                inputs.x,
                stats,
                lengths,
                tensors=("weights", "activations") if chosen == "both" else (chosen,),
                base=base,
                batch_size=self._inputs.batch.value,
                progress=bar.reach,
            )
        result = IlpAssigner(losses, self.total.value, bound, base, settings).assign(stats)
        measured = {f"{layer} {tensor}": table for (layer, tensor), table in losses.items()}
        result = dataclasses.replace(result, figures={**result.figures, "losses": measured})
        print(format_table(*result_tables.loss_table(result)))
        print(f"\n{result.stop_reason}")
        return result

    def _bound(self, stats: ModelStats, settings: CostSettings) -> float:
        """--bound as a number."""
        text = self._inputs.required(self.bound)
        try:
            return float(text)
        except ValueError:
            pass
        return total_of(stats, PrecisionMap.parse(text), self.total.value, settings)
