"""The tensors of a model that callbacks look at, and one graph function that reduces them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ModelError
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, KerasModel, Samples
from tfxp.quantization.read_network import is_quantized, read_network
from tfxp.quantization.wrapper import FormatWrapper
from tfxp.transforms.layer_graph import weight_name
from tfxp.transforms.training_only import TRAINING_ONLY

Key = tuple[str, str]
_UNCHANGED = ("InputLayer", "Flatten", "Reshape", "ZeroPadding2D", *TRAINING_ONLY)


@dataclasses.dataclass(frozen=True)
class Tap:
    """One tensor.

    Args:
        layer: the layer whose tensor it is, by the name the user knows.
        tensor: "activations", "weights", "bias", or an attribute path where there are more.
        grid: variables "scale", "qmin", "qmax" of its format; None if it is float.
        variable: what a weight's values come from; None for activations.
        quantizer: what puts the variable on its grid; None if it is float.
    """

    layer: str
    tensor: str
    grid: dict[str, Any] | None = None
    variable: Any = None
    quantizer: Any = None

    @property
    def key(self) -> Key:
        """(layer, tensor)."""
        return self.layer, self.tensor

    def values(self) -> tf.Tensor:
        """A weight as the network uses it."""
        if self.quantizer is None:
            return tf.convert_to_tensor(self.variable)
        return self.quantizer(self.variable, False, self.grid)


# Variables of a tensor's format; None where it is float.
Grid: TypeAlias = dict[str, Any] | None
# Values and their grid -> named figures, in TensorFlow operations.
Reduce = Callable[[tf.Tensor, Grid, Tap], dict[str, tf.Tensor]]


class TensorTaps:
    """Weights of a model, and activations on a few samples.

    Args:
        model: functional or Sequential model, quantized by tfxp or float. A model nested in it
            counts as one layer.
        data: inputs, as `tfxp.measure_model` takes them; None looks at weights alone.
        samples: how many of them are used, the first ones.

    Raises:
        ModelError: the model has no layer graph.
        DataError: the data are empty.
    """

    def __init__(self, model: KerasModel, data: Samples | None = None, samples: int = 32) -> None:
        if not getattr(model, "inputs", None):
            raise ModelError(
                f"model {model.name!r}: got a {type(model).__name__} without a layer graph; "
                "expected a functional or Sequential model."
            )
        self.weights = _weight_taps(model)
        self.activations: list[Tap] = []
        self._batch: list[tf.Tensor] = []
        self._outputs: list[list[int]] = []
        if data is not None:
            self._tap_activations(model, data, samples)

    @property
    def taps(self) -> list[Tap]:
        """All of them."""
        return [*self.weights, *self.activations]

    def compile(self, reduce: Reduce) -> Callable[[], dict[Key, dict[str, np.ndarray]]]:
        """A function that reduces every tensor as it is now; traced at the first call."""

        @tf.function
        def run() -> Any:
            tensors = [tap.values() for tap in self.weights]
            if self._batch:
                batch = self._batch if len(self._batch) > 1 else self._batch[0]
                outputs = tf.nest.flatten(self._probe(batch, training=False))
                for numbers in self._outputs:
                    parts = [tf.reshape(outputs[n], [-1]) for n in numbers]
                    tensors.append(outputs[numbers[0]] if len(parts) == 1 else tf.concat(parts, 0))
            pairs = zip(self.taps, tensors, strict=True)
            return [reduce(tf.cast(t, tf.float32), tap.grid, tap) for tap, t in pairs]

        def measure() -> dict[Key, dict[str, np.ndarray]]:
            results = tf.nest.map_structure(lambda value: value.numpy(), run())
            return {tap.key: found for tap, found in zip(self.taps, results, strict=True)}

        return measure

    def _tap_activations(self, model: KerasModel, data: Samples, samples: int) -> None:
        found = _activation_taps(model)
        outputs = [tensor for _, tensors in found for tensor in tensors]
        self.activations = [tap for tap, _ in found]
        count = 0
        for _, tensors in found:
            self._outputs.append(list(range(count, count + len(tensors))))
            count += len(tensors)
        self._probe = keras.Model(model.inputs, outputs)
        self._batch = first_samples(model, data, samples)


def first_samples(model: KerasModel, data: Samples, samples: int) -> list[tf.Tensor]:
    """The first samples of data, one tensor per input of a model.

    Raises:
        DataError: the data are empty, or do not fit the model's inputs.
    """
    batch, _ = next(InputSignature.of(model).batches(data, samples, "data of the callback"))
    pairs = zip(batch, model.inputs, strict=True)
    return [tf.cast(part[:samples], tensor.dtype) for part, tensor in pairs]


def _outputs_by_layer(model: keras.Model) -> dict[str, list[Any]]:
    """Layer -> its output tensors inside this model, one per call."""
    found: dict[str, list[Any]] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            tensors = tf.nest.flatten(node.outputs)
            found.setdefault(node.layer.name, []).append(tensors[0])
    return found


def _activation_taps(model: KerasModel) -> list[tuple[Tap, list[Any]]]:
    outputs = _outputs_by_layer(model)
    if not is_quantized(model):
        shown = [layer for layer in model.layers if type(layer).__name__ not in _UNCHANGED]
        return [(Tap(layer.name, "activations"), outputs[layer.name]) for layer in shown]
    network, result = read_network(model), []
    for owner, point in network.plan.points.items():
        layer = network.input_quantizers.get(owner, network.layers[point.layer])
        grid = _grid(getattr(layer, "output_variables", None))
        result.append((Tap(owner, "activations", grid), outputs[layer.name]))
    return result


def _grid(variables: dict[str, Any] | None) -> dict[str, Any] | None:
    return variables if variables is not None and "scale" in variables else None


def _weight_taps(model: KerasModel) -> list[Tap]:
    taps = []
    for layer in model.layers:
        if isinstance(layer, FormatWrapper):
            taps += quantized_weight_taps(layer)
        else:
            taps += _float_weight_taps(layer)
    return taps


def quantized_weight_taps(layer: FormatWrapper) -> list[Tap]:
    """Weights of a wrapped layer; those of a layer whose weights stay float, as they are."""
    quantizers = layer.quantize_config.weight_quantizers
    kernels = [path for path in quantizers if not path.endswith("bias")]
    taps = []
    for path, quantizer in quantizers.items():
        name = "weights" if kernels == [path] else path
        variables = layer.weight_variables[path]
        taps.append(Tap(layer.name, name, variables, layer.variable(path), quantizer))
    return taps or _float_weight_taps(layer.layer)


def _float_weight_taps(layer: KerasLayer) -> list[Tap]:
    kernels = [w for w in layer.trainable_weights if len(w.shape) > 1]
    return [
        Tap(layer.name, "weights" if len(kernels) == 1 else weight_name(w), None, w)
        for w in kernels
    ]
