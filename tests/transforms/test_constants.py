"""Tensors that no input changes become constants of layers, and functions again when stripped."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import ExportError, UnsupportedLayerError
from tfxp.export import integer_graph_of
from tfxp.keras import keras, layers, tf
from tfxp.precision import PrecisionMap
from tfxp.quantization.read_network import plan_of
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize

VALUE = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def with_places():
    """Positions by the length of the sequence, which is known when the network is."""
    x = inputs = keras.Input((5, 4))
    places = layers.Embedding(9, 4, name="places")(tf.range(tf.shape(x)[1]) + 1)
    y = layers.Dense(4, name="dense")(x + places[None])
    return keras.Model(inputs, [tf.subtract(VALUE, y), y * tf.cast(tf.shape(x)[1:], tf.float32)[0]])


def test_a_chain_of_constants_is_computed_once():
    model = with_places()
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    graph = normalize(LayerGraph.from_model(model))
    kinds = [spec.kind for spec in graph.layers.values()]
    assert kinds == ["InputLayer", "AddConstant", "Dense", "SubtractFromConstant", "Rescaling"]
    (places,) = (spec for spec in graph.layers.values() if spec.kind == "AddConstant")
    table = model.get_layer("places").embeddings.numpy()
    assert np.array_equal(places.arrays()["constant"], table[1:6])
    assert places.config["learned"]
    for ours, theirs in zip(graph.to_model()(x), model(x), strict=True):
        assert np.abs(ours - theirs).max() < 1e-6


def test_what_depends_on_the_batch_or_on_chance_is_no_constant():
    x = inputs = keras.Input((5, 4))
    ones = tf.fill(tf.shape(x), 2.0)
    noise = tf.random.normal(tf.shape(x)[1:])
    with pytest.raises(UnsupportedLayerError) as caught:
        tfxp.quantize_model(keras.Model(inputs, [x + ones, x + noise]), "w8a8")
    assert "fill" in str(caught.value) and "random.normal" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: tf.concat([x, np.zeros((8, 5, 4), np.float32)], -1), "concat with a constant"),
        (lambda x: x + np.zeros((8, 5, 4), np.float32), "add_2 (TFOpLambda __operators__.add with"),
        (lambda x: tf.maximum(x, VALUE), "math.maximum with a constant of shape (5, 4)"),
        (lambda x: layers.Add(name="sum")([x, VALUE[None]]), "sum (Add): a constant of shape"),
    ],
    ids=["concat", "batch", "maximum", "merged"],
)
def test_other_constants_are_refused_by_name(function, words):
    keras.backend.clear_session()
    x = keras.Input((5, 4))
    y = layers.Dense(4)(x)
    model = keras.Model(x, function(y + y + y))
    with pytest.raises(UnsupportedLayerError) as caught:
        tfxp.quantize_model(model, "w8a8")
    assert words in str(caught.value)


@pytest.fixture(scope="module")
def quantized():
    x = inputs = keras.Input((5, 4))
    places = layers.Embedding(5, 4)(tf.range(tf.shape(x)[1]))
    x = tf.subtract(VALUE, tf.multiply(layers.Dense(4, name="dense")(x) + places, VALUE))
    model = keras.Model(inputs, x)
    data = np.random.default_rng(6).normal(size=(20, 5, 4)).astype(np.float32)
    return tfxp.quantize_model(model, "w4a8", tfxp.measure_model(model, data)), data


def test_formats_are_the_constants_own(quantized):
    qmodel, data = quantized
    plan, pmap = plan_of(qmodel), tfxp.precision_of(qmodel)
    assert len(plan.constants) == 3
    for name in plan.constants:
        value, fmt = plan.graph.layers[name].arrays()["constant"], pmap.layers[name].weights
        assert fmt.bits == 4
        on_grid = np.clip(np.rint(value / fmt.scale), fmt.qmin, fmt.qmax) * fmt.scale
        layer = qmodel.get_layer(name)
        assert np.array_equal(layer.quantized_weights()["constant"], on_grid)
    learned = [v.name for v in qmodel.trainable_variables if "constant" in v.name]
    assert len(learned) == 1  # the embedding's; the other constants stay what they are


def test_stripped_models_are_of_standard_layers(quantized, tmp_path):
    qmodel, data = quantized
    plain = tfxp.strip(qmodel)
    assert all(type(layer).__module__.startswith("tf_keras") for layer in plain.layers)
    plain.save(tmp_path / "plain.h5")
    loaded = keras.models.load_model(tmp_path / "plain.h5", compile=False)
    again = tfxp.quantize_model(loaded, tfxp.precision_of(qmodel))
    assert np.array_equal(again(data), qmodel(data))


def test_constants_that_do_not_fit_their_operators_are_refused(quantized):
    qmodel, _ = quantized
    rules = tfxp.precision_of(qmodel)
    wide, plain = plan_of(qmodel).constants[:2]
    layers_ = {**rules.to_dict()["layers"]}
    layers_[wide] = {**layers_[wide], "weights": "Q1.10"}
    layers_[plain] = {**layers_[plain], "weights": "float"}
    changed = tfxp.quantize_model(qmodel, PrecisionMap.from_dict({"schema": 1, "layers": layers_}))
    with pytest.raises(ExportError) as caught:
        integer_graph_of(changed)
    text = str(caught.value)
    assert f"{wide}: its constant has 12 bits beside activations that are stored in 8" in text
    assert f"{plain}: its constant is float" in text


def test_a_constant_too_small_to_show_gets_a_coarser_format(tmp_path):
    """LiteRT's default engine adds what is at least 2^-10 of an output step."""
    x = keras.Input((5, 4))
    model = keras.Model(x, tf.add(x, VALUE * 1e-5))
    data = 8 * np.random.default_rng(6).normal(size=(20, 5, 4)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, data))
    (rule,) = (rule for rule in tfxp.precision_of(qmodel).layers.values() if rule.weights)
    assert rule.weights.scale == rule.activations.scale * 2.0**-10
    report = tfxp.export_tflite(qmodel, tmp_path / "f.tflite", verify=data)
    assert report.verification.exact and not report.notes
