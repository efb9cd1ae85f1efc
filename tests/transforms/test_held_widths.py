"""Widths that functions of users' own and added losses hold as they are."""

import numpy as np
import pytest

from tests.transforms.networks import inputs_of, randomize
from tfxp.errors import UnsupportedLayerError
from tfxp.keras import keras, layers, tf
from tfxp.transforms.wrpn.widen import widen_model


@keras.utils.register_keras_serializable("wild")
def centered(x):
    return x - tf.reduce_mean(x, -1, keepdims=True)


def test_what_reads_all_channels_of_a_layer_keeps_its_width():
    x = inputs = keras.Input((4,))
    own = layers.Dense(3, activation=centered, name="own")(x)
    learned = layers.Dense(3, activation=layers.PReLU(), name="learned")(own)
    watched = layers.Dense(3, name="watched")(learned)
    free = layers.Dense(3, name="free")(watched)
    model = randomize(keras.Model(inputs, layers.Dense(2)(free)))
    model.add_loss(tf.reduce_mean(layers.Dense(1)(watched) ** 2))
    with pytest.raises(UnsupportedLayerError, match="'own'.*'learned'.*'watched'.*a loss") as error:
        widen_model(model, 2, "preserve")
    assert "'free'" not in str(error.value)
    factors = {".*": 2, "own|learned|watched": 1}
    wide = widen_model(model, factors, "preserve")
    units = {name: wide.get_layer(name).units for name in ("own", "learned", "watched", "free")}
    assert units == {"own": 3, "learned": 3, "watched": 3, "free": 6}
    x = inputs_of(model)
    assert np.abs(wide(x) - model(x)).max() < 1e-5
    assert abs(float(wide.losses[0]) - float(model.losses[0])) < 1e-5
