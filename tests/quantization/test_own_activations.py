"""Activation functions of users' own: computed in Keras, tables in files, never lost."""

import dataclasses
import functools
import re

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.errors import ExportError, ModelError
from tfxp.keras import keras, layers, tf
from tfxp.quantization.quantize_model import plan_of
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize


@keras.utils.register_keras_serializable("wild")
def squared_relu(x):
    return tf.square(tf.clip_by_value(x, 0, 1))


@keras.utils.register_keras_serializable("wild", "sigmoid")
def steep_sigmoid(x):
    return tf.sigmoid(4 * x)


@keras.utils.register_keras_serializable("wild")
class Scale:
    def __init__(self, factor=3.0):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor

    def get_config(self):
        return {"factor": self.factor}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.utils.register_keras_serializable("wild")
class Halved:
    """Registered, but Keras cannot make it again."""

    def __call__(self, x):
        return x / 2

    def get_config(self):
        return {}


class Own:
    def __call__(self, x):
        return 2 * x

    def method(self, x):
        return 3 * x


def relu(x):  # not Keras'
    return tf.nn.relu(x) + 1


def everywhere():
    """Every kind of layer that takes an activation, with one of the user's own."""
    own = {"activation": squared_relu}
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(3, 2, name="conv", **own)(x)
    x = layers.DepthwiseConv2D(2, name="depthwise", activation=steep_sigmoid)(x)
    x = layers.SeparableConv2D(3, 2, name="separable", **own)(x)
    x = layers.Conv2DTranspose(2, 2, name="transposed", activation=Scale(0.5))(x)
    x = layers.Reshape((-1, 4), name="rows")(x)
    x = layers.Conv1D(3, 2, name="conv1d", activation=layers.PReLU(name="slope"))(x)
    x = layers.TimeDistributed(layers.Dense(3, activation=Scale()), name="steps")(x)
    x = layers.LSTM(3, return_sequences=True, name="lstm", **own)(x)
    x = layers.Bidirectional(layers.GRU(2, **own), name="both")(x)
    shared = layers.Dense(4, name="shared", **own)
    x = layers.Activation(layers.LeakyReLU(0.25), name="leaky")(shared(shared(x)))
    return randomize(keras.Model(inputs, layers.Dense(2, name="head", activation=Scale())(x)))


@pytest.fixture(scope="module")
def setting():
    model = everywhere()
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 2)).astype(np.float32)
    stats = tfxp.measure_model(model, x)
    return model, x, tfxp.quantize_model(model, "w12a14", stats)


def test_no_function_is_lost_in_the_rewrite(setting):
    model, x, _ = setting
    graph = normalize(LayerGraph.from_model(model))
    assert np.abs(graph.to_model()(x) - model(x)).max() < 1e-5
    kinds = {name: spec.kind for name, spec in graph.layers.items()}
    assert kinds["conv1d_slope"] == "PReLU" and kinds["leaky"] == "LeakyReLU"
    assert kinds["conv_squared_relu"] == kinds["depthwise_sigmoid"] == "Activation"


def test_own_functions_are_computed_between_quantized_tensors(setting, tmp_path):
    model, x, qmodel = setting
    want, have = model(x).numpy(), qmodel(x).numpy()
    assert np.abs(want - have).max() < 0.02 * np.abs(want).max()
    rules = tfxp.precision_of(qmodel).layers
    assert "conv_squared_relu" in rules and "depthwise_sigmoid" in rules
    grid = rules["head_Scale"].activations
    codes = have / grid.scale
    assert np.array_equal(codes, np.rint(codes))
    qmodel.save(tmp_path / "q.keras")
    again = keras.models.load_model(tmp_path / "q.keras", compile=False)
    assert np.array_equal(again(x), have)


def test_the_export_names_each(setting):
    """Tables are of 8 bits."""
    with pytest.raises(ExportError) as error:
        tfxp.export_tflite(setting[2], "never.tflite")
    text = str(error.value)
    for layer in ("conv_squared_relu", "depthwise_sigmoid", "transposed_Scale", "head_Scale"):
        assert f"{layer}: the table of its function has 256 codes" in text
    assert "lstm (LSTM)" in text and "both (Bidirectional)" in text


def exported(activation, path, rounding=None):
    """A network with a function of the user's own, whose output alone is rounded so."""
    own = layers.Dense(5, activation=activation, name="own")
    model = randomize(keras.Sequential([keras.Input((4, 3)), own, layers.Dense(2)]))
    x = np.random.default_rng(1).normal(size=(64, 4, 3)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    if rounding is not None:
        rules = tfxp.precision_of(qmodel).layers
        (name,) = (name for name in rules if name.startswith("own_"))
        rules = {**rules, name: dataclasses.replace(rules[name], rounding=rounding)}
        qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap(layers=rules))
    report = tfxp.export_tflite(qmodel, path, verify=x)
    return report, [operator.name for operator in tfxp.read_tflite(path).operators]


@pytest.mark.parametrize("function", [squared_relu, steep_sigmoid, Scale(0.3)])
@pytest.mark.parametrize("rounding", [None, "floor"])
def test_own_functions_are_exported_as_tables(function, rounding, tmp_path):
    report, kinds = exported(function, tmp_path / "m.tflite", rounding=rounding)
    assert report.verification.exact and report.verification.mismatches_litert == 0
    assert kinds[1:4] == ["CAST", "ADD", "GATHER"]
    assert not any("floor" in str(note) for note in report.notes)


@keras.utils.register_keras_serializable("wild")
def shares(x):
    return x / tf.reduce_sum(tf.abs(x), -1, keepdims=True)


@keras.utils.register_keras_serializable("wild")
def by_channel(x):
    return x * tf.constant([1.0, 2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize("function", [shares, by_channel])
def test_functions_of_whole_rows_are_refused(function, tmp_path):
    with pytest.raises(ExportError, match=f"wild>{function.__name__}' gives the same number anoth"):
        exported(function, tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()


@keras.utils.register_keras_serializable("wild")
def root(x):
    return tf.sqrt(x)


def test_codes_without_a_value_have_the_lowest(tmp_path):
    """In Keras and in the file."""
    dense = layers.Dense(1, use_bias=False, activation=root, name="own")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.set_weights([np.ones((1, 1))])
    x = np.linspace(0, 1, 32, dtype=np.float32)[:, None]
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "Q1.6"))
    assert (qmodel.predict(-x[1:], verbose=0) == -2).all()
    both = np.concatenate([x, -x])
    assert tfxp.export_tflite(qmodel, tmp_path / "m.tflite", verify=both).verification.exact


def test_models_quantized_with_the_function_inside_are_not_exported():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="scores")])
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "Q3.4"))
    qmodel.get_layer("scores").layer.activation = squared_relu
    assert plan_of(qmodel).graph.layers["scores"].config["activation"] != "linear"
    with pytest.raises(ExportError, match=r"scores \(Dense\).*wild>squared_relu.*inside"):
        tfxp.export_tflite(qmodel, "never.tflite")


@pytest.mark.parametrize(
    "function",
    [lambda x: 2 * x, functools.partial(tf.nn.leaky_relu, alpha=0.3), Own(), Own().method, relu,
     tf.square],
    ids=["lambda", "partial", "object", "method", "shadow", "tensorflow"],
)  # fmt: skip
@pytest.mark.parametrize(
    "make",
    [
        lambda f: layers.Dense(2, activation=f, name="mine"),
        lambda f: layers.Activation(f, name="mine"),
        lambda f: layers.LSTM(2, recurrent_activation=f, name="mine"),
        lambda f: layers.TimeDistributed(layers.Dense(2, activation=f), name="mine"),
    ],
    ids=["Dense", "Activation", "LSTM", "TimeDistributed"],
)
def test_functions_without_a_registered_name_are_refused(function, make):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, make(function)(inputs))
    with pytest.raises(ModelError, match=r"'mine'.*register_keras_serializable"):
        LayerGraph.from_model(model)


def test_a_registered_object_that_cannot_be_made_again_says_so():
    model = keras.Sequential([layers.Dense(3, activation=Halved(), name="dense")])
    model.build((None, 4))
    said = "'dense' (Dense): got 'wild>Halved', which is registered but cannot be made again"
    with pytest.raises(ModelError, match=re.escape(said)) as caught:
        LayerGraph.from_model(model)
    assert "from_config" in str(caught.value) and "unregistered" not in str(caught.value)


@pytest.mark.parametrize("function", ["relu", "tanh", "elu", "selu", "softplus", "silu", "gelu"])
def test_tensorflow_s_own_functions_keep_their_names(function):
    dense = layers.Dense(2, activation=getattr(tf.nn, function))
    model = keras.Sequential([keras.Input((3,)), dense])
    graph = LayerGraph.from_model(model)
    name = [spec.config["activation"] for spec in graph.layers.values() if spec.kind == "Dense"]
    assert name == [{"silu": "swish"}.get(function, function)]
