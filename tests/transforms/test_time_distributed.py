"""TimeDistributed layers that are written out compute what Keras' own do."""

import numpy as np
import pytest

from tests.cases import inputs_of, randomize
from tfxp.keras import keras, layers
from tfxp.transforms.conversion.from_keras3 import as_tf_keras
from tfxp.transforms.conversion.to_keras3 import as_keras3
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize
from tfxp.transforms.normalize.unrolled import MOST_STEPS

FILM = (4, 6, 5, 2)


def each(layer, **options):
    return layers.TimeDistributed(layer, **options)


def chain(*parts, shape=FILM):
    x = inputs = keras.Input(shape)
    for part in parts:
        x = part(x)
    return randomize(keras.Model(inputs, x))


def network(*last):
    """Of a sum and a normalization."""
    picture = keras.Input((6, 5, 2))
    x = layers.BatchNormalization()(layers.Conv2D(3, 3, name="first")(picture))
    x = layers.Add()([x, layers.Conv2D(3, 1, name="second")(x)])
    for layer in last:
        x = layer(x)
    return keras.Model(picture, x)


def kinds(graph):
    return [spec.kind for _, _, spec in graph.in_order()]


def check(model, left=0):
    """The same numbers without TimeDistributed, but for so many layers."""
    graph = normalize(LayerGraph.from_model(model))
    other = graph.to_model()
    assert kinds(graph).count("TimeDistributed") == left
    x = inputs_of(model, 5)
    wanted, found = model(x).numpy(), other(x).numpy()
    assert np.ptp(wanted) > 0.01
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))
    assert model.output_names == other.output_names
    return graph


LAYERS = {
    "Conv2D": lambda: layers.Conv2D(3, 3, activation="relu"),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, padding="same"),
    "SeparableConv2D": lambda: layers.SeparableConv2D(3, 3),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(3, 3, strides=2),
    "BatchNormalization": layers.BatchNormalization,
    "AveragePooling2D": layers.AveragePooling2D,
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D,
    "Flatten": layers.Flatten,
    "Reshape": lambda: layers.Reshape((3, 20)),
    "Permute": lambda: layers.Permute((3, 1, 2)),
    "Cropping2D": lambda: layers.Cropping2D(1),
    "UpSampling2D": layers.UpSampling2D,
    "Softmax over rows": lambda: layers.Softmax(1),  # counted from the front
    "Sequential": lambda: keras.Sequential([layers.Conv2D(2, 2), layers.ReLU()]),
    "network": network,
    "network that reshapes": lambda: network(layers.Flatten(), layers.Dense(3, "sigmoid")),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_step_is_computed_as_inside(name):
    check(chain(each(LAYERS[name](), name="around")))


def test_sequences_of_sequences():
    check(chain(each(layers.Conv1D(3, 2)), each(layers.GlobalAveragePooling1D()), shape=(3, 5, 2)))


def test_pieces_go_on_as_pieces():
    """Nothing is put together that the next layer takes apart again."""
    graph = check(chain(each(layers.Conv2D(3, 3)), each(layers.ReLU()), each(layers.Flatten())))
    found = kinds(graph)
    assert found.count("SlicingOpLambda") == found.count("ReLU") == 4
    assert found.count("Concatenate") == 1


@pytest.mark.parametrize("inside", [lambda: layers.Conv2D(3, 3), network])
def test_what_is_frozen_stays_frozen(inside):
    model = chain(each(inside(), name="around", trainable=False))
    graph = check(model)
    with_weights = [spec for spec in graph.layers.values() if spec.weights]
    assert with_weights and not any(spec.is_trainable for spec in with_weights)
    assert not graph.to_model().trainable_weights


def test_parts_of_a_network_stay_frozen():
    inner = network()
    inner.get_layer("first").trainable = False
    graph = check(chain(each(inner)))
    assert not graph.layers["first"].is_trainable and graph.layers["second"].is_trainable


def test_frozen_parts_stay_frozen_on_the_way_from_keras3_and_back():
    inner = network()
    inner.get_layer("first").trainable = False
    for model in (chain(each(inner)), chain(each(network(), trainable=False))):
        there = as_keras3(model)
        for other in (there, as_tf_keras(there)):
            shapes = [tuple(w.shape) for w in other.trainable_weights]
            assert sorted(shapes) == sorted(tuple(w.shape) for w in model.trainable_weights)


@pytest.mark.parametrize(
    "parts",
    [
        (each(layers.LSTM(3)),),
        (layers.Masking(0.0), each(layers.GlobalAveragePooling1D())),
        (each(keras.Sequential([layers.Conv1D(3, 2), layers.GRU(2)])),),
        (each(layers.Conv1D(3, 2, activity_regularizer="l2")),),
        (each(keras.Sequential([layers.Conv1D(3, 2, activity_regularizer="l2")])),),
        (each(each(layers.Dense(3))),),
    ],
    ids=["recurrent", "mask", "recurrent network", "regularized", "regularized network", "twice"],
)
def test_others_stay(parts):
    check(chain(*parts, shape=(3, 5, 2)), left=1)


class Unregistered(layers.Layer):
    """A class that configurations do not bring back."""

    def call(self, x):
        return 2 * x


def test_a_network_with_a_class_of_ones_own_stays():
    model = chain(each(network(Unregistered())))
    assert "TimeDistributed" in kinds(normalize(LayerGraph.from_model(model)))


@pytest.mark.parametrize("steps", [None, MOST_STEPS + 1])
def test_many_steps_stay(steps):
    x = keras.Input((steps, 5, 2))
    model = keras.Model(x, each(layers.Conv1D(3, 2))(x))
    assert "TimeDistributed" in kinds(normalize(LayerGraph.from_model(model)))


def test_a_shared_one_stays():
    a, b = keras.Input(FILM), keras.Input(FILM)
    shared = each(layers.Conv2D(3, 3))
    model = randomize(keras.Model([a, b], layers.Add()([shared(a), shared(b)])))
    assert "TimeDistributed" in kinds(normalize(LayerGraph.from_model(model)))
