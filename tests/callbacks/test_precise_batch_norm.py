"""PreciseBatchNorm: statistics of the weights as they are, in fit and in recipes."""

import numpy as np
import pytest

import tfxp
from tfxp.callbacks import PreciseBatchNorm, update_batch_norm
from tfxp.errors import ConfigError, DataError
from tfxp.keras import keras, layers
from tfxp.training import TrainingRecipe, train_recipe

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, (64, 4)).astype("float32")


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            layers.Dense(3, input_shape=(4,)),
            layers.BatchNormalization(name="first"),
            layers.ReLU(),
            layers.Dense(2),
            layers.BatchNormalization(name="last"),
        ]
    )


def test_statistics_are_means_of_the_batches():
    model, parts = network(), np.split(X, 4)
    before = model.get_layer("first").gamma.numpy()
    update_batch_norm(model, parts)
    first = model.layers[0](X).numpy().astype(np.float64)
    batches = np.split(first, 4)
    layer = model.get_layer("first")
    np.testing.assert_allclose(layer.moving_mean, np.mean([b.mean(0) for b in batches], 0), 1e-5)
    variance = np.mean([b.var(0) for b in batches], 0)
    # a batch of 16: Keras' fused form takes the unbiased variance, the other the biased one
    ratio = layer.moving_variance.numpy() / variance
    assert np.allclose(ratio, 1, 1e-4) or np.allclose(ratio, 16 / 15, 1e-4)
    assert layer.momentum == 0.99
    np.testing.assert_array_equal(layer.gamma, before)


def test_one_batch_makes_inference_equal_training():
    model = network()
    update_batch_norm(model, [(X, None)])
    np.testing.assert_allclose(model(X), model(X, training=True), atol=1e-4)


def test_frozen_layers_keep_theirs_and_quantized_networks_are_taken():
    model = network()
    model.get_layer("first").trainable = False
    update_batch_norm(model, [X])
    np.testing.assert_array_equal(model.get_layer("first").moving_mean, np.zeros(3))
    assert np.abs(model.get_layer("last").moving_mean.numpy()).max() > 0.1
    model = network()
    stats = tfxp.measure_model(model, X, fold_batch_norm=False)
    quantized = tfxp.quantize_model(model, "w4a4", stats, fold_batch_norm=False)
    update_batch_norm(quantized, [X])
    exact = quantized(X, training=True).numpy()
    assert np.abs(quantized(X).numpy() - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("every", [1, 2])
def test_in_fit(every):
    model, seen = network(), []
    model.compile(keras.optimizers.SGD(0.0), "mse")

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(model.get_layer("first").moving_mean.numpy())

    statistics = PreciseBatchNorm([(X, None)] * 3, batches=2, every=every)
    model.fit(X, X[:, :2], epochs=3, batch_size=32, verbose=0, callbacks=[statistics, Watch()])
    wanted = model.layers[0](X).numpy().mean(0)
    due = [np.allclose(mean, wanted, atol=1e-4) for mean in seen]
    assert due == [every == 1, True, True]


def test_bad_settings():
    with pytest.raises(ConfigError, match="batches of PreciseBatchNorm: got 0"):
        PreciseBatchNorm([X], batches=0)
    with pytest.raises(DataError, match="got no batches"):
        update_batch_norm(network(), [])


def test_a_batch_that_cannot_be_run_changes_nothing():
    model = network()
    update_batch_norm(model, [X])
    before = model.get_weights()
    with pytest.raises(ValueError, match="shape"):
        update_batch_norm(model, [X[:8], X[:, :2]])
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model.get_layer("first").momentum == 0.99


def test_in_a_recipe(tmp_path):
    network().save(tmp_path / "net.keras")
    y = (X[:, 0] > X[:, 1]).astype("int64")
    fields = {
        "model": {"file": str(tmp_path / "net.keras")}, "optimizer": "sgd", "epochs": 2,
        "learning_rate": 0.01, "schedule": "constant", "batch_size": 32, "evaluate_every": 2,
    }  # fmt: skip
    plain = train_recipe(TrainingRecipe(**fields), (X, y), (X, y), tmp_path / "a")
    recipe = TrainingRecipe(**fields, callbacks={"PreciseBatchNorm": {"batches": 2}})
    precise = train_recipe(recipe, (X, y), (X, y), tmp_path / "b")
    losses = [run["epochs"][-1]["val_loss"] for run in (plain, precise)]
    assert losses[0] != losses[1]  # running means are far away after four steps
    a, b = (keras.models.load_model(tmp_path / f / "model.keras") for f in "ab")
    np.testing.assert_array_equal(a.layers[0].kernel, b.layers[0].kernel)
    outputs = b.layers[0](X).numpy()
    np.testing.assert_allclose(b.get_layer("first").moving_mean, outputs.mean(0), atol=1e-4)
    wrong = {**fields, "callbacks": {"PreciseBatchNorm": {"samples": 2}}}
    with pytest.raises(ConfigError, match="settings of PreciseBatchNorm"):
        train_recipe(TrainingRecipe(**wrong), (X, y), None, tmp_path / "c")
