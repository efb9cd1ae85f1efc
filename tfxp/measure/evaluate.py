"""A network's figure of merit on a source of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from tfxp.data import Batch, ModelData, Source, input_shapes
from tfxp.errors import DataError
from tfxp.keras import tf
from tfxp.keras_types import KerasModel
from tfxp.measure.scorer import MetricLike, NamedScorer, Scorer, is_scorer, make_scorer
from tfxp.progress import Report, reporter
from tfxp.streams import open_data


def evaluate_model(
    model: KerasModel,
    data: Source | tf.data.Dataset | tuple[np.ndarray, np.ndarray],
    metric: MetricLike | Scorer = "auto",
    *,
    direction: str | None = None,
    batch_size: int = 256,
    progress: Report | None = None,
) -> float:
    """One figure of a Keras model, float or quantized, on samples that are read as they are needed.

    Args:
        model: the model.
        data: inputs and answers: a `Source`, a `tf.data.Dataset`, or a pair of arrays.
        metric: what `make_scorer` takes.
        direction: "max" or "min", for functions.
        batch_size: samples a step.
        progress: called with (samples done, samples in all or None).

    Raises:
        DataError: no answers, or answers that do not go with the outputs.
        ConfigError: no such metric.
    """
    source = open_data(data, input_shapes(model), labels=True)
    scorer = (
        metric
        if is_scorer(metric)
        else make_scorer(cast(MetricLike, metric), model.output_names, direction)
    )
    whole = isinstance(source, ModelData) and isinstance(scorer, NamedScorer)
    scorer.reset()
    report, done, seen = reporter(progress), 0, []
    for outputs, batch in outputs_of(model, source, batch_size):
        if whole:  # which metric fits, and its threshold, depend on all of them
            seen.append(outputs[0])
        else:
            _add(scorer, outputs, batch, done, source.name)
        done += len(batch)
        report(done, source.samples)
    if isinstance(source, ModelData) and isinstance(scorer, NamedScorer):
        return scorer.of_all(np.concatenate(seen), source)
    return float(scorer.value())


def _add(scorer: Scorer, outputs: list[np.ndarray], batch: Batch, first: int, name: str) -> None:
    """Score a batch; an answer that does not fit is named by the number of its sample."""
    try:
        scorer.add(outputs, batch)
    except DataError:
        for row in range(len(batch)):
            cut = slice(row, row + 1)
            one = tf.nest.map_structure(
                lambda part, cut=cut: None if part is None else part[cut], vars(batch)
            )
            try:
                scorer.add([part[cut] for part in outputs], Batch(**one))
            except DataError as error:
                number = first + row
                raise DataError(f"sample {number} (counted from 0) of {name}: {error}") from None
        raise


def outputs_of(
    model: KerasModel, source: Source, batch_size: int
) -> Iterator[tuple[list[np.ndarray], Batch]]:
    """The outputs for every batch of a source, one array each."""
    inputs = model.inputs
    fixed = inputs[0].shape[0]

    @tf.function(reduce_retracing=True)
    def run(parts: list[tf.Tensor]) -> list[tf.Tensor]:
        return tf.nest.flatten(model(parts if len(parts) > 1 else parts[0], training=False))

    for batch in source.batches(fixed or batch_size):
        rows = np.resize(np.arange(len(batch)), fixed) if fixed else slice(None)
        parts = [tf.cast(x[rows], like.dtype) for x, like in zip(batch.inputs, inputs, strict=True)]
        yield [part.numpy()[: len(batch)] for part in run(parts)], batch
