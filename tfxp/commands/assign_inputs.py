"""What the methods of assign_precision work on: a network's figures, its model, its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from absl import flags

from tfxp.assign.pareto import tolerance_with_margin
from tfxp.cli import ToolFlags
from tfxp.commands.read_data import read_data
from tfxp.data import Source
from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.models import PAPER_NETWORKS, count_network
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.progress import Progress

if TYPE_CHECKING:
    from tfxp.search.stream_evaluator import Evaluator

METHODS = ("uniform", "adaption", "lin", "judd", "ilp", "sakr")
_MEASURED = ("lin", "judd", "sakr")  # methods that look at accuracy


class AssignInputs:
    """Flags that methods share, and what they name.

    Args:
        flags: of the tool.
    """

    def __init__(self, flags: ToolFlags) -> None:
        self._flags = flags
        self.method = flags.DEFINE_enum("method", "lin", list(METHODS), "One of those above.")
        text = "Keras model, statistics (.json), paper's network."
        self.model = flags.model(text, PAPER_NETWORKS, required=False)
        self._opening = flags.opening()
        self._data = flags.data("Samples to measure on.", required=False)
        self._split, self._limit = flags.split(), flags.limit()
        flags.preprocessing()
        flags.input_scale()
        flags.input_shift()
        self.batch = flags.batch_size(64)
        self.progress = flags.progress()
        with flags.for_methods("uniform", "adaption"):
            self.weight_bits = flags.DEFINE_integer(
                "weight_bits", 8, "Bits of weights.", lower_bound=1
            )
        with flags.for_methods("uniform", "adaption", "lin"):
            self.activation_bits = flags.DEFINE_integer(
                "activation_bits",
                None,
                "Bits of activations (uniform: 8, lin: 16, adaption: as weights).",
                lower_bound=1,
            )
        with flags.for_methods(*_MEASURED):
            self._eval = flags.eval_data()
            self._metric = flags.metric()
            self.tolerance = flags.DEFINE_float("tolerance", 0.01, "Relative error of the choice.")
            self.margin = flags.DEFINE_float(
                "margin",
                0.0,
                "Standard errors that what is chosen stays below the tolerance by, to keep it on "
                "other samples; 1.645 is one-sided 95 %.",
            )

    def required(self, flag: flags.FlagHolder) -> Any:
        """The value of a flag that this method cannot do without.

        Raises:
            ConfigError: it was not given.
        """
        if not flag.value:
            raise ConfigError(
                f"--{flag.name}: got none; expected one for --method={self.method.value}."
            )
        return flag.value

    def load(self) -> tuple[ModelStats, KerasModel | None, Source | None]:
        """The network's figures, and the Keras model and its calibration data if there are any.

        Raises:
            ConfigError, DataError, ModelError: what cannot be.
        """
        name = self.required(self.model)
        if name in PAPER_NETWORKS:
            return count_network(name), None, None
        if name.endswith(".json"):
            return ModelStats.load(name), None, None
        from tfxp.measure import count_model, measure_model
        from tfxp.quantization import load_model
        from tfxp.transforms.split_normalization import split_normalization

        model, _ = split_normalization(load_model(name, **self._opening.options()), always=False)
        if not self._data.value:
            return count_model(model), model, None
        data = self.load_data(model, self._data.value, "train")
        with Progress(data.samples, "measuring", "sample", self.progress.value) as bar:
            stats = measure_model(model, data.x, batch_size=self.batch.value, progress=bar.reach)
        return stats, model, data

    def load_data(self, model: KerasModel, path: str, split: str) -> Source:
        """Samples as the model takes them, with labels where they are to be evaluated on."""
        data = read_data(
            self._flags, path, model, split=self._split.value, limit=self._limit.value,
            default_split=split, labels=split == "test",
        )  # fmt: skip
        assert data is not None
        return data

    def evaluation_data(self, model: KerasModel) -> Source:
        """What accuracy is measured on."""
        return self.load_data(model, self.required(self._eval), "test")

    def kept_tolerance(self, scorer: Evaluator) -> float:
        """What a choice on the scorer's samples must keep, for --tolerance to hold on others."""
        return tolerance_with_margin(
            self.tolerance.value, scorer.float_score.accuracy, scorer.total, self.margin.value
        )

    def evaluator(
        self,
        model: KerasModel,
        first: PrecisionMap,
        stats: ModelStats,
        path: str | None = None,
        *,
        fold_batch_norm: bool = True,
        held_out: int | None = None,
    ) -> Any:
        """The fast evaluator of maps that leave the same tensors in float as a first one.

        Args:
            model: the float network.
            first: formats to build it with.
            stats: its measurements.
            path: samples to evaluate on; --eval_data if none are named.
            fold_batch_norm: as in `quantize_model`.
            held_out: only so many samples, the last ones; None for all.
        """
        from tfxp.quantization import quantize_model
        from tfxp.search import make_evaluator

        data = self.load_data(model, path or self.required(self._eval), "test")
        if held_out is not None:
            _, data = data.without_last(held_out)
        qmodel = quantize_model(model, first, stats, fold_batch_norm=fold_batch_norm)
        return make_evaluator(qmodel, data, stats, metric=self._metric.value)

    def sqnr(
        self,
        stats: ModelStats,
        pmap: PrecisionMap,
        model: KerasModel | None,
        data: Source | None,
    ) -> list[dict[str, Any]]:
        """The table of predicted and measured noise; measured on some hundred samples at most."""
        from tfxp.search import sqnr_table

        if data is None:
            return sqnr_table(stats, pmap)
        return sqnr_table(stats, pmap, model, data.take(512).x, self.batch.value)
