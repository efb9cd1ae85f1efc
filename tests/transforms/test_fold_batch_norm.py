"""Folding BatchNormalization: the same outputs wherever it stands."""

import numpy as np
import pytest

from tests.cases import inputs_of, randomize, registry
from tfxp.errors import UnsupportedLayerError
from tfxp.keras import keras, layers
from tfxp.quantization.plan import prepare
from tfxp.transforms.fold_batch_norm import affine, fold_batch_norm, follows_foldable
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize


def chain(*steps, shape=(6, 5, 3)):
    return randomize(registry.chain(*steps, shape=shape))


def bn(**options):
    return layers.BatchNormalization(**options)


def shared():
    norm, conv = bn(), layers.Conv2D(3, 1)
    inputs = keras.Input((6, 5, 3))
    return randomize(keras.Model(inputs, norm(conv(norm(inputs)))))


def siamese():
    """One branch for two images: every call of the convolution is followed by one of the norm."""
    images = [keras.Input((6, 5, 3)), keras.Input((6, 5, 3))]
    conv, norm = layers.Conv2D(3, 3), bn()
    return randomize(keras.Model(images, layers.Subtract()([norm(conv(x)) for x in images])))


def half_siamese():
    """The convolution is read without the norm, too."""
    image = keras.Input((6, 5, 3))
    conv, norm = layers.Conv2D(6, 1), bn()
    return randomize(keras.Model(image, layers.Add()([norm(conv(image)), conv(image)])))


def two_readers():
    inputs = keras.Input((6, 5, 3))
    y = layers.Conv2D(3, 3, padding="same")(inputs)
    return randomize(keras.Model(inputs, layers.Add()([bn()(y), y])))


def is_output():
    inputs = keras.Input((6, 5, 3))
    y = layers.Conv2D(3, 3)(inputs)
    return randomize(keras.Model(inputs, [bn()(y), y]))


# placement -> (network, the layers that are left)
PLACEMENTS = {
    "after conv": (lambda: chain(layers.Conv2D(4, 3), bn()), ["Conv2D"]),
    "after conv without bias": (
        lambda: chain(layers.Conv2D(4, 3, padding="same", use_bias=False), bn()), ["Conv2D"]),
    "after grouped conv": (lambda: chain(layers.Conv2D(6, 3, groups=3), bn()), ["Conv2D"]),
    "after depthwise": (
        lambda: chain(layers.DepthwiseConv2D(3, depth_multiplier=2), bn()), ["DepthwiseConv2D"]),
    "after separable": (
        lambda: chain(layers.SeparableConv2D(4, 3), bn()), ["DepthwiseConv2D", "Conv2D"]),
    "after dense": (lambda: chain(layers.Dense(4), bn(), shape=(5,)), ["Dense"]),
    "after dense of rank 3": (lambda: chain(layers.Dense(4), bn(), shape=(5, 6)), ["Dense"]),
    "no gamma": (lambda: chain(layers.Conv2D(4, 3), bn(scale=False)), ["Conv2D"]),
    "no beta": (lambda: chain(layers.Conv2D(4, 3), bn(center=False)), ["Conv2D"]),
    "neither": (lambda: chain(layers.Conv2D(4, 3), bn(scale=False, center=False)), ["Conv2D"]),
    "other epsilon": (lambda: chain(layers.Conv2D(4, 3), bn(epsilon=0.3)), ["Conv2D"]),
    "twice": (lambda: chain(layers.Conv2D(4, 3), bn(), bn()), ["Conv2D"]),
    "before valid conv": (lambda: chain(bn(), layers.Conv2D(4, 3)), ["Conv2D"]),
    "before dense": (lambda: chain(bn(), layers.Dense(4), shape=(5,)), ["Dense"]),
    "before both": (lambda: chain(bn(), layers.Conv2D(4, 3), bn()), ["Conv2D"]),
    "before padded conv": (
        lambda: chain(bn(), layers.Conv2D(4, 3, padding="same")), ["DepthwiseConv2D", "Conv2D"]),
    "before grouped conv": (
        lambda: chain(bn(), layers.Conv2D(6, 3, groups=3)), ["DepthwiseConv2D", "Conv2D"]),
    "after relu, before conv": (
        lambda: chain(layers.Conv2D(4, 1, activation="relu"), bn(), layers.Conv2D(2, 1)),
        ["Conv2D", "Activation", "Conv2D"]),
    "before relu": (
        lambda: chain(layers.Conv2D(4, 1), bn(), layers.ReLU()), ["Conv2D", "ReLU"]),
    "alone": (lambda: chain(bn()), ["DepthwiseConv2D"]),
    "alone, rank 2": (lambda: chain(bn(), shape=(7,)), ["Reshape", "DepthwiseConv2D", "Reshape"]),
    "after pool": (
        lambda: chain(layers.MaxPooling2D(2), bn()), ["MaxPooling2D", "DepthwiseConv2D"]),
    "axis named": (lambda: chain(layers.Conv2D(4, 3), bn(axis=3)), ["Conv2D"]),
    "shared": (shared, ["DepthwiseConv2D", "Conv2D", "DepthwiseConv2D"]),
    "shared branch": (siamese, ["Conv2D", "Conv2D", "Subtract"]),
    "half of a shared branch": (half_siamese, ["Conv2D", "DepthwiseConv2D", "Conv2D", "Add"]),
    "two readers": (two_readers, ["Conv2D", "DepthwiseConv2D", "Add"]),
    "conv is an output": (is_output, ["Conv2D", "DepthwiseConv2D"]),
}  # fmt: skip


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_outputs_stay(placement):
    build, left = PLACEMENTS[placement]
    model = build()
    assert any((w.numpy() < 0).any() for w in model.weights if "gamma" in w.name) or (
        "gamma" in placement or placement == "neither"
    )
    before = model.get_weights()
    graph = fold_batch_norm(normalize(LayerGraph.from_model(model)))
    assert [s.kind for _, _, s in graph.in_order() if s.kind != "InputLayer"] == left
    x = inputs_of(model, 4)
    ours, theirs = graph.to_model()(x), model(x)
    for a, b in zip(np.atleast_1d(ours), np.atleast_1d(theirs), strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-4
    for a, b in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_shared_rank_2_norm():
    norm, dense = bn(), layers.Dense(5)
    inputs = keras.Input((5,))
    model = randomize(keras.Model(inputs, norm(dense(norm(inputs)))))
    graph = fold_batch_norm(normalize(LayerGraph.from_model(model)))
    assert "BatchNormalization" not in [spec.kind for spec in graph.layers.values()]
    x = inputs_of(model, 4)
    assert np.abs(graph.to_model()(x) - model(x)).max() < 1e-4


def test_affine_by_hand():
    model = chain(bn(epsilon=0.5), shape=(2,))
    model.layers[1].set_weights([np.float32(v) for v in ([2, -3], [1, 5], [4, -1], [3.5, 0.5])])
    spec = LayerGraph.from_model(model).layers[model.layers[1].name]
    g, c = affine(spec)
    assert g.tolist() == [2 / 2, -3 / 1]
    assert c.tolist() == [1 - 1 * 4, 5 - (-3) * (-1)]


def test_folded_layers_are_aliases():
    model = chain(bn(name="first"), layers.Conv2D(3, 1, name="c"), bn(name="a"), bn(name="b"))
    graph = fold_batch_norm(normalize(LayerGraph.from_model(model)))
    assert graph.aliases() == {"first": "c", "a": "c", "b": "c"}


def test_kept_layers_stay():
    model = chain(layers.Conv2D(3, 1, name="c"), bn(name="a"), layers.Conv2D(3, 1, name="d"))
    graph = normalize(LayerGraph.from_model(model))
    numbers = {call.layer: number for number, call in graph.calls.items()}
    assert follows_foldable(graph, numbers["a"])
    fold_batch_norm(graph, keep=["a"])
    assert list(graph.layers)[1:] == ["c", "a", "d"]
    assert fold_batch_norm(graph).aliases() == {"a": "c"}


def test_other_axes_are_refused_by_quantization():
    for model in (chain(bn(axis=1)), chain(layers.ReLU(), bn(axis=2))):
        with pytest.raises(UnsupportedLayerError, match="batch_normalization"):
            prepare(model)
