"""Networks that are exported: one per layer or topology."""

from tests.layer_cases.table import SEQUENCE, case, chain
from tfxp.keras import tf

# --- convolutions of sequences, transposed ones ---------------------------------------------------


@case()
def conv_1d(keras, layers):
    return chain(
        keras,
        layers.Conv1D(5, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        layers.Conv1D(4, 2, strides=2, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        shape=SEQUENCE,
    )


@case()
def depthwise_conv_1d(keras, layers):
    return chain(
        keras,
        layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2, activation="relu"),
        layers.DepthwiseConv1D(2, strides=2),
        layers.BatchNormalization(),
        shape=SEQUENCE,
    )


@case()
def separable_conv_1d(keras, layers):
    return chain(
        keras,
        layers.SeparableConv1D(5, 3, padding="causal", activation="relu"),
        layers.SeparableConv1D(4, 3, strides=2, padding="same"),
        shape=SEQUENCE,
    )


@case()
def conv_2d_transpose(keras, layers):
    return chain(
        keras,
        layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2DTranspose(4, (2, 3), strides=(1, 2)),
    )


@case()
def conv_1d_transpose(keras, layers):
    return chain(
        keras,
        layers.Conv1DTranspose(5, 3, strides=2, padding="same", activation="relu"),
        layers.Conv1DTranspose(3, 2),
        shape=SEQUENCE,
    )


# --- pools ---------------------------------------------------------------------------------------


@case()
def pools_1d(keras, layers):
    x = inputs = keras.Input(SEQUENCE)
    x = layers.MaxPooling1D(2)(layers.Conv1D(4, 3)(x))
    x = layers.AveragePooling1D(3, 1, padding="same")(x)
    peak = layers.GlobalMaxPooling1D()(x)
    mean = layers.GlobalAveragePooling1D()(layers.ReLU()(x))
    whole = layers.Flatten()(layers.AveragePooling1D(5)(x))
    kept = layers.Flatten()(layers.GlobalMaxPooling1D(keepdims=True)(x))
    return keras.Model(inputs, [layers.Concatenate()([peak, mean, kept]), whole])


@case()
def pools_1d_unpadded(keras, layers):
    return chain(
        keras,
        layers.AveragePooling1D(2),
        layers.Conv1D(3, 1),
        layers.GlobalAveragePooling1D(keepdims=True),
        layers.Dense(4),
        shape=SEQUENCE,
    )


# --- several tensors -----------------------------------------------------------------------------


@case()
def subtract(keras, layers):
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1, activation="relu")(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.Subtract()([a, b])
    return keras.Model(inputs, [layers.ReLU()(layers.Subtract()([y, x])), layers.Conv2D(2, 1)(y)])


@case()
def multiply(keras, layers):
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.ReLU()(layers.Multiply()([a, b]))
    return keras.Model(inputs, layers.Multiply()([y, a, x]))


@case()
def squeeze_and_excite(keras, layers):
    """A gate per channel, broadcast over the image."""
    x = inputs = keras.Input((8, 6, 4))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="relu")(gate)
    gate = layers.Conv2D(4, 1, activation="hard_sigmoid")(gate)
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.Multiply()([x, gate])))


@case()
def average(keras, layers):
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.Average()([a, b])
    return keras.Model(inputs, layers.Average()([y, x, a]))


@case()
def maximum(keras, layers):
    x = inputs = keras.Input((8, 6, 3))
    a, b = layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    y = layers.Maximum()([a, x])
    z = layers.Minimum()([b, a, x])
    return keras.Model(inputs, [layers.ReLU()(layers.Maximum()([y, z])), z])


# --- moving values about -------------------------------------------------------------------------


@case()
def up_sampling(keras, layers):
    return chain(
        keras,
        layers.Conv2D(4, 3),
        layers.UpSampling2D((2, 3)),
        layers.Conv2D(3, 1),
        layers.Resizing(9, 17, interpolation="nearest"),
    )


@case()
def up_sampling_bilinear(keras, layers):
    return chain(
        keras,
        layers.Conv2D(4, 3),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Conv2D(3, 1),
        layers.UpSampling2D(4, interpolation="bilinear"),
    )


@case("noted")
def resizing_bilinear(keras, layers):
    return chain(keras, layers.Conv2D(4, 3), layers.Resizing(11, 7, interpolation="bilinear"))


@case()
def up_sampling_1d(keras, layers):
    return chain(
        keras, layers.Conv1D(4, 3), layers.UpSampling1D(3), layers.Conv1D(3, 2), shape=SEQUENCE
    )


@case()
def permute(keras, layers):
    return chain(
        keras,
        layers.Conv2D(4, 3),
        layers.Permute((3, 1, 2)),
        layers.Dense(5),
        layers.Permute((2, 1, 3)),
    )


@case()
def cropping(keras, layers):
    x = inputs = keras.Input((8, 6, 3))
    x = layers.Cropping2D(((1, 2), (0, 1)))(layers.Conv2D(4, 1)(x))
    y = layers.Reshape((25, 4))(x)
    return keras.Model(inputs, layers.Cropping1D((3, 4))(layers.Conv1D(3, 1)(y)))


@case()
def padding_1d(keras, layers):
    return chain(keras, layers.ZeroPadding1D((2, 1)), layers.Conv1D(4, 3), shape=SEQUENCE)


@case()
def slicing(keras, layers):
    x = inputs = keras.Input((8, 6, 4))
    y = layers.Conv2D(4, 1)(x[:, 1:])
    y = y[:, ::2, -3:-1]
    z = y[:, 0, :, 1:3]
    w = layers.Dense(2)(y[..., ::-1][:, None, ..., 0])
    return keras.Model(inputs, [layers.Conv2D(3, 1)(y), layers.Dense(2)(z), w])


@case()
def repeat_vector(keras, layers):
    return chain(
        keras,
        layers.Dense(5, activation="relu"),
        layers.RepeatVector(3),
        layers.Dense(2),
        shape=(6,),
    )


# --- scaling and functions of one tensor ---------------------------------------------------------


@case()
def rescaling(keras, layers):
    return chain(
        keras,
        layers.Rescaling(1 / 4, offset=-0.5),
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.Rescaling(2.0),
        layers.Conv2D(3, 3, padding="same"),
        layers.Rescaling(0.5, offset=0.25),
    )


@case()
def normalization(keras, layers):
    return chain(
        keras,
        layers.Normalization(mean=[0.1, -0.2, 0.3], variance=[0.5, 1.0, 2.0]),
        layers.ReLU(),
        layers.Normalization(mean=0.5, variance=4.0, axis=None),
        layers.Conv2D(4, 3),
    )


@case()
def leaky_relu(keras, layers):
    return chain(
        keras,
        layers.Conv2D(4, 3),
        layers.LeakyReLU(0.3),
        layers.Conv2D(4, 1, activation=layers.LeakyReLU(0.125)),
        layers.ReLU(negative_slope=0.1),
    )


@case()
def prelu(keras, layers):
    return chain(
        keras,
        layers.Conv2D(4, 3),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Conv2D(4, 1),
        layers.PReLU(),
    )


@case()
def elu(keras, layers):
    return chain(keras, layers.Conv2D(4, 3, activation="elu"), layers.Conv2D(4, 1), layers.ELU())


@case()
def sigmoid_tanh(keras, layers):
    x = inputs = keras.Input((8, 6, 3))
    a = layers.Conv2D(4, 3, activation="sigmoid")(x)
    b = layers.Conv2D(4, 3, activation="tanh")(x)
    return keras.Model(inputs, [layers.Conv2D(3, 1)(layers.Multiply()([a, b])), a, b])


@case()
def swish(keras, layers):
    return chain(
        keras, layers.Conv2D(4, 3, activation="swish"), layers.Dense(3), layers.Activation("swish")
    )


@case()
def hard_sigmoid(keras, layers):
    return chain(
        keras,
        layers.Conv2D(4, 3, activation="hard_sigmoid"),
        layers.MaxPooling2D(2),
        layers.Activation("hard_sigmoid"),
    )


@case()
def hard_swish(keras, layers):
    """As MobileNetV3 writes it."""
    x = inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3)(x)
    gate = layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.Multiply()([x, gate])))


# --- functions of tensors ------------------------------------------------------------------------


@case()
def tensor_functions(keras, layers):
    x = inputs = keras.Input((8, 6, 4))
    a = tf.nn.relu(layers.Conv2D(4, 1)(x) * 0.5 - [0.1, 0.2, 0.3, 0.4])
    b = tf.nn.sigmoid(layers.Conv2D(4, 1)(x)) - x / 2.0
    c = tf.maximum(a, b)
    d = tf.concat([c, 1.0 - a], axis=-1)
    e = tf.transpose(tf.reshape(d, (-1, 12, 4, 8)), (0, 2, 1, 3))
    f = tf.pad(e, [[0, 0], [1, 0], [0, 2], [0, 0]])
    g = tf.reduce_mean(f, axis=[1, 2]) * tf.reduce_max(f, axis=[1, 2])
    h = tf.clip_by_value(layers.Dense(4)(tf.squeeze(tf.expand_dims(g, 1), 1)), 0.0, 2.0)
    i = tf.matmul(tf.nn.softmax(a, axis=1), c, transpose_a=True) @ a[:, :, :4]
    return keras.Model(inputs, [h, -f, i])


# --- over time -----------------------------------------------------------------------------------


@case()
def time_distributed_dense(keras, layers):
    return chain(
        keras,
        layers.TimeDistributed(layers.Dense(5, activation="relu")),
        layers.TimeDistributed(layers.Activation("tanh")),
        layers.Dense(2),
        shape=(4, 6),
    )


# --- topologies ----------------------------------------------------------------------------------


@case()
def models_of_models(keras, layers):
    """A model in a model in a model; one of them used twice, one layer shared across models."""
    norm = layers.BatchNormalization(name="norm")
    x = i = keras.Input((8, 6, 4))
    x = layers.ReLU()(norm(layers.Conv2D(4, 3, padding="same")(x)))
    inner = keras.Model(i, x, name="inner")
    x = i = keras.Input((8, 6, 4))
    outer = keras.Model(i, layers.Add()([inner(inner(x)), x]), name="outer")
    head = keras.Sequential(
        [keras.Input((8, 6, 4)), layers.Conv2D(3, 3), layers.Flatten()], name="head"
    )
    x = i = keras.Input((8, 6, 4))
    return keras.Model(i, layers.Dense(2)(head(outer(norm(x)))))


@case()
def shared_submodel(keras, layers):
    encoder = keras.Sequential([keras.Input((9, 3)), layers.Conv1D(4, 3), layers.LeakyReLU(0.25)])
    a, b = keras.Input((9, 3)), keras.Input((9, 3))
    y = layers.Subtract()([encoder(a), encoder(b)])
    return keras.Model([a, b], layers.GlobalMaxPooling1D()(y))
