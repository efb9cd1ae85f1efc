"""What training pays for activations that are not zero: regularizers of ReLUs' outputs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxp.errors import ConfigError, did_you_mean
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, KerasModel
from tfxp.quantization.read_network import is_quantized, plan_of
from tfxp.transforms.layer_spec import make_spec
from tfxp.transforms.normalize.normalize import is_relu

PENALTIES = ("l1", "hoyer")
_SMALLEST = 1e-12


@keras.utils.register_keras_serializable(package="tfxp")
class ActivationZeros(keras.regularizers.Regularizer):
    """Regularizes a layer's output towards zeros.

    For a sample a of n elements

        l1:     term = strength mean(|a|)
        hoyer:  term = strength (sum |a|)^2 / (n sum a^2)

    The ratio of hoyer is 1/n where one element is not zero, and 1 where all are equal.

    l1 also makes activations small, which the next layer's weights can undo; Hoyer's ratio does not
    depend on their size. It is 0 for a sample of zeros.

    Args:
        strength: factor of the term; 0 or more.
        kind: "l1" or "hoyer".

    Raises:
        ConfigError: a negative strength, or no such kind.

    Example:
        >>> from tfxp.sparsity import ActivationZeros
        >>> float(ActivationZeros(1.0, "hoyer")(np.array([[1.0, 1.0, 0.0, 0.0]])))
        0.5

    References:
        Kurtz et al., "Inducing and Exploiting Activation Sparsity for Fast Neural Network
        Inference", ICML 2020, sec. 3.1; Yang et al., "DeepHoyer", ICLR 2020, eq. 3. Departs from
        both: divided by n, so that layers of any size weigh alike.
    """

    def __init__(self, strength: float, kind: str = "l1") -> None:
        if kind not in PENALTIES:
            hint = did_you_mean(kind, PENALTIES)
            raise ConfigError(f"penalty: got {kind!r}; expected one of {PENALTIES}.{hint}")
        if not strength >= 0:
            raise ConfigError(f"strength of {kind}: got {strength}; expected 0 or more.")
        self.strength, self.kind = float(strength), kind

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """The sum over samples; Keras divides it by their number."""
        size = tf.abs(tf.convert_to_tensor(x))
        rows = tf.reshape(size, (tf.shape(size)[0], -1))
        if self.kind == "l1":
            return self.strength * tf.reduce_sum(tf.reduce_mean(rows, 1))
        squares = tf.reduce_mean(tf.square(rows), 1)
        ratio = tf.square(tf.reduce_mean(rows, 1)) / tf.maximum(squares, _SMALLEST)
        return self.strength * tf.reduce_sum(ratio)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"strength": self.strength, "kind": self.kind}


# Keras reads .h5 files by short names, without the package of a registered one.
keras.utils.get_custom_objects()["ActivationZeros"] = ActivationZeros


def regularize_activations(model: KerasModel, strength: float, kind: str = "hoyer") -> list[str]:
    """Have every `fit` of a model pay for ReLUs' outputs that are not zero.

    Each of them gets an `ActivationZeros` as activity regularizer, saved with the model. Compile
    the model afterwards. `fine_tune` has settings of its own for this.

    Args:
        model: a float model, or what `quantize_model` returned; changed in place.
        strength: of every term.
        kind: "l1" or "hoyer".

    Returns:
        The names of the layers.

    Raises:
        ConfigError: an impossible strength or kind, or a model without a ReLU.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.sparsity import regularize_activations
        >>> dense = layers.Dense(8, "relu", input_shape=(4,), name="d")
        >>> regularize_activations(keras.Sequential([dense]), 0.01)
        ['d']

    References:
        Kurtz et al., "Inducing and Exploiting Activation Sparsity for Fast Neural Network
        Inference", ICML 2020, sec. 3.1; Yang et al., "DeepHoyer", ICLR 2020.
    """
    found = relu_layers(model)
    for layer in found:
        layer._activity_regularizer = ActivationZeros(strength, kind)
    return [layer.name for layer in found]


class ActivationPenalty:
    """The terms of all ReLUs of a model, beside its output.

    Args:
        model: the model in training.
        strengths: kind -> factor.

    Raises:
        ConfigError: an impossible strength, or a model without a ReLU.
    """

    def __init__(self, model: KerasModel, strengths: dict[str, float]) -> None:
        self._terms = [ActivationZeros(value, kind) for kind, value in strengths.items() if value]
        tensors = [
            layer.get_output_at(node)
            for layer in relu_layers(model)
            for node in range(len(layer.inbound_nodes))
        ]
        self._model = keras.Model(model.inputs, [*model.outputs, *tensors])
        self._outputs = len(model.outputs)

    def run(self, x: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """The model's first output in training, and the mean of the terms over the samples."""
        found = self._model(x, training=True)
        total = tf.add_n([term(a) for term in self._terms for a in found[self._outputs :]])
        return found[0], total / tf.cast(tf.shape(found[0])[0], tf.float32)


def relu_layers(model: KerasModel) -> list[Any]:
    """The layers of a model whose outputs are those of ReLUs, in order.

    Raises:
        ConfigError: there is none.
    """
    if is_quantized(model):
        plan = plan_of(model)
        names = [point.layer for point in plan.points.values()]
        found = [
            model.get_layer(name) for name in names if is_relu(plan.graph.layers[name]) is not None
        ]
    else:
        found = [layer for layer in model.layers if _ends_in_relu(layer)]
    if not found:
        raise ConfigError(
            f"zeros of activations of {model.name!r}: got no ReLU; expected at least one."
        )
    return found


def _ends_in_relu(layer: KerasLayer) -> bool:
    if isinstance(layer, keras.Model):
        return False
    spec = make_spec(layer)
    return is_relu(spec) is not None or spec.config.get("activation") in ("relu", "relu6")
