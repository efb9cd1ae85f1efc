"""Rescaling into WRPN's ranges: same outputs, weights in [-1, 1], ReLU outputs in [0, 1]."""

import numpy as np
import pytest

from tests.transforms.networks import NETWORKS, conv_bn, inputs_of, randomize
from tfxp.errors import ConfigError, DataError, ModelError, UnsupportedLayerError
from tfxp.keras import keras, layers, tf
from tfxp.measure import measure_model
from tfxp.transforms.wrpn.rescale import rescale_for_wrpn

RESNET = "models/mlcommons+tiny/benchmark/training/image_classification/trained_models"
NORMS = (layers.BatchNormalization, layers.PReLU)


def outputs(model, x):
    got = model(x, training=False)
    return [np.asarray(y) for y in (got if isinstance(got, list | tuple) else [got])]


def assert_same_function(a, b, x, tolerance=1e-5):
    for ours, theirs in zip(outputs(a, x), outputs(b, x), strict=True):
        assert np.abs(ours - theirs).max() <= tolerance * max(np.abs(theirs).max(), 1)


def kernels(model, but=()):
    return {
        f"{layer.name}/{weight.name}": weight.numpy()
        for layer in model.layers
        for weight in layer.weights
        if weight.shape.rank > 1 and not isinstance(layer, NORMS) and layer.name not in but
    }


def largest_relus(model, x):
    """By a model of its own that returns every ReLU's output, whichever layer it is in."""
    found = {}
    for layer in model.layers:
        config = layer.get_config()
        if isinstance(layer, layers.ReLU) or config.get("activation") in ("relu", "relu6"):
            for node in layer.inbound_nodes:
                found[f"{layer.name}_{len(found)}"] = node.outputs
    values = keras.Model(model.inputs, found)(x, training=False)
    return {name: float(np.max(value)) for name, value in values.items()}


def last_layers(model):
    return [layer.name for layer in model.layers if any(layer.output is t for t in model.outputs)]


@pytest.fixture(scope="module")
def built():
    return {name: randomize(build()) for name, build in NETWORKS.items()}


# Gates whose sigmoid wants its input unscaled, in a layer without BatchNormalization.
GATES = {"crossed_concatenations": "dense.*", "squeeze_and_excite": "conv2d.*"}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in GATES])
def test_same_function_inside_the_ranges(built, name):
    model, x = built[name], inputs_of(built[name], 32)
    before = model.get_weights()
    small = rescale_for_wrpn(model, x)
    assert_same_function(small, model, inputs_of(model, 32, seed=99))
    last = last_layers(model)
    if name != "autoencoder":  # whose last layer is in front of a sum
        assert all(np.abs(kernel).max() <= 1 + 1e-6 for kernel in kernels(small, last).values())
    assert all(value <= 1 + 1e-5 for value in largest_relus(small, x).values())
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    "name", ["plain", "residual", "depthwise", "shared_layers", "groups", *GATES]
)
def test_added_batch_norms_let_weights_fill_the_range(built, name):
    model, x = built[name], inputs_of(built[name], 32)
    small = rescale_for_wrpn(model, x, add_batch_norm=True)
    assert_same_function(small, model, inputs_of(model, 32, seed=99))
    assert all(value <= 1 + 1e-5 for value in largest_relus(small, x).values())
    once = {layer.name for layer in small.layers if len(layer.inbound_nodes) == 1}
    free = {layer.name.removesuffix("_norm") for layer in small.layers if "_norm" in layer.name}
    for key, kernel in kernels(small).items():
        if key.split("/")[0] in once & free:
            assert np.abs(kernel).max() == pytest.approx(1, abs=1e-5), key


def test_added_batch_norms_change_little_in_training(built):
    model, x = built["plain"], inputs_of(built["plain"], 512)
    small = rescale_for_wrpn(model, x, add_batch_norm=True)
    norms = [layer for layer in small.layers if layer.name.endswith("_norm")]
    assert len(norms) == 2
    for norm in norms:
        source = keras.Model(small.inputs, norm.input)(x).numpy().reshape(-1, norm.input.shape[-1])
        moving_mean, moving_variance = norm.get_weights()[2:]
        np.testing.assert_allclose(moving_mean, source.mean(0), atol=1e-4)
        np.testing.assert_allclose(moving_variance, source.var(0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", GATES)
def test_gates_are_named_or_kept_float(built, name):
    model, x = built[name], inputs_of(built[name], 32)
    with pytest.raises(
        UnsupportedLayerError, match="weights of .* \\(its activation 'sigmoid' is no"
    ):
        rescale_for_wrpn(model, x)
    small = rescale_for_wrpn(model, x, keep_float=[GATES[name]])
    assert_same_function(small, model, x)


def test_scales_by_hand():
    """conv -> BN -> ReLU -> dense, with numbers that can be checked on paper."""
    x = keras.Input((1, 1, 1))
    y = layers.Conv2D(2, 1, name="conv")(x)
    y = layers.BatchNormalization(epsilon=0.5, name="bn")(y)
    y = layers.Dense(1, name="head")(layers.Flatten()(layers.ReLU()(y)))
    model = keras.Model(x, y)
    model.get_layer("conv").set_weights([np.array([[[[4.0, -2.0]]]]), np.array([1.0, 3.0])])
    model.get_layer("bn").set_weights(
        [np.array([6.0, 2.0]), np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([3.5, 0.5])]
    )
    model.get_layer("head").set_weights([np.array([[0.5], [2.0]]), np.array([0.25])])
    data = np.array([1.0, 2.0, -1.0]).reshape(3, 1, 1, 1)
    # conv 5, 9, -3; bn 6/2 (y - 1) + 1: 13, 25, -11. Second channel 1, -1, 5; 2/1 (y - 1): 8.
    small = rescale_for_wrpn(model, data)
    kernel, bias = small.get_layer("conv").get_weights()
    assert kernel.ravel().tolist() == [1.0, -0.5] and bias.tolist() == [0.25, 0.75]
    gamma, beta, mean, variance = small.get_layer("bn").get_weights()
    assert mean.tolist() == [0.25, 0.25] and variance.tolist() == [3.5 / 16, 0.5 / 16]
    np.testing.assert_allclose(beta, [1 / 25, 0], rtol=1e-6)
    wide = np.sqrt(variance.astype(np.float64) + 0.5)
    np.testing.assert_allclose(gamma / wide, [6 / 2 * 4 / 25, 2 / 1 * 4 / 25], rtol=1e-6)
    head = small.get_layer("head").get_weights()
    np.testing.assert_allclose(head[0].ravel(), [12.5, 50.0], rtol=1e-6)  # the last layer: free
    assert head[1].tolist() == [0.25]
    assert_same_function(small, model, data)


def test_batch_norm_without_gamma_or_beta():
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(4, 3, use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization(scale=False, name="no_gamma")(y))
    y = layers.Conv2D(4, 3, use_bias=False)(y)
    y = layers.ReLU()(layers.BatchNormalization(center=False, name="no_beta")(y))
    model = randomize(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))
    data = inputs_of(model, 32)
    small = rescale_for_wrpn(model, data)
    assert_same_function(small, model, data)
    assert [len(small.get_layer(n).get_weights()) for n in ("no_gamma", "no_beta")] == [4, 3]
    assert max(largest_relus(small, data).values()) == pytest.approx(1, abs=1e-5)


def test_limits_shrink_with_the_scale():
    x = keras.Input((6, 6, 2))
    y = layers.ReLU(6.0, name="a")(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
    y = layers.Activation("relu6", name="b")(layers.BatchNormalization()(layers.Conv2D(4, 3)(y)))
    y = layers.ReLU(max_value=2.0, threshold=0.5, negative_slope=0.1, name="c")(y)
    model = randomize(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))
    data = 40 * inputs_of(model, 16)
    small = rescale_for_wrpn(model, data)
    assert_same_function(small, model, data)
    assert small.get_layer("a").max_value == pytest.approx(1)  # 6 was reached
    assert type(small.get_layer("b")) is layers.ReLU
    assert max(largest_relus(small, data).values()) <= 1 + 1e-5


def test_shared_limit_with_two_scales_is_named():
    x = keras.Input((6, 6, 2))
    relu = layers.ReLU(6.0, name="both")
    a = relu(layers.BatchNormalization()(layers.Conv2D(4, 1)(x)))
    b = relu(layers.BatchNormalization()(layers.Conv2D(4, 1)(a)))
    model = randomize(keras.Model(x, layers.Dense(2)(layers.Flatten()(b))))
    with pytest.raises(UnsupportedLayerError, match="several scales in 'both'; expected one"):
        rescale_for_wrpn(model, inputs_of(model, 8))


def test_percentiles_let_the_rest_clip(built):
    model, x = built["residual"], inputs_of(built["residual"], 64)
    for q, wq in [(99, 100), (90, 95)]:
        small = rescale_for_wrpn(model, x, percentile=q, weight_percentile=wq)
        assert_same_function(small, model, x)
        norms = [layer.name for layer in small.layers if isinstance(layer, layers.ReLU)]
        for name in norms:
            values = keras.Model(small.inputs, small.get_layer(name).output)(x).numpy()
            assert (values > 1 + 1e-4).mean() <= (100 - q) / 100 + 0.003
        shares = [
            (np.abs(kernel) > 1).mean() for kernel in kernels(small, last_layers(model)).values()
        ]
        assert max(shares) <= (100 - wq) / 100 + 0.01
        assert (wq == 100) == (max(shares) == 0)


def test_statistics_do_as_well_as_data(built):
    model, x = built["residual"], inputs_of(built["residual"], 64)
    by_data = rescale_for_wrpn(model, x)
    by_stats = rescale_for_wrpn(model, measure_model(model, x))
    for a, b in zip(by_data.get_weights(), by_stats.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    other = measure_model(built["plain"], inputs_of(built["plain"], 8))
    with pytest.raises(DataError, match="got no statistics; expected those of this model"):
        rescale_for_wrpn(model, other)
    with pytest.raises(
        ConfigError, match="add_batch_norm: got statistics as data; expected inputs"
    ):
        rescale_for_wrpn(model, measure_model(model, x), add_batch_norm=True)


def test_a_dataset_is_data(built):
    model, x = built["residual"], inputs_of(built["residual"], 64)
    labels = np.zeros(64)
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(20)
    a = rescale_for_wrpn(model, data, percentile=99)
    b = rescale_for_wrpn(model, x, percentile=99)
    for ours, theirs in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_sum_that_feeds_itself_is_named():
    x = keras.Input((4,), name="x")
    y = layers.Dense(4, name="stem", use_bias=False)(x)
    z = layers.Dense(4, activation="relu", name="inner", use_bias=False)(y)
    z = layers.Dense(4, name="outer", use_bias=False)(z)
    y = layers.Add()([y, z])
    model = keras.Model(x, layers.Dense(2)(layers.ReLU()(y)))
    model.set_weights([np.full(w.shape, 3.0) for w in model.get_weights()])
    with pytest.raises(UnsupportedLayerError, match="'(inner|outer)' reach .*a sum without"):
        rescale_for_wrpn(model, np.ones((4, 4)))
    assert_same_function(
        rescale_for_wrpn(model, np.ones((4, 4)), add_batch_norm=True), model, np.ones((4, 4))
    )


def test_impossible_spots_are_all_named():
    x = keras.Input((6, 6, 3), name="x")
    y = layers.Conv2D(4, 1, activation="tanh", name="a")(x)
    y = layers.ReLU(name="early")(layers.Conv2D(4, 1, name="b")(y))
    y = layers.Lambda(lambda t: t + 1, name="plus")(y)
    y = layers.Conv2D(4, 1, name="c")(y)
    y = layers.ELU(name="elu")(y)
    model = randomize(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))
    model.set_weights([4 * w for w in model.get_weights()])
    with pytest.raises(UnsupportedLayerError) as caught:
        rescale_for_wrpn(model, inputs_of(model, 16))
    text = str(caught.value)
    assert text.startswith("layers that cannot be rescaled to [-1, 1] and [0, 1]: weights of 'a'")
    assert "its activation 'tanh' is no multiple of its input" in text
    assert "outputs of 'early' reach" in text and "tied to 'plus' (Lambda), which" in text
    assert "weights of 'c' reach" in text
    assert "(tied to 'elu' (ELU), whose output is no multiple" in text
    small = rescale_for_wrpn(model, inputs_of(model, 16), keep_float=["a", "b|early", "c"])
    assert_same_function(small, model, inputs_of(model, 16))


def test_softmax_behind_the_last_layer_is_no_obstacle():
    x = keras.Input((6, 6, 3))
    y = layers.Flatten()(conv_bn(x, 4))
    model = randomize(keras.Model(x, layers.Softmax()(layers.Dense(3)(y))))
    data = inputs_of(model, 16)
    assert_same_function(rescale_for_wrpn(model, data), model, data)


def test_dead_layers_keep_the_scale_one():
    x = keras.Input((4,))
    y = layers.Dense(3, activation="relu", name="dead")(x)
    model = keras.Model(x, layers.Dense(2)(y))
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    small = rescale_for_wrpn(model, np.ones((4, 4)))
    assert not any(w.any() for w in small.get_weights())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"percentile": 0}, "percentile: got 0; expected a number above 0, at most 100"),
        ({"percentile": 101}, "percentile: got 101"),
        ({"weight_percentile": float("nan")}, "weight_percentile: got nan"),
        ({"keep_float": ["dens", "x["]}, "keep_float: 'x\\[': .*expected a pattern"),
        ({"keep_float": ["convv", ".*"]}, "keep_float: got 'convv', which match no layer"),
    ],
)
def test_impossible_options(built, options, text):
    with pytest.raises(ConfigError, match=text):
        rescale_for_wrpn(built["plain"], inputs_of(built["plain"]), **options)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.zeros((0, 8, 8, 3)), "got no samples; expected at least one"),
        (np.zeros((4, 9, 8, 3)), "got samples of shape \\(9, 8, 3\\); expected \\(8, 8, 3\\)"),
        (np.full((4, 8, 8, 3), np.nan), "activations of .*: got NaN or infinity. Check the data"),
        ([np.zeros((4, 8, 8, 3))] * 2, "got 2 arrays; expected 1"),
        ({"pixels": np.zeros((4, 8, 8, 3))}, "Missing: .*Unknown: pixels"),
    ],
)
def test_bad_data(built, data, text):
    with pytest.raises(DataError, match=text):
        rescale_for_wrpn(built["plain"], data)


def test_what_is_no_model():
    with pytest.raises(ModelError, match="got builtins.str"):
        rescale_for_wrpn("model.h5", np.zeros((1, 4)))


@pytest.mark.parametrize("add_batch_norm", [False, True])
def test_resnet8_as_published(shared, add_batch_norm):
    model = keras.models.load_model(shared / RESNET / "pretrainedResnet.h5", compile=False)
    images = np.load(shared / "data/cifar10_train_first20k.npz")["x"][:192].astype(np.float32)
    small = rescale_for_wrpn(model, images[:128], add_batch_norm=add_batch_norm)
    difference = small.predict(images, verbose=0) - model.predict(images, verbose=0)
    assert np.abs(difference).max() <= 1e-5
    inner = kernels(small, last_layers(model))
    assert all(np.abs(kernel).max() <= 1 + 1e-6 for kernel in inner.values())
    full = [np.abs(kernel).max() > 0.999 for kernel in inner.values()]
    assert sum(full) == (9 if add_batch_norm else 7)  # two shortcuts have no BatchNormalization
    largest = largest_relus(small, images[:128])
    assert max(largest.values()) <= 1 + 1e-5 and min(largest.values()) > 0.3
    zeros = [
        (np.abs(kernel) < 0.5).mean() for kernel in kernels(model, last_layers(model)).values()
    ]
    assert np.mean(zeros) > 0.98  # what WRPN's ternary grid made of the trained network
