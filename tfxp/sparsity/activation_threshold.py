"""Thresholds below which ReLUs give zero, chosen by the network's output, exported exactly.

A hard threshold, x where x >= T and 0 elsewhere, has no integer operator. MAXIMUM(x, T) has one,
and with the zero point at T it is the shifted grid relu(x - T): what is below T has the code of
zero. The shift needs no operator at all, since it is a bias. What the readers of the tensor lose by
it on average they get back in their own biases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.quantization.plan import logit_tensors
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.transforms.layer_graph import Ref
from tfxp.transforms.normalize.normalize import is_relu

_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """What was found for one ReLU.

    Args:
        value: T; 0 where none kept the budget.
        zeros_before, zeros_after: shares of zeros in its output.
        error: relative squared error of the network's output with it and those before it.
    """

    value: float
    zeros_before: float
    zeros_after: float
    error: float


def threshold_activations(
    qmodel: KerasModel, data: Samples, *, budget: float = 0.01, batch_size: int = 256
) -> dict[str, Threshold]:
    """Raise the point at which ReLUs begin, as far as the network's output allows.

        y = relu(x - T),    b_reader += E[w x_before] - E[w x_after]

    One ReLU after another takes the largest T, in whole steps of its format, for which

        E[(y_now - y_at_first)^2] / E[y_at_first^2]

    at the network's outputs (before a final softmax) stays within its part of the budget: i / n of
    it for the i-th of n. The result is an ordinary quantized model: all runtimes, plain C included,
    compute it exactly. Train it further to win back what it lost.

    A ReLU has to follow a layer with a bias, or a sum of which one term is such a layer; and its
    readers, behind pools and the like, have to be such layers or sums. Others are left alone.

    Args:
        qmodel: what `quantize_model` returned; changed in place.
        data: calibration inputs, as `measure_model` takes them; they are held in memory.
        budget: relative squared error that is accepted, above 0.
        batch_size: samples a step.

    Returns:
        ReLU, or the layer that it closes -> what was found; those that were left alone are absent.

    Raises:
        ConfigError: a budget that is not positive, or no ReLU that can have a threshold.
        DataError: `data` is empty, or does not fit the model's inputs.
        PrecisionError: the model is not quantized.

    References:
        Kurtz et al., "Inducing and Exploiting Activation Sparsity for Fast Neural Network
        Inference", ICML 2020, sec. 3.2 (FATReLU, whose threshold is a hard one).
    """
    if not budget > 0:
        raise ConfigError(f"budget of thresholds: got {budget}; expected a positive share.")
    network = read_network(qmodel)
    units = _units(network)
    if not units:
        raise ConfigError(
            f"thresholds of {qmodel.name!r}: got no ReLU between layers with biases; expected one."
        )
    signature = InputSignature.of(qmodel)
    arrays = signature.arrays(data, "calibration data")
    probe = _Probe(qmodel, network, units, arrays, signature.batch or batch_size)
    return {
        unit.relu: probe.raise_threshold(number, budget * (number + 1) / len(units))
        for number, unit in enumerate(units)
    }


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A ReLU, the bias before it, and the biases behind it with the layers they centre."""

    relu: str
    bias: tf.Variable
    step: float
    readers: tuple[tuple[str, tf.Variable], ...]


def _units(network: QuantizedNetwork) -> list[_Unit]:
    plan, found = network.plan, []
    for owner, point in plan.points.items():
        number = plan.graph.uses(owner)[0]
        if is_relu(plan.graph.layers[point.layer]) is None or len(plan.graph.uses(owner)) > 1:
            continue
        fmt, bias = network.formats[owner].activations, _bias_at(network, number)
        readers = _readers(network, Ref(plan.graph.uses(point.layer)[0]))
        if fmt is not None and bias is not None and readers:
            found.append(_Unit(point.layer, bias, float(fmt.scale), readers))
    return found


def _bias_at(network: QuantizedNetwork, number: int) -> tf.Variable | None:
    """A bias that shifts the output of a call and nothing else; None if there is none."""
    graph = network.graph
    call = graph.calls[number]
    role = network.role(call.layer)
    if role.role.adds_up and len(graph.uses(call.layer)) == 1:
        inner = network.layers[call.layer].layer
        bias = getattr(inner, str(role.bias), None)
        return bias if isinstance(bias, tf.Variable) else None
    if not role.role.sums or role.kind != "add":
        return None
    for ref in reversed(call.refs()):
        if network.role(graph.calls[ref.call].layer).role.adds_up:
            if graph.only_consumer(ref) == number:
                return _bias_at(network, ref.call)
    return None


def _readers(network: QuantizedNetwork, ref: Ref) -> tuple[tuple[str, tf.Variable], ...]:
    """The layers that a shift of a tensor reaches first, with biases; empty if one has none."""
    graph, result = network.graph, list[tuple[str, tf.Variable]]()
    if graph.is_output(ref):
        return ()
    for number in graph.consumers(ref):
        name = graph.calls[number].layer
        role = network.role(name).role
        if role.adds_up or role.sums:
            bias = _bias_at(network, number)
            result += [] if bias is None else [(name, bias)]
            found = bias is not None
        else:
            behind = () if role.is_final or role.is_float else _readers(network, Ref(number))
            passes = role.keeps_sign or not role.owns_format
            result += behind if passes else ()
            found = passes and bool(behind)
        if not found:
            return ()
    return tuple(result)


class _Probe:
    """Runs the model over the data: outputs, means of layers, shares of zeros."""

    def __init__(
        self,
        qmodel: KerasModel,
        network: QuantizedNetwork,
        units: Sequence[_Unit],
        arrays: Sequence[np.ndarray],
        batch_size: int,
    ) -> None:
        self._units = units
        starts = range(0, len(arrays[0]), batch_size)
        self._batches = [[tf.constant(a[s : s + batch_size]) for a in arrays] for s in starts]
        self._names = list(dict.fromkeys(name for u in units for name, _ in u.readers))
        self._run = _compile(qmodel, network, units, self._names)
        self._wanted, _, self._zeros = self._look()
        self._power = float(np.mean(np.square(self._wanted))) or 1.0

    def raise_threshold(self, number: int, bound: float) -> Threshold:
        """The largest threshold of a ReLU within a bound; its biases are changed."""
        unit, before = self._units[number], self._zeros[number]
        _, means, _ = self._look()
        biases = [unit.bias, *(bias for _, bias in unit.readers)]
        at_first = [bias.numpy() for bias in biases]
        best = Threshold(0.0, before, before, 0.0)
        kept = at_first
        for steps in _STEPS:
            for bias, value in zip(biases, at_first, strict=True):
                bias.assign(value)
            unit.bias.assign_sub(tf.fill(unit.bias.shape, np.float32(steps * unit.step)))
            _, moved, _ = self._look()
            for name, bias in unit.readers:
                bias.assign_add(means[name] - moved[name])
            outputs, _, zeros = self._look()
            error = float(np.mean(np.square(outputs - self._wanted))) / self._power
            if error > bound:
                break
            best = Threshold(steps * unit.step, before, zeros[number], error)
            kept = [bias.numpy() for bias in biases]
        for bias, value in zip(biases, kept, strict=True):
            bias.assign(value)
        return best

    def _look(self) -> tuple[np.ndarray, dict[str, np.ndarray], list[float]]:
        """Outputs; layer -> mean of every channel; shares of zeros behind every ReLU."""
        found = [self._run(batch) for batch in self._batches]
        counts = np.array([len(batch[0]) for batch in self._batches]) / self._samples
        outputs = np.concatenate([outputs.numpy() for outputs, _, _ in found])
        means = {
            name: sum(c * means[i].numpy() for c, (_, means, _) in zip(counts, found, strict=True))
            for i, name in enumerate(self._names)
        }
        zeros = [
            float(sum(c * zeros[i].numpy() for c, (_, _, zeros) in zip(counts, found, strict=True)))
            for i in range(len(self._units))
        ]
        return outputs, means, zeros

    @property
    def _samples(self) -> int:
        return sum(len(batch[0]) for batch in self._batches)


def _compile(
    qmodel: KerasModel, network: QuantizedNetwork, units: Sequence[_Unit], names: Sequence[str]
) -> Callable[[list[tf.Tensor]], Any]:
    outputs = logit_tensors(network.plan, qmodel)
    taps = [qmodel.get_layer(name).get_output_at(0) for name in names]
    relus = [qmodel.get_layer(unit.relu).get_output_at(0) for unit in units]
    model = keras.Model(qmodel.inputs, [outputs, taps, relus])

    @tf.function(reduce_retracing=True)
    def run(batch: list[tf.Tensor]) -> Any:
        found, values, zeros = model(batch if len(batch) > 1 else batch[0], training=False)
        rows = tf.concat([tf.reshape(y, (tf.shape(y)[0], -1)) for y in found], 1)
        means = [tf.reduce_mean(v, list(range(v.shape.rank - 1))) for v in values]
        shares = [tf.reduce_mean(tf.cast(tf.equal(z, 0.0), tf.float32)) for z in zeros]
        return rows, means, shares

    return run
