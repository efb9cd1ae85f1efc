"""Rewrites into the layers that quantization knows: same outputs, expected layers."""

import numpy as np
import pytest

from tests.cases import CASES, built, inputs_of, randomize
from tfxp.keras import keras, layers, tf
from tfxp.transforms.layer_graph import LayerGraph, make_spec
from tfxp.transforms.normalize.normalize import is_relu, is_softmax, normalize


def normalized(model):
    return normalize(LayerGraph.from_model(model))


def kinds(graph):
    return [spec.kind for _, _, spec in graph.in_order() if spec.kind != "InputLayer"]


def assert_same_function(graph, model, tolerance=1e-5):
    x = inputs_of(model, 3)
    ours, theirs = tf.nest.flatten(graph.to_model()(x)), tf.nest.flatten(model(x))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and np.abs(a - b).max() <= tolerance


@pytest.mark.parametrize(
    "name", ["separable", "add_three", "relu_shared", "softmax_activation", "shared_two_outputs",
             "nested_twice", "everything"]
)  # fmt: skip
def test_same_function(name):
    model = built(name)
    graph = normalized(model)
    assert_same_function(graph, model)
    for spec in graph.layers.values():
        assert spec.kind == "Activation" or spec.config.get("activation", "linear") == "linear"
        assert not spec.kind.startswith("Separable")
    again = normalize(LayerGraph.from_model(graph.to_model()))
    assert list(again.layers) == list(graph.layers)  # nothing is left to do


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_same_function_for_every_case(name):
    test_same_function(name)


def test_separable_becomes_depthwise_and_pointwise():
    model = built("separable")
    graph = normalized(model)
    assert kinds(graph) == [
        "DepthwiseConv2D", "Conv2D", "Activation", "DepthwiseConv2D", "Conv2D",
    ]  # fmt: skip
    second = [spec for spec in graph.layers.values() if spec.kind == "DepthwiseConv2D"][1]
    assert second.config["depth_multiplier"] == 2 and not second.config["use_bias"]
    original = model.layers[1]
    assert original.name in graph.layers  # the pointwise part keeps the name
    arrays = graph.layers[original.name].arrays()
    assert np.array_equal(arrays["kernel"], original.pointwise_kernel)
    assert np.array_equal(arrays["bias"], original.bias)


def test_activations_become_layers():
    model = built("softmax_activation")
    graph = normalized(model)
    assert kinds(graph) == ["Conv2D", "Reshape", "Activation"]  # the softmax moves to the end
    assert is_softmax(graph.spec_of(graph.outputs[0]))


def test_softmax_stays_before_a_reshape_that_moves_channels():
    inputs = keras.Input((2, 3, 4))
    y = layers.Reshape((2, 12))(layers.Softmax()(inputs))
    model = keras.Model(inputs, y)
    assert kinds(normalized(model)) == ["Softmax", "Reshape"]


def test_long_sums_become_chains():
    inputs = keras.Input((3,))
    parts = [layers.Dense(3)(inputs) for _ in range(4)]
    model = randomize(keras.Model(inputs, layers.Add(name="sum")([inputs, *parts])))
    graph = normalized(model)
    names = [name for name in graph.layers if graph.layers[name].kind == "Add"]
    assert sorted(names) == ["sum", "sum_1", "sum_2", "sum_3"]
    assert graph.spec_of(graph.outputs[0]).name == "sum"
    assert all(len(c.refs()) == 2 for c in graph.calls.values() if c.layer in names)
    assert_same_function(graph, model, 1e-6)


def test_sums_of_tensors_become_layers():
    graph = normalized(built("add_operator"))
    assert kinds(graph) == ["Conv2D", "Add", "Add", "ReLU"]
    inputs = keras.Input((3,))
    graph = normalized(keras.Model(inputs, inputs + 1.0))
    assert kinds(graph) == ["Rescaling"]  # a constant is no second tensor


def test_layers_without_weights_are_not_shared():
    model = built("relu_shared")
    graph = normalized(model)
    relus = [spec for spec in graph.layers.values() if spec.kind == "ReLU"]
    assert [spec.name for spec in relus] == ["re_lu", "re_lu_1"]
    assert all(spec.config["max_value"] == 6 for spec in relus)
    graph = normalized(built("shared_conv"))
    assert [len(graph.uses(name)) for name in graph.layers if "conv" in name] == [2, 1, 1, 1]


def test_what_counts_as_a_relu():
    limits = {
        layers.ReLU(): np.inf,
        layers.ReLU(6): 6.0,
        layers.ReLU(max_value=0.5): 0.5,
        layers.Activation("relu"): np.inf,
        layers.Activation("relu6"): 6.0,
        layers.Activation("tanh"): None,
        layers.Activation("linear"): None,
        layers.ReLU(negative_slope=0.1): None,
        layers.ReLU(threshold=1.0): None,
        layers.Softmax(): None,
    }
    for layer, limit in limits.items():
        assert is_relu(make_spec(layer)) == limit, layer.get_config()


def test_what_counts_as_a_softmax():
    assert is_softmax(make_spec(layers.Softmax()))
    assert is_softmax(make_spec(layers.Activation("softmax")))
    assert not is_softmax(make_spec(layers.Softmax(axis=1)))
    assert not is_softmax(make_spec(layers.Activation("relu")))
