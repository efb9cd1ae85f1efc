"""A small transformer from training to the integer file: words, places, attention, norms."""

import numpy as np
import pytest

import tfxp
from tests.parity.compare import Trio
from tfxp.keras import keras, layers, tf

WORDS, STEPS, CLASSES, WIDTH = 12, 8, 3, 16


def sentences(count, rng):
    """One keyword (0, 1 or 2) somewhere among other words; it only counts after a 3."""
    x = rng.integers(4, WORDS, (count, STEPS))
    places = rng.permuted(np.tile(np.arange(STEPS), (count, 1)), axis=1)[:, :2]
    y, other = rng.integers(0, CLASSES, (2, count))
    rows = np.arange(count)
    first, second = np.sort(places, axis=1).T
    x[rows, first], x[rows, second] = other, y
    x[rows, np.maximum(second - 1, 0)] = 3  # covers the other keyword where they are neighbours
    return x.astype(np.int32), y


def block(x, name):
    """Norm first, as in the transformers of today; the sums run past it."""
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(x)
    x = x + layers.MultiHeadAttention(2, 8, name=f"{name}_attention")(y, y)
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_dense_norm")(x)
    y = layers.Dense(2 * WIDTH, activation="relu", name=f"{name}_wide")(y)
    return x + layers.Dense(WIDTH, name=f"{name}_narrow")(y)


@pytest.fixture(scope="module")
def trained():
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    words = keras.Input((STEPS,), dtype="int32", name="words")
    places = layers.Embedding(STEPS, WIDTH, name="places")(tf.range(tf.shape(words)[1]))
    x = layers.Embedding(WORDS, WIDTH, name="meanings")(words) + places
    x = layers.LayerNormalization(name="last_norm")(block(x, "block"))
    x = layers.Flatten()(x)
    model = keras.Model(words, layers.Dense(CLASSES, activation="softmax", name="answer")(x))
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", ["accuracy"])
    rng = np.random.default_rng(5)
    x, y = sentences(1024, rng)
    model.fit(x, y, batch_size=64, epochs=12, verbose=0)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x[:256]))
    return model, qmodel, sentences(256, rng)


def accuracy(model, x, y):
    return float(np.mean(np.argmax(model.predict(x, verbose=0), -1) == y))


def test_from_training_to_a_verified_file(trained, tmp_path):
    model, qmodel, (x, y) = trained
    before = accuracy(model, x, y)
    assert before > 0.9
    assert accuracy(qmodel, x, y) > before - 0.03
    learned = {variable.name for variable in qmodel.trainable_variables}
    assert any("constant" in name for name in learned)  # places train on
    report = tfxp.export_tflite(qmodel, tmp_path / "words.tflite", verify=x)
    assert report.verification.exact and not report.notes
    assert report.verification.elements == CLASSES * len(x)
    qmodel.save(tmp_path / "words.keras")
    loaded = tfxp.load_model(tmp_path / "words.keras")
    assert np.array_equal(loaded(x), qmodel(x))


@pytest.mark.slow
def test_few_bits_are_the_same_everywhere(trained):
    _, qmodel, (x, _) = trained
    forms = Trio(qmodel)
    for precision in ("w4a6", "w3a4c"):
        tfxp.set_precision(qmodel, precision)
        found = forms.compare(x)
        assert found.keras_interpreter == found.keras_litert == 0 and not found.notes, precision
