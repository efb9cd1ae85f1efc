"""Keras models to graphs and back: the same outputs, every kind of model, clear refusals."""

import numpy as np
import pytest

from tests.cases import CASES, built, inputs_of, randomize
from tfxp.errors import ModelError
from tfxp.keras import keras, layers, tf
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, weight_names

TOPOLOGIES = [
    "sequential", "residual", "shared_conv", "shared_dense_two_inputs", "shared_two_outputs",
    "several_inputs_and_outputs", "dict_outputs", "nested", "nested_twice", "add_operator",
    "everything",
]  # fmt: skip


def flat(values):
    return [np.asarray(value) for value in tf.nest.flatten(values)]


def assert_same(ours, theirs):
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_round_trip(name):
    model = built(name)
    x = inputs_of(model, 3)
    before = model.get_weights()
    again = LayerGraph.from_model(model).to_model()
    ours, theirs = again(x, training=False), model(x, training=False)
    assert_same(ours, theirs)
    assert again.name == model.name
    assert [t.shape for t in again.inputs] == [t.shape for t in model.inputs]
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
    assert_same(before, model.get_weights())
    for layer in again.layers:
        assert layer not in model.layers


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in TOPOLOGIES])
def test_round_trip_of_every_case(name):
    test_round_trip(name)


def test_a_changed_copy_leaves_the_model_alone():
    model = built("residual")
    x = inputs_of(model, 2)
    before = model(x).numpy()
    graph = LayerGraph.from_model(model)
    for spec in graph.layers.values():
        spec.set_arrays({name: value + 1 for name, value in spec.arrays().items()})
    assert not np.array_equal(graph.to_model()(x), before)
    assert np.array_equal(model(x), before)


def test_operators_on_tensors_and_keyword_arguments():
    a, b = keras.Input((4, 4, 2)), keras.Input((4, 4, 2))
    y = tf.nn.relu(a * 2.0 - b) + tf.concat([a, b], -1)[..., 1:3]
    y = layers.Dropout(0.5)(y, training=False)
    y = tf.reduce_sum(y, axis=[1, 2], keepdims=True)
    model = keras.Model([a, b], y)
    x = inputs_of(model, 3)
    assert_same(LayerGraph.from_model(model).to_model()(x), model(x))


def test_layers_with_several_outputs():
    x = keras.Input((5, 3))
    sequence, state_h, state_c = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    gated = layers.Multiply()([state_h, state_c])
    model = keras.Model(x, [sequence, gated])
    graph = LayerGraph.from_model(model)
    assert {ref.index for call in graph.calls.values() for ref in call.refs()} == {0, 1, 2}
    x = inputs_of(model, 2)
    assert_same(graph.to_model()(x), model(x))


def test_300_layers_need_no_recursion():
    x = inputs = keras.Input((2,))
    for _ in range(300):
        x = layers.ReLU()(x)
    graph = LayerGraph.from_model(keras.Model(inputs, x))
    assert len(graph.calls) == 301
    graph.sort()
    value = np.float32([[-1, 2]])
    assert_same(graph.to_model()(value), np.maximum(value, 0))


def test_nested_models_lose_their_walls_and_names_stay_unique():
    graph = LayerGraph.from_model(built("nested"))
    assert [spec.kind for spec in graph.layers.values()] == [
        "InputLayer", "Conv2D", "Conv2D", "Add", "Conv2D",
    ]  # fmt: skip
    twice = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="d")])
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="d")], name="inner")
    x = keras.Input((3,))
    model = keras.Model(x, inner(twice(x)))
    graph = LayerGraph.from_model(model)
    assert sorted(graph.layers)[:2] == ["d", "d_1"]
    value = inputs_of(model, 2)
    assert_same(graph.to_model()(value), model(value))


def test_shared_layers_stay_shared():
    graph = LayerGraph.from_model(built("shared_conv"))
    (name,) = [name for name in graph.layers if len(graph.uses(name)) == 2]
    again = graph.to_model()
    assert len(again.get_layer(name).inbound_nodes) == 2
    graph = LayerGraph.from_model(built("nested_twice"))
    assert any(len(graph.uses(name)) == 2 for name in graph.layers)


def test_frozen_layers_and_types_survive():
    inputs = keras.Input((4,), dtype=tf.int32, name="codes")
    y = layers.Embedding(7, 3, trainable=False)(inputs)
    model = keras.Model(inputs, layers.Dense(2)(y))
    again = LayerGraph.from_model(model).to_model()
    assert again.inputs[0].dtype == tf.int32 and again.input_names == ["codes"]
    assert len(again.trainable_weights) == 2 and len(again.non_trainable_weights) == 1


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_models_without_a_graph_are_refused():
    for model in (keras.Sequential([layers.Dense(2)], name="mine"), Subclassed()):
        with pytest.raises(ModelError, match=r"model 'mine'.*expected a functional model") as error:
            LayerGraph.from_model(model)
        assert "build" in str(error.value)
    called = Subclassed()
    called(np.ones((1, 3), np.float32))
    with pytest.raises(ModelError, match="subclassed model"):
        LayerGraph.from_model(called)
    with pytest.raises(ModelError, match="expected a tf_keras"):
        LayerGraph.from_model(layers.Dense(2))
    inner = Subclassed()
    x = keras.Input((3,))
    with pytest.raises(ModelError, match="mine"):
        LayerGraph.from_model(keras.Model(x, inner(x)))


# --- editing -------------------------------------------------------------------------------------


def chain():
    x = inputs = keras.Input((4,), name="in")
    x = layers.Dense(4, name="a")(x)
    y = layers.ReLU(name="r")(x)
    model = keras.Model(inputs, layers.Add(name="sum")([x, y]))
    return randomize(model)


def test_questions_about_the_graph():
    graph = LayerGraph.from_model(chain())
    numbers = {call.layer: number for number, call in graph.calls.items()}
    a = Ref(numbers["a"])
    assert graph.spec_of(a).kind == "Dense"
    assert sorted(graph.consumers(a)) == sorted([numbers["r"], numbers["sum"]])
    assert graph.only_consumer(a) is None
    assert graph.only_consumer(Ref(numbers["r"])) == numbers["sum"]
    assert graph.only_consumer(Ref(numbers["sum"])) is None
    assert graph.is_output(Ref(numbers["sum"])) and not graph.is_output(a)
    assert [spec.name for _, _, spec in graph.in_order()] == ["in", "a", "r", "sum"]


def test_bypass_and_replace():
    model = chain()
    graph = LayerGraph.from_model(model)
    numbers = {call.layer: number for number, call in graph.calls.items()}
    graph.bypass(numbers["r"])
    assert "r" not in graph.layers
    x = inputs_of(model, 3)
    dense = keras.Model(model.input, model.get_layer("a").output)(x)
    assert_same(graph.to_model()(x), 2 * dense)
    graph.replace(Ref(numbers["sum"]), Ref(numbers["a"]))
    graph.sort()
    assert list(graph.layers) == ["in", "a"]
    assert_same(graph.to_model()(x), dense)


def test_added_layers_get_names_of_their_own():
    graph = LayerGraph.from_model(chain())
    specs = [LayerSpec("a", layers.ReLU, layers.ReLU().get_config()) for _ in range(2)]
    assert [graph.add_layer(spec).name for spec in specs] == ["a_1", "a_2"]
    assert specs[0].config["name"] == "a_1"


def test_absorbed_layers_are_remembered():
    graph = LayerGraph.from_model(chain())
    graph.layers["r"].absorb(graph.layers["sum"])
    graph.layers["a"].absorb(graph.layers["r"])
    assert graph.aliases()["sum"] in ("a", "r") and graph.aliases()["r"] == "a"


def test_weight_names():
    dense = layers.Dense(2, name="block/dense")
    dense.build((None, 3))
    assert weight_names(dense) == ["kernel", "bias"]
    gru = layers.Bidirectional(layers.GRU(2))
    gru.build((None, 4, 3))
    names = weight_names(gru)
    assert names[0] == "forward_layer.cell.kernel" and names[-1] == "backward_layer.cell.bias"
    stacked = layers.RNN([layers.LSTMCell(2), layers.LSTMCell(2)])
    stacked.build((None, 4, 3))
    assert len(set(weight_names(stacked))) == 6


def test_verbs_keep_shapes_and_readers():
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 3, name="conv")(inputs)
    model = keras.Model(inputs, layers.Add(name="sum")([layers.ReLU(name="relu")(x), x]))
    graph = LayerGraph.from_model(model)
    (conv,), (relu,) = graph.uses("conv"), graph.uses("relu")
    assert graph.shape_of(Ref(conv)) == graph.input_shape(relu) == (None, 2, 2, 3)
    assert graph.shape_of(Ref(conv, 1)) == ()
    behind = graph.insert_behind(Ref(conv), layers.Activation("tanh", name="relu"))
    assert graph.spec_of(behind).name == "relu_1" and graph.shape_of(behind) == (None, 2, 2, 3)
    assert graph.consumers(Ref(conv)) == [behind.call]
    assert sorted(graph.consumers(behind)) == sorted([relu, *graph.uses("sum")])
    before = graph.insert_before(relu, layers.Reshape((12, 1, 1)), (None, 12, 1, 1))
    assert graph.input_shape(relu) == (None, 12, 1, 1) and graph.calls[relu].refs() == [before]
    spec = graph.spec_of(behind)
    spec.become(layers.ReLU(6.0, name="limit"))
    assert (spec.kind, spec.name, spec.config["name"]) == ("ReLU", "relu_1", "relu_1")
