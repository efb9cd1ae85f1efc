"""Scores of precision maps on samples of any number, by any figure of merit."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfxp.data import Batch, Dataset, ModelData, Source, input_shapes
from tfxp.data.metrics import AUTO, METRICS, choose_metric
from tfxp.errors import ConfigError, DataError
from tfxp.keras import tf
from tfxp.keras_types import KerasModel
from tfxp.measure.evaluate import outputs_of
from tfxp.measure.scorer import MetricLike, NamedScorer, make_scorer
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization.set_precision import PrecisionSetter
from tfxp.search.fast_evaluator import FastEvaluator, Score, needed_correct
from tfxp.search.fingerprint import samples_fingerprint
from tfxp.search.segment_runner import SegmentRunner
from tfxp.search.segments import find_cuts
from tfxp.streams import open_data
from tfxp.streams.stream import Stream
from tfxp.transforms.layer_graph import LayerGraph

_CHOOSING = 1024  # samples that the metric is chosen by, read in batches of the usual size
_MEDIAN_BYTES = 1 << 26  # answers that the median is taken of


class StreamEvaluator:
    """Evaluates precision maps on a source that is read anew for every map.

        accuracy(map) = the figure                        higher is better
                      = 1 - error / error of a constant   "mae" and "mse", as `FastEvaluator`
                      = 2 - figure / figure of float      other figures, lower is better

    So a tolerance of 0.01 accepts 1 % less, or for the last kind 1 % more, than the float network
    has. Nothing of the samples is kept, activations neither. Where a figure is a mean over samples
    that are worth 1 at most (accuracy, top5, binary_accuracy, mae, mse), evaluation stops once a
    map cannot reach what the caller asks for; any other figure has no such bound, and every sample
    is seen.

    Args:
        qmodel: what `quantize_model` returned.
        data: inputs and answers.
        stats: measurements, for maps that give bits.
        metric: what `tfxp.measure.make_scorer` takes.
        direction: "max" or "min", for functions.
        batch_size: samples a step.
        fit: as in `quantize_model`.

    Attributes:
        qmodel, metric, float_score, evaluations, samples_run, seconds: as in `FastEvaluator`.

    Raises:
        ConfigError, DataError: a figure, or answers, that cannot be.
    """

    def __init__(
        self,
        qmodel: KerasModel,
        data: Source,
        stats: ModelStats | None = None,
        *,
        metric: MetricLike = AUTO,
        direction: str | None = None,
        batch_size: int = 128,
        fit: str = "mse",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"evaluation: got batches of {batch_size}; expected at least 1.")
        source = open_data(data, input_shapes(qmodel), labels=True)
        self._source = source.with_count() if isinstance(source, Stream) else source
        self.qmodel, self.setter = qmodel, PrecisionSetter(qmodel, stats, fit=fit)
        graph = LayerGraph.from_model(qmodel)
        self._cuts = find_cuts(graph, {layer.name: () for layer in qmodel.layers})
        self._runner = SegmentRunner(qmodel, graph, self._cuts)
        self._scorer = make_scorer(metric, qmodel.output_names, direction)
        self.total = int(self._source.samples or 0)
        self._batch = max(min(batch_size, self.total), 1)
        self.evaluations = self.samples_run = 0
        self.seconds = 0.0
        self._constant = self._reference = 1.0
        self.float_score = self._run_float()
        self.metric = self._scorer.name

    def accuracy(self, precision: PrecisionMap | str) -> float:
        """The score alone; what assigners want as `evaluate(map)`."""
        return self.evaluate(precision).accuracy

    def evaluate(self, precision: PrecisionMap | str, at_least: float | None = None) -> Score:
        """Score a map; `at_least` as in `FastEvaluator.evaluate`."""
        started = time.perf_counter()
        formats = self.setter.resolve(precision)
        self._runner.refresh(self.setter.assign(formats))
        score = self._scored(self._outputs(), at_least)
        self.evaluations += 1
        self.samples_run += score.seen
        self.seconds += time.perf_counter() - started
        return score

    def refresh(self) -> None:
        """Forget what depends on the model's weights, after they have changed."""
        self.setter.refresh()

    def fingerprint(self) -> bytes:
        """What tells the samples and the figure apart from others."""
        return f"{self.metric} {self.total} ".encode() + samples_fingerprint(self._source)

    def _scored(
        self, results: Iterator[tuple[list[np.ndarray], Batch]], at_least: float | None
    ) -> Score:
        if not isinstance(self._scorer, NamedScorer):
            self._scorer.reset()
            for outputs, batch in results:
                self._scorer.add(outputs, batch)
            return self._whole(self._scorer.value())
        allowed, correct, seen = self._allowed(at_least), 0.0, 0
        for outputs, batch in results:
            correct += float(self._shares(outputs[0], batch).sum())
            seen += len(batch)
            if seen - correct > allowed:
                break
        return Score(correct, seen, self.total)

    def _shares(self, outputs: np.ndarray, batch: Batch) -> np.ndarray:
        """What every sample adds; 1 at most."""
        assert isinstance(self._scorer, NamedScorer)
        scores = self._scorer.scores(outputs, batch)
        return scores if self._scorer.higher_is_better else 1 - scores / self._constant

    def _whole(self, figure: float) -> Score:
        if not self._scorer.higher_is_better:
            figure = 2 - figure / self._reference
        return Score(figure * self.total, self.total, self.total)

    def _allowed(self, at_least: float | None) -> float:
        """How much all samples together may lack of a perfect score."""
        if at_least is None:
            return math.inf
        if self._scorer.name in ("accuracy", "top5"):
            return self.total - needed_correct(at_least, self.total) + 1e-6
        return self.total * (1 - at_least) + 1e-9

    def _run_float(self) -> Score:
        """The float network's score, and what others are measured by."""
        model = self.setter.plan.graph.to_model("float")
        scorer = self._scorer
        if isinstance(scorer, NamedScorer):
            self._choose(scorer, model)
            if not scorer.higher_is_better:
                self._constant = self._error_of_a_constant(scorer)
            return self._scored(outputs_of(model, self._source, self._batch), None)
        scorer.reset()
        for outputs, batch in outputs_of(model, self._source, self._batch):
            scorer.add(outputs, batch)
        self._reference = scorer.value()
        if not scorer.higher_is_better and self._reference <= 0:
            raise DataError(
                f"metric {scorer.name!r}: got {self._reference:g} for the float network; expected "
                "more than 0, to measure others by. Use a figure where higher is better."
            )
        return self._whole(self._reference)

    def _choose(self, scorer: NamedScorer, model: KerasModel) -> None:
        """The metric that fits, and whether outputs are logits, by the first samples."""
        seen = list(outputs_of(model, self._source.take(_CHOOSING), self._batch))
        first, batch = seen[0]
        if scorer.name == AUTO:
            answers: Any = self._source
            if not isinstance(answers, ModelData) and isinstance(batch.y, np.ndarray):
                y = np.concatenate([part.y for _, part in seen])
                answers = Dataset(np.zeros(len(y)), y)
            if isinstance(answers, (ModelData, Dataset)):
                scorer.name = choose_metric(first[0].shape, answers)
        scorer.fit(np.concatenate([outputs[0] for outputs, _ in seen]), batch)

    def _error_of_a_constant(self, scorer: NamedScorer) -> float:
        """The error of the best answer that ignores the inputs."""
        rows, size = [], 0
        total: Any = 0.0
        for batch in self._source.batches(1024):
            y = np.asarray(batch.y, np.float64).reshape(len(batch), -1)
            total = total + y.sum(axis=0)
            if size < _MEDIAN_BYTES:
                rows.append(y)
                size += y.nbytes
        best = total / self.total
        if scorer.name == "mae":
            best = np.median(np.concatenate(rows), axis=0)
        error = 0.0
        for batch in self._source.batches(1024):
            y = np.asarray(batch.y, np.float64).reshape(len(batch), -1)
            same = np.broadcast_to(best, y.shape)
            error += float(METRICS[scorer.name].scores(same, y).sum()) / self.total
        if error == 0:
            raise DataError("targets of the data: got one value for all samples; expected several.")
        return error

    def _outputs(self) -> Iterator[tuple[list[np.ndarray], Batch]]:
        """The quantized network's outputs for every batch; the last is filled up."""
        last = len(self._cuts) - 1
        for batch in self._source.batches(self._batch):
            rows = np.resize(np.arange(len(batch)), self._batch)
            pairs = zip(batch.inputs, self.qmodel.inputs, strict=True)
            inputs = [tf.cast(part[rows], tensor.dtype) for part, tensor in pairs]
            found = self._runner.run(0, last, inputs)
            yield [part.numpy()[: len(batch)] for part in found], batch


Evaluator = FastEvaluator | StreamEvaluator


def make_evaluator(
    qmodel: KerasModel,
    data: Source | Dataset,
    stats: ModelStats | None = None,
    *,
    metric: MetricLike = AUTO,
    direction: str | None = None,
    batch_size: int = 128,
    cache_bytes: int = 1 << 30,
    fit: str = "mse",
) -> Evaluator:
    """The evaluator for some samples and a figure: the fast one where both allow it.

    Args:
        qmodel, data, stats, metric, batch_size, cache_bytes, fit: as in `FastEvaluator`.
        direction: "max" or "min", for functions.
    """
    known = isinstance(metric, str) and (metric == AUTO or metric in METRICS)
    if isinstance(data, Dataset | ModelData) and known and len(qmodel.outputs) == 1:
        return FastEvaluator(
            qmodel, data, stats, metric=str(metric), batch_size=batch_size,
            cache_bytes=cache_bytes, fit=fit,
        )  # fmt: skip
    source = ModelData.of(data) if isinstance(data, Dataset) else data
    return StreamEvaluator(
        qmodel, source, stats, metric=metric, direction=direction, batch_size=batch_size, fit=fit
    )
