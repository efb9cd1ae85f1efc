"""One Keras 3 layer to the tf_keras layer that computes the same, by its configuration.

tf_keras takes most configurations as they are. What is edited: the data type's dictionary becomes
its name; initializers go, since weights are copied; settings that tf_keras does not know go where
they are switched off; LeakyReLU's `negative_slope` is `alpha` there. Some functions have another
definition in Keras 3, hard_sigmoid above all (x/6 + 1/2 there, x/5 + 1/2 in Keras 2), or none in
tf_keras: they are composed of simpler layers behind the layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tfxp.keras import keras, keras3, layers
from tfxp.keras_types import KerasLayer, Tensor
from tfxp.transforms.activation_functions import ActivationConfig, function_name, shadowing
from tfxp.transforms.application_layers import application_layers
from tfxp.transforms.bytecode import without_bytecode
from tfxp.transforms.conversion.functions import FUNCTIONS, name_steps
from tfxp.transforms.conversion.weights import obstacle_of
from tfxp.transforms.data_types import FLOAT32, float32_config
from tfxp.transforms.linear_layers import LINEAR_LAYERS
from tfxp.transforms.refusals import BEFORE_MODELS, TO_THE_DATA

# Activation functions that both define alike: name in Keras 3 -> name in tf_keras.
_SAME = {
    name: name
    for name in (
        "elu", "exponential", "gelu", "linear", "mish", "relu", "relu6", "selu", "sigmoid",
        "softmax", "softplus", "softsign", "tanh",
    )
} | {"silu": "swish", "swish": "swish"}  # fmt: skip
# Settings without a meaning for what a finished network computes.
_WITHOUT_MEANING = {
    "seed", "quantization_config", "renorm_momentum", "renorm_clipping", "synchronized",
    "use_cudnn", "lora_rank", "lora_alpha", "build_config", "activity_regularizer",
}  # fmt: skip
# Settings that tf_keras lacks and that change nothing at these values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "data_format": ("channels_last",),
    "fill_mode": ("constant",),
}
_NO_FLOATS = ("int", "uint", "bool", "string")
_FUNCTION_KEYS = ("activation", "recurrent_activation")
_INNER = ("layer", "backward_layer", "cell")


def _named(x: Tensor, part: str) -> str:
    """A name for a layer behind a tensor, after the layer that produces it."""
    layer, node_index = x._keras_history[:2]
    return f"{layer.name}_{part}" + (f"_{node_index}" if node_index else "")


def _hard_sigmoid(x: Tensor) -> Any:
    line = layers.Rescaling(1 / 6, 0.5, name=_named(x, "line"))(x)
    return layers.ReLU(max_value=1.0, name=_named(x, "limits"))(line)


def _hard_swish(x: Tensor) -> Any:
    return layers.Multiply(name=_named(x, "hard_swish"))([x, _hard_sigmoid(x)])


def _leaky_relu(x: Tensor) -> Any:
    return layers.LeakyReLU(0.2, name=_named(x, "leaky_relu"))(x)


def _behind(name: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(x: Tensor) -> Any:
        result = function(x)
        name_steps(result, x, _named(x, name))
        return result

    return apply


# Functions to be applied behind a layer instead of inside it.
COMPOSED: dict[str, Callable[[Any], Any]] = {
    **{name: _behind(name, function) for name, function in FUNCTIONS.items()},
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _hard_swish,
    "hard_swish": _hard_swish,
    "leaky_relu": _leaky_relu,
}


# Layers that may be another layer's activation. Others, such as PReLU, may have weights there;
# Keras 3 makes those at the first call with values, so neither a model nor its file need have them.
_WEIGHTLESS = ("Activation", "ELU", "LeakyReLU", "ReLU", "Softmax")


def complaint_of(layer: KerasLayer) -> str | None:
    """Why a Keras 3 layer has no tf_keras twin; None if it has one."""
    if name_of(layer) in BEFORE_MODELS:
        return TO_THE_DATA
    try:
        twin_of(layer)
    except _NoTwin as error:
        return str(error)
    return obstacle_of(layer)


class _NoTwin(Exception):
    """The sentence's middle: what cannot be converted."""


def twin_of(layer: KerasLayer, name: str | None = None) -> tuple[Any, Callable[[Any], Any] | None]:
    """A new tf_keras layer without weights, and what is to be applied to its output, or None."""
    if name_of(layer) == "SpectralNormalization":  # training has normalized the kernel inside
        return twin_of(layer.layer, name or layer.name)
    config = _config_of(layer)
    after = _function_behind(layer, config)
    if after is not None:
        config = {**config, "activation": "linear"}
    kind, config = _converted(layer, config)
    if name is not None:
        config["name"] = name
    try:
        # MultiHeadAttention.from_config wants shapes that only a built layer's configuration has.
        make = (lambda c: kind(**c)) if name_of(layer) == "MultiHeadAttention" else kind.from_config
        return make(config), after
    except Exception as error:  # Keras raises nearly every type there is
        text = " ".join(without_bytecode(str(error)).split())
        raise _NoTwin(f"tf_keras refuses it: {text[:120]}") from error


def _config_of(layer: KerasLayer) -> dict[str, Any]:
    """A layer's configuration, whose activations are what their names say."""
    try:
        config: dict[str, Any] = layer.get_config()
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        raise _NoTwin(f"Keras cannot write its settings down ({reason})") from error
    for name in shadowing(layer):
        raise _NoTwin(f"its activation {name!r} is your own, and none of Keras' of that name")
    return config


_ACTIVATION_LAST = (
    "Activation", "EinsumDense", "SeparableConv1D", "SeparableConv2D", *LINEAR_LAYERS,
)  # fmt: skip


def _function_behind(layer: KerasLayer, config: dict[str, Any]) -> Callable[[Any], Any] | None:
    """What is applied behind a layer in place of its activation function; None if nothing is."""
    if name_of(layer) not in _ACTIVATION_LAST:
        return None
    function = getattr(layer, "activation", None)
    if not isinstance(function, keras3().layers.Layer):
        return COMPOSED.get(function_name(config.get("activation")))
    if name_of(function) not in _WEIGHTLESS:
        raise _NoTwin(f"its activation is a {name_of(function)}; make that the next layer")
    twin_of(function)  # says what is wrong with it before anything is built

    def apply(x: Tensor) -> Any:
        twin, after = twin_of(function, _named(x, function.name))
        return twin(x) if after is None else after(twin(x))

    return apply


def name_of(layer: KerasLayer) -> str:
    """The name of a layer's class."""
    return type(layer).__name__


def _converted(layer: KerasLayer, config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Class and configuration in tf_keras."""
    name = name_of(layer)
    if not type(layer).__module__.startswith("keras."):
        raise _NoTwin("a class of your own; rebuild it with tf_keras")
    if _augments(layer):
        return layers.Activation, {"name": config["name"], "activation": "linear"}
    kind = getattr(layers, name, None) or application_layers(keras).get(name)
    if kind is None or name == "Lambda":
        raise _NoTwin("tf_keras has no such layer" if kind is None else "code inside the model")
    config = _edited(name, dict(config))
    known = _parameters(kind)
    result = {}
    for key, value in config.items():
        if key.endswith("_initializer") or key in _WITHOUT_MEANING - known:
            continue
        if key in _FUNCTION_KEYS:
            result[key] = _function(key, value)
        elif key in _INNER and value is not None:
            result[key] = _inner(layer, key)
        elif key in known:
            result[key] = _plain(value)
        elif key == "zero_output_for_mask" and value:
            result[key] = value  # tf_keras' recurrent layers take it, though unannounced
        elif value not in (None, False, 0, *_NEUTRAL.get(key, ())):
            raise _NoTwin(f"{key}={value!r} is unknown to tf_keras")
    if name == "Normalization":
        shape = layer._mean_and_var_shape
        result |= {"mean": _array(layer.mean, shape), "variance": _array(layer.variance, shape)}
    return kind, result


def _augments(layer: KerasLayer) -> bool:
    """Whether a layer changes images while training only. Training state is not taken along, and
    tf_keras knows few of these layers."""
    name = name_of(layer)
    random = name.startswith("Random")
    return isinstance(layer, keras3().layers.RandomFlip.__mro__[1]) and (
        random or name in ("MixUp", "CutMix", "AugMix", "RandAugment")
    )


def _edited(name: str, config: dict[str, Any]) -> dict[str, Any]:
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        named = str((dtype.get("config") or {}).get("name"))
        config["dtype"] = named if named.startswith(_NO_FLOATS) else FLOAT32
    config = float32_config(config)
    if name == "LeakyReLU":
        config["alpha"] = config.pop("negative_slope")
    if name == "InputLayer":
        config["batch_input_shape"] = config.pop("batch_shape")
    if name == "Normalization":
        config = {key: value for key, value in config.items() if key not in ("mean", "variance")}
    return config


def _parameters(kind: Any) -> set[str]:
    """Names that a tf_keras layer's constructor takes, its parents' included."""
    names = {"name", "trainable", "dtype", "batch_input_shape"}
    for base in kind.__mro__:
        if base is keras.layers.Layer:
            break
        if "__init__" in vars(base):
            names |= set(inspect.signature(base.__init__).parameters)
    return names - {"self", "args", "kwargs"}


def _function(key: str, value: ActivationConfig) -> Any:
    function = function_name(value)
    if function in _SAME:
        return _SAME[function]
    raise _NoTwin(f"{key} {function!r} is defined otherwise in tf_keras, or not at all")


def _inner(layer: KerasLayer, key: str) -> dict[str, Any]:
    """A layer inside a wrapper, such as what is bidirectional or distributed over time."""
    owner = getattr(layer, "forward_layer", None) if key == "layer" else None
    inner = owner or getattr(layer, key)
    kind, config = _converted(inner, _config_of(inner))
    return {"class_name": kind.__name__, "config": config}


def _plain(value: object) -> Any:
    """Regularizers and constraints in the form that tf_keras reads."""
    if isinstance(value, dict) and "class_name" in value:
        return {"class_name": value["class_name"], "config": value["config"]}
    return value


def _array(values: object, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(shape)
