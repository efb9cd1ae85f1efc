"""Recurrent layers that are written out compute what Keras' own layers do."""

import numpy as np
import pytest

from tests.cases import inputs_of, randomize
from tfxp.keras import keras, layers, tf
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize
from tfxp.transforms.normalize.unrolled import MOST_STEPS

RELU = {"activation": "relu"}
SETTINGS = {
    "plain": (layers.GRU, {}),
    "sequence": (layers.GRU, {"return_sequences": True}),
    "candidate behind the reset": (layers.GRU, {"reset_after": False}),
    "no bias": (layers.GRU, {"use_bias": False}),
    "from the end": (layers.GRU, {"go_backwards": True, "return_sequences": True}),
    "functions": (layers.GRU, {"activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    "simple": (layers.SimpleRNN, {"return_sequences": True}),
    "lstm": (layers.LSTM, {**RELU, "return_sequences": True}),
    "lstm from the end": (layers.LSTM, {**RELU, "go_backwards": True, "unit_forget_bias": False}),
}


def chain(*parts, shape=(4, 3), **options):
    x = inputs = keras.Input(shape, **options)
    for part in parts:
        x = part(x)
    return randomize(keras.Model(inputs, x))


def rewritten(model):
    graph = normalize(LayerGraph.from_model(model))
    return graph, graph.to_model()


def kinds(graph):
    return {spec.kind for spec in graph.layers.values()}


def values(model, x):
    return np.concatenate([np.ravel(y) for y in tf.nest.flatten(model(x))])


def check(model):
    graph, other = rewritten(model)
    assert not {"GRU", "SimpleRNN", "LSTM", "Bidirectional"} & kinds(graph)
    x = inputs_of(model, 5)
    wanted, found = values(model, x), values(other, x)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(1, np.abs(wanted).max()))
    assert model.output_names == other.output_names
    return graph, other


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_compute_what_the_layer_does(name):
    kind, settings = SETTINGS[name]
    check(chain(kind(5, **settings)))
    check(chain(layers.Bidirectional(kind(2, **{**settings, "go_backwards": False}))))


@pytest.mark.parametrize("kind", [layers.GRU, layers.SimpleRNN, layers.LSTM])
def test_states_start_another_layer(kind):
    one, other = keras.Input((4, 3)), keras.Input((2, 3))
    y, *states = kind(5, return_state=True, name="coder")(one)
    z = kind(5, return_sequences=True, name="reader")(other, initial_state=states)
    check(randomize(keras.Model([one, other], [y, *states, z])))


def test_settings_of_the_training_are_kept():
    rules = {"kernel": "l2", "recurrent": "l1", "bias": "l2", "activity": "l1"}
    options = {f"{part}_regularizer": rule for part, rule in rules.items()}
    model = chain(layers.GRU(5, reset_after=False, name="gru", **options))
    x = inputs_of(model, 5)
    _, other = check(model)
    assert len(other.losses) > len(model.losses)  # two parts of each kernel
    _ = model(x), other(x)
    np.testing.assert_allclose(sum(other.losses), sum(model.losses), rtol=1e-5)
    frozen = layers.GRU(5, trainable=False)
    assert not rewritten(chain(frozen))[1].trainable_weights


def test_dropout_becomes_a_layer_and_that_of_states_is_named():
    model = chain(layers.GRU(5, dropout=0.25, recurrent_dropout=0.1, name="gru"))
    with pytest.warns(UserWarning, match="recurrent_dropout of 'gru'"):
        graph, _ = check(model)
    assert graph.layers["gru_dropout"].config["rate"] == 0.25


MASKED = {
    "gru": [layers.GRU(5)],
    "gru, candidate behind the reset": [layers.GRU(5, reset_after=False)],
    "simple, from the end": [layers.SimpleRNN(5, go_backwards=True)],
    "lstm": [layers.LSTM(5)],
    "one behind the other": [
        layers.Dropout(0.1), layers.LSTM(5, return_sequences=True), layers.GRU(4)
    ],
    "both ways": [layers.Bidirectional(layers.LSTM(3))],
    "both ways, sequences": [
        layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum"),
        layers.Bidirectional(layers.SimpleRNN(2)),
    ],
}  # fmt: skip


def words_of(*parts, steps=6):
    tokens = keras.Input((steps,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="words")(tokens)
    for part in parts:
        x = type(part).from_config(part.get_config())(x)
    return randomize(keras.Model(tokens, layers.Dense(3)(x)))


def some_tokens(steps=6):
    """Short and long rows, gaps inside and in front, and one with no token at all."""
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 9, (12, steps))
    rows[np.arange(steps) >= rng.integers(0, steps + 1, 12)[:, None]] = 0
    return np.concatenate([rows, [[0, 3, 0, 0, 5, 1], [0] * 6, [2] * 6]])[:, :steps]


@pytest.mark.parametrize("name", MASKED)
def test_steps_that_a_mask_leaves_out_keep_the_state(name):
    model = words_of(*MASKED[name])
    graph, other = rewritten(model)
    assert not {"GRU", "SimpleRNN", "LSTM", "Bidirectional"} & kinds(graph)
    assert not graph.layers["words"].config["mask_zero"]
    x = some_tokens()
    wanted = model(x).numpy()
    assert np.ptp(wanted, axis=0).max() > 0.1
    np.testing.assert_allclose(other(x), wanted, rtol=0, atol=2e-6 * max(1, np.abs(wanted).max()))
    assert all("mask" not in weight.name for weight in other.trainable_weights)


def sequence_of_words(tokens):
    return layers.Embedding(9, 4, mask_zero=True)(tokens)


def another_reader(tokens):
    words = sequence_of_words(tokens)
    both = [layers.GRU(3)(words), layers.RNN(layers.GRUCell(2))(words)]
    return layers.Concatenate()(both)


def a_state_in_front(tokens):
    words = sequence_of_words(tokens)
    return layers.GRU(4)(words, initial_state=layers.Flatten()(words[:, 0]))


@pytest.mark.parametrize("build", [another_reader, a_state_in_front])
def test_masks_that_must_stay(build):
    tokens = keras.Input((6,), dtype="int32")
    model = randomize(keras.Model(tokens, build(tokens)))
    graph, other = rewritten(model)
    assert "GRU" in kinds(graph)
    x = some_tokens()
    np.testing.assert_allclose(other(x), model(x), rtol=0, atol=2e-6)


KEPT = {
    "many steps": lambda: chain(layers.GRU(2), shape=(MOST_STEPS + 1, 3)),
    "unknown steps": lambda: chain(layers.GRU(2), shape=(None, 3)),
    "a state that outlives the call": lambda: chain(layers.GRU(2, stateful=True), batch_size=2),
    "a mask": lambda: chain(layers.Masking(-1.0), layers.SimpleRNN(2)),
    "an operator of LiteRT's": lambda: chain(layers.LSTM(2)),
}


@pytest.mark.parametrize("why", KEPT)
def test_layers_that_are_kept(why):
    graph, _ = rewritten(KEPT[why]())
    assert {"GRU", "SimpleRNN", "LSTM"} & kinds(graph)


def test_as_many_steps_as_the_limit():
    check(chain(layers.SimpleRNN(2), shape=(MOST_STEPS, 3)))
