"""How large activations get: measured on data, or looked up in statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import DataError
from tfxp.keras import tf
from tfxp.keras_types import KerasModel, Samples
from tfxp.transforms.layer_graph import LayerGraph, Ref

# A model, and the same as one TensorFlow function.
_Probe: TypeAlias = tuple[KerasModel, Callable[..., Any]]

_BINS = 1 << 14


def measured_ranges(
    graph: LayerGraph, points: Mapping[Ref, str], data: Samples, percentile: float, batch_size: int
) -> dict[Ref, float]:
    """The percentile of each tensor's values over the data; two passes unless it is 100.

    Raises:
        DataError: the data are empty, not finite, or do not fit the model's inputs.
    """
    if not points:
        return {}
    probe = _probe(graph, list(points))
    largest = np.zeros(len(points))
    for tensors in _run(probe, data, batch_size):
        for position, (tensor, name) in enumerate(zip(tensors, points.values(), strict=True)):
            top = float(tensor.max(initial=0.0))
            if not np.isfinite(tensor).all():
                raise DataError(f"activations of {name!r}: got NaN or infinity. Check the data.")
            largest[position] = max(largest[position], top)
    if percentile < 100:
        largest = _percentiles(probe, data, batch_size, largest, percentile)
    return dict(zip(points, largest.tolist(), strict=True))


def _percentiles(
    probe: _Probe, data: Samples, batch_size: int, largest: np.ndarray, percentile: float
) -> np.ndarray:
    """Upper edges of the bins that hold the percentiles, from histograms over [0, largest]."""
    counts = np.zeros((len(largest), _BINS), np.int64)
    for tensors in _run(probe, data, batch_size):
        for row, top, tensor in zip(counts, largest, tensors, strict=True):
            if top > 0:
                row += np.histogram(np.clip(tensor, 0, top), _BINS, (0, top))[0]
    below = np.cumsum(counts, axis=1)
    reached = below >= below[:, -1:] * (percentile / 100)
    return np.asarray((reached.argmax(axis=1) + 1) * largest / _BINS)


def channel_moments(
    graph: LayerGraph, refs: list[Ref], data: Samples, batch_size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of every channel of each tensor over the data.

    Raises:
        DataError: the data are empty or do not fit the model's inputs.
    """
    if not refs:
        return []
    probe = _probe(graph, refs)
    sums: list[Any] = [0.0] * len(refs)
    for tensors in _run(probe, data, batch_size):
        for position, tensor in enumerate(tensors):
            rows = tensor.reshape(-1, tensor.shape[-1]).astype(np.float64)
            powers = np.stack([np.ones_like(rows), rows, rows * rows])
            sums[position] = sums[position] + powers.sum(axis=1)
    result = []
    for count, total, squares in sums:
        mean = total / count
        result.append((mean, np.maximum(squares / count - mean**2, 0.0)))
    return result


def stated_ranges(
    graph: LayerGraph, points: Mapping[Ref, str], stats: Any, percentile: float
) -> dict[Ref, float]:
    """The percentile of each tensor's values as `measure_model` found it.

    A layer that was folded into another, or that closes it, is looked up there.

    Raises:
        DataError: nothing is known of an activation.
    """
    result = {}
    for ref, name in points.items():
        found = _look_up(graph, ref, stats)
        if found is None:
            raise DataError(
                f"activations of {name!r}: got no statistics; expected those of this model. "
                "Measure the model again."
            )
        result[ref] = max(float(found.percentile(percentile)), 0.0)
    return result


def _look_up(graph: LayerGraph, ref: Ref, stats: Any) -> Any:
    while True:
        name = graph.spec_of(ref).name
        layer = stats.layers.get(name) or stats.layers.get(stats.aliases.get(name, ""))
        if layer is not None:
            return layer.activations
        refs = graph.calls[ref.call].refs()
        if len(refs) != 1:
            return None
        ref = refs[0]


def _probe(graph: LayerGraph, refs: list[Ref]) -> _Probe:
    """A model that returns the tensors, called as one TensorFlow function."""
    model = graph.to_model("probe", refs)
    call = tf.function(lambda *batch: model(batch if len(batch) > 1 else batch[0], training=False))
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    return model, call.get_concrete_function(*signature)


def _run(probe: _Probe, data: Samples, batch_size: int) -> Iterator[list[np.ndarray]]:
    """The tensors, batch by batch."""
    model, call = probe
    for batch, _ in InputSignature.of(model).batches(data, batch_size, "calibration data"):
        parts = [tf.cast(x, want.dtype) for x, want in zip(batch, model.inputs, strict=True)]
        yield [np.asarray(tensor) for tensor in tf.nest.flatten(call(*parts))]
