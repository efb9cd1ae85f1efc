"""Mixed precision, float64 and policies of layers: converted to float32, and said so."""

import keras as keras3
import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.slow_cases import sometimes
from tfxp.keras import keras, layers, tf
from tfxp.transforms.data_types import other_float

POLICIES = ("mixed_float16", "mixed_bfloat16", "float64", "float16", "bfloat16")


@pytest.fixture(autouse=True)
def plain_policy():
    yield
    keras.mixed_precision.set_global_policy("float32")
    keras.backend.set_floatx("float32")
    keras3.config.set_dtype_policy("float32")


def network(K, L, dtype=None, recurrent=False):
    """A layer of every kind that fails in its own way."""
    options = {} if dtype is None else {"dtype": dtype}
    inputs = K.Input((6, 4), name="in")
    x = L.Conv1D(4, 3, padding="same", name="conv", **options)(inputs)
    x = L.BatchNormalization(name="norm", **options)(x)
    x = L.Activation("swish", name="swish", **options)(x)
    if recurrent:
        x = L.Bidirectional(L.LSTM(3, name="lstm", **options), name="both", **options)(x)
    x = L.Dense(3, activation="softmax", name="head", **options)(x)
    return K.Model(inputs, x)


def checked(model, match, low=False):
    """Quantized, with a warning; the outputs are those of the float model but for rounding."""
    x = np.random.default_rng(0).normal(size=(16, *model.inputs[0].shape[1:]))
    with pytest.warns(UserWarning, match=match):
        stats = tfxp.measure_model(model, x)
    with pytest.warns(UserWarning, match=match):
        qmodel = tfxp.quantize_model(model, "w8a8", stats)
    given, wanted = (m.predict(x, verbose=0).astype(np.float64) for m in (qmodel, model))
    assert np.abs(given - wanted).max() < (0.3 if low else 0.1)
    kinds = {str(weight.dtype) for weight in qmodel.weights}
    assert all("float32" in kind or "int" in kind or "bool" in kind for kind in kinds), kinds
    return qmodel, x


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_in_force_while_the_model_was_made(policy):
    keras.mixed_precision.set_global_policy(policy)
    model = randomize(network(keras, layers, recurrent=policy == POLICIES[0]))
    keras.mixed_precision.set_global_policy("float32")
    checked(model, rf"{policy} in conv, norm, swish.*; converted to float32", "b" in policy)


@pytest.mark.parametrize("policy", sometimes(POLICIES[:3], POLICIES[:1]))
def test_a_policy_in_force_all_the_time(policy, tmp_path):
    keras.mixed_precision.set_global_policy(policy)
    first = layers.Dense(4, activation="relu", input_shape=(3,))
    model = keras.Sequential([first, layers.Dense(2)])
    qmodel, x = checked(randomize(model), policy)
    qmodel.compile("adam", "mse")
    qmodel.fit(x, x[:, :2], verbose=0)
    assert tfxp.export_tflite(qmodel, tmp_path / "q.tflite", verify=x).verification.exact
    assert keras.mixed_precision.global_policy().name == policy


def test_floatx(tmp_path):
    keras.mixed_precision.set_global_policy(None)  # follows floatx, as in a fresh process
    keras.backend.set_floatx("float64")
    model = randomize(keras.Sequential([layers.Dense(2, input_shape=(3,), name="only")]))
    qmodel, x = checked(model, "float64 in (dense|only)")
    assert tfxp.export_tflite(qmodel, tmp_path / "q.tflite", verify=x).verification.exact
    assert keras.backend.floatx() == "float64"
    keras.backend.set_floatx("float32")
    assert keras.mixed_precision.global_policy().name == "float32"


def test_policies_of_layers_and_their_casts():
    """Types inside functions of tensors go too: casts are left out, constants become float32."""
    inputs = keras.Input((4,), dtype="float64", name="in")
    x = layers.Dense(4, dtype="float64", name="wide")(inputs)
    x = layers.Dense(4, dtype=keras.mixed_precision.Policy("mixed_float16"), name="low")(x)
    x = tf.cast(x, tf.float64) + tf.constant([[1.0, 2.0, 3.0, 4.0]], tf.float64)
    inner = keras.Sequential([layers.Dense(2, dtype="float64", input_shape=(4,), name="inner")])
    y = tf.cast(layers.Softmax(dtype="float64")(inner(x)), "float32")
    checked(randomize(keras.Model(inputs, y)), r"float64 in in, wide.*mixed_float16 in low")


@pytest.mark.parametrize("policy", POLICIES[:3])
def test_models_of_keras3(policy):
    keras3.config.set_dtype_policy(policy)
    model = network(keras3, keras3.layers)
    if policy != "float64":
        inputs = keras3.Input((6, 4), name="in")
        model = keras3.Model(inputs, keras3.ops.cast(model(inputs), "float32"))
    checked(model, rf"{policy} in ")


def test_transforms_convert_as_well():
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = randomize(network(keras, layers))
    x = np.random.default_rng(0).normal(size=(8, 6, 4))
    with pytest.warns(UserWarning, match="mixed_float16"):
        narrow = keras.Sequential([layers.Dense(2, input_shape=(3,)), layers.Dense(2)])
        wide = tfxp.widen_model(narrow, 2)
    with pytest.warns(UserWarning, match="mixed_float16"):
        assert tfxp.count_model(model).layers
    assert wide.dtype_policy.name == "float32"
    with pytest.warns(UserWarning, match="mixed_float16"):
        assert tfxp.measure_model(model, x).samples == 8


def test_whole_numbers_stay():
    assert [other_float(name) for name in ("int8", "bool", "string", "float32", None)] == [None] * 5


def test_constants_of_other_types():
    """What depends on weights only is computed once, in float32 too."""
    inputs = keras.Input((5, 4), name="in")
    table = layers.Embedding(5, 4, dtype="mixed_float16", name="places")
    x = layers.Dense(4, dtype="float16", name="d")(inputs)
    x = x + table(tf.range(tf.shape(x)[1]))
    checked(randomize(keras.Model(inputs, x)), "float16 in")
