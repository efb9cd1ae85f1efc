"""Networks of one layer or option each."""

from tests.cases.registry import case, chain, image_input
from tfxp.keras import keras, layers


@case
def conv_same():
    return chain(layers.Conv2D(5, 3, padding="same"))


@case
def conv_valid_relu():
    return chain(layers.Conv2D(5, (3, 2), activation="relu"), layers.Conv2D(4, 1))


@case
def conv_strides():
    return chain(
        layers.Conv2D(5, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(4, 2, strides=(1, 2)),
    )


@case
def conv_dilation():
    return chain(
        layers.Conv2D(4, 3, dilation_rate=2, padding="same", activation="relu"),
        layers.Conv2D(4, 2, dilation_rate=(2, 1)),
    )


@case
def conv_groups():
    return chain(
        layers.Conv2D(6, 3, groups=2, padding="same", activation="relu"),
        layers.Conv2D(6, 3, groups=6),
        shape=(8, 6, 4),
    )


@case
def conv_without_bias():
    return chain(layers.Conv2D(4, 3, use_bias=False), layers.ReLU(), layers.Conv2D(3, 1))


@case
def depthwise():
    return chain(
        layers.DepthwiseConv2D(3, padding="same", activation="relu"),
        layers.DepthwiseConv2D(2, strides=2, depth_multiplier=2, use_bias=False),
    )


@case
def depthwise_dilation():
    return chain(layers.DepthwiseConv2D(3, dilation_rate=2, padding="same"))


@case
def separable():
    return chain(
        layers.SeparableConv2D(6, 3, padding="same", activation="relu"),
        layers.SeparableConv2D(4, 2, strides=2, depth_multiplier=2, use_bias=False),
    )


@case
def dense():
    return chain(layers.Dense(9, activation="relu"), layers.Dense(5), shape=(12,))


@case
def dense_rank_3():
    return chain(layers.Dense(7, activation="relu"), layers.Dense(4), shape=(5, 6))


@case
def dense_rank_4():
    return chain(layers.Dense(7, activation="relu"), layers.Dense(4, use_bias=False))


@case
def batch_norm_after_conv():
    return chain(
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.DepthwiseConv2D(3),
        layers.BatchNormalization(scale=False),
    )


@case
def batch_norm_before_conv():
    return chain(
        layers.BatchNormalization(center=False),
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(3, 3, padding="same"),
    )


@case
def batch_norm_alone():
    x = inputs = image_input()
    x = layers.BatchNormalization()(x)
    y = layers.ReLU()(x)
    return keras.Model(inputs, layers.Add()([layers.BatchNormalization()(y), x]))


@case
def batch_norm_dense():
    return chain(
        layers.Dense(6, activation="relu"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(5),
        layers.BatchNormalization(),
        shape=(9,),
    )


@case
def relu_kinds():
    x = inputs = image_input()
    a = layers.ReLU(6.0)(layers.Conv2D(3, 1)(x))
    b = layers.ReLU(max_value=4)(layers.Conv2D(3, 1)(a))
    c = layers.Activation("relu6")(layers.Conv2D(3, 1)(b))
    d = layers.Conv2D(3, 1, activation="linear")(c)
    return keras.Model(inputs, layers.Activation("linear")(d))


@case
def relu_alone():
    x = inputs = image_input()
    x = layers.ReLU()(x)
    x = layers.Conv2D(4, 1)(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU(max_value=0.75)(x)
    return keras.Model(inputs, layers.ReLU()(x))


@case
def relu_shared():
    relu = layers.ReLU(6.0)
    x = inputs = image_input()
    x = relu(layers.Conv2D(4, 3)(x))
    x = relu(layers.Conv2D(4, 1)(x))
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


@case
def relu_branches():
    x = inputs = image_input()
    x = layers.Conv2D(4, 1)(x)
    return keras.Model(inputs, layers.Add()([layers.ReLU()(x), x]))


@case
def add_two():
    x = inputs = image_input()
    a = layers.Conv2D(3, 3, padding="same")(x)
    return keras.Model(inputs, layers.ReLU()(layers.Add()([a, x])))


@case
def add_three():
    x = inputs = image_input()
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    return keras.Model(inputs, layers.ReLU(6.0)(layers.Add()([a, b, x])))


@case
def add_twice_the_same():
    x = inputs = image_input()
    x = layers.Conv2D(3, 1)(x)
    return keras.Model(inputs, layers.Add()([x, x]))


@case
def add_operator():
    x = inputs = image_input()
    x = layers.Conv2D(3, 1)(x) + x
    return keras.Model(inputs, layers.ReLU()(x + x))


@case
def concatenate():
    x = inputs = image_input()
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(2, 1, activation="relu")(x)
    y = layers.Concatenate()([a, x, b])
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.ReLU()(y)))


@case
def concatenate_positive():
    x = inputs = image_input()
    a = layers.Conv2D(3, 1, activation="relu")(x)
    b = layers.Conv2D(2, 1, activation="relu")(x)
    y = layers.Concatenate()([a, b, a])
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.ReLU(1.5)(y)))


@case
def concatenate_vectors():
    a = layers.GlobalAveragePooling2D()
    x = inputs = image_input()
    y = layers.Concatenate(axis=-1)([a(x), layers.GlobalMaxPooling2D()(x)])
    return keras.Model(inputs, layers.Dense(4)(y))


@case
def max_pool():
    return chain(
        layers.MaxPooling2D(2), layers.Conv2D(4, 1), layers.MaxPooling2D(3, 1, padding="same")
    )


@case
def average_pool():
    return chain(layers.Conv2D(4, 1), layers.AveragePooling2D(2), layers.Conv2D(3, 1))


@case
def average_pool_same():
    return chain(
        layers.Conv2D(4, 1, activation="relu"),
        layers.AveragePooling2D(3, 2, padding="same"),
        layers.Conv2D(3, 1),
        layers.AveragePooling2D(2, padding="same"),
        shape=(7, 6, 3),
    )


@case
def average_pool_overlapping():
    return chain(
        layers.AveragePooling2D((3, 2), 1),
        layers.ReLU(),
        layers.AveragePooling2D((1, 3), 1, padding="same"),
        layers.Conv2D(4, 1),
    )


@case
def global_average():
    return chain(layers.Conv2D(5, 3), layers.GlobalAveragePooling2D(), layers.Dense(4))


@case
def global_average_keepdims():
    return chain(
        layers.Conv2D(5, 3, activation="relu"),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Conv2D(4, 1),
        layers.GlobalAveragePooling2D(),
        layers.ReLU(),
    )


@case
def global_max():
    x = inputs = image_input()
    x = layers.Conv2D(5, 3)(x)
    kept = layers.Conv2D(5, 1)(layers.GlobalMaxPooling2D(keepdims=True)(x))
    flat = layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, layers.Add()([flat, layers.Flatten()(kept)]))


@case
def zero_padding():
    return chain(
        layers.ZeroPadding2D(((1, 0), (2, 1))),
        layers.Conv2D(4, 3, strides=2, activation="relu"),
        layers.ZeroPadding2D(1),
        layers.Conv2D(3, 3),
    )


@case
def reshapes():
    return chain(
        layers.Conv2D(4, 3),
        layers.Reshape((2, 3, -1)),
        layers.Conv2D(3, 2),
        layers.Flatten(),
        layers.Dense(5),
        layers.Reshape((5, 1)),
    )


@case
def dropouts():
    return chain(
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
    return chain(layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5), layers.Softmax())


@case
def softmax_activation():
    return chain(layers.Conv2D(4, 3, activation="softmax"), layers.Reshape((-1, 4)))
