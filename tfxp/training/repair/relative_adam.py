"""Adam whose steps are shares of the sizes of that which they move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.keras import keras
from tfxp.keras_types import KerasModel
from tfxp.quantization.layer_role import WeightSpec
from tfxp.quantization.layer_roles import LAYERS, role_of, table_name
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import is_quantized, read_network
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.quantizers import LearnedFormat
from tfxp.transforms.layer_spec import make_spec

# Adafactor's: what is smaller moves as if it were this large.
_SMALLEST_TENSOR = 1e-3
# A channel far below the others moves as if it were this share of them, so that it can come back.
_SMALLEST_CHANNEL = 0.01
# A bias moves what its layer computes; at a step of 1 % by 1/6400 of the output's range.
_BIAS_SHARE = 1 / 64


@keras.utils.register_keras_serializable(package="tfxp")
class RelativeAdam(keras.optimizers.Adam):
    """Adam on u = w / s for fixed sizes s: every tensor or channel moves in units of its own size.

        w -= rate * s * m / (sqrt(v) + epsilon),    m and v the running means of s * g, (s * g)^2

    Args:
        learning_rate: the step, as a share of the sizes.
        sizes: one for each of the variables that `build` is given, broadcast against it.
    """

    def __init__(self, learning_rate: Any, sizes: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self._sizes = [np.asarray(size) for size in sizes]
        self._size_of = dict[str, tf.Tensor]()

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "sizes": [size.tolist() for size in self._sizes]}

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Make the running means."""
        super().build(var_list)
        for variable, size in zip(var_list, self._sizes, strict=True):
            self._size_of[self._var_key(variable)] = tf.constant(size, tf.float32)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Move one variable."""
        key = self._var_key(variable)
        size, number = self._size_of[key], self._index_dict[key]
        mean, square = self._momentums[number], self._velocities[number]
        slope = tf.convert_to_tensor(gradient) * size
        mean.assign_add((slope - mean) * (1 - self.beta_1))
        square.assign_add((tf.square(slope) - square) * (1 - self.beta_2))
        count = tf.cast(self.iterations + 1, tf.float32)
        corrected = tf.sqrt(1 - tf.pow(self.beta_2, count)) / (1 - tf.pow(self.beta_1, count))
        rate = self.learning_rate * corrected
        variable.assign_sub(rate * size * mean / (tf.sqrt(square) + self.epsilon))


def relative_sizes(model: KerasModel) -> list[np.ndarray]:
    """The size of every trainable variable of a model, quantized or not, in order.

    - Kernels: the root mean square of each output channel. Folding BatchNormalization spreads them
      over orders of magnitude.
    - Biases: a 64th of the range of the layer's output, where it has a format.
    - Thresholds in log2: 1. Steps and clipping points: their values times ln 2, which is the same.
    - Everything else: the root mean square of the tensor.
    """
    known = _kernel_sizes(model)
    if is_quantized(model):
        network = read_network(model)
        for name, layer in network.wrappers.items():
            _add_formats(known, layer)
            _add_bias(known, network, name, layer)
    return [
        known.get(id(variable), np.maximum(_size(variable.numpy()), _SMALLEST_TENSOR))
        for variable in model.trainable_weights
    ]


def _kernel_sizes(model: KerasModel) -> dict[int, np.ndarray]:
    """Identity of a kernel -> the sizes of its channels, whether or not the layer has a format."""
    known = dict[int, np.ndarray]()
    for layer in model.layers:
        plain = layer.layer if isinstance(layer, FormatWrapper) else layer
        spec = make_spec(plain)
        variables = dict(zip(spec.weight_names, plain.weights, strict=False))
        for place in role_of(spec).weights if table_name(spec) in LAYERS else ():
            if place.attribute in variables:
                kernel = variables[place.attribute]
                known[id(kernel)] = _channel_sizes(kernel.numpy(), place)
    return known


def _size(values: np.ndarray, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Root mean square."""
    return np.sqrt(np.square(values, dtype=np.float64).mean(axes, keepdims=axes is not None))


def _channel_sizes(kernel: np.ndarray, place: WeightSpec) -> np.ndarray:
    end = kernel.ndim - place.trailing
    channels = range(end - place.channel_axes, end)
    taps = tuple(axis for axis in range(kernel.ndim) if axis not in channels)
    floor = max(_SMALLEST_CHANNEL * float(_size(kernel)), 1e-12)
    return np.maximum(_size(kernel, taps), floor)


def _add_formats(known: dict[int, np.ndarray], layer: FormatWrapper) -> None:
    config = layer.quantize_config
    for path, quantizer in config.weight_quantizers.items():
        if isinstance(quantizer, LearnedFormat):
            _add_trained(known, quantizer, layer.weight_variables[path])
    if isinstance(config.output_quantizer, LearnedFormat):
        _add_trained(known, config.output_quantizer, layer.output_variables)


def _add_trained(known: dict[int, np.ndarray], quantizer: LearnedFormat, variables: Any) -> None:
    trained = variables["trained"]
    values = trained.numpy()
    log2 = quantizer.method == "tqt"
    known[id(trained)] = np.ones_like(values) if log2 else np.log(2) * np.abs(values)


def _add_bias(
    known: dict[int, np.ndarray], network: QuantizedNetwork, name: str, layer: FormatWrapper
) -> None:
    bias = getattr(layer.layer, str(network.role(name).bias), None)
    formats = network.formats.get(name)
    if bias is not None and formats is not None and formats.activations is not None:
        known[id(bias)] = np.asarray(_BIAS_SHARE * formats.activations.max)
