"""Masks of steps as tensors: the same outputs as with Keras' own, in float and in integer files."""

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.slow_cases import sometimes
from tfxp.keras import keras, layers, tf
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.masks import mask_readers
from tfxp.transforms.normalize.normalize import normalize

STEPS, SIZE = 6, 4


def words(tokens, name="words"):
    return layers.Embedding(9, SIZE, mask_zero=True, name=name)(tokens)


def mean():
    tokens = keras.Input((STEPS,))
    x = layers.TimeDistributed(layers.Dense(3))(words(tokens))
    return tokens, layers.GlobalAveragePooling1D()(x)


def mean_that_keeps_its_axis():
    tokens = keras.Input((STEPS,))
    x = layers.Dropout(0.1)(words(tokens))
    return tokens, layers.Dense(2)(layers.GlobalAveragePooling1D(keepdims=True)(x))


def transformer():
    tokens = keras.Input((STEPS,))
    x = words(tokens)
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)]))
    y = layers.Dense(SIZE)(layers.Dense(8, activation="relu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))


def every_row():
    """Of queries that do not count too: they look at all steps alike."""
    tokens = keras.Input((STEPS,))
    x = words(tokens)
    return tokens, layers.Conv1D(3, STEPS)(layers.MultiHeadAttention(2, 3)(x, x))


def causal():
    x = keras.Input((STEPS, SIZE))
    return x, layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)


def causal_and_padded():
    tokens = keras.Input((STEPS,))
    x = words(tokens)
    y = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    return tokens, layers.Conv1D(3, STEPS)(y)


def given_as_numbers():
    x = keras.Input((STEPS, SIZE))
    mask = np.tri(STEPS, k=1, dtype=bool)[None]
    return x, layers.MultiHeadAttention(2, 3)(x, x, attention_mask=mask)


def given_by_place_and_padded():
    """Numbers as the fourth argument, and the masks of words besides."""
    tokens = keras.Input((STEPS,))
    x = words(tokens)
    mask = tf.constant(np.tri(STEPS, k=1, dtype=bool)[None])
    return tokens, layers.Conv1D(3, STEPS)(layers.MultiHeadAttention(2, 3)(x, x, x, mask))


def named_as_none():
    tokens = keras.Input((STEPS,))
    x = words(tokens)
    y = layers.MultiHeadAttention(2, 3)(x, x, key=None, attention_mask=None)
    return tokens, layers.Conv1D(3, STEPS)(y)


def from_one_sequence_to_another():
    """Arguments by name, so that they are sorted otherwise than they are masked."""
    inputs = [keras.Input((STEPS,)), keras.Input((STEPS,))]
    a, b = (words(tokens, name) for tokens, name in zip(inputs, "ab", strict=True))
    y = layers.MultiHeadAttention(2, 3)(query=a, value=b, key=b)
    return inputs, layers.Conv1D(3, STEPS)(y)


def only_values_padded():
    x, tokens = keras.Input((5, SIZE)), keras.Input((STEPS,))
    attention = layers.MultiHeadAttention(2, 3)
    return [x, tokens], attention(x, words(tokens), return_attention_scores=True)


def dot_attention():
    inputs = [keras.Input((STEPS,)), keras.Input((STEPS,))]
    a, b = (words(tokens, name) for tokens, name in zip(inputs, "ab", strict=True))
    y = layers.Attention(use_scale=True)([a, b])
    return inputs, layers.Conv1D(3, STEPS)(y)


def additive_attention():
    tokens = keras.Input((STEPS,))
    x = words(tokens)
    return tokens, layers.GlobalAveragePooling1D()(layers.AdditiveAttention()([x, x]))


def causal_dot_attention():
    x = keras.Input((STEPS, SIZE))
    return x, layers.Attention()([x, x], use_causal_mask=True)


def masking():
    x = keras.Input((STEPS, SIZE))
    return x, layers.Dense(2)(layers.GRU(3)(layers.Masking()(x)))


def two_recurrences():
    x = keras.Input((STEPS, SIZE))
    y = layers.LSTM(3, return_sequences=True)(layers.Masking()(x))
    return x, layers.Dense(2)(layers.LSTM(3)(y))


def both_masks():
    inputs = [keras.Input((STEPS,)), keras.Input((STEPS,))]
    a, b = (words(tokens, name) for tokens, name in zip(inputs, "ab", strict=True))
    return inputs, [layers.GlobalAveragePooling1D()(layers.Add()([a, b])), layers.GRU(3)(a)]


def search():
    """Recurrent both ways, then attention, then a mean, all of one mask."""
    tokens = keras.Input((STEPS,))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(words(tokens))
    return tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Attention()([x, x])))


def tags():
    """An output of every step; what does not count is zero behind Bidirectional."""
    tokens = keras.Input((STEPS,))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(words(tokens))
    return tokens, layers.TimeDistributed(layers.Dense(3, activation="softmax"), name="tags")(x)


def tags_of_one_direction():
    """The output of a layer that reads a mask, and another one behind it."""
    x = keras.Input((STEPS, SIZE))
    y = layers.GRU(3, return_sequences=True, zero_output_for_mask=True)(layers.Masking()(x))
    y = layers.SimpleRNN(3, return_sequences=True, name="tags")(y)
    return x, [y, layers.Dense(2, activation="sigmoid", name="scores")(y)]


def past_the_mask():
    """A convolution looks at all steps, those that do not count too."""
    tokens = keras.Input((STEPS,))
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True))(words(tokens))
    return tokens, layers.Conv1D(3, STEPS)(x)


def the_last_step():
    x = keras.Input((STEPS, SIZE))
    return x, layers.Dense(2)(layers.LSTM(3, zero_output_for_mask=True)(layers.Masking()(x)))


CASES = [
    mean, mean_that_keeps_its_axis, transformer, every_row, causal, causal_and_padded,
    given_as_numbers, given_by_place_and_padded, named_as_none, from_one_sequence_to_another,
    only_values_padded, dot_attention, additive_attention, causal_dot_attention, masking,
    two_recurrences, both_masks, search, tags, tags_of_one_direction, past_the_mask, the_last_step,
]  # fmt: skip
EXPORTED = ["tags", "transformer", "causal_and_padded", "masking", "from_one_sequence_to_another"]
BY_NAME = {build.__name__: build for build in CASES}


def samples(model, rng):
    """Rows with steps that do not count behind, in front and in between; some count none."""
    rows = rng.integers(1, 9, (40, STEPS))
    rows[np.arange(STEPS) >= rng.integers(0, STEPS + 1, 40)[:, None]] = 0
    rows[:2] = [[0, 3, 0, 0, 5, 1], [0] * STEPS]
    found = []
    for tensor in model.inputs:
        shown = rows[rng.permutation(len(rows))]
        if len(tensor.shape) == 3:
            vectors = rng.normal(size=(len(rows), *tensor.shape[1:])).astype(np.float32)
            steps = tensor.shape[1]
            shown = vectors * (shown[:, :steps, None] > 0)
        found.append(shown)
    return found


def outputs(model, x):
    return [np.asarray(part) for part in tf.nest.flatten(model(x, training=False))]


def built(name, rng):
    model = randomize(keras.Model(*BY_NAME[name]()))
    return model, samples(model, rng)


@pytest.mark.parametrize("name", BY_NAME)
def test_outputs_are_those_of_keras_own_masks(name, rng):
    model, x = built(name, rng)
    graph = normalize(LayerGraph.from_model(model))
    assert mask_readers(graph) == {}
    kept = {"MultiHeadAttention", "Attention", "AdditiveAttention", "GRU", "LSTM", "Masking"}
    assert not kept & {spec.kind for spec in graph.layers.values()}
    for ours, theirs in zip(outputs(graph.to_model(), x), outputs(model, x), strict=True):
        counts = np.isfinite(theirs)  # Keras divides by zero where no step counts
        assert counts.mean() > 0.5 and np.isfinite(ours).all()
        np.testing.assert_allclose(ours[counts], theirs[counts], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", sometimes(list(BY_NAME), EXPORTED))
def test_files_compute_what_is_quantized(name, rng, tmp_path):
    model, x = built(name, rng)
    quantized = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    report = tfxp.export_tflite(quantized, tmp_path / "q.tflite", verify=x)
    assert report.verification.exact and report.verification.elements > 0
    for have, wanted in zip(outputs(quantized, x), outputs(model, x), strict=True):
        shown = np.isfinite(wanted)
        assert np.abs(have - wanted)[shown].mean() < 0.1 * np.abs(wanted[shown]).mean()


@pytest.mark.parametrize("name", ["tags", "tags_of_one_direction"])
def test_losses_look_at_the_masks_of_outputs(name, rng, tmp_path):
    model, x = built(name, rng)
    y = [rng.random(size=part.shape).astype(np.float32) for part in outputs(model, x)]
    quantized = tfxp.quantize_model(model, "w12a14", tfxp.measure_model(model, x))
    assert quantized.output_names == model.output_names
    for each in (model, quantized):
        each.compile("sgd", "mse")
    wanted = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(quantized.evaluate(x, y, verbose=0), wanted, rtol=2e-3)
    unmasked = [np.square(a - b).mean() for a, b in zip(outputs(model, x), y, strict=True)]
    assert abs(np.sum(unmasked) - np.ravel(wanted)[0]) > 1e-3  # they make a difference
    quantized.save(tmp_path / "q.keras")
    again = tfxp.load_model(tmp_path / "q.keras")
    again.compile("sgd", "mse")
    assert again.evaluate(x, y, verbose=0) == quantized.evaluate(x, y, verbose=0)


def test_stripped_models_are_of_standard_layers(rng):
    for name in ("tags_of_one_direction", "transformer"):
        model, x = built(name, rng)
        quantized = tfxp.quantize_model(model, "w12a14", tfxp.measure_model(model, x))
        plain = tfxp.strip(quantized)
        assert not [type(layer) for layer in plain.layers if "tfxp" in type(layer).__module__]
        for have, wanted in zip(outputs(plain, x), outputs(quantized, x), strict=True):
            assert np.abs(have - wanted).max() < 0.02


def test_steps_that_do_not_count_are_not_looked_at(rng):
    """The smallest and the largest scores may be theirs: nothing of them comes through."""
    x, tokens = keras.Input((2, SIZE)), keras.Input((STEPS,))
    scores = layers.Attention()([x, words(tokens)], return_attention_scores=True)[1]
    model = randomize(keras.Model([x, tokens], scores))
    table = model.get_layer("words").embeddings
    rows = np.array([[3, 0, 5, 0, 0, 0]])
    query = rng.normal(size=(1, 2, SIZE)).astype(np.float32)
    for size in (-40.0, 40.0):
        values = table.numpy()
        values[0] = size * query[0, 0]
        table.assign(values)
        ours = normalize(LayerGraph.from_model(model)).to_model()([query, rows]).numpy()
        assert np.all(ours[..., [1, 3, 4, 5]] < 1e-6)
        np.testing.assert_allclose(ours, model([query, rows]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("reader", [layers.GRU(3), layers.GlobalAveragePooling1D()])
def test_sums_of_tensors_end_masks_and_sums_of_layers_do_not(reader, rng):
    """Keras hands masks on past Add and drops them at `+`, which becomes the same layer."""
    tokens = keras.Input((STEPS,))
    places = layers.Embedding(STEPS, SIZE)(np.arange(STEPS))
    for total in (words(tokens) + places, layers.Add()([words(tokens), words(tokens, "more")])):
        model = randomize(keras.Model(tokens, type(reader).from_config(reader.get_config())(total)))
        x = samples(model, rng)[0]
        x = x[x.any(axis=1)]
        ours = normalize(LayerGraph.from_model(model)).to_model()
        np.testing.assert_allclose(ours(x), model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("reader", [layers.GRU(3), layers.GlobalAveragePooling1D(), "attention"])
def test_masks_that_stay_reach_nobody_else(reader, rng):
    """A layer of the user's own way of stepping keeps the mask; behind `+` there is none."""
    tokens = keras.Input((STEPS,))
    y = words(tokens)
    kept = layers.RNN(layers.GRUCell(2))(y)
    x = y + layers.Embedding(STEPS, SIZE)(np.arange(STEPS))
    if reader == "attention":
        read = layers.Flatten()(layers.MultiHeadAttention(2, 3)(x, x))
    else:
        read = type(reader).from_config(reader.get_config())(x)
    model = randomize(keras.Model(tokens, [kept, read]))
    data = samples(model, rng)[0]
    ours = normalize(LayerGraph.from_model(model)).to_model()
    for have, wanted in zip(ours(data), model(data), strict=True):
        np.testing.assert_allclose(have, wanted, rtol=0, atol=1e-5)


def test_a_layer_that_reads_masked_and_unmasked_sequences(rng):
    tokens, x = keras.Input((STEPS,)), keras.Input((STEPS, SIZE))
    shared, y = layers.MultiHeadAttention(2, 3), words(tokens)
    both = [layers.Conv1D(2, STEPS)(shared(a, a)) for a in (y, x)]
    model = randomize(keras.Model([tokens, x], both))
    graph, data = normalize(LayerGraph.from_model(model)), samples(model, rng)
    assert "MultiHeadAttention" not in {spec.kind for spec in graph.layers.values()}
    for ours, theirs in zip(graph.to_model()(data), model(data), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_an_output_of_two_masks_keeps_both(rng):
    inputs = [keras.Input((STEPS,)), keras.Input((STEPS,))]
    a, b = (words(tokens, name) for tokens, name in zip(inputs, "ab", strict=True))
    total = layers.Add()([layers.GRU(SIZE, return_sequences=True)(a), b])
    model = randomize(keras.Model(inputs, layers.Dense(2)(total)))
    ours, x = normalize(LayerGraph.from_model(model)).to_model(), samples(model, rng)
    assert np.array_equal(ours(x)._keras_mask, model(x)._keras_mask)
    np.testing.assert_allclose(ours(x), model(x), rtol=0, atol=1e-5)


def test_steps_of_time_distributed_layers_are_not_cut_apart_where_masks_pass(rng):
    tokens = keras.Input((STEPS,))
    x = layers.TimeDistributed(layers.BatchNormalization())(words(tokens))
    model = randomize(keras.Model(tokens, layers.GRU(3)(x)))
    ours, x = normalize(LayerGraph.from_model(model)).to_model(), samples(model, rng)
    np.testing.assert_allclose(ours(x), model(x), rtol=0, atol=1e-5)


def test_masks_of_two_inputs_stay_where_one_of_them_must():
    """A reader of both masks keeps both in Keras' way, and with them their other readers."""
    inputs = [keras.Input((STEPS,)), keras.Input((STEPS,))]
    a, b = (words(tokens, name) for tokens, name in zip(inputs, "ab", strict=True))
    both = layers.GlobalAveragePooling1D(name="both")(layers.Add()([a, b]))
    kept = layers.RNN(layers.GRUCell(2), name="kept")(a)
    alone = layers.GlobalAveragePooling1D(name="alone")(b)
    graph = normalize(LayerGraph.from_model(keras.Model(inputs, [both, kept, alone])))
    assert mask_readers(graph) == {"both": "a", "kept": "a", "alone": "b"}


def test_joined_masks_stay(rng):
    """Steps put behind each other: neither mask is that of the result."""
    inputs = [keras.Input((STEPS,)), keras.Input((STEPS,))]
    a, b = (words(tokens, name) for tokens, name in zip(inputs, "ab", strict=True))
    joined = layers.Concatenate(axis=1, name="joined")([a, b])
    model = keras.Model(inputs, layers.GlobalAveragePooling1D(name="mean")(joined))
    randomize(model)
    graph = normalize(LayerGraph.from_model(model))
    assert mask_readers(graph) == {"mean": "joined"}
    x = [rows[rows.any(axis=1)][:20] for rows in samples(model, rng)]
    np.testing.assert_allclose(graph.to_model()(x), model(x), rtol=0, atol=1e-6)
