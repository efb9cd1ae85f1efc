"""Up or down for every weight: rounding that keeps a layer's output, learned without labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.quantization.plan import QuantizationPlan
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.quantizers.quantizers import KernelQuantizer
from tfxp.transforms.layer_graph import Ref

# Of the rectified sigmoid, whose values 0 and 1 are reached; the paper's zeta - gamma and gamma.
_STRETCH, _SHIFT = 1.2, -0.1
_WARM_UP = 0.2  # share of the steps without the regularizer
_SHARPEST, _BLUNTEST = 20.0, 2.0  # the regularizer's exponent, first and last
_SAMPLES = 256  # samples a step where the error of all is taken

# Adam's rate of a bias, in root mean squares of the output, beside that of the sigmoid's argument.
_BIAS_RATE = 0.1

Weights = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class RoundingSettings:
    """How rounding is learned.

    Args:
        steps: of the optimizer, for each layer.
        batch_size: samples a step.
        learning_rate: of Adam, in the argument of the sigmoid; falls to 0 as a cosine.
        weight: of the regularizer beside the error, which is 1 for rounding to nearest.
        seed: of the draws of samples.

    Raises:
        ConfigError: a value outside its range.

    References:
        Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML
        2020.
    """

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 0.1
    weight: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or self.learning_rate <= 0 or self.weight < 0:
            raise ConfigError(
                f"rounding: got {self.steps} steps of {self.batch_size} samples at rate "
                f"{self.learning_rate:g}, regularizer {self.weight:g}; expected at least one of "
                "each, a positive rate, and no negative regularizer."
            )


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """The error of one layer's output before and after its rounding was learned.

    Args:
        layer: its name.
        nearest: mean squared error, relative to the wanted output's power, rounding to nearest.
        learned: the same of what was kept, which is never larger.
    """

    layer: str
    nearest: float
    learned: float


class LayerRounding:
    """The rounding of one layer's kernels, judged by the output behind its activation function.

        min  ||f(Q(W, V) * x_q + b) - f(W * x + b_0)||^2 / E_0 + weight * mean(1 - |2 h - 1|^p)
        V, b
        Q(W, V) = s * clip(floor(W / s) + h(V), qmin, qmax),  h = clip(1.2 sigmoid(V) - 0.1, 0, 1)

    x_q is what the layer reads in the quantized network, x in the float one; f ends with the
    quantizer of the output; E_0 is the error of rounding to nearest. p falls from 20 to 2, and in
    the end h >= 1/2 decides. The kernels then become the chosen values of the grid, so that any
    rounding mode leaves them alone.

    Args:
        qmodel: the quantized model.
        plan: its plan.
        name: the layer.

    References:
        Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020,
        eq. 21 to 25. That the error is relative to rounding to nearest, so that one weight of the
        regularizer fits all layers, and that the bias learns along, is ours.
    """

    def __init__(self, qmodel: KerasModel, plan: QuantizationPlan, name: str) -> None:
        self.wrapper: FormatWrapper = qmodel.get_layer(name)
        self.last = plan.points[name].layer
        self._behind = [qmodel.get_layer(each) for each in _behind(plan, name)]
        paths, bias = kernel_paths(self.wrapper), str(plan.role(name).bias)
        self._bias = bias if getattr(self.wrapper.layer, bias, None) is not None else None
        self._others = self.wrapper.quantized_weights(False)
        self.nearest = {path: self._others.pop(path) for path in paths}
        if self._bias is not None:
            kept = tf.convert_to_tensor(self.wrapper.variable(self._bias))
            self.nearest[self._bias] = kept
        self._error = tf.function(self._output_error, reduce_retracing=True)

    def error(self, weights: Weights, x: np.ndarray, wanted: np.ndarray) -> float:
        """Mean squared error of the output over all samples with these kernels and this bias."""
        parts = [slice(start, start + _SAMPLES) for start in range(0, len(x), _SAMPLES)]
        sums = [float(self._error(weights, x[p], wanted[p])) * len(x[p]) for p in parts]
        return sum(sums) / len(x)

    def learn(self, x: np.ndarray, wanted: np.ndarray, settings: RoundingSettings) -> Weights:
        """Kernels on their grids with the learned choice between floor and ceil, and the bias.

        Args:
            x: what the layer reads, quantized; shape (samples, ...).
            wanted: its float output behind the activation function, shape (samples, ...).
            settings: how.
        """
        nearest = self.error(self.nearest, x, wanted)
        if nearest == 0:
            return self.nearest
        paths = [path for path in self.nearest if path != self._bias]
        lower = {path: tf.floor(self._codes(path)) for path in paths}
        ups = {path: tf.Variable(self._start(path, below)) for path, below in lower.items()}
        shift = None if self._bias is None else tf.Variable(tf.zeros_like(self.nearest[self._bias]))
        size = float(np.sqrt(np.mean(np.square(wanted)))) * _BIAS_RATE

        def weights(shares: Weights) -> dict[str, tf.Tensor]:
            result = {path: self._value(path, lower[path] + shares[path]) for path in paths}
            if shift is not None:
                result[str(self._bias)] = self.nearest[str(self._bias)] + shift * size
            return result

        step = self._compile(weights, ups, shift, nearest, settings)
        draws = np.random.default_rng(settings.seed)
        for number in range(settings.steps):
            rows = draws.integers(0, len(x), min(settings.batch_size, len(x)))
            now = np.array(_annealed(number / settings.steps, settings), np.float32)
            step(x[rows], wanted[rows], *map(tf.constant, now))
        chosen = weights({path: tf.cast(_share(up) >= 0.5, tf.float32) for path, up in ups.items()})
        return {path: self._as_quantized(path, value) for path, value in chosen.items()}

    def assign(self, weights: Weights) -> None:
        """Make these weights the layer's own."""
        for path, value in weights.items():
            self.wrapper.variable(path).assign(value)

    def _output_error(self, weights: Weights, x: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        rounded = {**self._others, **weights}
        if self._bias in self._others:  # on the accumulator's grid
            rounded[str(self._bias)] = self._quantized(str(self._bias), weights[str(self._bias)])
            rounded = self.wrapper.carrying_half_steps(rounded)
        y = self.wrapper.call_with(rounded, x, False)
        y = y[0] if isinstance(y, list | tuple) else y
        for layer in self._behind:
            y = layer(y, training=False)
        return tf.reduce_mean(tf.square(y - wanted))

    def _compile(
        self,
        weights: Callable[[Weights], Weights],
        ups: Mapping[str, tf.Variable],
        shift: tf.Variable | None,
        nearest: float,
        settings: RoundingSettings,
    ) -> Callable[..., None]:
        optimizer = keras.optimizers.Adam(settings.learning_rate)
        variables = [*ups.values(), *([] if shift is None else [shift])]
        optimizer.build(variables)
        count = sum(variable.shape.num_elements() for variable in ups.values())

        @tf.function(reduce_retracing=True)
        def step(
            x: tf.Tensor, wanted: tf.Tensor, rate: tf.Tensor, weight: tf.Tensor, sharp: tf.Tensor
        ) -> None:
            optimizer.learning_rate.assign(rate)
            with tf.GradientTape() as tape:
                shares = {path: _share(up) for path, up in ups.items()}
                between = [tf.reduce_sum(1 - tf.abs(2 * h - 1) ** sharp) for h in shares.values()]
                loss = self._output_error(weights(shares), x, wanted) / nearest
                loss += weight * tf.add_n(between) / count
            gradients = tape.gradient(loss, variables)
            pairs = zip(gradients, variables, strict=True)
            optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)  # one device

        return step

    def _codes(self, path: str) -> tf.Tensor:
        """The float kernel in steps of its grid."""
        return self.wrapper.variable(path) / self.wrapper.weight_variables[path]["scale"]

    def _start(self, path: str, lower: tf.Tensor) -> tf.Tensor:
        """The argument for which h is the part of the weight above its lower code."""
        part = tf.clip_by_value(self._codes(path) - lower, 0.01, 0.99)
        return tf.math.log((part - _SHIFT) / (_STRETCH + _SHIFT - part))

    def _value(self, path: str, codes: tf.Tensor) -> tf.Tensor:
        grid = self.wrapper.weight_variables[path]
        values = tf.clip_by_value(codes, grid["qmin"], grid["qmax"]) * grid["scale"]
        # A weight of zero is on every grid, and may be held there by a mask.
        return tf.where(self.wrapper.variable(path) == 0, 0.0, values)

    def _quantized(self, path: str, value: tf.Tensor) -> tf.Tensor:
        quantizer = self.wrapper.quantize_config.weight_quantizers[path]
        return quantizer(value, False, self.wrapper.weight_variables[path])

    def _as_quantized(self, path: str, value: tf.Tensor) -> tf.Tensor:
        """A kernel as the quantizer itself writes its values; a bias as it is."""
        return value if path == self._bias else self._quantized(path, value)


def learn_rounding(
    qmodel: KerasModel,
    float_model: KerasModel,
    plan: QuantizationPlan,
    batches: Sequence[list[tf.Tensor]],
    settings: RoundingSettings,
    on_layer: Callable[[Reconstruction], None],
) -> None:
    """Learn the rounding of every kernel, layer after layer, and put it into the model.

    Layers of binary kernels, whose scale moves with the weights, and of stateful, masked or several
    inputs keep rounding to nearest.

    Args:
        qmodel: the quantized model; changed in place.
        float_model: the same network in float.
        plan: the plan of both.
        batches: inputs, one list of tensors each.
        settings: how.
        on_layer: called with every layer's errors.
    """
    for name in plan.weighted:
        uses = range(len(plan.graph.uses(name)))
        reads = [_only_input(qmodel, plan, name, use) for use in uses]
        layer = qmodel.get_layer(name)
        known = isinstance(layer, FormatWrapper) and bool(kernel_paths(layer))
        if not known or any(tensor is None for tensor in reads):
            continue
        task = LayerRounding(qmodel, plan, name)
        wants = [float_model.get_layer(task.last).get_output_at(use) for use in uses]
        x = _values(qmodel, reads, batches)
        wanted = _values(float_model, [_first(tensor) for tensor in wants], batches)
        learned = task.learn(x, wanted, settings)
        power = float(np.mean(np.square(wanted))) or 1.0
        before, after = (task.error(each, x, wanted) / power for each in (task.nearest, learned))
        if after < before:
            task.assign(learned)
        on_layer(Reconstruction(name, before, min(before, after)))


def kernel_paths(wrapper: FormatWrapper) -> list[str]:
    """Paths of a layer's kernels whose rounding can be chosen."""
    if getattr(wrapper.layer, "stateful", False):
        return []
    return [
        path
        for path, quantizer in wrapper.quantize_config.weight_quantizers.items()
        if path.endswith("kernel")
        and isinstance(quantizer, KernelQuantizer)
        and not getattr(quantizer, "binary", False)
    ]


def _behind(plan: QuantizationPlan, name: str) -> list[str]:
    """The layers between a layer and the one behind which its output is quantized."""
    result: list[str] = []
    number, last = plan.graph.uses(name)[0], plan.points[name].layer
    while plan.graph.calls[number].layer != last:
        follower = plan.graph.only_consumer(Ref(number))
        assert follower is not None  # what closes a layer is its only reader
        number = follower
        result.append(plan.graph.calls[number].layer)
    return result


def _only_input(model: KerasModel, plan: QuantizationPlan, name: str, use: int) -> Any:
    """The one tensor that a call of a layer reads; None if there are several, or it is masked."""
    call = plan.graph.calls[plan.graph.uses(name)[use]]
    tensor = model.get_layer(name).get_input_at(use)
    several = len(call.refs()) != 1 or isinstance(tensor, list | tuple)
    return None if several or getattr(tensor, "_keras_mask", None) is not None else tensor


def _first(tensors: tf.Tensor | Sequence[tf.Tensor]) -> Any:
    return tensors[0] if isinstance(tensors, list | tuple) else tensors


def _values(
    model: KerasModel, tensors: Sequence[Any], batches: Sequence[list[tf.Tensor]]
) -> np.ndarray:
    """Tensors of one layer's calls over all batches, one after another."""
    run = tf.function(keras.Model(model.inputs, list(tensors)), reduce_retracing=True)
    found = [tf.nest.flatten(run(batch, training=False)) for batch in batches]
    calls = zip(*found, strict=True)
    return np.concatenate([np.asarray(value) for values in calls for value in values])


def _share(argument: tf.Tensor) -> tf.Tensor:
    """h: how far each weight goes up from its lower code."""
    return tf.clip_by_value(tf.sigmoid(argument) * _STRETCH + _SHIFT, 0.0, 1.0)


def _annealed(done: float, settings: RoundingSettings) -> tuple[float, float, float]:
    """Adam's rate, the regularizer's weight and its exponent after a share of the steps."""
    rate = settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
    if done < _WARM_UP:
        return rate, 0.0, _SHARPEST
    left = (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) / 2
    return rate, settings.weight, _BLUNTEST + (_SHARPEST - _BLUNTEST) * left
