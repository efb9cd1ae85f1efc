"""The networks that are trained here, as tf_keras models; each takes a width factor.

TensorFlow is loaded when a network is built, so that names and settings are checked without it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfxp.errors import ConfigError, check_fields, did_you_mean

if TYPE_CHECKING:
    import tensorflow as tf


def lenet(
    classes: int = 10,
    width: float = 1.0,
    relu_max: float | None = None,
    batch_norm: bool = False,
    size: int = 28,
) -> Any:
    """A LeNet-class network for digits: two 5 x 5 convolutions with max-pooling, two dense layers.

    Args:
        classes: number of outputs (logits).
        width: factor on filters and hidden units.
        relu_max: clip activations from above, as fixed-point training wants it.
        batch_norm: normalise before every ReLU, as grids of fixed range (WRPN) want it.
        size: rows and columns of an image, 28 for MNIST, 16 for USPS; at least 16.

    Raises:
        ConfigError: smaller images, of which the second pool would leave nothing.

    References:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, in Caffe's
        form (20 and 50 filters, 500 units), with ReLU.
    """
    from tfxp.keras import keras, layers

    if size < 16:
        raise ConfigError(f"size: got {size}; expected at least 16.")
    wide = _widen(width)
    x = inputs = layers.Input((size, size, 1), name="input")
    for index, filters in enumerate((20, 50)):
        name = f"conv{index}"
        x = layers.Conv2D(wide(filters), 5, use_bias=not batch_norm, name=name)(x)
        x = _norm_relu(x, name, batch_norm, relu_max)
        x = layers.MaxPooling2D(2, name=f"pool{index}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(wide(500), use_bias=not batch_norm, name="dense0")(x)
    x = _norm_relu(x, "dense0", batch_norm, relu_max)
    return keras.Model(inputs, layers.Dense(classes, name="dense1")(x), name="lenet")


def convnet(
    classes: int = 10,
    width: float = 1.0,
    batch_norm: bool = True,
    relu_max: float | None = None,
) -> Any:
    """Sakr's CIFAR-10 ConvNet: 2x64C3-MP2-2x128C3-MP2-2x256C3-512FC-512FC-10, valid padding.

    Args:
        classes: number of outputs (logits).
        width: factor on filters and hidden units.
        batch_norm: normalise before every ReLU.
        relu_max: clip activations from above, as fixed-point training wants it (2 in the paper).

    Raises:
        ConfigError: a width that is not positive.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019. The padding is the one that gives the paper's costs; where batch
        normalization stands is not printed.
    """
    from tfxp.keras import keras, layers

    wide = _widen(width)
    x = inputs = layers.Input((32, 32, 3), name="input")
    for group, filters in enumerate((64, 128, 256)):
        for index in range(2):
            name = f"conv{group}_{index}"
            x = layers.Conv2D(wide(filters), 3, use_bias=not batch_norm, name=name)(x)
            x = _norm_relu(x, name, batch_norm, relu_max)
        if group < 2:
            x = layers.MaxPooling2D(2, name=f"pool{group}")(x)
    x = layers.Flatten(name="flatten")(x)
    for index in range(2):
        name = f"dense{index}"
        x = layers.Dense(wide(512), use_bias=not batch_norm, name=name)(x)
        x = _norm_relu(x, name, batch_norm, relu_max)
    return keras.Model(inputs, layers.Dense(classes, name="dense2")(x), name="convnet")


def plain6(classes: int = 10, width: float = 1.0) -> Any:
    """A plain network of six 3 x 3 convolutions and one dense layer for 32 x 32 images.

    Widths grow from layer to layer, so that parameters and MACs are spread unevenly, which is
    what cross-layer allocation lives on.

    Args:
        classes: number of outputs (logits).
        width: factor on filters.

    Raises:
        ConfigError: a width that is not positive.
    """
    from tfxp.keras import keras, layers

    wide = _widen(width)
    x = inputs = layers.Input((32, 32, 3), name="input")
    for index, (filters, stride) in enumerate(
        ((32, 1), (32, 2), (64, 1), (64, 2), (128, 1), (128, 2))
    ):
        name = f"conv{index}"
        x = layers.Conv2D(
            wide(filters), 3, strides=stride, padding="same", use_bias=False, name=name
        )(x)
        x = _norm_relu(x, name, True, None)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, layers.Dense(classes, name="dense")(x), name="plain6")


def resnet8(
    classes: int = 10, width: float = 1.0, softmax: bool = False, shortcut_norm: bool = False
) -> Any:
    """The ResNet-8 of MLPerf Tiny: three blocks of 16, 32 and 64 filters; 8, 16, 32 at width 0.5.

    Args:
        classes: number of outputs.
        width: factor on filters.
        softmax: end in probabilities, as the benchmark's model does, instead of logits.
        shortcut_norm: normalise the 1 x 1 shortcuts too. Grids of fixed range (WRPN) need it: only
            a BatchNormalization gives a convolution of -1, 0 and 1 a scale.

    Raises:
        ConfigError: a width that is not positive.

    References:
        Banbury et al., "MLPerf Tiny Benchmark", 2021; image classification reference model.
    """
    from tfxp.keras import layers

    wide = _widen(width)
    x = inputs = layers.Input((32, 32, 3), name="input")
    x = _conv_norm(x, wide(16), 3, 1, "conv0")
    x = layers.Activation("relu", name="relu0")(x)
    for block, filters in enumerate((16, 32, 64), start=1):
        stride = 1 if block == 1 else 2
        shortcut = x
        y = _conv_norm(x, wide(filters), 3, stride, f"conv{block}_0")
        y = layers.Activation("relu", name=f"relu{block}_0")(y)
        y = _conv_norm(y, wide(filters), 3, 1, f"conv{block}_1")
        if block > 1:
            shortcut = _conv(x, wide(filters), 1, stride, f"shortcut{block}")
            if shortcut_norm:
                shortcut = layers.BatchNormalization(name=f"shortcut{block}_norm")(shortcut)
        x = layers.Add(name=f"add{block}")([shortcut, y])
        x = layers.Activation("relu", name=f"relu{block}_1")(x)
    return _classified(x, inputs, classes, "softmax" if softmax else None, "resnet8")


def preact_resnet8(
    classes: int = 10,
    width: float = 1.0,
    branch_norm: bool = False,
    norm_start: Sequence[float] = (1.0, 0.0),
) -> Any:
    """A ResNet-8 whose blocks normalise and clip what they read, not what they add (He's v2).

        x' = s + conv(relu(norm(conv(relu(norm(x))))))

    s is x, or a 1 x 1 convolution of relu(norm(x)) where the shape changes. No ReLU stands on the
    sums, so under a scheme that quantizes what ReLUs give (WRPN) they stay in full precision.

    Args:
        classes: number of outputs (logits).
        width: factor on filters; 16, 32 and 64 at 1.
        branch_norm: one more BatchNormalization behind either side of a sum. Convolutions of fixed
            range (WRPN) need it: without a scale they swamp the sum.
        norm_start: gamma and beta that the normalizations in front of a ReLU start with. 0.4 and
            0.3 put most of what they give between 0 and 1, where WRPN's clip passes gradients.

    Raises:
        ConfigError: `norm_start` is no pair of numbers.

    References:
        He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016; the depth is that of
        MLPerf Tiny's ResNet-8.
    """
    from tfxp.keras import layers

    wide, start = _widen(width), _norm_start(norm_start)
    x = inputs = layers.Input((32, 32, 3), name="input")
    x = _conv(x, wide(16), 3, 1, "conv0")
    for block, filters in enumerate((16, 32, 64), start=1):
        stride = 1 if block == 1 else 2
        y = _start_relu(x, f"preact{block}_0", start)
        if block > 1:
            x = _conv(y, wide(filters), 1, stride, f"shortcut{block}")
            x = layers.BatchNormalization(name=f"shortcut{block}_norm")(x) if branch_norm else x
        y = _conv(y, wide(filters), 3, stride, f"conv{block}_0")
        y = _conv(_start_relu(y, f"preact{block}_1", start), wide(filters), 3, 1, f"conv{block}_1")
        y = layers.BatchNormalization(name=f"conv{block}_1_norm")(y) if branch_norm else y
        x = layers.Add(name=f"add{block}")([x, y])
    return _classified(_start_relu(x, "last", start), inputs, classes, None, "preact_resnet8")


def vgg16_keras(classes: int = 1000, weights: str | None = None, softmax: bool = True) -> Any:
    """VGG16 from `tf_keras.applications`.

    Args:
        classes: number of outputs.
        weights: None for random ones, or a path to a weights file.
        softmax: end in probabilities instead of logits.

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015.
    """
    from tfxp.keras import keras

    return keras.applications.VGG16(
        weights=weights,
        classes=classes,
        classifier_activation="softmax" if softmax else None,
    )


KERAS_MODELS: dict[str, Callable[..., Any]] = {
    "convnet": convnet,
    "lenet": lenet,
    "plain6": plain6,
    "preact_resnet8": preact_resnet8,
    "resnet8": resnet8,
    "vgg16": vgg16_keras,
}


def check_settings(name: object, settings: object) -> None:
    """Complain about a network or a setting that does not exist; TensorFlow is not needed.

    Args:
        name: a key of `KERAS_MODELS`.
        settings: arguments of the builder, by name.

    Raises:
        ConfigError: there is no such model, or it has no such setting.

    Example:
        >>> check_settings("resnet8", {"width": 0.5})
    """
    if not isinstance(name, str) or name not in KERAS_MODELS:
        hint = did_you_mean(str(name), KERAS_MODELS)
        raise ConfigError(f"model: got {name!r}; expected one of {', '.join(KERAS_MODELS)}.{hint}")
    known, where = inspect.signature(KERAS_MODELS[name]).parameters, f"settings of model {name!r}"
    check_fields(where, settings, known)
    assert isinstance(settings, Mapping)
    for key, value in settings.items():
        usual = known[key].default
        numbers = isinstance(usual, int | float) and not isinstance(usual, bool)
        if numbers and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{key} in the {where}: got {value!r}; expected a number.")


def build_model(name: str, **settings: object) -> Any:
    """The model called `name` with random weights.

    Args:
        name: a key of `KERAS_MODELS`.
        settings: arguments of the builder, such as `width=0.5`.

    Raises:
        ConfigError: there is no such model, or it has no such setting.

    Example:
        >>> build_model("resnet8", width=0.5).get_layer("conv3_1").filters
        32
    """
    check_settings(name, settings)
    return KERAS_MODELS[name](**settings)


def _conv(x: tf.Tensor, filters: int, kernel: int, stride: int, name: str) -> Any:
    from tfxp.keras import layers

    return layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=_decay(),
        name=name,
    )(x)


def _conv_norm(x: tf.Tensor, filters: int, kernel: int, stride: int, name: str) -> Any:
    from tfxp.keras import layers

    return layers.BatchNormalization(name=f"{name}_norm")(_conv(x, filters, kernel, stride, name))


def _start_relu(x: tf.Tensor, name: str, start: tuple[float, float]) -> Any:
    """A normalization that starts at a gamma and a beta, and a ReLU."""
    from tfxp.keras import keras, layers

    gamma, beta = map(keras.initializers.Constant, start)
    x = layers.BatchNormalization(
        gamma_initializer=gamma, beta_initializer=beta, name=f"{name}_norm"
    )(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _norm_start(start: object) -> tuple[float, float]:
    if (
        isinstance(start, list | tuple)
        and len(start) == 2
        and all(isinstance(v, int | float) and math.isfinite(v) for v in start)
    ):
        return float(start[0]), float(start[1])
    raise ConfigError(
        f"norm_start: got {start!r}; expected two numbers, gamma and beta, such as [0.4, 0.3]."
    )


def _classified(
    x: tf.Tensor, inputs: tf.Tensor, classes: int, activation: str | None, name: str
) -> Any:
    """The end of a ResNet: mean over 8 x 8 positions and a dense layer."""
    from tfxp.keras import keras, layers

    x = layers.Flatten(name="flatten")(layers.AveragePooling2D(8, name="pool")(x))
    x = layers.Dense(classes, activation=activation, kernel_initializer="he_normal", name="dense")(
        x
    )
    return keras.Model(inputs, x, name=name)


def _norm_relu(x: tf.Tensor, name: str, batch_norm: bool, relu_max: float | None) -> Any:
    from tfxp.keras import layers

    if batch_norm:
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(max_value=relu_max, name=f"{name}_relu")(x)


def _decay() -> Any:
    from tfxp.keras import keras

    return keras.regularizers.L2(1e-4)


def _widen(factor: float) -> Callable[[int], int]:
    if factor <= 0:
        raise ConfigError(f"width: got {factor}; expected a positive number.")
    return lambda filters: max(1, round(filters * factor))
