"""Steps that a mask leaves out take no part in fine-tuning, as they take none in Keras' losses."""

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.data import Dataset, ModelData
from tfxp.keras import keras, layers, tf
from tfxp.training import FineTuneSettings, fine_tune
from tfxp.training.repair.answer_loss import AnswerLoss
from tfxp.training.repair.masked_losses import mask_of

STEPS, CLASSES, SAMPLES = 5, 4, 24


def tagger(activation="softmax"):
    tokens = keras.Input((STEPS,))
    x = layers.Embedding(9, 6, mask_zero=True)(tokens)
    x = layers.GRU(5, return_sequences=True)(x)
    return randomize(keras.Model(tokens, layers.Dense(CLASSES, activation, name="tags")(x)))


def samples(rng):
    x = rng.integers(1, 9, (SAMPLES, STEPS))
    x[np.arange(STEPS) >= rng.integers(1, STEPS + 1, SAMPLES)[:, None]] = 0
    return x, rng.integers(0, CLASSES, (SAMPLES, STEPS))


@pytest.mark.parametrize(
    ("activation", "loss"),
    [("softmax", "sparse_categorical_crossentropy"), ("linear", "mse"),
     ("sigmoid", "binary_crossentropy")],
)  # fmt: skip
def test_the_loss_is_that_of_keras(activation, loss, rng):
    model = tagger(activation)
    x, y = samples(rng)
    if loss != "sparse_categorical_crossentropy":
        y = rng.integers(0, 2, (SAMPLES, STEPS, CLASSES)).astype(np.float32)
        y *= 0.7 if loss == "mse" else 1  # values, not decisions
    model.compile(loss=loss)
    wanted = model.evaluate(x, y, batch_size=SAMPLES, verbose=0)
    outputs = model(x)
    for keras_loss in (None, loss):
        found = AnswerLoss.of(model, 0, y, keras_loss)
        assert float(found.loss(tf.constant(y), outputs, None)) == pytest.approx(wanted, rel=1e-5)
    unmasked = float(AnswerLoss.of(model, 0, y).loss(tf.constant(y), tf.identity(outputs), None))
    assert abs(unmasked - wanted) > 1e-3


def test_decisions_are_counted_where_steps_count(rng):
    model = tagger()
    x, y = samples(rng)
    outputs, found = model(x), AnswerLoss.of(model, 0, y)
    right = (outputs.numpy().argmax(-1) == y) & (x > 0)
    rows = found.targets(tf.constant(y)), found.kind.rows(outputs)
    assert float(found.kind.hits(*rows, mask_of(outputs))) == right.sum()


def test_labels_of_steps_that_do_not_count_change_nothing(rng):
    x, y = samples(rng)
    trained = []
    for filler in (0, 3):
        labels = np.where(x > 0, y, filler)
        model = tagger()
        quantized = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
        settings = FineTuneSettings(epochs=1, batch_size=8, seed=0)
        fine_tune(quantized, x, labels, settings, teacher=model)
        trained.append(quantized.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*trained, strict=True))


@pytest.mark.parametrize(
    ("y", "wanted"),
    [([3, 1, 2], [3, 1, 2]), ([[3], [1], [2]], [3, 1, 2]), ([[3, 0], [1, 0], [2, 1]], None),
     ([[0.5], [1.0], [2.0]], None)],
    ids=["numbers", "a column of numbers", "numbers of two steps", "values"],
)  # fmt: skip
def test_answers_of_every_shape(y, wanted):
    answers = np.array(y)
    found = ModelData((Dataset(np.zeros((3, 2)), answers, "data"),)).answers()
    assert np.array_equal(found, answers if wanted is None else wanted)
