"""Accuracy of precision maps on one built model, as fast as what they change allows."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np

from tfxp.data import Dataset, ModelData, input_shapes
from tfxp.data.metrics import AUTO, choose_metric, find_metric
from tfxp.errors import ConfigError, DataError, ModelError
from tfxp.keras import tf
from tfxp.keras_types import KerasModel
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization.layer_formats import NetworkFormats
from tfxp.quantization.set_precision import PrecisionSetter
from tfxp.search.activation_cache import ActivationCache
from tfxp.search.segment_runner import SegmentRunner
from tfxp.search.segments import dependencies, dependency_value, find_cuts
from tfxp.transforms.layer_graph import LayerGraph

_GIBIBYTE = 1 << 30


@dataclasses.dataclass(frozen=True)
class Score:
    """What evaluating a map has found.

    Args:
        correct: how many samples were right; of errors (mae, mse), what they lack of that.
        seen: how many samples were looked at; fewer than `total` where the rest cannot matter.
        total: how many there are.
    """

    correct: float
    seen: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether every sample was looked at."""
        return self.seen == self.total

    @property
    def accuracy(self) -> float:
        """The mean score; an upper bound where evaluation stopped early."""
        return (self.correct + self.total - self.seen) / self.total


class FastEvaluator:
    """Evaluates precision maps on a fixed data set; equal to quantizing afresh, only faster.

        accuracy(map) = mean over samples of  1 or 0, right or wrong           classes, yes or no
                                              share of right positions         segmentation
                                              1 - error / error of a constant  mae, mse

    The constant is the median of the answers for mae and their mean for mse, so that real values
    score like classes: 1 is perfect, 0 is worthless, and tolerances mean the same.

    - Nothing is rebuilt or retraced; formats are assigned, those that differ from before.
    - Weights are quantized when their format changes, not at every batch.
    - Activations before the first layer whose formats differ from an earlier map are reused. They
      are kept for what has come up twice, up to `cache_bytes`.
    - Samples that the float network finds hard come first, so that a map which cannot reach what
      the caller asks for is known after few of them: evaluation stops when even with all remaining
      samples right it could not.

    Every answer equals that of a model freshly quantized with the map as long as sums are exact in
    float32 (any format of up to 8 bits; see `tfxp.export`). With wider formats sums are rounded,
    in an order that depends on the size of batches, here as in Keras itself.

    Args:
        qmodel: what `quantize_model` returned, with one output. While the evaluator is
            in use nobody else may set its precision; after training, call `refresh`.
        data: inputs and labels, as the model takes them: one `Dataset`, or `ModelData` for several
            inputs.
        stats: measurements, for maps that give bits; by default those it was quantized with.
        metric: one of `tfxp.data.METRICS`; "auto" takes the one that fits outputs and answers.
        batch_size: samples per step at most; steps are equal, so that none is traced twice.
        cache_bytes: memory for activations.
        hard_first: order samples by the float network's margin; False keeps the data's order.
        fit: as in `quantize_model`.

    Attributes:
        qmodel: the model.
        metric: the name of the metric.
        float_score: what the same network scores without quantizers.
        evaluations, samples_run, seconds: how much was done so far.

    Raises:
        ConfigError: an unknown metric or an impossible size.
        DataError: no labels, or inputs that do not fit the model.
        ModelError: the model has several outputs.

    Example:
        >>> evaluator = FastEvaluator(qmodel, Dataset(x, labels))     # doctest: +SKIP
        >>> evaluator.evaluate("w4a4").accuracy                        # doctest: +SKIP
        0.8125
        >>> evaluator.evaluate("w2a2", at_least=0.8).complete          # doctest: +SKIP
        False
    """

    def __init__(
        self,
        qmodel: KerasModel,
        data: Dataset | ModelData,
        stats: ModelStats | None = None,
        *,
        metric: str = AUTO,
        batch_size: int = 128,
        cache_bytes: int = _GIBIBYTE,
        hard_first: bool = True,
        fit: str = "mse",
    ) -> None:
        if batch_size < 1 or cache_bytes < 0:
            raise ConfigError(
                f"fast evaluation: got batches of {batch_size} and {cache_bytes} bytes of cache; "
                "expected at least 1 and 0."
            )
        _require_one_output(qmodel)
        self.qmodel, self.setter = qmodel, PrecisionSetter(qmodel, stats, fit=fit)
        graph = LayerGraph.from_model(qmodel)
        depends = {layer.name: dependencies(layer, self.setter.plan) for layer in qmodel.layers}
        self._cuts = find_cuts(graph, depends)
        self._runner = SegmentRunner(qmodel, graph, self._cuts)
        self._cache = ActivationCache(cache_bytes)
        shape = tuple(int(size or 1) for size in qmodel.outputs[0].shape[1:])
        data = _checked(qmodel, data)
        self.metric = choose_metric((1, *shape), data) if metric == AUTO else metric
        self._metric = find_metric(self.metric)
        self._inputs = [part.inputs() for part in data.parts]
        self._answers = self._metric.answers(data, (len(data), *shape))
        self._constant = self._error_of_a_constant()
        self.total = len(self._answers)
        self._batch = math.ceil(self.total / math.ceil(self.total / batch_size))
        self.evaluations = self.samples_run = 0
        self.seconds = 0.0
        self.float_score = self._run_float(hard_first)
        self._batches = self._split()

    def accuracy(self, precision: PrecisionMap | str) -> float:
        """The share of right samples; what assigners want as `evaluate(map)`."""
        return self.evaluate(precision).accuracy

    def evaluate(self, precision: PrecisionMap | str, at_least: float | None = None) -> Score:
        """Score a map.

        Args:
            precision: precision map or shorthand.
            at_least: accuracy below which the caller does not care how much; evaluation may stop
                once it cannot be reached. None looks at every sample.

        Returns:
            The score; not `complete` if and only if its accuracy is below `at_least`, though a
            score below may be complete as well.

        Raises:
            PrecisionError: the map does not fit the model.
        """
        started = time.perf_counter()
        formats = self.setter.resolve(precision)
        self._runner.refresh(self.setter.assign(formats))
        keys = self._keys(formats)
        # Where an earlier map agreed with this one, others may again.
        store = max((i for i, key in enumerate(keys[:-1]) if self._cache.wanted(key)), default=0)
        allowed = self._allowed(at_least)
        correct, seen = 0.0, 0
        for batch, (inputs, answers) in enumerate(self._batches):
            outputs = self._forward(keys, batch, inputs, store)[: len(answers)]
            correct += float(self._scores(outputs, answers).sum())
            seen += len(answers)
            if seen - correct > allowed:
                break
        for key in keys[1:-1]:
            self._cache.note(key)
        self.evaluations += 1
        self.samples_run += seen
        self.seconds += time.perf_counter() - started
        return Score(correct, seen, self.total)

    def spread(self, precision: PrecisionMap | str) -> float:
        """The standard error of the loss against the float network, from one sample set to another.

        Both decide about the same samples, so it comes from those on which they differ, won ones
        included: sqrt(lost + won) / samples where right answers count and losses are few.
        """
        formats = self.setter.resolve(precision)
        self._runner.refresh(self.setter.assign(formats))
        keys, parts = self._keys(formats), []
        for batch, (inputs, answers) in enumerate(self._batches):
            outputs = self._forward(keys, batch, inputs, 0)[: len(answers)]
            parts.append(self._scores(outputs, answers))
        differences = np.concatenate(parts) - self._float_scores
        return float(differences.std() / math.sqrt(self.total))

    def refresh(self) -> None:
        """Forget what depends on the model's weights, after they have changed."""
        self.setter.refresh()
        self._cache.clear()

    def _scores(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """What every sample adds; 1 at most."""
        scores = self._metric.scores(outputs, answers)
        return scores if self._metric.higher_is_better else 1 - scores / self._constant

    def _error_of_a_constant(self) -> float:
        """The error of the best answer that ignores the inputs; 1 where right answers count."""
        if self._metric.higher_is_better:
            return 1.0
        best = np.median if self.metric == "mae" else np.mean
        same = np.broadcast_to(best(self._answers, axis=0), self._answers.shape)
        error = float(self._metric.scores(same, self._answers).mean())
        if error == 0:
            raise DataError("targets of the data: got one value for all samples; expected several.")
        return error

    def _allowed(self, at_least: float | None) -> float:
        """How much all samples together may lack of a perfect score."""
        if at_least is None:
            return math.inf
        if self._answers.shape[1] == 1 and self._metric.higher_is_better:
            return self.total - needed_correct(at_least, self.total)
        return self.total * (1 - at_least) + 1e-9

    def fingerprint(self) -> bytes:
        """What tells the answers and the metric apart from others."""
        name = b"" if self.metric in ("accuracy", "top5") else self.metric.encode()
        return name + np.ascontiguousarray(self._in_order).tobytes()

    def _keys(self, formats: NetworkFormats) -> list[tuple[Any, ...]]:
        """What everything before each cut depends on; equal keys, equal activations.

        One wide tensor changes the storage of all, and with it zero points and roundings.
        """
        network = self.setter.network.with_formats(formats)
        values = {
            dependency: dependency_value(network, dependency)
            for dependency in self._cuts[-1].depends
        }
        return [
            (i, network.storage, *(values[dependency] for dependency in cut.depends))
            for i, cut in enumerate(self._cuts)
        ]

    def _forward(
        self, keys: list[tuple[Any, ...]], batch: int, inputs: list[Any], store: int
    ) -> np.ndarray:
        start, tensors = 0, inputs
        for index in range(store, 0, -1):
            kept = self._cache.get(keys[index], batch)
            if kept is not None:
                start, tensors = index, kept
                break
        for stop in range(start + 1, store + 1):  # what lies between may be asked for next
            tensors = self._runner.run(stop - 1, stop, tensors)
            size = sum(int(t.shape.num_elements()) * t.dtype.size for t in tensors)
            self._cache.put(keys[stop], batch, tensors, size, make_room=stop == store)
        start = max(start, store)
        return self._runner.run(start, len(self._cuts) - 1, tensors)[0].numpy()

    def _run_float(self, hard_first: bool) -> Score:
        """Score of the float network; sorts the samples by its margin."""
        model = self.setter.plan.graph.to_model("float")
        function = tf.function(lambda batch: model(batch, training=False), autograph=False)
        parts = []
        for inputs, answers in self._split():
            outputs = function(inputs if len(inputs) > 1 else inputs[0]).numpy()
            parts.append(outputs[: len(answers)])
        outputs = np.concatenate(parts)
        self._metric, self._in_order = self._metric.fitted(outputs), self._answers
        scores = self._scores(outputs, self._answers)
        if hard_first:
            order = np.argsort(self._margins(outputs, scores), kind="stable")
            self._inputs = [part[order] for part in self._inputs]
            self._answers, scores = self._answers[order], scores[order]
        self._float_scores = scores
        return Score(float(scores.sum()), self.total, self.total)

    def _margins(self, outputs: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """How sure the float network is of each sample: by how much the true class leads."""
        if self.metric not in ("accuracy", "top5") or self._answers.shape[1] > 1:
            return scores
        return _margins(outputs.reshape(len(outputs), -1), self._answers[:, 0])

    def _split(self) -> list[tuple[list[Any], np.ndarray]]:
        """Batches of one size; the last is filled up with samples that do not count."""
        result = []
        for start in range(0, self.total, self._batch):
            rows = np.arange(start, start + self._batch) % self.total
            inputs = [
                tf.cast(part[rows], tensor.dtype)
                for part, tensor in zip(self._inputs, self.qmodel.inputs, strict=True)
            ]
            result.append((inputs, self._answers[start : start + self._batch]))
        return result


def needed_correct(at_least: float | None, total: int) -> int:
    """The smallest number of right samples whose share reaches `at_least`.

    Example:
        >>> needed_correct(0.87, 1000), needed_correct(0.8701, 1000), needed_correct(None, 1000)
        (870, 871, 0)
    """
    if at_least is None or at_least <= 0:
        return 0
    correct = math.ceil(at_least * total)
    while correct > 0 and (correct - 1) / total >= at_least:  # the product was rounded up
        correct -= 1
    while correct / total < at_least:
        correct += 1
    return correct


def _margins(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By how much the true class leads; negative where another one does."""
    rows = np.arange(len(labels))
    own = outputs[rows, labels]
    others = outputs.copy()
    others[rows, labels] = -np.inf
    return own - others.max(axis=1)


def _require_one_output(qmodel: KerasModel) -> None:
    if len(qmodel.outputs) != 1:
        raise ModelError(
            f"model {qmodel.name!r}: got {len(qmodel.outputs)} outputs; expected one. "
            "Evaluate it yourself and hand the function to an assigner."
        )


def _checked(qmodel: KerasModel, data: Dataset | ModelData) -> ModelData:
    data = ModelData.of(data).shaped(input_shapes(qmodel))
    if len(data) == 0:
        raise DataError(f"{data.name}: got no samples; expected at least one.")
    return data
