"""Fine-tuning on streams, on several outputs, by any loss, with weights."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import ConfigError, DataError, TrainingWarning
from tfxp.keras import keras, layers, tf
from tfxp.training import FineTuneSettings, fine_tune
from tfxp.training.repair.samples import training_set

SETTINGS = FineTuneSettings(1, batch_size=16, formats="fixed")


@pytest.fixture
def network(rng):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,), name="x")
    hidden = layers.Dense(8, activation="relu")(inputs)
    outputs = [layers.Dense(3, name="kind")(hidden), layers.Dense(1, name="size")(hidden)]
    x = rng.normal(size=(160, 5)).astype(np.float32)
    y = {"kind": (x[:, 0] > 0).astype(int) + (x[:, 1] > 1), "size": x[:, 2]}
    return inputs, outputs, x, y


def quantized(inputs, outputs, x):
    model = keras.Model(inputs, outputs)
    return tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x)), model


def test_streams_are_read_in_an_order_of_the_seed(network):
    inputs, outputs, x, y = network
    qmodel, _ = quantized(inputs, outputs[0], x)
    data = tfxp.open_data(tf.data.Dataset.from_tensor_slices((x, y["kind"])), {"x": (5,)})
    samples, _ = training_set(qmodel, data, None, None, SETTINGS)
    assert (samples.samples, samples.held, samples.steps) == (160, 16, 9)
    epochs = [[batch[0].numpy() for batch in samples.epoch(number)] for number in (0, 0, 1)]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[2])
    resumed = [batch[0].numpy() for batch in samples.epoch(1, start=4)]
    np.testing.assert_array_equal(epochs[2][4:], resumed)
    seen = {row.tobytes() for batch in epochs[0] for row in batch}
    assert seen == {row.tobytes() for row in x[16:]}


@pytest.mark.filterwarnings("ignore::tfxp.errors.TrainingWarning")
def test_streams_train(network):
    inputs, outputs, x, y = network
    qmodel, model = quantized(inputs, outputs[0], x)
    pairs = tf.data.Dataset.from_tensor_slices((x, y["kind"])).batch(10)
    data = tfxp.open_data(pairs, {"x": (5,)})
    settings = FineTuneSettings(4, 5e-2, 16, teacher_weight=0.0, formats="fixed")
    losses = fine_tune(qmodel, data, None, settings)
    assert losses[-1] < losses[0] and losses.kept
    with pytest.raises(DataError, match="labels in the batches and as y"):
        fine_tune(qmodel, data, y["kind"], SETTINGS)


def test_several_outputs_learn_together(network):
    inputs, outputs, x, y = network
    qmodel, _ = quantized(inputs, outputs, x)
    settings = FineTuneSettings(6, 5e-2, 16, teacher_weight=0.0, formats="fixed")
    before = [part.copy() for part in qmodel.predict(x, verbose=0)]
    losses = fine_tune(qmodel, x, y, settings)
    assert losses[-1] < losses[0] and losses.kept
    after = qmodel.predict(x, verbose=0)
    error = [float(np.mean((part[1][:, 0] - y["size"]) ** 2)) for part in (before, after)]
    assert error[1] < error[0]
    with pytest.raises(DataError, match="one for each of kind, size"):
        fine_tune(qmodel, x, y["kind"], settings)


def first_loss(qmodel, x, y, **options):
    weights = qmodel.get_weights()
    settings = FineTuneSettings(1, 1e-9, 16, teacher_weight=0.0, formats="fixed", held_back=0.0)
    with pytest.warns(TrainingWarning):
        losses = fine_tune(qmodel, x, y, settings, **options)
    qmodel.set_weights(weights)
    return losses[0]


def test_losses_and_weights(network):
    """At a rate of nearly nothing the loss of an epoch is that of the model, by NumPy."""
    inputs, outputs, x, y = network
    qmodel, _ = quantized(inputs, outputs[0], x)
    found, kind = qmodel.predict(x, verbose=0), y["kind"]
    shifted = found - found.max(1, keepdims=True)
    entropy = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(160), kind]
    weights = np.linspace(0, 2, 160)
    options = [
        ({}, entropy),
        ({"sample_weight": weights}, entropy * weights),
        ({"class_weight": {1: 3.0}}, entropy * np.where(kind == 1, 3, 1)),
        ({"loss": "sparse_categorical_crossentropy"}, None),
        ({"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}, entropy),
    ]
    for option, wanted in options:
        loss = first_loss(qmodel, x, kind, **option)
        if wanted is not None:
            np.testing.assert_allclose(loss, wanted.mean(), rtol=1e-4)
    one, _ = quantized(inputs, outputs[1], x)
    error = one.predict(x, verbose=0)[:, 0] - y["size"]
    np.testing.assert_allclose(
        first_loss(one, x, y["size"], loss="mae"), np.abs(error).mean(), 1e-4
    )


def test_bad_losses_and_weights(network):
    inputs, outputs, x, y = network
    qmodel, _ = quantized(inputs, outputs[0], x)
    for options, error, message in (
        ({"loss": "no_such_loss"}, ConfigError, "expected a loss of Keras"),
        ({"loss": {"other": "mse"}}, ConfigError, "expected outputs among kind"),
        ({"class_weight": {5: 1.0}}, ConfigError, "expected weights of 0 or more"),
        ({"sample_weight": np.ones(3)}, DataError, "expected 160 finite numbers"),
    ):
        with pytest.raises(error, match=message):
            fine_tune(qmodel, x, y["kind"], SETTINGS, **options)
