"""Fine-tuning: learns, is reproducible, and leaves the model whole when it fails."""

import numpy as np
import pytest

import tfxp
from tfxp.data import load_digits
from tfxp.errors import ConfigError, DataError, ModelError
from tfxp.keras import keras, layers
from tfxp.training import FineTuneSettings, fine_tune


@pytest.fixture(scope="module")
def digits():
    """A trained float net, its statistics, and its data."""
    keras.utils.set_random_seed(3)
    data, test = load_digits("train"), load_digits("test")
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(data.x, data.y, 64, 8, verbose=0)
    return model, tfxp.measure_model(model, data.x), data, test


def accuracy(model, data):
    return float((model.predict(data.x, verbose=0).argmax(1) == data.y).mean())


@pytest.mark.parametrize("how", ["labels", "teacher", "both"])
def test_it_learns(digits, how):
    model, stats, data, test = digits
    qmodel = tfxp.quantize_model(model, "w2a2", stats)
    before = accuracy(qmodel, test)
    settings = FineTuneSettings(4, 1e-2, 32, teacher_weight=0.5 if how == "both" else 1.0)
    teacher = None if how == "labels" else model
    labels = None if how == "teacher" else data.y
    losses = fine_tune(qmodel, data.x, labels, settings, teacher=teacher)
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert accuracy(qmodel, test) > before + 0.01


def test_same_seed_same_weights(digits):
    model, stats, data, _ = digits
    results = []
    for _ in range(2):
        qmodel = tfxp.quantize_model(model, "w4a4", stats)
        fine_tune(qmodel, data.x[:256], data.y[:256], FineTuneSettings(1, augment="flip_crop"))
        results.append(qmodel.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_formats_and_float_model_stay(digits):
    model, stats, data, _ = digits
    weights = [w.copy() for w in model.get_weights()]
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    formats = tfxp.precision_of(qmodel)
    fine_tune(qmodel, data.x[:128], None, FineTuneSettings(1), teacher=model)
    assert tfxp.precision_of(qmodel) == formats
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_nan_puts_the_weights_back(digits):
    model, stats, data, _ = digits
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    before = [w.copy() for w in qmodel.get_weights()]

    def broken(x, training):
        return np.nan * model(x, training=training)

    with pytest.raises(ModelError, match="the loss became NaN in step 1 of epoch 1"):
        fine_tune(qmodel, data.x[:128], None, FineTuneSettings(1), teacher=broken)
    assert all(np.array_equal(a, b) for a, b in zip(before, qmodel.get_weights(), strict=True))


def test_what_cannot_be(digits):
    model, stats, data, _ = digits
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    with pytest.raises(DataError, match="neither labels nor a float model"):
        fine_tune(qmodel, data.x, None)
    x = data.x[:128].copy()
    x[100] = np.nan
    with pytest.raises(DataError, match="x of training data: got 64 values that are not finite"):
        fine_tune(qmodel, x, data.y[:128])
    with pytest.raises(DataError, match="got 10 samples; expected at least a batch of 64"):
        fine_tune(qmodel, data.x[:10], data.y[:10])
    for wrong in ({"epochs": 0}, {"learning_rate": 0.0}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match="expected positive numbers"):
            FineTuneSettings(**wrong)
    with pytest.raises(ConfigError, match="augment: got 'rotate'"):
        FineTuneSettings(augment="rotate")
    with pytest.raises(ConfigError, match="teacher_weight: got 2"):
        FineTuneSettings(teacher_weight=2)
