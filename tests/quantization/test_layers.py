"""Layers beyond the main job's: quantized, saved, stripped, given other precisions."""

import functools

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.layer_cases import LAYER_CASES, build, inputs_of
from tests.slow_cases import sometimes
from tfxp.errors import ExportError
from tfxp.export import integer_graph_of
from tfxp.formats import quantize
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization import BackwardSettings
from tfxp.quantization.layer_table import LAYERS

SAMPLES = 6
IN_KERAS = [name for name, case in LAYER_CASES.items() if case.outcome == "keras"]
COMMON = {"normed_attention"}


def outputs(model, x):
    return [np.asarray(part) for part in tf.nest.flatten(model(x, training=False))]


def quantized(name, precision):
    model = build(name)
    x = inputs_of(name, model, SAMPLES)
    return model, tfxp.quantize_model(model, precision, tfxp.measure_model(model, x)), x


@pytest.mark.parametrize("name", sometimes(IN_KERAS, COMMON))
def test_layers_without_integer_operators(name, tmp_path):
    model, qmodel, x = quantized(name, "w12a14")
    wanted = outputs(model, x)
    for fine, real in zip(outputs(qmodel, x), wanted, strict=True):
        assert np.abs(fine - real).max() < 0.02 * max(1, np.abs(real).max())
    tfxp.set_precision(qmodel, "w3a4")
    coarse = outputs(qmodel, x)
    assert any(np.abs(c - r).max() > 1e-3 for c, r in zip(coarse, wanted, strict=True))
    weights_on_their_grids(qmodel)
    path = tmp_path / "q.keras"
    qmodel.save(path)
    for again, first in zip(outputs(tfxp.load_model(path), x), coarse, strict=True):
        assert np.array_equal(again, first)
    with pytest.raises(ExportError, match="quantized in Keras only"):
        tfxp.export_tflite(qmodel, tmp_path / "q.tflite")
    assert not (tmp_path / "q.tflite").exists()


def weights_on_their_grids(qmodel):
    """What `strip` returns computes with the formats that `precision_of` tells."""
    rules, plain = tfxp.precision_of(qmodel).layers, tfxp.strip(qmodel)
    checked = 0
    for layer in plain.layers:
        rule = rules.get(layer.name)
        if rule is None or rule.weights in (None, "float"):
            continue
        for variable in layer.trainable_weights:
            if variable.name.split("/")[-1].split(":")[0] in ("kernel", "recurrent_kernel"):
                value = variable.numpy()
                assert np.array_equal(value, quantize(value, rule.weights)), variable.name
                checked += 1
    assert checked


@pytest.mark.slow
def test_recurrent_models_in_folders(tmp_path):
    """A SavedModel; the other two kinds of file are among the tests of all layers."""
    _, qmodel, x = quantized("recurrent", "w4a6")
    qmodel.save(tmp_path / "model")
    again = tfxp.load_model(tmp_path / "model")
    for back, first in zip(outputs(again, x), outputs(qmodel, x), strict=True):
        assert np.array_equal(back, first)


def test_masks_are_not_dropped():
    """The vector that stands for nothing may be any: no layer looks at it."""
    _, qmodel, x = quantized("recurrent", "w8a8")
    x[:, 4:] = 0
    before = outputs(qmodel, x)
    table = qmodel.get_layer("embedding").layer.embeddings
    values = table.numpy()
    values[0] = -values[0] + 1
    table.assign(values)
    for a, b in zip(outputs(qmodel, x), before, strict=True):
        assert np.array_equal(a, b)
    values[3] = -values[3] + 1  # that of a token is looked at
    table.assign(values)
    x[:, 0] = 3
    assert any(np.abs(a - b).max() > 0 for a, b in zip(outputs(qmodel, x), before, strict=True))


@pytest.mark.slow
def test_training_moves_kernels_inside_layers():
    _, qmodel, x = quantized("recurrent", "w4a6")
    before = [w.numpy() for w in qmodel.trainable_weights]
    qmodel.compile(keras.optimizers.Adam(0.01), "mse")
    qmodel.fit(x, [np.ones((SAMPLES, 2)), np.ones((SAMPLES, 5))], epochs=1, verbose=0)
    moved = [w.name for w, b in zip(qmodel.trainable_weights, before, strict=True)
             if np.abs(w.numpy() - b).max() > 0]  # fmt: skip
    assert len(moved) == len(before)


def test_float_weights_backward_leave_recurrent_layers_as_they_are():
    inputs = keras.Input((4, 3))
    hidden = layers.LSTM(4, name="lstm")(layers.Dense(3, name="dense")(inputs))
    model = keras.Model(inputs, layers.Dense(1, name="last")(layers.ReLU()(hidden)))
    backward = BackwardSettings(backward_weights="float")
    qmodel = tfxp.quantize_model(model, FIXED, backward=backward)
    used = {n: qmodel.get_layer(n).quantize_config.backward_weights for n in ("dense", "lstm")}
    assert used == {"dense": "float", "lstm": "rounded"}
    qmodel.compile("sgd", "mse")
    x = np.random.default_rng(1).normal(size=(8, 4, 3))
    before = [w.numpy() for w in qmodel.trainable_weights]
    qmodel.fit(x, x[:, 0, :1], verbose=0)
    moved = zip(qmodel.trainable_weights, before, strict=True)
    assert all(np.abs(w.numpy() - b).max() > 0 for w, b in moved)
    tfxp.set_precision(qmodel, PrecisionMap(LayerPrecision(weights="Q0.3", activations="Q2.1")))


FIXED = PrecisionMap(LayerPrecision(weights="Q0.7s", activations="Q2.5"))
# What steps are written out into, hundreds of layers, the other networks have too.
WRITTEN_OUT = ("gru", "simple_rnn", "encoder_decoder")
GROUPS = {
    "some": ["conv_1d", "prelu", "attention", "lstm_alone"],
    "all": [name for name in LAYER_CASES if name not in WRITTEN_OUT],
}


@functools.cache
def side_by_side(group):
    """Networks of the table in one quantized model, since a file costs nearly the same for one as
    for all: the model, its inputs, and the case that each output belongs to."""
    cases = {name: LAYER_CASES[name] for name in GROUPS[group]}
    keras.backend.clear_session()
    models = {name: randomize(case.build(keras, layers)) for name, case in cases.items()}
    inputs = [t for model in models.values() for t in model.inputs]
    results = [t for model in models.values() for t in model.outputs]
    owners = [name for name, model in models.items() for _ in model.outputs]
    given = [part for n, m in models.items() for part in tf.nest.flatten(inputs_of(n, m, SAMPLES))]
    precision = PrecisionMap(LayerPrecision(weights="Q0.4", activations="Q2.3"))
    return tfxp.quantize_model(keras.Model(inputs, results), precision), given, owners


def differing(model, other, x, owners):
    """Cases whose outputs are not the same in two models."""
    pairs = zip(outputs(model, x), outputs(other, x), owners, strict=True)
    return {name for a, b, name in pairs if not np.array_equal(a, b)}


@pytest.mark.parametrize("group", sometimes(GROUPS, {"some"}))
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_bring_back_the_same_model(group, suffix, tmp_path):
    qmodel, x, owners = side_by_side(group)
    qmodel.save(tmp_path / f"model{suffix}")
    again = tfxp.load_model(tmp_path / f"model{suffix}")
    assert not differing(again, qmodel, x, owners)
    assert tfxp.precision_of(again).to_dict() == tfxp.precision_of(qmodel).to_dict()


@pytest.mark.parametrize("group", sometimes(GROUPS, {"some"}))
def test_stripped_models_are_quantized_to_the_same(group):
    qmodel, x, owners = side_by_side(group)
    rebuilt = tfxp.quantize_model(tfxp.strip(qmodel), tfxp.precision_of(qmodel))
    assert not differing(rebuilt, qmodel, x, owners)


@keras.utils.register_keras_serializable("tests")
class Flipped(layers.Layer):
    """Left and right swapped."""

    def call(self, x):
        return x[:, :, ::-1]

    def compute_output_shape(self, input_shape):
        return input_shape


def write_flipped(builder, number, call, spec):
    (source,) = builder.read(call)
    output = builder.like(source, spec.name)
    axis = builder.constant("flipped_axis", np.array([2], np.int32), "INT32")
    builder.put(number, builder.emit("REVERSE_V2", [source.index, axis], output))


@pytest.fixture
def registry_restored():
    before = dict(LAYERS)
    yield
    LAYERS.clear()
    LAYERS.update(before)


def test_a_layer_of_ones_own_is_quantized_and_exported(registry_restored):
    tfxp.register_layer("Flipped", tfxp.LayerRole("keep", "reshape", write=write_flipped))
    inputs = keras.Input((6, 4, 3))
    model = keras.Model(inputs, Flipped()(layers.Conv2D(4, 3, activation="relu")(inputs)))
    precision = PrecisionMap(LayerPrecision(weights="Q0.4", activations="Q3.4"))
    graph = integer_graph_of(tfxp.quantize_model(model, precision))
    assert [operator.name for operator in graph.operators] == ["CONV_2D", "REVERSE_V2"]
