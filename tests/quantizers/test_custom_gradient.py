"""Gradients of our own: right in every kind of graph, and gone with their graph."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

import tfxp
from tests.slow_cases import slow
from tfxp.keras import keras, layers
from tfxp.quantizers.custom_gradient import custom_gradient


@custom_gradient
def twice(x):
    """2 x, with a gradient that is nobody else's."""
    return 2 * x, lambda upstream: 5 * upstream


def slope_of(function, x=3.0):
    value = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(value)
        result = function(value)
    return float(result), float(tape.gradient(result, value))


def in_a_branch(x):
    return tf.cond(x > 0, lambda: twice(x), lambda: x)


def in_a_loop(x):
    return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, twice(y)), (0, x))[1]


def differentiated_inside(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = twice(x)
    return tape.gradient(result, x)


@pytest.mark.parametrize("compiled", [False, True])
def test_every_kind_of_graph_has_the_gradient(compiled):
    def kind(function):
        return tf.function(function) if compiled else function

    assert slope_of(kind(twice)) == (6, 5)
    assert slope_of(kind(in_a_branch)) == (6, 5)
    assert slope_of(kind(in_a_loop)) == (12, 25)
    assert float(kind(differentiated_inside)(tf.constant(3.0))) == 5


def test_a_function_traced_inside_another_outlives_it():
    inner = tf.function(twice)

    def traced_around():
        outer = tf.function(lambda x: inner(x) + 1)
        assert slope_of(outer) == (7, 5)
        return weakref.ref(outer.get_concrete_function(tf.constant(3.0)).graph)

    graph = traced_around()
    gc.collect()
    assert graph() is None
    assert slope_of(tf.function(lambda x: inner(x) + 2)) == (8, 5)


def test_a_saved_function_has_the_gradient(tmp_path):
    module = tf.Module()
    module.call = tf.function(twice, input_signature=[tf.TensorSpec((), tf.float32)])
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    tf.saved_model.save(module, str(tmp_path), options=options)
    assert slope_of(tf.saved_model.load(str(tmp_path)).call) == (6, 5)


def test_nothing_asks_tensorflow_for_a_gradient_of_its_own():
    folder = Path(tfxp.__file__).parent
    users = [p.name for p in folder.rglob("*.py") if "tf.custom_gradient(" in p.read_text("utf-8")
             or "@tf.custom_gradient" in p.read_text("utf-8")]  # fmt: skip
    assert users == ["custom_gradient.py"]


def predict(model, qmodel, x):
    qmodel.predict(x, verbose=0)


def train(model, qmodel, x):
    settings = tfxp.training.FineTuneSettings(epochs=1, batch_size=4)
    tfxp.fine_tune(qmodel, x, settings=settings, teacher=model)


def round_weights(model, qmodel, x):
    settings = tfxp.training.RoundingSettings(steps=2)
    tfxp.calibrate_model(qmodel, x, method="adaround", rounding=settings)


@pytest.mark.filterwarnings("ignore::tfxp.errors.TrainingWarning")  # two samples, two steps
@pytest.mark.parametrize("use", [predict, slow(train), slow(round_weights)])
def test_quantized_models_leave_no_graph_behind(use):
    """Not one entry of TensorFlow's registry, which would hold graph, tensors and variables."""

    def use_one():
        hidden = [layers.Conv2D(4, 3, activation="relu", input_shape=(6, 6, 2)), layers.Flatten()]
        model = keras.Sequential([*hidden, layers.Dense(3)])
        x = np.random.default_rng(0).uniform(0, 1, (16, 6, 6, 2)).astype(np.float32)
        qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
        use(model, qmodel, x)

    use_one()
    gc.collect()
    before = set(gradient_registry.list())
    use_one()
    gc.collect()
    assert set(gradient_registry.list()) == before
