"""Tiny Keras networks, one per layer or topology that tfxp quantizes, for every suite to reuse.

`CASES` maps a name to a function that builds the network; `built(name)` gives it weights that are
no defaults: gammas of both signs, variances away from one, biases that matter. The networks cover
every layer and option of the main job; `everything` has all of them at once.
"""

import numpy as np

from tfxp.keras import keras, layers

CASES = {}


def case(build):
    CASES[build.__name__] = build
    return build


def built(name, seed=5):
    """The network of a case with random weights; the same ones for the same seed."""
    keras.backend.clear_session()
    return randomize(CASES[name](), seed)


def randomize(model, seed=5):
    """Replace all weights: outputs of about unit size, so that formats saturate here and there."""
    rng = np.random.default_rng(seed)
    model.set_weights([_values(w, rng) for w in model.weights])
    return model


def _values(variable, rng):
    name, shape = variable.name.split("/")[-1], tuple(variable.shape)
    value = rng.normal(size=shape)
    if "kernel" in name:
        depthwise = "depthwise" in name
        taps = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
        return value * np.sqrt(1.5 / max(taps, 1))
    if "variance" in name:
        return rng.uniform(0.3, 2, shape)
    if "gamma" in name:
        return rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
    return 0.4 * value  # bias, beta, moving mean


def inputs_of(model, count=16, seed=8, low=None):
    """Random inputs of a model: normal, or from `low` up; a list where there are several."""
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        x = rng.normal(size=(count, *tensor.shape[1:]))
        arrays.append((x if low is None else np.abs(x) + low).astype(np.float32))
    return arrays if len(arrays) > 1 else arrays[0]


def _image(height=8, width=6, channels=3):
    return keras.Input((height, width, channels))


def _chain(*steps, shape=(8, 6, 3)):
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


# --- one layer each ------------------------------------------------------------------------------


@case
def conv_same():
    return _chain(layers.Conv2D(5, 3, padding="same"))


@case
def conv_valid_relu():
    return _chain(layers.Conv2D(5, (3, 2), activation="relu"), layers.Conv2D(4, 1))


@case
def conv_strides():
    return _chain(
        layers.Conv2D(5, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(4, 2, strides=(1, 2)),
    )


@case
def conv_dilation():
    return _chain(
        layers.Conv2D(4, 3, dilation_rate=2, padding="same", activation="relu"),
        layers.Conv2D(4, 2, dilation_rate=(2, 1)),
    )


@case
def conv_groups():
    return _chain(
        layers.Conv2D(6, 3, groups=2, padding="same", activation="relu"),
        layers.Conv2D(6, 3, groups=6),
        shape=(8, 6, 4),
    )


@case
def conv_without_bias():
    return _chain(layers.Conv2D(4, 3, use_bias=False), layers.ReLU(), layers.Conv2D(3, 1))


@case
def depthwise():
    return _chain(
        layers.DepthwiseConv2D(3, padding="same", activation="relu"),
        layers.DepthwiseConv2D(2, strides=2, depth_multiplier=2, use_bias=False),
    )


@case
def depthwise_dilation():
    return _chain(layers.DepthwiseConv2D(3, dilation_rate=2, padding="same"))


@case
def separable():
    return _chain(
        layers.SeparableConv2D(6, 3, padding="same", activation="relu"),
        layers.SeparableConv2D(4, 2, strides=2, depth_multiplier=2, use_bias=False),
    )


@case
def dense():
    return _chain(layers.Dense(9, activation="relu"), layers.Dense(5), shape=(12,))


@case
def dense_rank_3():
    return _chain(layers.Dense(7, activation="relu"), layers.Dense(4), shape=(5, 6))


@case
def dense_rank_4():
    return _chain(layers.Dense(7, activation="relu"), layers.Dense(4, use_bias=False))


@case
def batch_norm_after_conv():
    return _chain(
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.DepthwiseConv2D(3),
        layers.BatchNormalization(scale=False),
    )


@case
def batch_norm_before_conv():
    return _chain(
        layers.BatchNormalization(center=False),
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(3, 3, padding="same"),
    )


@case
def batch_norm_alone():
    x = inputs = _image()
    x = layers.BatchNormalization()(x)
    y = layers.ReLU()(x)
    return keras.Model(inputs, layers.Add()([layers.BatchNormalization()(y), x]))


@case
def batch_norm_dense():
    return _chain(
        layers.Dense(6, activation="relu"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(5),
        layers.BatchNormalization(),
        shape=(9,),
    )


@case
def relu_kinds():
    x = inputs = _image()
    a = layers.ReLU(6.0)(layers.Conv2D(3, 1)(x))
    b = layers.ReLU(max_value=4)(layers.Conv2D(3, 1)(a))
    c = layers.Activation("relu6")(layers.Conv2D(3, 1)(b))
    d = layers.Conv2D(3, 1, activation="linear")(c)
    return keras.Model(inputs, layers.Activation("linear")(d))


@case
def relu_alone():
    x = inputs = _image()
    x = layers.ReLU()(x)
    x = layers.Conv2D(4, 1)(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU(max_value=0.75)(x)
    return keras.Model(inputs, layers.ReLU()(x))


@case
def relu_shared():
    relu = layers.ReLU(6.0)
    x = inputs = _image()
    x = relu(layers.Conv2D(4, 3)(x))
    x = relu(layers.Conv2D(4, 1)(x))
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


@case
def relu_branches():
    x = inputs = _image()
    x = layers.Conv2D(4, 1)(x)
    return keras.Model(inputs, layers.Add()([layers.ReLU()(x), x]))


@case
def add_two():
    x = inputs = _image()
    a = layers.Conv2D(3, 3, padding="same")(x)
    return keras.Model(inputs, layers.ReLU()(layers.Add()([a, x])))


@case
def add_three():
    x = inputs = _image()
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    return keras.Model(inputs, layers.ReLU(6.0)(layers.Add()([a, b, x])))


@case
def add_twice_the_same():
    x = inputs = _image()
    x = layers.Conv2D(3, 1)(x)
    return keras.Model(inputs, layers.Add()([x, x]))


@case
def add_operator():
    x = inputs = _image()
    x = layers.Conv2D(3, 1)(x) + x
    return keras.Model(inputs, layers.ReLU()(x + x))


@case
def concatenate():
    x = inputs = _image()
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(2, 1, activation="relu")(x)
    y = layers.Concatenate()([a, x, b])
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.ReLU()(y)))


@case
def concatenate_positive():
    x = inputs = _image()
    a = layers.Conv2D(3, 1, activation="relu")(x)
    b = layers.Conv2D(2, 1, activation="relu")(x)
    y = layers.Concatenate()([a, b, a])
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.ReLU(1.5)(y)))


@case
def concatenate_vectors():
    a = layers.GlobalAveragePooling2D()
    x = inputs = _image()
    y = layers.Concatenate(axis=-1)([a(x), layers.GlobalMaxPooling2D()(x)])
    return keras.Model(inputs, layers.Dense(4)(y))


@case
def max_pool():
    return _chain(
        layers.MaxPooling2D(2), layers.Conv2D(4, 1), layers.MaxPooling2D(3, 1, padding="same")
    )


@case
def average_pool():
    return _chain(layers.Conv2D(4, 1), layers.AveragePooling2D(2), layers.Conv2D(3, 1))


@case
def average_pool_same():
    return _chain(
        layers.Conv2D(4, 1, activation="relu"),
        layers.AveragePooling2D(3, 2, padding="same"),
        layers.Conv2D(3, 1),
        layers.AveragePooling2D(2, padding="same"),
        shape=(7, 6, 3),
    )


@case
def average_pool_overlapping():
    return _chain(
        layers.AveragePooling2D((3, 2), 1),
        layers.ReLU(),
        layers.AveragePooling2D((1, 3), 1, padding="same"),
        layers.Conv2D(4, 1),
    )


@case
def global_average():
    return _chain(layers.Conv2D(5, 3), layers.GlobalAveragePooling2D(), layers.Dense(4))


@case
def global_average_keepdims():
    return _chain(
        layers.Conv2D(5, 3, activation="relu"),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Conv2D(4, 1),
        layers.GlobalAveragePooling2D(),
        layers.ReLU(),
    )


@case
def global_max():
    x = inputs = _image()
    x = layers.Conv2D(5, 3)(x)
    kept = layers.Conv2D(5, 1)(layers.GlobalMaxPooling2D(keepdims=True)(x))
    flat = layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, layers.Add()([flat, layers.Flatten()(kept)]))


@case
def zero_padding():
    return _chain(
        layers.ZeroPadding2D(((1, 0), (2, 1))),
        layers.Conv2D(4, 3, strides=2, activation="relu"),
        layers.ZeroPadding2D(1),
        layers.Conv2D(3, 3),
    )


@case
def reshapes():
    return _chain(
        layers.Conv2D(4, 3),
        layers.Reshape((2, 3, -1)),
        layers.Conv2D(3, 2),
        layers.Flatten(),
        layers.Dense(5),
        layers.Reshape((5, 1)),
    )


@case
def dropouts():
    return _chain(
        layers.Dropout(0.3),
        layers.Conv2D(4, 3, activation="relu"),
        layers.SpatialDropout2D(0.3),
        layers.Flatten(),
        layers.Dense(4),
        layers.Dropout(0.2),
        layers.ReLU(),
    )


@case
def softmax():
    return _chain(layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5), layers.Softmax())


@case
def softmax_activation():
    return _chain(layers.Conv2D(4, 3, activation="softmax"), layers.Reshape((-1, 4)))


# --- topologies ----------------------------------------------------------------------------------


@case
def sequential():
    return keras.Sequential([
        keras.Input((8, 6, 3)),
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(5, activation="softmax"),
    ])  # fmt: skip


@case
def residual():
    x = inputs = _image(channels=4)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    y = layers.Activation("relu")(y)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(y))
    x = layers.Activation("relu")(layers.Add()([x, y]))
    y = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.Conv2D(6, 3, padding="same")(y)
    x = layers.Activation("relu")(layers.add([layers.Conv2D(6, 1, strides=2)(x), y]))
    x = layers.Flatten()(layers.AveragePooling2D((4, 3))(x))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


@case
def shared_conv():
    conv = layers.Conv2D(3, 3, padding="same", activation="relu")
    x = inputs = _image()
    return keras.Model(inputs, layers.Conv2D(4, 1)(conv(conv(x))))


@case
def shared_dense_two_inputs():
    dense = layers.Dense(6, activation="relu")
    a, b = keras.Input((7,), name="b_first"), keras.Input((7,), name="a_second")
    joined = layers.Add()([dense(a), layers.Dense(6)(dense(b))])
    return keras.Model([a, b], layers.Dense(3)(joined))


@case
def shared_two_outputs():
    head = layers.Dense(4, activation="softmax", name="head")
    x = inputs = _image()
    a = layers.Dense(6, activation="relu")(layers.Flatten()(x))
    b = layers.Dense(6)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x)))
    return keras.Model(inputs, [head(a), head(b)])


@case
def several_inputs_and_outputs():
    image, vector = _image(), keras.Input((5,))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    flat = layers.Concatenate()([layers.Flatten()(x), vector])
    y = layers.Dense(4, activation="relu")(flat)
    return keras.Model([image, vector], [layers.Dense(3)(y), x, y])


@case
def dict_outputs():
    x = inputs = _image()
    x = layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(inputs, {"z": layers.Conv2D(2, 1)(x), "a": layers.Flatten()(x)})


@case
def nested():
    x = inputs = keras.Input((6, 4, 4))
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    block = keras.Model(inputs, layers.Add()([x, y]), name="block")
    stem = keras.Sequential([keras.Input((8, 6, 3)), layers.Conv2D(4, 3)], name="stem")
    outer = _image()
    return keras.Model(outer, layers.Conv2D(2, 1)(block(stem(outer))))


@case
def nested_twice():
    """A nested model that is called twice; its layers are shared then."""
    encoder = keras.Sequential([keras.Input((7,)), layers.Dense(5, activation="relu")])
    a, b = keras.Input((7,)), keras.Input((7,))
    return keras.Model([a, b], layers.Dense(3)(layers.Concatenate()([encoder(a), encoder(b)])))


@case
def everything():
    """Every layer of the main job in one network of two inputs and two outputs."""
    x, side = image, vector = _image(12, 10, 3), keras.Input((6,))
    x = layers.BatchNormalization()(x)
    x = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    x = layers.Conv2D(6, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    a = layers.SeparableConv2D(6, 3, padding="same", activation="relu")(x)
    b = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(x)
    b = layers.ReLU(max_value=4)(layers.BatchNormalization()(b))
    c = layers.Conv2D(6, 3, groups=3, padding="same", activation="relu6")(x)
    x = layers.Activation("relu")(layers.Add()([a, b, c]))
    shared = layers.Conv2D(6, 1)
    x = layers.Concatenate()([shared(x), shared(b), x])
    x = layers.Dropout(0.2)(layers.MaxPooling2D(2)(x))
    p = layers.AveragePooling2D(2, 1, padding="same")(x)
    p = layers.BatchNormalization()(p)
    tall = layers.Reshape((3, 2, -1))(layers.Conv2D(4, 1)(p))
    mean = layers.GlobalAveragePooling2D()(p)
    peak = layers.GlobalMaxPooling2D()(tall)
    side = layers.Dense(4, activation="relu")(side)
    y = layers.Concatenate()([mean, peak, side, layers.Flatten()(p)])
    y = layers.Dropout(0.5)(layers.Dense(8, activation="relu")(y))
    return keras.Model(
        [image, vector], [layers.Softmax()(layers.Dense(5)(y)), layers.Dense(2)(mean)]
    )
