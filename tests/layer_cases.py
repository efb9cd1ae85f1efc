"""One tiny network per layer or topology beyond the main job's, float -> quantized -> exported.

`LAYER_CASES` maps a name to a function that builds the network and says what becomes of it:
"exact" (Keras, interpreter and LiteRT agree on every element), "noted" (they may differ, and the
export says so) or "keras" (quantized in Keras, refused by the export with a reason).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cases import randomize
from tfxp.keras import keras, layers, tf


@dataclasses.dataclass
class LayerCase:
    """A network, what becomes of it, and its inputs' range where it must not be normal."""

    build: Callable[[], Any]
    outcome: str
    tokens: int = 0


LAYER_CASES: dict[str, LayerCase] = {}


def case(outcome="exact", tokens=0):
    def register(build):
        LAYER_CASES[build.__name__] = LayerCase(build, outcome, tokens)
        return build

    return register


def build(name, seed=5):
    """A case's network with random weights."""
    keras.backend.clear_session()
    return randomize(LAYER_CASES[name].build(), seed)


def inputs_of(name, model, count=16, seed=8):
    """Random inputs: normal, or tokens."""
    rng, tokens = np.random.default_rng(seed), LAYER_CASES[name].tokens
    arrays = []
    for tensor in model.inputs:
        shape = (count, *(size or 7 for size in tensor.shape[1:]))
        x = rng.integers(0, tokens, shape) if tokens else rng.normal(size=shape)
        arrays.append(x.astype(np.int32 if tokens else np.float32))
    return arrays if len(arrays) > 1 else arrays[0]


def chain(*steps, shape=(8, 6, 3), **options):
    x = inputs = keras.Input(shape, **options)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


SEQUENCE = (12, 4)


# --- convolutions of sequences, transposed ones ---------------------------------------------------


@case()
def conv_1d():
    return chain(
        layers.Conv1D(5, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        layers.Conv1D(4, 2, strides=2, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        shape=SEQUENCE,
    )


@case()
def depthwise_conv_1d():
    return chain(
        layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2, activation="relu"),
        layers.DepthwiseConv1D(2, strides=2),
        layers.BatchNormalization(),
        shape=SEQUENCE,
    )


@case()
def separable_conv_1d():
    return chain(
        layers.SeparableConv1D(5, 3, padding="causal", activation="relu"),
        layers.SeparableConv1D(4, 3, strides=2, padding="same"),
        shape=SEQUENCE,
    )


@case()
def conv_2d_transpose():
    return chain(
        layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2DTranspose(4, (2, 3), strides=(1, 2)),
    )


@case()
def conv_1d_transpose():
    return chain(
        layers.Conv1DTranspose(5, 3, strides=2, padding="same", activation="relu"),
        layers.Conv1DTranspose(3, 2),
        shape=SEQUENCE,
    )


@case("keras")
def conv_3d():
    return chain(
        layers.Conv3D(4, 2, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling3D(2),
        layers.Conv3D(3, 1, padding="same"),
        layers.GlobalAveragePooling3D(),
        shape=(5, 6, 5, 2),
    )


# --- pools ---------------------------------------------------------------------------------------


@case()
def pools_1d():
    x = inputs = keras.Input(SEQUENCE)
    x = layers.MaxPooling1D(2)(layers.Conv1D(4, 3)(x))
    x = layers.AveragePooling1D(3, 1, padding="same")(x)
    peak = layers.GlobalMaxPooling1D()(x)
    mean = layers.GlobalAveragePooling1D()(layers.ReLU()(x))
    whole = layers.Flatten()(layers.AveragePooling1D(5)(x))
    kept = layers.Flatten()(layers.GlobalMaxPooling1D(keepdims=True)(x))
    return keras.Model(inputs, [layers.Concatenate()([peak, mean, kept]), whole])


@case()
def pools_1d_unpadded():
    return chain(
        layers.AveragePooling1D(2),
        layers.Conv1D(3, 1),
        layers.GlobalAveragePooling1D(keepdims=True),
        layers.Dense(4),
        shape=SEQUENCE,
    )


# --- several tensors -----------------------------------------------------------------------------


@case()
def subtract():
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1, activation="relu")(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.Subtract()([a, b])
    return keras.Model(inputs, [layers.ReLU()(layers.Subtract()([y, x])), layers.Conv2D(2, 1)(y)])


@case()
def multiply():
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.ReLU()(layers.Multiply()([a, b]))
    return keras.Model(inputs, layers.Multiply()([y, a, x]))


@case()
def squeeze_and_excite():
    """A gate per channel, broadcast over the image."""
    x = inputs = keras.Input((8, 6, 4))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="relu")(gate)
    gate = layers.Conv2D(4, 1, activation="hard_sigmoid")(gate)
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.Multiply()([x, gate])))


@case()
def average():
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.Average()([a, b])
    return keras.Model(inputs, layers.Average()([y, x, a]))


@case()
def maximum():
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.Maximum()([a, x])
    z = layers.Minimum()([b, a, x])
    return keras.Model(inputs, [layers.ReLU()(layers.Maximum()([y, z])), z])


# --- moving values about -------------------------------------------------------------------------


@case()
def up_sampling():
    return chain(
        layers.Conv2D(4, 3),
        layers.UpSampling2D((2, 3)),
        layers.Conv2D(3, 1),
        layers.Resizing(9, 17, interpolation="nearest"),
    )


@case()
def up_sampling_bilinear():
    return chain(
        layers.Conv2D(4, 3),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Conv2D(3, 1),
        layers.UpSampling2D(4, interpolation="bilinear"),
    )


@case("noted")
def resizing_bilinear():
    return chain(layers.Conv2D(4, 3), layers.Resizing(11, 7, interpolation="bilinear"))


@case()
def up_sampling_1d():
    return chain(
        layers.Conv1D(4, 3), layers.UpSampling1D(3), layers.Conv1D(3, 2), shape=SEQUENCE
    )


@case()
def permute():
    return chain(
        layers.Conv2D(4, 3), layers.Permute((3, 1, 2)), layers.Dense(5), layers.Permute((2, 1, 3))
    )


@case()
def cropping():
    x = inputs = keras.Input((8, 6, 3))
    x = layers.Cropping2D(((1, 2), (0, 1)))(layers.Conv2D(4, 1)(x))
    y = layers.Reshape((25, 4))(x)
    return keras.Model(inputs, layers.Cropping1D((3, 4))(layers.Conv1D(3, 1)(y)))


@case()
def padding_1d():
    return chain(layers.ZeroPadding1D((2, 1)), layers.Conv1D(4, 3), shape=SEQUENCE)


@case()
def slicing():
    x = inputs = keras.Input((8, 6, 4))
    y = layers.Conv2D(4, 1)(x[:, 1:])
    y = y[:, ::2, -3:-1]
    z = y[:, 0, :, 1:3]
    return keras.Model(inputs, [layers.Conv2D(3, 1)(y), layers.Dense(2)(z)])


@case()
def repeat_vector():
    return chain(
        layers.Dense(5, activation="relu"), layers.RepeatVector(3), layers.Dense(2), shape=(6,)
    )


# --- scaling and functions of one tensor ---------------------------------------------------------


@case()
def rescaling():
    return chain(
        layers.Rescaling(1 / 4, offset=-0.5),
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.Rescaling(2.0),
        layers.Conv2D(3, 3, padding="same"),
        layers.Rescaling(0.5, offset=0.25),
    )


@case()
def normalization():
    return chain(
        layers.Normalization(mean=[0.1, -0.2, 0.3], variance=[0.5, 1.0, 2.0]),
        layers.ReLU(),
        layers.Normalization(mean=0.5, variance=4.0, axis=None),
        layers.Conv2D(4, 3),
    )


@case()
def leaky_relu():
    return chain(
        layers.Conv2D(4, 3),
        layers.LeakyReLU(0.3),
        layers.Conv2D(4, 1, activation=layers.LeakyReLU(0.125)),
        layers.ReLU(negative_slope=0.1),
    )


@case()
def prelu():
    return chain(
        layers.Conv2D(4, 3),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Conv2D(4, 1),
        layers.PReLU(),
    )


@case()
def elu():
    return chain(layers.Conv2D(4, 3, activation="elu"), layers.Conv2D(4, 1), layers.ELU())


@case()
def sigmoid_tanh():
    x = inputs = keras.Input((8, 6, 3))
    a = layers.Conv2D(4, 3, activation="sigmoid")(x)
    b = layers.Conv2D(4, 3, activation="tanh")(x)
    return keras.Model(inputs, [layers.Conv2D(3, 1)(layers.Multiply()([a, b])), a, b])


@case()
def swish():
    return chain(
        layers.Conv2D(4, 3, activation="swish"), layers.Dense(3), layers.Activation("swish")
    )


@case()
def hard_sigmoid():
    return chain(
        layers.Conv2D(4, 3, activation="hard_sigmoid"),
        layers.MaxPooling2D(2),
        layers.Activation("hard_sigmoid"),
    )


@case()
def hard_swish():
    """As MobileNetV3 writes it."""
    x = inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3)(x)
    gate = layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.Multiply()([x, gate])))


@case("keras")
def gelu_selu():
    return chain(layers.Dense(5, activation="gelu"), layers.Dense(4, activation="selu"), shape=(6,))


# --- functions of tensors ------------------------------------------------------------------------


@case()
def tensor_functions():
    x = inputs = keras.Input((8, 6, 4))
    a = tf.nn.relu(layers.Conv2D(4, 1)(x) * 0.5 - [0.1, 0.2, 0.3, 0.4])
    b = tf.nn.sigmoid(layers.Conv2D(4, 1)(x)) - x / 2.0
    c = tf.maximum(a, b)
    d = tf.concat([c, 1.0 - a], axis=-1)
    e = tf.transpose(tf.reshape(d, (-1, 12, 4, 8)), (0, 2, 1, 3))
    f = tf.pad(e, [[0, 0], [1, 0], [0, 2], [0, 0]])
    g = tf.reduce_mean(f, axis=[1, 2]) * tf.reduce_max(f, axis=[1, 2])
    h = tf.clip_by_value(layers.Dense(4)(tf.squeeze(tf.expand_dims(g, 1), 1)), 0.0, 2.0)
    return keras.Model(inputs, [h, -f])


# --- in float between quantized tensors ----------------------------------------------------------


@case("keras", tokens=11)
def recurrent():
    """Tokens of which 0 stands for nothing: masks reach every layer that asks for one."""
    x = inputs = keras.Input((7,))
    x = layers.Embedding(11, 6, mask_zero=True)(x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x, state = layers.GRU(5, return_sequences=True, return_state=True)(x)
    y = layers.SimpleRNN(3)(x, initial_state=layers.Dense(3)(state))
    return keras.Model(inputs, [layers.Dense(2)(y), layers.GlobalAveragePooling1D()(x)])


@case("keras")
def encoder_decoder():
    """States of one LSTM start another."""
    source, target = keras.Input((5, 3)), keras.Input((4, 3))
    _, hidden, cell = layers.LSTM(4, return_state=True)(source)
    y = layers.LSTM(4, return_sequences=True)(target, initial_state=[hidden, cell])
    return keras.Model([source, target], layers.TimeDistributed(layers.Dense(2))(y))


@case("keras")
def attention():
    x = inputs = keras.Input((5, 6))
    y = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y, scores = layers.MultiHeadAttention(1, 4)(x, y, return_attention_scores=True)
    return keras.Model(inputs, [layers.GlobalAveragePooling1D()(y), scores])


@case("keras")
def time_distributed():
    x = inputs = keras.Input((4, 8, 6, 3))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(x)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    x = layers.Masking(0.0)(x)
    return keras.Model(inputs, layers.LSTM(3)(x))


@case()
def time_distributed_dense():
    return chain(
        layers.TimeDistributed(layers.Dense(5, activation="relu")),
        layers.TimeDistributed(layers.Activation("tanh")),
        layers.Dense(2),
        shape=(4, 6),
    )


# --- topologies ----------------------------------------------------------------------------------


@case()
def models_of_models():
    """A model in a model in a model; one of them used twice, one layer shared across models."""
    norm = layers.BatchNormalization(name="norm")
    x = i = keras.Input((8, 6, 4))
    x = layers.ReLU()(norm(layers.Conv2D(4, 3, padding="same")(x)))
    inner = keras.Model(i, x, name="inner")
    x = i = keras.Input((8, 6, 4))
    outer = keras.Model(i, layers.Add()([inner(inner(x)), x]), name="outer")
    head = keras.Sequential([keras.Input((8, 6, 4)), layers.Conv2D(3, 3), layers.Flatten()], "head")
    x = i = keras.Input((8, 6, 4))
    return keras.Model(i, layers.Dense(2)(head(outer(norm(x)))))


@case()
def shared_submodel():
    encoder = keras.Sequential([keras.Input((9, 3)), layers.Conv1D(4, 3), layers.LeakyReLU(0.25)])
    a, b = keras.Input((9, 3)), keras.Input((9, 3))
    y = layers.Subtract()([encoder(a), encoder(b)])
    return keras.Model([a, b], layers.GlobalMaxPooling1D()(y))
