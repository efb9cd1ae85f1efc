"""One pass over data: the distribution of every tensor that will be quantized."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import DataError
from tfxp.formats import TensorStats
from tfxp.measure.workload import workload
from tfxp.precision import ModelStats
from tfxp.quantization.plan import QuantizationPlan, prepare
from tfxp.transforms.layer_graph import Ref

Progress = Callable[[int, int | None], None]


def measure_model(
    model: Any,
    data: Any,
    *,
    batch_size: int = 64,
    fold_batch_norm: bool = True,
    pre_activations: bool = True,
    progress: Progress | None = None,
) -> ModelStats:
    """Distributions of inputs, weights and activations, streamed in bounded memory.

    Args:
        model: Sequential or functional tf_keras float model.
        data: array, list or dict of arrays (several inputs), or a `tf.data.Dataset` of batches;
            labels behind the inputs are ignored.
        batch_size: samples per step, for arrays.
        fold_batch_norm: measure the network with BatchNormalization folded, as it will run.
        pre_activations: also measure what comes before activation functions.
        progress: called with (samples done, samples in all or None).

    Returns:
        ModelStats with distributions, for `quantize_model` and the assigners.

    Raises:
        DataError: the data are empty, not finite, or of a shape that does not fit.
        UnsupportedLayerError: some layers are not supported; all are named.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> measure_model(model, np.ones((8, 4), np.float32))["d"].activations.count
        24
    """
    plan = prepare(model, fold_batch_norm)
    taps = _taps(plan, pre_activations)
    probe = _probe(plan, list(taps))
    found = {key: TensorStats() for key in dict.fromkeys(taps.values())}
    samples = 0
    for batch, total in batches(data, batch_size, model.input_names):
        _check_inputs(batch, plan, probe)
        tensors = tf.nest.flatten(probe(batch))
        for ref, tensor in zip(taps, tensors, strict=True):
            _update(found[taps[ref]], tensor.numpy(), taps[ref][0])
        samples += len(batch[0])
        if progress is not None:
            progress(samples, total)
    if samples == 0:
        raise DataError("calibration data: got no samples; expected at least one.")
    return _with_stats(plan, found, samples)


def batches(
    data: Any, batch_size: int, names: Sequence[str] = ()
) -> Iterator[tuple[list[np.ndarray], int | None]]:
    """Batches of inputs as lists of arrays, and how many samples there are if that is known.

    Args:
        data: as in `measure_model`.
        batch_size: samples per step, for arrays.
        names: the network's inputs, in order; they sort what comes in a dict.

    Raises:
        DataError: the data are empty or ragged, or a dict has other names.
    """
    if isinstance(data, tf.data.Dataset):
        for element in data:
            features = element[0] if isinstance(element, tuple) else element
            yield [np.asarray(part) for part in _in_order(features, names)], None
        return
    if isinstance(data, Iterable) and not hasattr(data, "shape") and not _is_arrays(data):
        raise DataError(f"data: got {type(data).__name__}; expected arrays or a tf.data.Dataset.")
    parts = [np.asarray(part) for part in _in_order(data, names)]
    lengths = {len(part) if part.ndim else 0 for part in parts}
    if len(lengths) != 1:
        raise DataError(f"data: got inputs of {sorted(lengths)} samples; expected equal lengths.")
    total = lengths.pop()
    if total == 0:
        raise DataError("data: got no samples; expected at least one.")
    for start in range(0, total, batch_size):
        yield [part[start : start + batch_size] for part in parts], total


def _in_order(data: Any, names: Sequence[str]) -> list[Any]:
    if not isinstance(data, dict) or not names:
        return tf.nest.flatten(data)
    if set(data) != set(names):
        raise DataError(
            f"inputs of the data: got {', '.join(map(str, data))}; expected {', '.join(names)}."
        )
    return [data[name] for name in names]


def _is_arrays(data: Any) -> bool:
    return all(hasattr(part, "shape") for part in tf.nest.flatten(data))


def _check_inputs(batch: list[np.ndarray], plan: QuantizationPlan, probe: Any) -> None:
    if len(batch) != len(probe.inputs):
        raise DataError(f"data: got {len(batch)} arrays; expected {len(probe.inputs)}.")
    for part, tensor in zip(batch, probe.inputs, strict=True):
        wanted = tuple(tensor.shape)
        fits = len(part.shape) == len(wanted) and all(
            size is None or size == have
            for size, have in zip(wanted[1:], part.shape[1:], strict=True)
        )
        if not fits:
            raise DataError(
                f"data for input {tensor.name!r}: got samples of shape {part.shape[1:]}; "
                f"expected {wanted[1:]}."
            )


def _taps(plan: QuantizationPlan, pre_activations: bool) -> dict[Ref, tuple[str, str]]:
    """Tensor -> (owner, "activations" or "pre_activations")."""
    taps: dict[Ref, tuple[str, str]] = {}
    for owner, point in plan.points.items():
        for number in plan.graph.uses(point.layer):
            taps[Ref(number)] = (owner, "activations")
        if pre_activations and point.layer != owner:
            for number in plan.graph.uses(owner):
                taps[Ref(number)] = (owner, "pre_activations")
    return taps


def _probe(plan: QuantizationPlan, refs: list[Ref]) -> Any:
    """A model that returns the tapped tensors."""
    graph = plan.graph
    outputs, structure = graph.outputs, graph.output_structure
    graph.outputs, graph.output_structure = refs, list(refs)
    try:
        model = graph.to_model("probe")
    finally:
        graph.outputs, graph.output_structure = outputs, structure
    return _Compiled(model)


class _Compiled:
    """A model called as one graph; eager calls would cost several times as much."""

    def __init__(self, model: Any) -> None:
        self.inputs = model.inputs
        self._call = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)

    def __call__(self, batch: list[np.ndarray]) -> Any:
        tensors = [tf.cast(part, t.dtype) for part, t in zip(batch, self.inputs, strict=True)]
        return self._call(tensors if len(tensors) > 1 else tensors[0])


def _update(stats: TensorStats, values: np.ndarray, owner: str) -> None:
    try:
        stats.update(values)
    except DataError as error:
        raise DataError(f"activations of {owner!r}: {error} Check the data.") from None


def _with_stats(
    plan: QuantizationPlan, found: dict[tuple[str, str], TensorStats], samples: int
) -> ModelStats:
    counted = workload(plan)
    layers = {}
    for name, layer in counted.layers.items():
        fields: dict[str, Any] = {
            kind: found[name, kind]
            for kind in ("activations", "pre_activations")
            if (name, kind) in found
        }
        if name in plan.macs:
            arrays = plan.graph.layers[name].arrays()
            role = plan.role(name)
            fields["weights"] = _stats_of(arrays[role.weights[0].attribute])
            if role.bias in arrays:
                fields["bias"] = _stats_of(arrays[str(role.bias)])
        layers[name] = dataclasses.replace(layer, **fields)
    return dataclasses.replace(counted, layers=layers, samples=samples)


def _stats_of(values: np.ndarray) -> TensorStats:
    stats = TensorStats()
    stats.update(values)
    return stats
