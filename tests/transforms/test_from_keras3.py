"""Keras 3 models become tf_keras models that compute the same; what cannot is named.

`test_keras3_twins.py` has the whole table of layers.
"""

import functools

import numpy as np
import pytest

import tfxp
from tfxp.errors import ModelError
from tfxp.keras import keras as keras2
from tfxp.keras import keras3
from tfxp.transforms.conversion.from_keras3 import as_tf_keras

K = keras3(load=True)
L = K.layers
RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def same_draws():
    """The same numbers whichever tests run before."""
    RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state


def image(channels=3):
    return K.Input((8, 6, channels), name="image")


def chain(*steps, shape=(8, 6, 3)):
    x = inputs = K.Input(shape)
    for step in steps:
        x = step(x)
    return K.Model(inputs, x)


def convolutions():
    return chain(
        L.Conv2D(4, 3, padding="same", activation="relu", kernel_regularizer="l2"),
        L.BatchNormalization(),
        L.DepthwiseConv2D(3, activation="silu"),
        L.SeparableConv2D(5, 2, strides=2, activation="hard_sigmoid"),
        L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="leaky_relu"),
        L.UpSampling2D(2, interpolation="bilinear"),
        L.Resizing(9, 7, interpolation="nearest"),
        L.GlobalAveragePooling2D(),
        L.Dense(4, activation="softmax"),
    )


def sequences():
    return chain(
        L.ZeroPadding1D(1), L.Conv1D(5, 3, padding="causal", activation="hard_silu"),
        L.SeparableConv1D(4, 3), L.Conv1DTranspose(4, 2, strides=2), L.MaxPooling1D(2),
        L.Cropping1D(1), L.LayerNormalization(), L.UpSampling1D(2), L.AveragePooling1D(2),
        L.GlobalMaxPooling1D(), L.RepeatVector(2), L.Flatten(), shape=(12, 4),
    )  # fmt: skip


def activations():
    x = inputs = image()
    outputs = [
        L.LeakyReLU(0.2)(x), L.PReLU(alpha_initializer="random_normal")(x), L.ELU(0.5)(x),
        L.ReLU(6.0, negative_slope=0.1)(x), L.Softmax()(x), L.Activation("gelu")(x),
        L.Activation("hard_sigmoid")(x), L.Activation("mish")(x),
    ]  # fmt: skip
    return K.Model(inputs, L.Concatenate()(outputs))


def arithmetic():
    x = inputs = image()
    y = L.Conv2D(3, 1)(x)
    z = L.Add()([L.Multiply()([x, y]), L.Average()([x, y]), L.Maximum()([x, y])])
    z = L.Subtract()([z, L.Permute((2, 1, 3))(L.Permute((2, 1, 3))(y))])
    z = L.Normalization(mean=[1.0, 2.0, 3.0], variance=[2.0, 0.5, 1.0])(z)
    z = L.Rescaling(0.5, offset=0.1)(z)
    return K.Model(inputs, [L.Dropout(0.5)(z), L.Cropping2D(1)(L.ZeroPadding2D(2)(z))])


def operations():
    x = inputs = image(4)
    ops = K.ops
    y = ops.relu(L.Conv2D(4, 1)(x) + 1.0) * x - ops.sigmoid(x) / 2.0
    y = ops.concatenate([y[:, 1:], -x[:, :7]], axis=-1)
    y = ops.transpose(ops.reshape(y, (-1, 7, 12, 4)), (0, 2, 1, 3))
    y = ops.maximum(y, ops.hard_sigmoid(y)) + ops.leaky_relu(ops.clip(y, 0.0, 6.0))
    y = ops.pad(y, ((0, 0), (1, 0), (0, 1), (0, 0)))
    return K.Model(inputs, ops.mean(y, axis=(1, 2)) + ops.max(y, axis=(1, 2)))


def nested_and_shared():
    block = chain(L.Conv2D(3, 3, padding="same"), L.ReLU())
    head = K.Sequential([K.Input((8, 6, 3)), L.Flatten(), L.Dense(2)], name="head")
    a, b = image(), K.Input((8, 6, 3), name="other")
    x = L.Add()([block(block(a)), block(b)])
    return K.Model({"image": a, "other": b}, {"z": head(x), "a": head(a)})


def sequential():
    return K.Sequential([K.Input((8, 6, 3)), L.Conv2D(3, 3, activation="relu"), L.Flatten()])


MODELS = [
    convolutions, sequences, activations, arithmetic, operations, nested_and_shared, sequential,
]  # fmt: skip


def randomized(build):
    K.backend.clear_session()
    keras2.backend.clear_session()
    model = build()
    values = [RNG.normal(size=weight.shape) * 0.4 for weight in model.weights]
    names = [weight.path for weight in model.weights]
    pairs = zip(values, names, strict=True)
    model.set_weights([np.abs(v) + 0.3 if "variance" in name else v for v, name in pairs])
    return model


def data(model, count=3):
    arrays = [RNG.normal(size=(count, *tensor.shape[1:])) for tensor in model.inputs]
    return arrays if len(arrays) > 1 else arrays[0]


def outputs(model, x):
    return [np.asarray(part) for part in K.tree.flatten(model(x, training=False))]


def named(model, x):
    if len(model.inputs) > 1:
        names = [tensor.name.split(":")[0] for tensor in model.inputs]
        return dict(zip(names, x, strict=True))
    return x


@pytest.mark.parametrize("build", MODELS)
def test_the_twin_computes_the_same(build):
    model = randomized(build)
    twin = as_tf_keras(model)
    assert isinstance(twin, keras2.Model) and twin.name == model.name
    x = data(model)
    have, wanted = outputs(twin, named(twin, x)), outputs(model, named(model, x))
    for a, b in zip(have, wanted, strict=True):
        assert np.abs(a - b).max() < 1e-5


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files(tmp_path, suffix):
    model = randomized(convolutions)
    model.save(tmp_path / f"model{suffix}")
    twin = tfxp.load_model(tmp_path / f"model{suffix}")
    x = data(model)
    assert np.abs(outputs(twin, x)[0] - outputs(model, x)[0]).max() < 1e-5
    assert [layer.name for layer in twin.layers][:3] == [layer.name for layer in model.layers][:3]


def test_measured_and_quantized_directly():
    model = randomized(nested_and_shared)
    x = {"image": RNG.normal(size=(4, 8, 6, 3)), "other": RNG.normal(size=(4, 8, 6, 3))}
    stats = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, "w12a14", stats)
    for a, b in zip(outputs(qmodel, x), outputs(model, x), strict=True):
        assert np.abs(a - b).max() < 0.01 * np.abs(b).max()


def test_adapted_normalization():
    layer = L.Normalization()
    layer.adapt(RNG.normal(3, 2, size=(20, 8, 6, 3)))
    model = K.Model(i := image(), layer(i))
    x = data(model)
    assert np.abs(outputs(as_tf_keras(model), x)[0] - outputs(model, x)[0]).max() < 1e-5


class Doubled(L.Layer):
    def call(self, x):
        return 2 * x


def test_everything_without_a_twin_is_named_at_once():
    x = inputs = K.Input((5, 6))
    x = L.RMSNormalization(name="rms")(x)
    x = L.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True, name="old")(x)
    x = K.ops.cumprod(Doubled(name="mine")(x))
    with pytest.raises(ModelError) as caught:
        as_tf_keras(K.Model(inputs, x))
    text = str(caught.value)
    for part in ("rms (RMSNormalization)", "old (LSTM): recurrent_activation 'hard_sigmoid'",
                 "mine (Doubled): a class of your own", "operation Cumprod"):  # fmt: skip
        assert part in text
    assert text.count("\n") == 0


def test_models_without_a_graph():
    with pytest.raises(ModelError, match="no graph of layers"):
        as_tf_keras(K.Sequential([L.Dense(2)]))


def own_object():
    class Own:
        def __call__(self, x):
            return 2 * x

    return Own()


def relu(x):  # not Keras'
    return K.ops.relu(x) + 1


@pytest.mark.parametrize(
    "function",
    [lambda x: 2 * x, functools.partial(K.ops.leaky_relu, negative_slope=0.3), own_object(),
     relu],
    ids=["lambda", "partial", "object", "shadow"],
)  # fmt: skip
def test_nameless_functions_are_refused_by_layer(function):
    inputs = K.Input((4, 3))
    for layer in (L.Dense(2, activation=function, name="mine"),
                  L.GRU(2, activation=function, name="mine")):  # fmt: skip
        with pytest.raises(ModelError, match=r"mine \("):
            as_tf_keras(K.Model(inputs, layer(inputs)))
