"""Networks that differ in how layers are connected; `everything` has every layer in one."""

from tests.cases.registry import case, image_input
from tfxp.keras import keras, layers


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
    x = inputs = image_input(channels=4)
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
    x = inputs = image_input()
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
    x = inputs = image_input()
    a = layers.Dense(6, activation="relu")(layers.Flatten()(x))
    b = layers.Dense(6)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x)))
    return keras.Model(inputs, [head(a), head(b)])


@case
def several_inputs_and_outputs():
    image, vector = image_input(), keras.Input((5,))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    flat = layers.Concatenate()([layers.Flatten()(x), vector])
    y = layers.Dense(4, activation="relu")(flat)
    return keras.Model([image, vector], [layers.Dense(3)(y), x, y])


@case
def dict_outputs():
    x = inputs = image_input()
    x = layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(inputs, {"z": layers.Conv2D(2, 1)(x), "a": layers.Flatten()(x)})


@case
def nested():
    x = inputs = keras.Input((6, 4, 4))
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    block = keras.Model(inputs, layers.Add()([x, y]), name="block")
    stem = keras.Sequential([keras.Input((8, 6, 3)), layers.Conv2D(4, 3)], name="stem")
    outer = image_input()
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
    x, side = image, vector = image_input(12, 10, 3), keras.Input((6,))
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
