"""Signal to quantization noise of every tensor, measured against the float network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ModelError
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, KerasModel, Samples
from tfxp.progress import Report, reporter
from tfxp.quantization.plan import prepare
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.quantization.recurrent_state import clear_state, state_variables
from tfxp.transforms.layer_graph import LayerGraph, Ref


@dataclasses.dataclass(frozen=True)
class LayerSqnr:
    """SQNR of one layer in dB; infinite where nothing is lost.

    Args:
        layer: its name.
        weights_db: of its weights alone; None without weights.
        output_db: of its stored output, all noise that reaches it included.
    """

    layer: str
    weights_db: float | None
    output_db: float


def measure_sqnr(
    model: KerasModel,
    qmodel: KerasModel,
    data: Samples,
    *,
    batch_size: int = 64,
    progress: Report | None = None,
) -> dict[str, LayerSqnr]:
    """Run a float network and its quantized twin side by side, and compare every stored tensor.

        SQNR = 10 log10( sum(x^2) / sum((x - x_q)^2) )   [dB]

    x is a tensor of the float network with BatchNormalization folded, x_q the same tensor of the
    quantized network: the noise of everything before it is in it. The network's outputs are those
    of its last quantized layers, before a final softmax.

    Args:
        model: the float tf_keras model.
        qmodel: what `quantize_model` made of it, BatchNormalization folded.
        data: as in `measure_model`.
        batch_size: samples per step, for arrays.
        progress: called with (samples done, samples in all or None).

    Returns:
        Layer -> its SQNR, in the order the network runs.

    Raises:
        ModelError: the models do not have the same layers.
        DataError: there are no data, or they do not fit.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
        >>> stats = tfxp.measure_model(model, x)
        >>> found = measure_sqnr(model, tfxp.quantize_model(model, "w8a8", stats), x)
        >>> 30 < found["d"].output_db < 50
        True

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, eq. 2.
    """
    plan = prepare(model)
    names = [layer for owner in plan.points for layer in [plan.points[owner].layer]]
    network = read_network(qmodel)
    pair = _Pair(plan.graph, network, qmodel, names)
    signal, noise = np.zeros(len(names)), np.zeros(len(names))
    samples, report = 0, reporter(progress)
    for batch, total in InputSignature.of(qmodel).batches(data, batch_size):
        for index, (x, x_q) in enumerate(pair(batch)):
            signal[index] += np.square(x).sum()
            noise[index] += np.square(x - x_q).sum()
        samples += len(batch[0])
        report(samples, total)
    weights = _weights_sqnr(network)
    return {
        owner: LayerSqnr(owner, weights.get(owner), _decibel(signal[i], noise[i]))
        for i, owner in enumerate(plan.points)
    }


def weights_sqnr(qmodel: KerasModel) -> dict[str, float]:
    """Layer -> SQNR of its weights in dB, against the float weights that the model keeps.

    Args:
        qmodel: what `quantize_model` returned.
    """
    return _weights_sqnr(read_network(qmodel))


def _weights_sqnr(network: QuantizedNetwork) -> dict[str, float]:
    plan, wrappers, result = network.plan, network.wrappers, {}
    for name in plan.macs:
        kernel = plan.role(name).weights[0].attribute
        x = np.asarray(plan.graph.layers[name].arrays()[kernel], np.float64)
        wrapper = wrappers.get(name)
        if wrapper is None or kernel not in wrapper.weight_variables:
            result[name] = math.inf
            continue
        quantizer = wrapper.quantize_config.weight_quantizers[kernel]
        variables = wrapper.weight_variables[kernel]
        x_q = np.asarray(quantizer(tf.constant(x, tf.float32), False, variables), np.float64)
        result[name] = _decibel(np.square(x).sum(), np.square(x - x_q).sum())
    return result


class _Pair:
    """Both networks as graphs that return the tensors of some layers."""

    def __init__(
        self, graph: LayerGraph, network: QuantizedNetwork, qmodel: KerasModel, names: list[str]
    ) -> None:
        self._float = _taps(graph, names)
        tensors = []
        for name in names:
            layer = network.input_quantizers.get(name, network.layers.get(name))
            if layer is None:
                raise ModelError(
                    f"quantized model: got no layer {name!r}; expected the layers of the float "
                    "model. Quantize this model, with BatchNormalization folded."
                )
            tensors.append([node.outputs for node in _nodes(layer, qmodel)])
        twin = keras.Model(qmodel.inputs, tensors)
        self._quantized = _fresh(twin)
        self._types = [tensor.dtype for tensor in twin.inputs]

    def __call__(self, batch: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        parts = [tf.cast(x, kind) for x, kind in zip(batch, self._types, strict=True)]
        given = parts if len(parts) > 1 else parts[0]
        pairs = zip(self._float(given), self._quantized(given), strict=True)
        for plain, quantized in pairs:
            yield _joined(plain), _joined(quantized)


def _taps(graph: LayerGraph, names: list[str]) -> Any:
    """A compiled float model that returns the outputs of layers, one list per layer."""
    uses = [[Ref(number) for number in graph.uses(name)] for name in names]
    run = _fresh(graph.to_model("float_twin", [ref for refs in uses for ref in refs]))
    sizes = [len(refs) for refs in uses]

    def call(x: tf.Tensor) -> list[list[Any]]:
        flat = iter(tf.nest.flatten(run(x)))
        return [[next(flat) for _ in range(size)] for size in sizes]

    return call


def _fresh(model: KerasModel) -> Any:
    """A compiled model whose stateful layers start anew with every batch."""
    states = state_variables(model.layers)

    def call(x: tf.Tensor) -> Any:
        clear_state(states)
        return model(x, training=False)

    return tf.function(call, reduce_retracing=True)


def _nodes(layer: KerasLayer, model: keras.Model) -> list[Any]:
    """The calls of a layer that belong to a model, in order."""
    inside = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    return [node for node in layer.inbound_nodes if id(node) in inside]


def _joined(tensors: Sequence[tf.Tensor]) -> np.ndarray:
    parts = [np.asarray(t, np.float64).ravel() for t in tf.nest.flatten(tensors)]
    return np.concatenate(parts)


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def finite(values: Mapping[str, LayerSqnr]) -> dict[str, float]:
    """Layer -> output SQNR in dB, without those that lose nothing.

    Example:
        >>> finite({"a": LayerSqnr("a", None, math.inf), "b": LayerSqnr("b", None, 20.0)})
        {'b': 20.0}
    """
    return {name: row.output_db for name, row in values.items() if math.isfinite(row.output_db)}
