"""AutoGraph reads users' layers and nothing of tfxp."""

import numpy as np
import tensorflow as tf
from tensorflow.python.autograph.impl import api

import tfxp
from tfxp.keras import keras, layers
from tfxp.quantization.layer_table import LAYERS
from tfxp.training import FineTuneSettings, fine_tune


@keras.utils.register_keras_serializable(package="test_autograph")
class Halved(layers.Layer):
    """Branches on a tensor, which only AutoGraph can trace."""

    def call(self, inputs):
        if tf.reduce_max(inputs) > 0:  # noqa: SIM108 what AutoGraph is for
            outputs = inputs / 2
        else:
            outputs = inputs
        return outputs


def test_nothing_of_ours_is_read(monkeypatch):
    read = []
    transform = api.PyToTF.transform

    def spied(self, function, *args):
        read.append(getattr(function, "__module__", ""))
        return transform(self, function, *args)

    monkeypatch.setattr(api.PyToTF, "transform", spied)
    x = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, "relu"), layers.Dense(3)])
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    fine_tune(qmodel, x, None, FineTuneSettings(1, batch_size=8), teacher=model)
    ours = [name for name in read if name.startswith("tfxp")]
    # A graph function itself is read all the same, the functions that it calls are not.
    assert len(ours) <= 4, ours


def test_branches_of_users_layers_work(monkeypatch):
    monkeypatch.setitem(LAYERS, "Halved", tfxp.LayerRole("float", "other"))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), Halved(), layers.Dense(2)])
    x = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    outputs = model.predict(x, verbose=0)
    np.testing.assert_allclose(qmodel.predict(x, verbose=0), outputs, atol=0.1)
