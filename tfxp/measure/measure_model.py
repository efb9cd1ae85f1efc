"""One pass over data: the distribution of every tensor that is quantized, or will be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import DataError
from tfxp.formats import TensorStats, decibels
from tfxp.keras_types import KerasModel, Samples
from tfxp.measure.column_ranges import ColumnRanges
from tfxp.measure.workload import workload
from tfxp.precision import ModelStats
from tfxp.progress import Report, reporter
from tfxp.quantization.plan import QuantizationPlan, prepare
from tfxp.quantization.read_network import is_quantized, read_network
from tfxp.quantization.recurrent_state import clear_state, state_variables
from tfxp.quantization.strip import quantized_arrays
from tfxp.quantization.twin import TwinNetwork, power_and_noise
from tfxp.transforms.conversion.from_keras3 import as_tf_keras
from tfxp.transforms.layer_graph import Ref
from tfxp.transforms.refusals import running_on

# Elements of all tapped tensors that are held at a time, 4 bytes each.
_MOST_ELEMENTS = 2**26


def measure_model(
    model: KerasModel,
    data: Samples,
    *,
    batch_size: int = 64,
    fold_batch_norm: bool = True,
    pre_activations: bool = True,
    progress: Report | None = None,
) -> ModelStats:
    """Distributions of inputs, weights and activations, streamed in bounded memory.

    A quantized model is measured on its grids, beside its float twin (the same weights without
    quantizers), which gives the noise that has built up at every layer:

        SQNR = 10 log10( sum x^2 / sum (x_q - x)^2 )   [dB]

    Args:
        model: Sequential or functional model of tf_keras, or of Keras 3; float, or from
            `quantize_model`.
        data: array, list or dict of arrays (several inputs), or a `tf.data.Dataset` of batches;
            labels behind the inputs are ignored. A network of a fixed batch takes whole
            batches, and leaves out the samples behind the last; stateful layers start anew with
            every batch.
        batch_size: samples per step at most; fewer where activations are large.
        fold_batch_norm: measure the network with BatchNormalization folded, as it will run.
        pre_activations: also measure what comes before activation functions.
        progress: called with (samples done, samples in all or None).

    Returns:
        ModelStats with distributions, for `quantize_model` and the assigners; `sqnr` of every
        layer where the model was quantized.

    Raises:
        DataError: the data are empty, not finite, or of a shape that does not fit.
        UnsupportedLayerError: some layers are not supported; all are named.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
        >>> stats = measure_model(model, x)
        >>> stats["d"].activations.count
        24
        >>> after = measure_model(tfxp.quantize_model(model, "w8a8", stats), x)
        >>> 30 < after["d"].sqnr["activations"] < 60
        True
    """
    model = as_tf_keras(model)
    pass_ = _QuantizedPass if is_quantized(model) else _FloatPass
    task = pass_(model, fold_batch_norm, pre_activations)
    signature, samples, report = InputSignature.of(model), 0, reporter(progress)
    columns = ColumnRanges(signature.names)
    for batch, total in signature.batches(data, batch_size):
        columns.update(batch)
        for part in [batch] if signature.batch else _parts(batch, task.elements):
            with running_on("calibration data"):
                task.update(part)
            samples += len(part[0])
            report(samples, total)
    columns.warn(task.plan.points)
    return task.result(samples)


class _FloatPass:
    """Statistics of a float model's tensors, added up batch by batch."""

    def __init__(self, model: KerasModel, fold_batch_norm: bool, pre_activations: bool) -> None:
        self.plan = prepare(model, fold_batch_norm)
        self.taps = _taps(self.plan, pre_activations)
        probe = self.plan.graph.to_model("probe", list(self.taps))
        self.inputs = probe.inputs
        states = state_variables(probe.layers)

        @tf.function(reduce_retracing=True)
        def run(batch: list[tf.Tensor]) -> Any:
            clear_state(states)
            return probe(batch, training=False)

        self._run = run
        self._found = {key: TensorStats() for key in dict.fromkeys(self.taps.values())}

    @property
    def elements(self) -> int:
        """Elements of all tapped tensors for one sample, as far as shapes are known."""
        shapes = map(self.plan.graph.shape_of, self.taps)
        return sum(_count(shape) for shape in shapes if shape)

    def update(self, batch: list[np.ndarray]) -> None:
        """Add one batch."""
        tensors = self._cast(batch)
        self._add(self._run(tensors))

    def _cast(self, batch: list[np.ndarray]) -> list[tf.Tensor]:
        return [tf.cast(part, t.dtype) for part, t in zip(batch, self.inputs, strict=True)]

    def _add(self, tensors: Sequence[tf.Tensor]) -> None:
        for key, tensor in zip(self.taps.values(), tf.nest.flatten(tensors), strict=True):
            _update(self._found[key], tensor.numpy(), key[0])

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of a layer as the network uses them."""
        return self.plan.graph.layers[name].arrays()

    def result(self, samples: int) -> ModelStats:
        """Everything that was added up."""
        return _with_stats(self.plan, self._found, samples, self.weights)


class _QuantizedPass(_FloatPass):
    """The same for a quantized model, and the noise against its float twin."""

    def __init__(self, model: KerasModel, fold_batch_norm: bool, pre_activations: bool) -> None:
        network = read_network(model)
        twin = TwinNetwork(network)
        self.plan, self.inputs = twin.plan, model.inputs
        self.taps = _taps(self.plan, pre_activations)
        self._wrappers = network.wrappers
        self._found = {key: TensorStats() for key in dict.fromkeys(self.taps.values())}
        self._noise = {key: np.zeros(2) for key in self._found}

        @tf.function(reduce_retracing=True)
        def run(batch: list[tf.Tensor]) -> Any:
            have, wanted = twin.quantized(batch), twin.floats(batch)
            noise = [power_and_noise(wanted[ref], have[ref]) for ref in self.taps]
            return [have[ref] for ref in self.taps], tf.stack(noise)

        self._run = run

    def update(self, batch: list[np.ndarray]) -> None:
        """Add one batch."""
        tensors, noise = self._run(self._cast(batch))
        self._add(tensors)
        for key, sums in zip(self.taps.values(), noise.numpy(), strict=True):
            self._noise[key] += sums

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of a layer on their grids."""
        arrays, wrapper = super().weights(name), self._wrappers.get(name)
        return arrays if wrapper is None else quantized_arrays(wrapper, arrays)

    def result(self, samples: int) -> ModelStats:
        """Everything that was added up, with the noise."""
        stats = super().result(samples)
        layers = {}
        for name, layer in stats.layers.items():
            sqnr = {}
            if (name, "activations") in self._noise:
                sqnr["activations"] = decibels(*self._noise[name, "activations"])
            if layer.weights is not None:
                kernel = self.plan.role(name).weights[0].attribute
                wanted, have = (get(name)[kernel] for get in (super().weights, self.weights))
                sqnr["weights"] = decibels(*power_and_noise(wanted, have).numpy())
            layers[name] = dataclasses.replace(layer, sqnr=sqnr)
        return dataclasses.replace(stats, layers=layers)


def _parts(batch: list[np.ndarray], elements: int) -> Iterator[list[np.ndarray]]:
    """A batch in parts that keep the tapped tensors below a quarter of a gigabyte."""
    most = max(_MOST_ELEMENTS // max(elements, 1), 1)
    for start in range(0, len(batch[0]), most):
        yield [part[start : start + most] for part in batch]


def _count(shape: tuple[int | None, ...]) -> int:
    return int(np.prod([size or 1 for size in shape[1:]], dtype=np.int64))


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


def _update(stats: TensorStats, values: np.ndarray, owner: str) -> None:
    try:
        stats.update(values)
    except DataError as error:
        raise DataError(f"activations of {owner!r}: {error} Check the data.") from None


def _with_stats(
    plan: QuantizationPlan,
    found: dict[tuple[str, str], TensorStats],
    samples: int,
    weights: Callable[[str], dict[str, np.ndarray]],
) -> ModelStats:
    counted = workload(plan)
    layers = {}
    for name, layer in counted.layers.items():
        fields: dict[str, Any] = {
            kind: found[name, kind]
            for kind in ("activations", "pre_activations")
            if (name, kind) in found
        }
        if name in plan.weighted:
            arrays = weights(name)
            role = plan.role(name)
            kernels = [arrays[weight.attribute].ravel() for weight in role.weights]
            fields["weights"] = _stats_of(np.concatenate(kernels))
            if role.bias in arrays:
                fields["bias"] = _stats_of(arrays[str(role.bias)])
        layers[name] = dataclasses.replace(layer, **fields)
    return dataclasses.replace(counted, layers=layers, samples=samples)


def _stats_of(values: np.ndarray) -> TensorStats:
    stats = TensorStats()
    stats.update(values)
    return stats
