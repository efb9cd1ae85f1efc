"""Channels taken out: the function stays, ties are kept, formats follow."""

import numpy as np
import pytest

import tfxp
from tests.transforms.networks import NETWORKS, inputs_of, randomize
from tfxp.keras import keras, layers
from tfxp.sparsity import SparsityMap, remove_channels
from tfxp.sparsity.prunable import prunables


def silence(model, seed=3):
    """Half of the output channels of every kernel without weights; biases and all of zero."""
    rng = np.random.default_rng(seed)
    for layer in prunables(model).values():
        mask = layer.arranged(np.ones(layer.kernel.shape, bool))
        mask[..., rng.permutation(mask.shape[2])[: mask.shape[2] // 2]] = False
        layer.hold(mask, with_bias=True)
    return model


def size(model):
    return sum(int(np.prod(w.shape)) for w in model.weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays(name):
    model = silence(NETWORKS[name]())
    before, x = model.get_weights(), inputs_of(model)
    narrow = remove_channels(model)
    wanted, got = model.predict(x, verbose=0), narrow.predict(x, verbose=0)
    for w, g in zip(*([v] if isinstance(v, np.ndarray) else v for v in (wanted, got)), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)
    assert size(narrow) <= size(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def chain():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="a")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="d")(x)
    y = layers.Conv2D(16, 1, padding="same", name="b")(y)
    x = layers.ReLU(name="relu")(layers.Add(name="add")([x, y]))
    x = layers.Conv2D(8, 3, activation="relu", name="c")(x)
    x = layers.Flatten()(x)
    return randomize(keras.Model(inputs, layers.Dense(3, name="head")(x)))


def test_what_an_add_ties_goes_together():
    model = chain()
    for name, channels in (("a", [0, 1, 2]), ("b", [1, 2, 5]), ("c", [7])):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[..., channels] = 0
        bias[channels] = 0 if name == "b" else -1.0
        model.get_layer(name).set_weights([kernel, bias])
    kernel, bias = model.get_layer("d").get_weights()
    for sign, kept in ((1.0, [16, 16, 7]), (-1.0, [14, 14, 7])):  # d can make them, by its bias
        bias[:] = sign
        model.get_layer("d").set_weights([kernel, bias])
        narrow = remove_channels(model)
        assert [narrow.get_layer(n).filters for n in "abc"] == kept
    assert narrow.get_layer("head").kernel.shape[0] == 6 * 6 * 7
    x = inputs_of(model)
    np.testing.assert_allclose(narrow(x), model(x), rtol=1e-5, atol=1e-5)


def test_what_nobody_reads_goes_too():
    model = chain()
    kernel, bias = model.get_layer("head").get_weights()
    kernel.reshape(36, 8, 3)[:, 4] = 0
    model.get_layer("head").set_weights([kernel, bias])
    assert remove_channels(model).get_layer("c").filters == 7


@pytest.mark.parametrize("precision", ["w8a8", "w5a6c"])
def test_quantized_networks_keep_their_codes_and_formats(precision, tmp_path):
    model = chain()
    x = inputs_of(model, 16)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))
    tfxp.prune_model(qmodel, SparsityMap.parse("dense").updated({"c": "channels:0.5"}))
    narrow = remove_channels(qmodel)
    assert narrow.get_layer("c").layer.filters == 4
    np.testing.assert_array_equal(narrow.predict(x, verbose=0), qmodel.predict(x, verbose=0))
    report = tfxp.export_tflite(narrow, tmp_path / "net.tflite", verify=x)
    assert report.verification.exact
    mask = narrow.get_layer("c").layer.kernel_constraint.mask
    assert mask.shape == (3, 3, 16, 4) and mask.all()


def test_one_channel_is_left():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dense(2)])
    model.layers[0].set_weights([np.zeros((4, 3)), -np.ones(3)])
    narrow = remove_channels(model)
    assert prunables(narrow)[model.layers[0].name].kernel.shape == (4, 1)
    np.testing.assert_allclose(narrow(np.ones((1, 4))), model(np.ones((1, 4))))
