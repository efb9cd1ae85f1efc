"""Every network of the table of layers, made with Keras 3, becomes a tf_keras model that computes
the same; the definition is the table's own, except where Keras 3 has no such calls."""

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.layer_cases import LAYER_CASES, inputs_of
from tests.slow_cases import sometimes
from tfxp.errors import ModelError
from tfxp.keras import keras as keras2
from tfxp.keras import keras3
from tfxp.transforms.conversion.from_keras3 import as_tf_keras

K = keras3(load=True)
IN_FILES = ["conv_1d", "recurrent", "leaky_relu", "shared_submodel"]
ALWAYS = {*IN_FILES, *list(LAYER_CASES)[::5]} - {"recurrent"}


def tensor_functions(keras, layers):
    """The table's own calls TensorFlow's functions, which Keras 3 does not take; these are its."""
    ops, x = keras.ops, keras.Input((8, 6, 4))
    a = ops.relu(layers.Conv2D(4, 1)(x) * 0.5 - np.float32([0.1, 0.2, 0.3, 0.4]))
    b = ops.sigmoid(layers.Conv2D(4, 1)(x)) - x / 2.0
    c = ops.maximum(a, b)
    d = ops.concatenate([c, 1.0 - a], axis=-1)
    e = ops.transpose(ops.reshape(d, (-1, 12, 4, 8)), (0, 2, 1, 3))
    f = ops.pad(e, [[0, 0], [1, 0], [0, 2], [0, 0]])
    g = ops.mean(f, axis=[1, 2]) * ops.max(f, axis=[1, 2])
    h = ops.clip(layers.Dense(4)(ops.squeeze(ops.expand_dims(g, 1), 1)), 0.0, 2.0)
    i = ops.matmul(ops.transpose(ops.softmax(a, axis=1), (0, 1, 3, 2)), c) @ a[:, :, :4]
    return keras.Model(x, [h, -f, i])


def separable_conv_1d(keras, layers):
    """Keras 3's separable convolutions pad nothing in time's order: padding is a layer there."""
    x = inputs = keras.Input((12, 4))
    x = layers.SeparableConv1D(5, 3, activation="relu")(layers.ZeroPadding1D((2, 0))(x))
    return keras.Model(inputs, layers.SeparableConv1D(4, 3, strides=2, padding="same")(x))


OWN = {"tensor_functions": tensor_functions, "separable_conv_1d": separable_conv_1d}


def in_keras3(name):
    """A case's network in Keras 3 with random weights."""
    K.backend.clear_session()
    keras2.backend.clear_session()
    return randomize(OWN.get(name, LAYER_CASES[name].build)(K, K.layers))


def outputs(model, x):
    return [np.asarray(part) for part in K.tree.flatten(model(x, training=False))]


def assert_same(twin, model, x):
    assert isinstance(twin, keras2.Model)
    for have, wanted in zip(outputs(twin, x), outputs(model, x), strict=True):
        assert have.shape == wanted.shape and np.abs(have - wanted).max() < 1e-5
        assert np.ptp(wanted) > 0.01


@pytest.mark.parametrize("name", sometimes(LAYER_CASES, ALWAYS))
def test_twin_computes_the_same(name, tmp_path):
    model = in_keras3(name)
    x = inputs_of(name, model, 4)
    assert_same(as_tf_keras(model), model, x)
    for suffix in (".keras", ".h5") if name in IN_FILES else ():
        model.save(tmp_path / f"model{suffix}")
        assert_same(tfxp.load_model(tmp_path / f"model{suffix}"), model, x)


def with_states():
    """A recurrent layer with initial states, behind a layer that makes masks."""
    tokens, state = K.Input((7,)), K.Input((3,))
    x = K.layers.Embedding(11, 6, mask_zero=True)(tokens)
    rnn = K.layers.SimpleRNN(3, return_sequences=True, name="first")
    return tokens, state, rnn(x, initial_state=state)


def test_a_quantized_twin_ignores_the_masks_that_keras3_ignores():
    """Keras 3 gives no mask to a recurrent layer that is called with initial states."""
    K.backend.clear_session()
    tokens, state, x = with_states()
    model = randomize(K.Model([tokens, state], x))
    rng = np.random.default_rng(8)
    x = [rng.integers(0, 3, (6, 7)), rng.normal(size=(6, 3)).astype(np.float32)]
    assert_same(as_tf_keras(model), model, x)
    qmodel = tfxp.quantize_model(model, "w12a14", tfxp.measure_model(model, x))
    for have, wanted in zip(outputs(qmodel, x), outputs(model, x), strict=True):
        assert np.abs(have - wanted).max() < 0.02


def refusal(inputs, output):
    with pytest.raises(ModelError) as caught:
        as_tf_keras(K.Model(inputs, output))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_mask_past_a_layer_that_ignores_it_is_refused():
    tokens, state, x = with_states()
    text = refusal([tokens, state], K.layers.LSTM(2, name="second")(x))
    assert "'second': got a mask through 'first'; expected none" in text


def test_activations_that_are_layers():
    x = inputs = K.Input((8, 6, 3))
    x = K.layers.Conv2D(4, 3, activation=K.layers.ReLU(2.0, 0.25, name="same"))(x)
    x = K.layers.Conv2D(4, 1, activation=K.layers.ELU(0.5, name="same"))(x)
    x = K.layers.Dense(3, activation=K.layers.Activation("hard_sigmoid"))(K.ops.elu(x, 0.7))
    model = randomize(K.Model(inputs, x))
    data = np.random.default_rng(4).normal(size=(4, 8, 6, 3)).astype(np.float32)
    assert_same(as_tf_keras(model), model, data)
    slopes = K.layers.Dense(3, activation=K.layers.PReLU(), name="d")(inputs)
    assert "d (Dense): its activation is a PReLU; make that the next" in refusal(inputs, slopes)


def test_constants_among_tensors():
    """Merging layers take constants in Keras 3; whole numbers are promoted there."""
    rng = np.random.default_rng(2)
    value, x = rng.normal(size=(1, 6, 4)).astype(np.float32), K.Input((6, 4))
    a = K.layers.Add(name="places")([K.layers.Dense(4)(x), value])
    b = K.layers.Multiply(name="window")([x, value]) * K.ops.arange(6)[:, None]
    model = randomize(K.Model(x, [a, b]))
    data = rng.normal(size=(4, 6, 4)).astype(np.float32)
    twin = as_tf_keras(model)
    assert_same(twin, model, data)
    for names in (twin, as_tf_keras(model)):
        assert {layer.name for layer in names.layers} == {part.name for part in model.operations}
    text = refusal(x, K.layers.Maximum(name="most")([x, value]))
    assert "layer 'most' (Maximum): got a constant of shape (1, 6, 4)" in text
