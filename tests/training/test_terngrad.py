"""TernGrad: three values, no bias, clipping, seeds; in Keras' fit and in a recipe."""

import numpy as np
import pytest
import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.keras import keras, layers
from tfxp.training import TernGrad, TrainingRecipe, train_recipe
from tfxp.training.fixed_point.terngrad import ternary_gradient


def draws(gradient, number, deviations=0.0):
    """Ternary gradients under many seeds, in float64."""
    one = tf.function(lambda seed: ternary_gradient(tf.constant(gradient), deviations, seed))
    return np.array([one(tf.constant([3, k], tf.int64)) for k in range(number)], np.float64)


def test_three_values_whose_mean_is_the_gradient():
    gradient = np.array([[-1.0, 0.25, 0.0], [0.5, -0.75, 0.125]], np.float32)
    found = draws(gradient, 3000)
    assert set(np.unique(found)) == {-1.0, 0.0, 1.0}
    assert (found[:, 0, 0] == -1).all() and (found[:, 0, 2] == 0).all()  # the largest; nothing
    deviation = np.sqrt(np.abs(gradient) * (1 - np.abs(gradient)) / len(found))
    assert (np.abs(found.mean(0) - gradient) <= 5 * deviation).all()


def test_outliers_are_clipped_before():
    gradient = np.zeros((10, 10), np.float32)
    gradient[0, 0], gradient[0, 1] = 100.0, 1.0
    limit = 2.5 * np.std(gradient)
    found = draws(gradient, 20, deviations=2.5)
    np.testing.assert_allclose(np.abs(found).max(), limit, rtol=1e-5)
    assert limit < 30


def model():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(2)])
    return network


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_fit_moves_kernels_by_three_steps_and_biases_freely(momentum):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    first, again, other = model(), model(), model()
    before = first.get_weights()
    for network, seed in ((first, 1), (again, 1), (other, 2)):
        network.compile(TernGrad(0.5, seed=seed, momentum=momentum), "mse")
        network.fit(x, x[:, :2], batch_size=8, epochs=1, verbose=0)
    moved = [new - old for new, old in zip(first.get_weights(), before, strict=True)]
    for kernel in moved[::2]:
        largest = np.abs(kernel).max()
        away = np.abs(kernel / largest)
        assert np.minimum(away, np.abs(away - 1)).max() < 1e-4
    assert len(np.unique(np.abs(moved[1]))) > 2
    for mine, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, same)
    assert any(
        (m != o).any() for m, o in zip(first.get_weights(), other.get_weights(), strict=True)
    )


def test_its_settings_are_saved(tmp_path):
    network = model()
    network.compile(TernGrad(0.5, 3.0, seed=7), "mse")
    network.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras").optimizer
    assert (loaded.clip_deviations, loaded.seed) == (3.0, 7)
    with pytest.raises(ConfigError, match="clip_deviations of TernGrad: got -1"):
        TernGrad(clip_deviations=-1)


def test_a_recipe_learns_with_it(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(512, 8)).astype("float32")
    y = (x[:, 0] > x[:, 1]).astype("int64")
    keras.Sequential([layers.Dense(8, activation="relu", input_shape=(8,)), layers.Dense(2)]).save(
        tmp_path / "net.keras"
    )
    recipe = TrainingRecipe(
        model={"file": str(tmp_path / "net.keras")}, optimizer="terngrad", momentum=0.0,
        learning_rate=0.1, schedule="constant", epochs=30, batch_size=32,
    )  # fmt: skip
    result = train_recipe(recipe, (x, y), (x, y), tmp_path / "out")
    assert result["accuracy"] > 0.85
