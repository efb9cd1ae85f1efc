"""BatchNormalization that training keeps: wherever it stands, the same outputs, and it learns."""

import numpy as np
import pytest

import tfxp
from tests.cases import inputs_of, randomize, registry
from tfxp.keras import keras, layers
from tfxp.quantization.plan import prepare


def chain(*steps, shape=(4, 4, 3)):
    return randomize(registry.chain(*steps, shape=shape))


def norm(**options):
    return layers.BatchNormalization(momentum=0.5, name="norm", **options)


def two_readers():
    inputs = keras.Input((4, 4, 3))
    y = layers.Conv2D(3, 1, name="conv")(inputs)
    return randomize(keras.Model(inputs, layers.Add()([norm()(y), y])))


PLACEMENTS = {
    "behind a convolution": lambda: chain(layers.Conv2D(4, 1), norm()),
    "first of all": lambda: chain(norm(), layers.ReLU()),
    "rank 2": lambda: chain(norm(), layers.ReLU(), layers.Dense(3), shape=(5,)),
    "rank 3": lambda: chain(norm(), layers.ReLU(), shape=(6, 5)),
    "rank 3, any length": lambda: chain(norm(), layers.ReLU(), shape=(None, 5)),
    "in front of a dense layer": lambda: chain(norm(), layers.Dense(3), shape=(5,)),
    "in front of a padded convolution": lambda: chain(norm(), layers.Conv2D(2, 3, padding="same")),
    "behind a ReLU": lambda: chain(layers.Conv2D(4, 1, activation="relu"), norm()),
    "behind a pool": lambda: chain(layers.MaxPooling2D(2), norm(scale=False)),
    "two readers": two_readers,
}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_it_is_kept_and_trains_as_before(placement):
    model = PLACEMENTS[placement]()
    x = np.random.default_rng(1).normal(2, 3, (32, *(d or 6 for d in model.input_shape[1:])))
    x = x.astype(np.float32)
    kept = tfxp.quantize_model(model, "wfaf", fold_batch_norm=False)
    for training in (False, True):  # the second moves the statistics of both
        difference = np.abs(kept(x, training=training) - model(x, training=training)).max()
        assert difference < 1e-5
    found = [v for v in kept.weights if "norm" in v.name and "moving_mean" in v.name]
    assert len(found) == 1
    moved = model.get_layer("norm").moving_mean
    assert np.allclose(found[0], moved, atol=1e-6) and np.abs(moved).max() > 0.1
    trainable = [v.name.split("/")[-1] for v in kept.trainable_variables if "norm" in v.name]
    wanted = [v.name.split("/")[-1] for v in model.get_layer("norm").trainable_variables]
    assert trainable == wanted  # no kernel of ones among them


def test_its_rule_and_its_folding_are_those_of_the_layer():
    model = chain(norm(), layers.ReLU(name="limit"), layers.Conv2D(3, 1, name="scores"))
    x = inputs_of(model, 32)
    folded, kept = prepare(model).points, prepare(model, fold=False).points
    assert list(folded) == list(kept) and folded["norm"].layer == kept["norm"].layer == "limit"
    qmodel = tfxp.quantize_model(model, "wfaf", fold_batch_norm=False)
    again = tfxp.quantize_model(qmodel, "wfaf")
    assert "BatchNormalization" not in [type(layer).__name__ for layer in again.layers]
    assert np.abs(again(x) - model(x)).max() < 1e-5
    assert any("norm" in v.name for v in again.trainable_variables)  # the factors it became


def test_one_for_several_tensors_is_folded():
    shared, inputs = norm(), keras.Input((4, 4, 3))
    y = layers.ReLU()(shared(inputs))
    model = randomize(keras.Model(inputs, layers.Add()([y, layers.ReLU()(shared(y))])))
    qmodel = tfxp.quantize_model(model, "wfaf", fold_batch_norm=False)
    x = inputs_of(model, 4)
    assert np.abs(qmodel(x) - model(x)).max() < 1e-4
