"""Functions of tensors and layers that are put together from several simple ones, or move codes.

`functions_of` gives the same calls for tf_keras (TensorFlow's functions) and Keras 3 (its own), so
that one definition serves both.
"""

import types

import numpy as np

from tests.layer_cases.table import case, chain
from tfxp.keras import tf
from tfxp.transforms.conversion import functions as composed

IMAGE = (6, 4, 4)


def functions_of(keras):
    """A call for each function, named as in Keras 3."""
    ops = getattr(keras, "ops", None)
    if ops is not None:
        return ops
    return types.SimpleNamespace(
        absolute=tf.abs, add=tf.add, amax=tf.reduce_max, amin=tf.reduce_min, clip=tf.clip_by_value,
        cos=tf.cos, depth_to_space=tf.nn.depth_to_space, exp=tf.exp, flip=flip, gelu=tf.nn.gelu,
        log=tf.math.log, max=tf.reduce_max, maximum=tf.maximum,
        mean=tf.reduce_mean, min=tf.reduce_min, minimum=tf.minimum, power=tf.pow,
        reciprocal=tf.math.reciprocal, repeat=tf.repeat, selu=tf.nn.selu, softplus=tf.math.softplus,
        space_to_depth=tf.nn.space_to_depth, split=split, sqrt=tf.sqrt, square=tf.square,
        stack=tf.stack, stop_gradient=tf.stop_gradient, sum=tf.reduce_sum, tile=tf.tile,
        unstack=lambda x, num, axis: tf.unstack(x, num, axis), pad=tf.pad,
        average_pool=lambda x, size, strides: tf.nn.avg_pool2d(x, size, strides, "VALID"),
        max_pool=lambda x, size, strides, padding: tf.nn.max_pool2d(x, size, strides, "SAME"),
        einsum=tf.einsum, roll=tf.roll, softmax=tf.nn.softmax,
        take=lambda x, places, axis: tf.gather(x, places, axis=axis),
        transpose=tf.transpose, swapaxes=swapaxes, moveaxis=moveaxis, cumsum=tf.cumsum,
        where=tf.where, var=tf.math.reduce_variance, std=tf.math.reduce_std,
        **composed.FUNCTIONS, threshold=composed.above, sigmoid=tf.sigmoid,
    )  # fmt: skip


def flip(x, axis):
    return tf.reverse(x, [axis])


def split(x, places, axis):
    """Keras 3 counts parts or names places; TensorFlow counts parts or sizes."""
    sizes = places if isinstance(places, int) else np.diff([0, *places, x.shape[axis]]).tolist()
    return tf.split(x, sizes, axis)


def swapaxes(x, first, second):
    order = list(range(len(x.shape)))
    order[first], order[second] = second, first
    return tf.transpose(x, order)


def moveaxis(x, source, destination):
    order = [axis for axis in range(len(x.shape)) if axis != source]
    order.insert(destination, source)
    return tf.transpose(x, order)


@case()
def limits(keras, layers):
    """Numbers as limits, below, above and on both sides; a ReLU with a slope and a limit."""
    f, x = functions_of(keras), keras.Input(IMAGE)
    a = f.clip(layers.Conv2D(4, 1)(x), -0.5, 0.75)
    b = f.maximum(layers.Conv2D(4, 1)(x), 0.25)
    c = f.minimum(layers.Conv2D(4, 1)(x), 0.5)
    d = layers.ReLU(max_value=1.0, negative_slope=0.25)(layers.Conv2D(4, 1)(x))
    return keras.Model(x, [layers.Conv2D(2, 1)(a), b, layers.Add()([c, d])])


@case()
def powers(keras, layers):
    f, x = functions_of(keras), keras.Input(IMAGE)
    a = f.square(layers.Conv2D(4, 1)(x))
    b = f.power(layers.Conv2D(4, 1)(x), 3)
    c = f.absolute(layers.Conv2D(4, 1)(x)) ** 1
    return keras.Model(x, [layers.Conv2D(2, 1)(a), layers.Dense(3)(b), c])


@case()
def pieces(keras, layers):
    """Split, unstacked, stacked, repeated, reversed, with other axes first."""
    f, x = functions_of(keras), keras.Input(IMAGE)
    y = layers.Conv2D(4, 1)(x)
    a, b = f.split(y, 2, 3)
    c, d = f.split(f.stop_gradient(y), [1], 2)
    rows = f.unstack(y, 6, 1)
    e = f.tile(f.stack([rows[0], rows[5]], 1), [1, 2, 1, 3])
    g = f.repeat(f.flip(layers.Add()([a, b]), 1), 2, 2)
    h = f.moveaxis(f.swapaxes(layers.Concatenate(2)([d, c]), 1, 2), 3, 1)
    return keras.Model(x, [layers.Conv2D(2, 1)(e), g, layers.Dense(2)(h)])


@case()
def products_by_labels(keras, layers):
    """Attention of several heads, as einsum writes it; gathered and rolled places."""
    f, x = functions_of(keras), keras.Input((4, 2, 3))
    query, key = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1)(x)
    scores = f.softmax(f.einsum("bqhd,bkhd->bhqk", query, key))
    y = f.einsum("bhqk,bkhd->bqhd", scores, f.roll(x, 1, 1))
    return keras.Model(x, [f.take(y, [0, 2], axis=3), f.take(y, [1, 2], axis=1), scores])


@case()
def blocks_and_mirrors(keras, layers):
    f, x = functions_of(keras), keras.Input(IMAGE)
    a = f.depth_to_space(layers.Conv2D(4, 1)(x), 2)
    b = f.space_to_depth(f.pad(a, [[0, 0], [2, 2], [0, 2], [0, 0]], "reflect"), 2)
    c = f.pad(b, [[0, 0], [1, 0], [2, 1], [0, 0]], "symmetric")
    return keras.Model(x, layers.Conv2D(2, 3)(c))


@case()
def sums_and_extremes(keras, layers):
    """Along any axes."""
    f, x = functions_of(keras), keras.Input(IMAGE)
    y = layers.Conv2D(4, 1)(x)
    means = [f.mean(y, 1), f.mean(y, (1, 3), keepdims=True), f.sum(y, (1, 2)), f.sum(y, -1)]
    extremes = [f.max(y, -1), f.amax(y, (1, 2)), f.min(y, (1, 2)), f.amin(y, 2, keepdims=True)]
    return keras.Model(x, [*means, *extremes])


@case()
def variances(keras, layers):
    f, x = functions_of(keras), keras.Input(IMAGE)
    y = layers.Conv2D(4, 1)(x)
    return keras.Model(x, [f.var(y, (1, 2)), f.var(y, -1, keepdims=True), f.var(y, (1, 3))])


@case()
def deviations(keras, layers):
    """Statistics of steps, as networks that recognize speakers pool them."""
    f, x = functions_of(keras), keras.Input((9, 4))
    y = layers.Conv1D(5, 3, activation="relu")(x)
    return keras.Model(x, layers.Dense(3)(layers.Concatenate()([f.mean(y, 1), f.std(y, 1)])))


@case()
def pools_as_functions(keras, layers):
    f, x = functions_of(keras), keras.Input(IMAGE)
    y = f.average_pool(layers.Conv2D(4, 1)(x), 2, 1)
    return keras.Model(x, layers.Conv2D(2, 1)(f.max_pool(y, 2, 2, padding="same")))


@case()
def augmentation(keras, layers):
    """What changes images while training does nothing afterwards."""
    return chain(
        keras, layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1),
        layers.CenterCrop(4, 3), layers.Conv2D(4, 1), layers.Identity(), layers.Softmax(),
        shape=IMAGE,
    )  # fmt: skip


@case()
def conv_transpose_output_padding(keras, layers):
    return chain(
        keras,
        layers.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=0),
        layers.Conv2DTranspose(3, (3, 2), strides=2, padding="valid", output_padding=1),
        layers.Reshape((-1, 3)),
        layers.Conv1DTranspose(2, 4, strides=3, padding="same", output_padding=1),
        shape=(4, 3, 2),
    )


@case()
def normalization_of_other_axes(keras, layers):
    """A constant per element, and rows of several axes."""
    mean, variance = np.linspace(-0.5, 0.5, 24), np.linspace(0.5, 2.0, 24)
    x = inputs = keras.Input(IMAGE)
    given = {"mean": mean.reshape(6, 4), "variance": variance.reshape(6, 4)}
    x = layers.Normalization(axis=(1, 3), **given)(x)
    return keras.Model(inputs, layers.LayerNormalization(axis=(2, 3))(layers.Conv2D(2, 1)(x)))


@case()
def tables(keras, layers):
    """Functions of one code that LiteRT tabulates, and those made of such ones."""
    f, x = functions_of(keras), keras.Input(IMAGE)
    a = f.gelu(layers.Dense(4, activation="gelu")(x), approximate=True)
    b = f.selu(layers.Dense(4, activation="selu")(x))
    c = f.log(f.exp(layers.Dense(4)(x)) + 0.5)
    d = layers.ELU(0.5)(f.celu(layers.Dense(4)(x), 2.0))
    return keras.Model(x, [layers.Conv2D(2, 1)(a), b, layers.Add()([c, d])])


@case()
def softplus_softsign(keras, layers):
    first, second = layers.Dense(5, activation="softplus"), layers.Dense(4, activation="softsign")
    return chain(keras, first, second, shape=(6,))


@case()
def choices(keras, layers):
    """By the sign of a tensor, or of what it is compared with."""
    f, x = functions_of(keras), keras.Input(IMAGE)
    y = layers.Conv2D(4, 1)(x)
    a = f.where(y > 0.0, y, 0.25 * y)
    b = f.glu(layers.Conv2D(6, 1)(x)) + f.soft_shrink(layers.Conv2D(3, 1)(x), 0.25)
    c = f.sparse_plus(y) + f.sparse_sigmoid(y)
    return keras.Model(x, [a, b, layers.Dense(2)(f.tanh_shrink(f.hard_tanh(c)))])


@case()
def running_sums(keras, layers):
    f, x = functions_of(keras), keras.Input(IMAGE)
    y = layers.Conv2D(4, 1)(x)
    return keras.Model(x, [f.cumsum(y, -1), layers.Conv2D(2, 1)(f.cumsum(y, 1))])


@case()
def element_wise(keras, layers):
    """Functions that LiteRT has no integer operator for."""
    f, x = functions_of(keras), keras.Input(IMAGE)
    y = layers.Conv2D(4, 1)(x)
    a = f.exp(y) + f.power(f.square(y) + 1.0, 0.5) + f.power(2.0, y)
    b = f.log(f.square(f.selu(y)) + 1.0) * (f.softplus(y) + 1.0)
    c = 1.0 / (f.sqrt(f.exp(y)) + 2.0) + f.gelu(f.cos(y), approximate=True)
    return keras.Model(x, [layers.Conv2D(2, 1)(a), b, c])


@case("keras")
def quotients(keras, layers):
    f, x = functions_of(keras), keras.Input(IMAGE)
    y, z = layers.Conv2D(4, 1)(x), layers.Conv2D(4, 1)(x)
    return keras.Model(x, f.log_softmax(y / (f.square(z) + 1.0)))


@case()
def thresholds(keras, layers):
    x = keras.Input(IMAGE)
    y = layers.ReLU(threshold=0.01)(layers.Conv2D(4, 1)(x))
    y = layers.ReLU(2.0, 0.25, 0.01)(layers.Conv2D(4, 1)(y))
    f = functions_of(keras)
    y = f.hard_shrink(f.threshold(f.squareplus(y), 0.01, 0.0), 0.25)
    return keras.Model(x, keras.activations.relu(layers.Conv2D(4, 1)(y), threshold=0.01))
