"""Widening: a table of networks, function-preserving, fresh, and everything that is refused."""

import numpy as np
import pytest

from tests.transforms.networks import NETWORKS, conv_bn, inputs_of, randomize
from tfxp.errors import ConfigError, ModelError, UnsupportedLayerError
from tfxp.keras import keras, layers
from tfxp.transforms.wrpn import axes
from tfxp.transforms.wrpn.widen import widen_model

RESNET = "models/mlcommons+tiny/benchmark/training/image_classification/trained_models"


def widths(model):
    result = {}
    for layer in model.layers:
        config = layer.get_config()
        width = config.get("filters", config.get("units"))
        if width is not None:
            result[layer.name] = width
    return result


def outputs(model, x):
    got = model(x, training=False)
    return [np.asarray(y) for y in (got if isinstance(got, list | tuple) else [got])]


def assert_same_function(wide, narrow, x, tolerance=1e-5):
    for ours, theirs in zip(outputs(wide, x), outputs(narrow, x), strict=True):
        scale = max(np.abs(theirs).max(), 1)
        assert np.abs(ours - theirs).max() <= tolerance * scale


@pytest.fixture(scope="module")
def built():
    return {name: randomize(build()) for name, build in NETWORKS.items()}


@pytest.mark.parametrize("factor", [1.5, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_preserves_the_function(built, name, factor):
    narrow = built[name]
    before = narrow.get_weights()
    wide = widen_model(narrow, factor, "preserve", seed=3)
    assert wide.count_params() > narrow.count_params()
    assert_same_function(wide, narrow, inputs_of(narrow))
    assert [t.shape for t in wide.inputs] == [t.shape for t in narrow.inputs]
    assert [t.shape for t in wide.outputs] == [t.shape for t in narrow.outputs]
    for old, new in zip(before, narrow.get_weights(), strict=True):
        assert np.array_equal(old, new)


@pytest.mark.parametrize(
    "name", [name for name in NETWORKS if name not in ("nested", "preactivation")]
)
def test_layers_keep_names_classes_and_depth(built, name):
    narrow = built[name]
    wide = widen_model(narrow, 2)
    theirs = {layer.name: type(layer) for layer in narrow.layers}
    ours = {layer.name: type(layer) for layer in wide.layers}
    ours = {key: value for key, value in ours.items() if value is not layers.InputLayer}
    assert ours == {key: value for key, value in theirs.items() if value is not layers.InputLayer}


def test_widths_by_hand(built):
    def of(name, factor):
        return list(widths(widen_model(built[name], factor)).values())

    assert of("plain", 1.3) == [5, 8, 13, 3]  # 4 -> 5.2, 6 -> 7.8
    assert of("plain", 3) == [12, 18, 30, 3]
    assert sorted(of("residual", 2)) == [5, 8, 8, 8, 16, 16, 16]
    assert of("autoencoder", 1.5) == [12, 6, 16]
    assert of("groups", 1.5)[:3] == [12, 20, 12]  # 12 feed four groups: 4 * round(3 * 1.5)
    wide = widen_model(built["groups"], 2)
    convolutions = [layer for layer in wide.layers if isinstance(layer, layers.Conv2D)]
    assert [layer.groups for layer in convolutions] == [1, 2, 4, 16]
    assert convolutions[-1].filters == 32
    by_hand = [layer for layer in widen_model(built["depthwise"], 1.5).layers if layer.weights]
    depthwise = [layer for layer in by_hand if isinstance(layer, layers.DepthwiseConv2D)]
    assert [layer.depthwise_kernel.shape[2:] for layer in depthwise] == [(3, 2), (6, 2)]


def test_factors_of_the_paper():
    x = keras.Input((8, 8, 3))
    y = layers.GlobalAveragePooling2D()(conv_bn(conv_bn(conv_bn(x, 16), 32), 64))
    model = keras.Model(x, layers.Dense(10)(y))
    for factor, want in {
        1.1: [18, 35, 70],
        1.3: [21, 42, 83],
        2: [32, 64, 128],
        3: [48, 96, 192],
    }.items():
        assert list(widths(widen_model(model, factor)).values()) == [*want, 10]


def test_fresh_is_seeded_and_not_a_copy(built):
    narrow = built["residual"]
    a, b, c = (widen_model(narrow, 2, seed=seed) for seed in (1, 1, 2))
    kernels = [
        [layer.kernel.numpy() for layer in m.layers if isinstance(layer, layers.Conv2D)]
        for m in (a, b, c)
    ]
    assert all(np.array_equal(x, y) for x, y in zip(kernels[0], kernels[1], strict=True))
    assert not any(np.array_equal(x, y) for x, y in zip(kernels[0], kernels[2], strict=True))
    same_shape = [k for k in kernels[0] if k.shape == (3, 3, 8, 8)]
    assert len(same_shape) == 2 and not np.array_equal(*same_shape)
    for layer in a.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            assert (
                (gamma == 1).all() and (variance == 1).all() and not beta.any() and not mean.any()
            )
    # glorot_uniform of the wide shape, not of the narrow one
    kernel = max(kernels[0], key=np.size)
    limit = np.sqrt(6 / (np.prod(kernel.shape[:3]) + 9 * kernel.shape[3]))
    assert 0.9 * limit < np.abs(kernel).max() <= limit * 1.0001


def test_preserve_is_seeded(built):
    a, b, c = (
        widen_model(built["plain"], 1.5, "preserve", seed=s).get_weights() for s in (1, 1, 2)
    )
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


def test_copies_are_spread_evenly():
    free = [axes.Free(8), axes.Free(5)]
    axes.choose_copies(free, [20, 5], seed=0)
    counts = np.bincount(free[0].copies)
    assert counts.sum() == 20 and set(counts) == {2, 3}
    assert free[0].copies[:8].tolist() == list(range(8)) and free[1].copies.tolist() == list(
        range(5)
    )


def test_noise_is_small_seeded_and_only_on_copies(built):
    narrow, x = built["plain"], inputs_of(built["plain"])
    noisy = widen_model(narrow, 2, "preserve", noise=1e-3, seed=1)
    exact = widen_model(narrow, 2, "preserve", seed=1)
    again = widen_model(narrow, 2, "preserve", noise=1e-3, seed=1)
    difference = np.abs(outputs(noisy, x)[0] - outputs(narrow, x)[0]).max()
    assert 1e-7 < difference < 1e-2
    for a, b, c in zip(noisy.get_weights(), exact.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, c)
        if a.ndim == 4:
            half = a.shape[-1] // 2  # the first half are the originals
            assert np.array_equal(a[..., :half], b[..., :half])
            assert not np.array_equal(a[..., half:], b[..., half:])
            assert np.abs(a - b).max() < 6e-3 * b.std()


def test_noise_breaks_the_symmetry_of_training(built):
    """Without it two copies get the same updates for ever; with it they part."""
    x = inputs_of(built["plain"], 32)
    y = np.random.default_rng(1).integers(0, 3, 32)
    for noise, differ in [(0.0, False), (0.01, True)]:
        wide = widen_model(built["plain"], 2, "preserve", noise=noise, seed=1)
        wide.compile("adam", "sparse_categorical_crossentropy")
        wide.fit(x, y, epochs=3, verbose=0, shuffle=False)
        kernel = next(
            layer for layer in wide.layers if isinstance(layer, layers.Dense)
        ).kernel.numpy()
        narrow = kernel.shape[-1] // 2
        distance = [
            np.abs(kernel[:, [j]] - kernel[:, :narrow]).mean(0).min()
            for j in range(narrow, 2 * narrow)
        ]
        assert (min(distance) > 1e-5) == differ


def test_training_mode_statistics_are_preserved_too(built):
    narrow = built["residual"]
    wide = widen_model(narrow, 2, "preserve")
    x = inputs_of(narrow, 16)
    difference = np.abs(wide(x, training=True).numpy() - narrow(x, training=True).numpy()).max()
    assert difference < 1e-4


def test_wide_model_saves_and_trains(built, tmp_path):
    wide = widen_model(built["residual"], 1.5, "preserve")
    wide.save(tmp_path / "wide.keras")
    back = keras.models.load_model(tmp_path / "wide.keras")
    x = inputs_of(wide)
    assert np.array_equal(outputs(back, x)[0], outputs(wide, x)[0])
    back.compile("sgd", "mse")
    back.fit(x, np.zeros((4, 5)), verbose=0)


def test_factors_by_name_and_pattern():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, name="stem", padding="same")(x)
    z = layers.Conv2D(4, 3, name="block_a", padding="same")(y)
    y = layers.Add()([y, z])
    y = layers.Conv2D(6, 3, name="block_b")(y)
    y = layers.Conv2D(6, 3, name="block_c")(y)
    model = randomize(keras.Model(x, layers.Dense(2, name="head")(layers.Flatten()(y))))

    def of(factor):
        wide = widen_model(model, factor, "preserve")
        assert_same_function(wide, model, inputs_of(model))
        return list(widths(wide).values())

    assert of({"block_b": 2}) == [4, 4, 12, 6, 2]
    assert of({"block_.*": 2}) == [8, 8, 12, 12, 2]  # the stem is tied to block_a
    assert of({".*": 2, "block_c": 1}) == [8, 8, 12, 6, 2]
    assert of({".*": 2, "block_c": 3}) == [8, 8, 12, 18, 2]
    assert of({"block_c": 3, ".*": 2}) == [8, 8, 12, 12, 2]
    with pytest.raises(
        UnsupportedLayerError, match="'block_a' \\(factor 3, but tied to 'stem': 2\\)"
    ):
        of({"stem": 2, "block_a": 3})
    with pytest.raises(ConfigError, match="got 'steam', 'x.*', which match no layer.*mean 'stem'"):
        of({"steam": 2, ".*": 2, "x.*": 3})
    with pytest.raises(ConfigError, match="got 'head', which form the model's outputs"):
        of({"stem": 2, "head": 2})
    with pytest.raises(ConfigError, match="widen factor of 'block_\\[': .*expected a pattern"):
        of({"block_[": 2})
    assert of({"stem": 2, "head": 1}) == [8, 8, 6, 6, 2]


@pytest.mark.parametrize(
    "factor", [0, -1, -0.5, float("nan"), float("inf"), "2", None, True, {"conv": 0}, {"conv": "2"}]
)
def test_impossible_factors(built, factor):
    with pytest.raises(ConfigError, match="widen factor.*: got .*; expected a number above 0\\.$"):
        widen_model(built["plain"], factor)


def test_factors_that_change_nothing(built):
    names = list(widths(built["plain"]))
    with pytest.raises(
        ConfigError, match="which round to no change; expected a larger one"
    ) as caught:
        widen_model(built["plain"], 1.05)
    for name, width in zip(names[:2], (4, 6), strict=True):
        assert f"{name!r} ({width} * 1.05)" in str(caught.value)
    with pytest.raises(ConfigError, match="got 1 for every layer that could be widened"):
        widen_model(built["plain"], 1)
    # 10 * 1.05 = 10.5 rounds up, the two convolutions do not
    dense = names[2]
    assert widths(widen_model(built["plain"], {dense: 1.05}))[dense] == 11
    with pytest.raises(ConfigError, match="which round to no change"):
        widen_model(built["plain"], 0.01)


def test_narrowing_is_fresh_only(built):
    half = widen_model(built["residual"], 0.5)
    assert sorted(widths(half).values()) == [2, 2, 2, 4, 4, 4, 5]
    with pytest.raises(ConfigError, match="got one below 1 with initialization 'preserve'"):
        widen_model(built["residual"], 0.5, "preserve")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"initialization": "copy"}, "initialization: got 'copy'; expected one of fresh, preserve"),
        (
            {"initialization": "preserve", "noise": -1},
            "noise: got -1; expected a number of 0 or more",
        ),
        ({"initialization": "preserve", "noise": float("nan")}, "noise: got nan"),
        ({"noise": 0.1}, "noise: got it with initialization 'fresh'; expected 'preserve'"),
    ],
)
def test_impossible_options(built, options, text):
    with pytest.raises(ConfigError, match=text):
        widen_model(built["plain"], 2, **options)


class Reverse(layers.Layer):
    """A custom layer."""

    def call(self, x):
        return x[..., ::-1]


def test_impossible_spots_are_all_named():
    x = keras.Input((8, 8, 3), name="image")
    a = layers.Conv2D(3, 3, padding="same", name="a")(x)
    a = layers.Add(name="skip")([a, x])
    b = layers.Conv2D(4, 3, name="b")(a)
    b = Reverse(name="reverse")(b)
    c = layers.Conv2D(6, 3, name="c")(b)
    c = layers.Permute((3, 1, 2), name="turn")(c)
    d = layers.Conv2D(4, 3, name="d", data_format="channels_last")(c)
    e = layers.Lambda(lambda t: t * 2, name="twice")(d)
    f = layers.Conv2D(5, 1, name="f")(e)
    model = randomize(keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(f))))
    with pytest.raises(UnsupportedLayerError) as caught:
        widen_model(model, 2)
    text = str(caught.value)
    assert text.startswith("layers that cannot be widened: ")
    assert "'a' (tied to input 'image')" in text
    assert "'b' (tied to 'reverse' (Reverse), which tfxp cannot widen)" in text
    assert "'c' (tied to 'turn' (Permute), which" in text
    assert "'d' (tied to 'twice' (Lambda), which tfxp cannot widen)" in text
    assert "'f'" not in text and "Give them the factor 1" in text
    with keras.utils.custom_object_scope({"Reverse": Reverse}):
        wide = widen_model(model, {".*": 2, "[abcd]": 1}, "preserve")
    assert widths(wide)["f"] == 10
    assert_same_function(wide, model, inputs_of(model))


def test_what_depends_on_the_number_of_channels_cannot_be_preserved():
    x = keras.Input((6, 4))
    y = layers.Conv1D(4, 1, name="a")(x)
    y = layers.LayerNormalization(name="norm")(y)
    y = layers.Conv1D(4, 1, activation="softmax", name="gate")(y)
    model = randomize(keras.Model(x, layers.Dense(2)(y)))
    assert list(widths(widen_model(model, 2)).values()) == [8, 8, 2]
    with pytest.raises(
        UnsupportedLayerError, match="'a' \\(tied to 'norm'.*depends on how many"
    ) as c:
        widen_model(model, 2, "preserve")
    assert "'gate' (" in str(c.value)


def test_custom_layers_beside_fixed_channels_are_no_obstacle():
    x = keras.Input((8, 8, 3))
    y = Reverse()(x)
    y = layers.Conv2D(4, 3)(y)
    y = layers.Dense(2)(layers.GlobalAveragePooling2D()(y))
    model = randomize(keras.Model(x, Reverse()(y)))
    wide = widen_model(model, 2, "preserve")
    assert list(widths(wide).values()) == [8, 2]
    assert_same_function(wide, model, inputs_of(model))


def test_spatial_attention_keeps_its_one_channel():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(4, 3, name="a")(x)
    mask = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(y)
    model = randomize(
        keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Multiply()([y, mask]))))
    )
    with pytest.raises(UnsupportedLayerError, match="'mask' \\(its one channel is stretched"):
        widen_model(model, 2)
    wide = widen_model(model, {".*": 2, "mask": 1}, "preserve")
    assert_same_function(wide, model, inputs_of(model))


def test_groups_that_would_differ():
    x = keras.Input((6, 6, 4))
    a, b = layers.Conv2D(4, 1, name="a")(x), layers.Conv2D(4, 1, name="b")(x)
    y = layers.Conv2D(4, 3, groups=2, name="c")(layers.Concatenate()([a, b]))
    model = randomize(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))
    assert_same_function(widen_model(model, 1.5, "preserve"), model, inputs_of(model))
    with pytest.raises(UnsupportedLayerError, match="'c' \\(its groups would get different widths"):
        widen_model(model, {"a": 2, "b": 3})


def test_models_that_are_no_graph():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ModelError, match="without a layer graph"):
        widen_model(Subclassed(), 2)
    with pytest.raises(ModelError, match="got builtins.str"):
        widen_model("model.h5", 2)


def test_axes_that_cannot_be_joined():
    with pytest.raises(axes.AxisMismatchError, match="3 and 4 channels"):
        axes.unify(axes.Free(3), axes.Free(4))
    with pytest.raises(axes.AxisMismatchError, match="differently ordered"):
        axes.unify(axes.Repeat(axes.Free(3), 2), axes.Tile(axes.Free(3), 2))
    with pytest.raises(axes.AxisMismatchError, match="belong together"):
        axes.split(axes.Repeat(axes.Free(3), 2), 3)
    whole = axes.Free(4)
    with pytest.raises(axes.AxisMismatchError, match="contain themselves"):
        axes.unify(whole, axes.Concat([axes.Repeat(whole, 1)]))


def test_an_add_of_differently_ordered_channels_is_named():
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(2, 1, name="a")(x)
    y = layers.Flatten()(y)  # 16 positions of 2 channels
    z = layers.Conv2D(16, 4, name="b")(x)
    z = layers.Reshape((32,))(layers.DepthwiseConv2D(1, depth_multiplier=2)(z))
    model = randomize(keras.Model(x, layers.Dense(2)(layers.Add(name="sum")([y, z]))))
    with pytest.raises(
        UnsupportedLayerError, match="'a' \\(tied to 'sum' \\(Add\\), which joins diff"
    ):
        widen_model(model, 2)


@pytest.mark.parametrize("factor", [1.5, 2])
def test_resnet8_as_published(shared, factor):
    model = keras.models.load_model(shared / RESNET / "pretrainedResnet.h5", compile=False)
    wide = widen_model(model, factor, "preserve")
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3)).astype(np.float32)
    narrow_output, wide_output = model.predict(images, verbose=0), wide.predict(images, verbose=0)
    assert np.abs(narrow_output - wide_output).max() <= 1e-5
    want = [int(16 * m * factor) for m in (1, 1, 1, 2, 2, 2, 4, 4, 4)]
    assert sorted(widths(wide).values()) == sorted([*want, 10])
    assert len(wide.layers) == len(model.layers)
