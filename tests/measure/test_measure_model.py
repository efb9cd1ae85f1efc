"""measure_model and count_model against NumPy and brute force."""

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of, randomize
from tfxp.errors import DataError, TfxpError
from tfxp.keras import keras, layers, tf
from tfxp.precision import ModelStats


def network():
    x = inputs = keras.Input((8, 6, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Flatten(name="flat")(x)
    return randomize(keras.Model(inputs, layers.Dense(5, activation="softmax", name="head")(x)))


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def x(model):
    return inputs_of(model, 50)


def same(ours, theirs):
    return ours.to_dict() == theirs.to_dict()


def close(stats, values):
    values = np.asarray(values, np.float64)
    assert stats.count == values.size
    assert np.allclose([stats.min, stats.max], [values.min(), values.max()], rtol=1e-4, atol=1e-4)
    assert np.isclose(stats.mean, values.mean(), rtol=1e-3, atol=1e-4)
    assert np.isclose(stats.power, (values**2).mean(), rtol=1e-3)


def test_against_numpy(model, x):
    stats = tfxp.measure_model(model, x)
    values = dict(zip(
        ("norm", "relu", "logits"),
        keras.Model(model.input, [model.get_layer("norm").output, model.get_layer("relu").output,
                                  model.get_layer("flat").output])(x), strict=True))  # fmt: skip
    close(stats["image"].activations, x)
    close(stats["conv"].pre_activations, values["norm"])
    close(stats["conv"].activations, values["relu"])
    zeros = np.mean(np.asarray(values["relu"]) == 0)
    assert np.isclose(stats["conv"].activations.zero_fraction, zeros, atol=1e-3) and zeros > 0.1
    logits = (
        np.asarray(values["logits"]) @ model.get_layer("head").kernel + model.get_layer("head").bias
    )
    close(stats["head"].activations, logits)
    close(stats["head"].weights, model.get_layer("head").kernel)
    close(stats["head"].bias, model.get_layer("head").bias)
    assert stats.samples == 50 and stats.aliases["norm"] == stats.aliases["relu"] == "conv"
    assert list(stats.layers) == ["image", "conv", "pool", "flat", "head"]


def test_batches_and_forms_of_data(model, x):
    wanted = tfxp.measure_model(model, x)
    dataset = tf.data.Dataset.from_tensor_slices((x, np.zeros(50))).batch(16)
    plain = tf.data.Dataset.from_tensor_slices(x).batch(7)
    for data in ([x], tf.constant(x), dataset, plain):
        got = tfxp.measure_model(model, data)
        assert got.samples == 50
        close(got["conv"].activations, _values(model, "relu", x))
        close(got["image"].activations, x)
        assert got["head"].weights.to_dict() == wanted["head"].weights.to_dict()
    seen = []
    tfxp.measure_model(model, x, batch_size=20, progress=lambda *done: seen.append(done))
    assert seen == [(20, 50), (40, 50), (50, 50)]
    seen.clear()
    tfxp.measure_model(model, plain, progress=lambda *done: seen.append(done))
    assert seen[-1] == (50, None)


def test_values_that_the_network_does_not_take():
    model = keras.Sequential([keras.Input((3,)), layers.Embedding(5, 2), layers.Flatten()])
    with pytest.raises(DataError, match=r"calibration data: got values .* is not in \[0, 5\)"):
        tfxp.measure_model(model, np.array([[0, 4, 5]]))


def _values(model, name, x):
    return keras.Model(model.input, model.get_layer(name).output)(x)


def test_batch_norm_kept(model, x):
    stats = tfxp.measure_model(model, x, fold_batch_norm=False)
    close(stats["conv"].weights, model.get_layer("conv").kernel)
    close(stats["conv"].activations, _values(model, "relu", x))
    folded = tfxp.measure_model(model, x, pre_activations=False)
    assert folded["conv"].pre_activations is None
    assert folded["conv"].weights.max_abs != stats["conv"].weights.max_abs


def test_several_inputs_go_by_order_or_name():
    model = built("shared_dense_two_inputs")  # its inputs are not in alphabetical order
    assert model.input_names == ["b_first", "a_second"]
    first, second = inputs_of(model, 20)
    second = second * 10
    forms = [
        [first, second],
        (first, second),
        {"a_second": second, "b_first": first},
        tf.data.Dataset.from_tensor_slices(((first, second), first)).batch(8),
        tf.data.Dataset.from_tensor_slices({"a_second": second, "b_first": first}).batch(8),
    ]
    for data in forms:
        stats = tfxp.measure_model(model, data)
        assert stats["b_first"].activations.max == first.max()
        assert stats["a_second"].activations.max == second.max()


def test_wrong_names_are_refused():
    model = built("shared_dense_two_inputs")
    first, second = inputs_of(model, 4)
    with pytest.raises(DataError, match="b_first"):
        tfxp.measure_model(model, {"a_second": second, "c": first})


def test_shared_layers_see_all_their_calls():
    dense = layers.Dense(3, name="d")
    a, b = keras.Input((4,)), keras.Input((4,))
    model = randomize(keras.Model([a, b], [dense(a), dense(b)]))
    x = inputs_of(model, 10)
    stats = tfxp.measure_model(model, x)
    close(stats["d"].activations, np.concatenate(model(x)))
    assert stats["d"].macs == 2 * 12 and len(stats["d"].inputs) == 2


def test_bad_data(model, x):
    bad = x.copy()
    bad[3, 2, 1, 0] = np.nan
    cases = [
        (x[:0], "no samples"),
        ([], "data"),
        (bad, "activations of 'image'.*Check the data"),
        (np.where(np.isnan(bad), np.inf, bad), "image"),
        (x[:, :4], "got samples of shape"),
        (x.reshape(50, -1), r"got samples of shape \(144,\); expected \(8, 6, 3\)"),
        ([x, x], "got 2 arrays; expected 1"),
        ("nonsense", "data"),
        (tf.data.Dataset.from_tensor_slices(x).batch(4).take(0), "no samples"),
    ]
    for data, message in cases:
        with pytest.raises(DataError, match=message):
            tfxp.measure_model(model, data)
    two = built("shared_dense_two_inputs")
    first, second = inputs_of(two, 6)
    with pytest.raises(DataError, match=r"\[5, 6\] samples"):
        tfxp.measure_model(two, [first[:5], second])


def test_overflow_inside_the_network_is_named(model, x):
    broken = keras.models.clone_model(model)
    broken.set_weights(model.get_weights())
    broken.get_layer("head").bias.assign(np.full(5, np.nan))
    with pytest.raises(TfxpError, match="head"):
        tfxp.measure_model(broken, x)


def test_stats_survive_json(model, x, tmp_path):
    stats = tfxp.measure_model(model, x)
    stats.save(tmp_path / "stats.json")
    again = ModelStats.load(tmp_path / "stats.json")
    assert same(stats, again)
    ours, theirs = (
        tfxp.quantize_model(model, "w4a4", again),
        tfxp.quantize_model(model, "w4a4", stats),
    )
    assert tfxp.precision_of(ours).to_dict() == tfxp.precision_of(theirs).to_dict()


# --- counting ------------------------------------------------------------------------------------


def brute_force_macs(layer, inputs, outputs):
    """One by one: every output element is a sum over kernel taps and input channels."""
    elements = int(np.prod(outputs[1:]))
    if isinstance(layer, layers.Dense):
        return elements * inputs[-1]
    taps = int(np.prod(layer.kernel_size))
    if isinstance(layer, layers.DepthwiseConv2D):
        return elements * taps
    return elements * taps * (inputs[-1] // layer.groups)


@pytest.mark.parametrize(
    "name",
    ["conv_strides", "conv_dilation", "conv_groups", "depthwise", "dense", "dense_rank_3",
     "dense_rank_4", "residual", "several_inputs_and_outputs"],
)  # fmt: skip
def test_macs_by_brute_force(name):
    model = built(name)
    counted = tfxp.count_model(model)
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
            macs = brute_force_macs(layer, layer.input_shape, layer.output_shape)
            found = counted[layer.name]
            assert found.macs == macs, layer.name
            assert found.weight_count == layer.weights[0].shape.num_elements()
            assert found.output_shape == tuple(layer.output_shape[1:])
            total += macs
    assert counted.macs == total > 0


def test_separable_and_kinds():
    counted = tfxp.count_model(built("separable"))
    by_kind = {}
    for layer in counted.layers.values():
        by_kind.setdefault(layer.kind, []).append(layer.macs)
    assert by_kind["depthwise_conv"] == [8 * 6 * 3 * 9, 4 * 3 * 12 * 4]
    assert by_kind["conv"] == [8 * 6 * 6 * 3, 4 * 3 * 4 * 12]


def test_counting_needs_no_data(model):
    counted = tfxp.count_model(model)
    assert counted.samples == 0 and counted["conv"].activations is None
    assert counted.outputs == ("head",)
    assert counted["head"].inputs == ("flat",) and counted["conv"].bias_count == 4
