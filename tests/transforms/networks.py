"""Tiny Keras networks that pass channels on in every way, with weights that are no defaults."""

import numpy as np

from tfxp.keras import keras, layers

NETWORKS = {}


def network(build):
    NETWORKS[build.__name__] = build
    return build


def randomize(model, seed=5):
    """Weights of every kind away from their initial values; BN gammas of both signs."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        arrays = []
        for variable in layer.weights:
            name = variable.name.split("/")[-1]
            value = rng.normal(size=variable.shape)
            if "kernel" in name:
                value /= np.sqrt(max(np.prod(variable.shape[:-1]), 1))
            if "variance" in name:
                value = rng.uniform(0.3, 2, variable.shape)
            if "gamma" in name:
                value = rng.uniform(0.5, 1.5, variable.shape) * rng.choice([-1, 1], variable.shape)
            arrays.append(0.5 * value if "bias" in name or "mean" in name else value)
        layer.set_weights(arrays)
    return model


def inputs_of(model, count=4, seed=8):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(count, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    return arrays if len(arrays) > 1 else arrays[0]


def conv_bn(x, filters, stride=1, activation="relu", **options):
    x = layers.Conv2D(filters, 3, strides=stride, padding="same", **options)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


@network
def plain():
    x = keras.Input((8, 8, 3))
    y = conv_bn(x, 4)
    y = layers.ZeroPadding2D(1)(y)
    y = layers.MaxPooling2D(2)(y)
    y = layers.Conv2D(6, 3, activation="relu", use_bias=False)(y)
    y = layers.Dropout(0.5)(y)
    y = layers.Flatten()(y)
    y = layers.Dense(10, activation="relu")(y)
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@network
def sequential():
    return keras.Sequential(
        [
            keras.Input((12, 4)),
            layers.Conv1D(6, 3, activation="tanh"),
            layers.AveragePooling1D(2),
            layers.Conv1D(4, 2, strides=2, padding="causal"),
            layers.PReLU(shared_axes=[1]),
            layers.Flatten(),
            layers.BatchNormalization(),
            layers.Dense(8, activation="sigmoid"),
            layers.Dense(2),
        ]
    )


@network
def residual():
    x = keras.Input((8, 8, 3))
    stem = conv_bn(x, 4)
    y = conv_bn(stem, 4)
    y = conv_bn(y, 4, activation=None)
    y = layers.ReLU()(layers.Add()([stem, y]))
    short = layers.Conv2D(8, 1, strides=2)(y)
    z = conv_bn(y, 8, stride=2)
    z = conv_bn(z, 8, activation=None)
    z = layers.ReLU(6.0)(layers.Add()([z, short]))
    z = layers.GlobalAveragePooling2D()(z)
    return keras.Model(x, layers.Dense(5)(z))


@network
def preactivation():
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(4, 3, padding="same")(x)
    for _ in range(2):
        z = layers.ReLU()(layers.BatchNormalization()(y))
        z = layers.Conv2D(4, 3, padding="same")(z)
        y = y + z
    y = layers.GlobalMaxPooling2D()(layers.BatchNormalization()(y))
    return keras.Model(x, layers.Dense(3)(y))


@network
def depthwise():
    x = keras.Input((8, 8, 3))
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    y = layers.BatchNormalization()(y)
    y = layers.Conv2D(4, 1, activation="relu")(y)
    y = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, activation="relu")(y)
    y = layers.BatchNormalization()(y)
    y = layers.Conv2D(6, 1)(y)
    y = layers.SeparableConv2D(8, 3, depth_multiplier=2, activation="relu")(y)
    y = layers.Reshape((8,))(layers.GlobalAveragePooling2D(keepdims=True)(y))
    return keras.Model(x, layers.Dense(4)(y))


@network
def concatenated():
    x = keras.Input((6, 6, 2))
    a = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    b = layers.Conv2D(5, 1, activation="relu")(x)
    y = layers.Concatenate()([a, b, x])
    y = layers.BatchNormalization()(y)
    c = layers.Conv2D(8, 1)(y)
    d = layers.Concatenate()([a, b])
    y = layers.Add()([c, d])  # c is laid out as a and b
    y = layers.Concatenate()([y, a])
    y = layers.Flatten()(layers.AveragePooling2D(2)(y))
    return keras.Model(x, layers.Dense(4)(y))


@network
def crossed_concatenations():
    x = keras.Input((4, 4, 2))
    parts = [layers.Conv2D(n, 1)(x) for n in (2, 4, 3, 3)]
    left = layers.Concatenate()(parts[:2])
    right = layers.Concatenate()(parts[2:])
    y = layers.Add()([left, right])  # cuts of 2+4 against 3+3
    y = layers.Multiply()([y, layers.Dense(6, activation="sigmoid")(y)])
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


@network
def shared_layers():
    a, b = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    first = layers.Conv2D(4, 3, activation="relu")
    norm = layers.BatchNormalization()
    second = layers.Conv2D(4, 3, padding="same")
    x, y = norm(first(a)), norm(first(b))
    x, y = second(second(x)), second(y)
    z = layers.Concatenate()([x, y])
    relu = layers.ReLU()
    z = layers.GlobalAveragePooling2D()(relu(layers.Conv2D(6, 1)(relu(z))))
    head = layers.Dense(5, activation="relu")(z)
    return keras.Model([a, b], [layers.Dense(3)(head), layers.Dense(2)(z)])


@network
def groups():
    x = keras.Input((6, 6, 4))
    y = layers.Conv2D(8, 1)(x)
    z = layers.Conv2D(12, 3, groups=2, padding="same", activation="relu")(y)
    z = layers.BatchNormalization()(z)
    z = layers.Conv2D(8, 3, groups=4, padding="same")(z)
    y = layers.Add()([y, z])
    y = layers.Conv2D(16, 3, groups=8, activation="relu")(y)  # a depthwise one in disguise
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


@network
def squeeze_and_excite():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(8, 3, activation="relu")(x)
    s = layers.GlobalAveragePooling2D(keepdims=True)(y)
    s = layers.Conv2D(4, 1, activation="relu")(s)
    s = layers.Conv2D(8, 1, activation="sigmoid")(s)
    y = layers.Multiply()([y, s])
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))


@network
def up_and_down():
    x = keras.Input((8, 8, 2))
    down = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu")(down)
    z = layers.UpSampling2D(2)(down)
    y = layers.Concatenate()([y, z])
    y = layers.Cropping2D(1)(y)
    return keras.Model(x, layers.Conv2D(2, 1, activation="softmax")(y))


@network
def reshaped():
    x = keras.Input((48,))
    y = layers.Reshape((4, 4, 3))(x)
    y = layers.Conv2D(5, 3, padding="same")(y)
    y = layers.Reshape((16, 5))(y)
    y = layers.Conv1D(4, 1, activation="relu")(y)
    y = layers.Flatten()(y)
    y = layers.Reshape((4, 16))(y)  # rows of four positions
    y = layers.Reshape((16, 4))(y)
    y = layers.Permute((1, 2))(y)
    y = layers.BatchNormalization()(y)
    y = layers.Reshape((-1,))(y)
    return keras.Model(x, layers.Dense(3)(y))


@network
def flattened_sum():
    x = keras.Input((4, 4, 2))
    y = layers.Flatten()(layers.Conv2D(3, 3, activation="relu")(x))
    z = layers.Dense(12)(layers.Flatten()(x))
    y = layers.Average()([y, z])  # 2 x 2 positions of three channels
    return keras.Model(x, layers.Dense(2)(y))


@network
def nested():
    inner_input = keras.Input((8, 8, 4))
    inner = keras.Model(inner_input, conv_bn(inner_input, 6), name="inner")
    x = keras.Input((8, 8, 3))
    y = inner(layers.Conv2D(4, 1)(x))
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))


@network
def autoencoder():
    x = keras.Input((16,))
    y = layers.Dense(8, activation="relu")(x)
    y = layers.Dense(4, activation="relu")(layers.BatchNormalization()(y))
    y = layers.Dense(16)(layers.LeakyReLU()(y))
    return keras.Model(x, layers.Add()([x, y]))
