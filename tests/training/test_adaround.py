"""Learned rounding: never worse than nearest, exact on the grid, and it survives what follows."""

import itertools

import numpy as np
import pytest

import tfxp
from tests.slow_cases import slow
from tfxp.errors import ConfigError
from tfxp.keras import keras, layers
from tfxp.quantization.read_network import plan_of, read_network, wrappers_of
from tfxp.training import RoundingSettings, calibrate_model
from tfxp.training.repair.adaround import LayerRounding, learn_rounding

QUICK = RoundingSettings(steps=40, batch_size=16, learning_rate=0.2)
SAMPLES = 48
NETS = {
    "conv2d": ((6, 6, 3), lambda: [layers.Conv2D(4, 3, activation="relu", name="net")]),
    "conv1d": ((8, 3), lambda: [layers.Conv1D(4, 3, padding="causal", name="net")]),
    "depthwise": (
        (6, 6, 3),
        lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2, name="net"), layers.ReLU(6.0)],
    ),
    "transposed": ((4, 4, 3), lambda: [layers.Conv2DTranspose(5, 3, strides=2, name="net")]),
    "dense": ((7,), lambda: [layers.Dense(5, activation="relu", name="net")]),
    "separable": ((6, 6, 3), lambda: [layers.SeparableConv2D(4, 3, activation="relu")]),
    "lstm": ((3, 3), lambda: [layers.LSTM(3, name="net")]),
    "bidirectional": ((3, 3), lambda: [layers.Bidirectional(layers.SimpleRNN(3))]),
    "tanh": ((7,), lambda: [layers.Dense(5, activation="tanh", name="net")]),
}


def network(name, precision="w3a6"):
    """(float model, its quantized self, inputs) of a tiny network around one layer."""
    shape, build = NETS[name]
    keras.utils.set_random_seed(1)
    middle = build()
    model = keras.Sequential([keras.Input(shape), *middle])
    if len(model.output_shape) > 2:
        model.add(layers.Flatten())
    model.add(layers.Dense(3, name="out"))
    x = np.random.default_rng(2).normal(size=(SAMPLES, *shape)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))
    return model, qmodel, x


def closing_outputs(model, plan, x):
    """Layer with a kernel -> output where it is quantized; by a model of their own."""
    names = {name: plan.points[name].layer for name in plan.weighted}
    taps = {name: model.get_layer(last).output for name, last in names.items()}
    return {name: y.numpy() for name, y in keras.Model(model.inputs, taps)(x).items()}


def learned(qmodel, x, settings=QUICK):
    plan, found = plan_of(qmodel), []
    learn_rounding(qmodel, plan.graph.to_model(), plan, [[x]], settings, found.append)
    return {each.layer: each for each in found}


CASES = [slow(name, "w3a6c" if index % 2 else "w3a6") for index, name in enumerate(NETS)]


@pytest.mark.parametrize(("name", "precision"), [*CASES, ("conv2d", "w3a6c")])
def test_never_worse_than_nearest_on_its_own_objective(name, precision):
    _, qmodel, x = network(name, precision)
    plan = plan_of(qmodel)
    wanted = closing_outputs(plan.graph.to_model(), plan, x)
    first = plan.weighted[0]
    nearest = closing_outputs(qmodel, plan, x)[first]
    found = learned(qmodel, x)
    assert list(found) == plan.weighted
    assert all(each.learned <= each.nearest for each in found.values())
    have = closing_outputs(qmodel, plan, x)
    power = (wanted[first] ** 2).mean()
    for output, error in ((nearest, found[first].nearest), (have[first], found[first].learned)):
        np.testing.assert_allclose(((output - wanted[first]) ** 2).mean() / power, error, rtol=1e-4)


def test_kernels_lie_on_their_grids_at_one_of_two_neighbours():
    model, qmodel, x = network("conv2d")
    before = {layer.name: layer.layer.get_weights()[0] for layer in wrappers_of(qmodel)
              if layer.layer.weights}  # fmt: skip
    learned(qmodel, x)
    for name, formats in read_network(qmodel).formats.items():
        if not formats.weights:
            continue
        (fmt,) = formats.weights
        codes = qmodel.get_layer(name).layer.get_weights()[0] / fmt.scale
        assert np.array_equal(codes, np.rint(codes))
        inside = np.clip(before[name] / fmt.scale, fmt.qmin, fmt.qmax)
        assert (np.abs(codes - inside) < 1).all()


def test_a_small_layer_reaches_the_best_of_all_choices():
    """Every floor and ceil of a dense layer with six weights, by brute force."""
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1, use_bias=False, name="net")])
    codes = np.array([-2, -1, 0, 1, 1, 2]) + np.array([0.4, 0.3, 0.45, 0.4, 0.35, 0.4])
    model.layers[0].kernel.assign(codes[:, None] / 2)
    x = np.random.default_rng(5).normal(1.0, 0.5, (256, 6)).astype(np.float32)
    pmap = tfxp.PrecisionMap.uniform("Q2.1", "Q4.11")
    qmodel = tfxp.quantize_model(model, pmap)
    kernel = model.layers[0].kernel.numpy()
    floor = np.floor(kernel * 2)
    wanted, read = x @ kernel, np.rint(x * 2048) / 2048
    errors = [
        np.square(read @ (np.clip(floor + np.reshape(up, (6, 1)), -4, 3) / 2) - wanted).mean()
        for up in itertools.product((0, 1), repeat=6)
    ]
    found = learned(qmodel, x, RoundingSettings(1000, 64, 0.1, weight=5.0))["net"]
    power = np.square(wanted).mean()
    assert found.learned * power <= min(errors) * 1.01 < 0.5 * found.nearest * power


@pytest.mark.parametrize("bits", [1, 3])
def test_wrpn_kernels(bits):
    keras.utils.set_random_seed(6)
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 1, activation="relu"),
         layers.Conv2D(4, 3, activation="relu", name="net"), layers.Flatten(), layers.Dense(3)]
    )  # fmt: skip
    x = np.random.default_rng(7).uniform(0, 1, (32, 6, 6, 2)).astype(np.float32)
    pmap = tfxp.wrpn_precision(model, bits, 8)
    qmodel = tfxp.quantize_model(model, pmap)
    found = learned(qmodel, x, RoundingSettings(300, 16, 0.1))
    if bits == 1:  # its scale is a mean of the weights, and would move with them
        assert not found
        return
    assert list(found) == ["net"]
    assert found["net"].learned < found["net"].nearest
    levels = 2 ** (bits - 1) - 1
    kept = qmodel.get_layer("net").layer.get_weights()[0]
    np.testing.assert_allclose(kept * levels, np.rint(kept * levels), atol=1e-5)
    assert np.array_equal(qmodel.get_layer("net").quantized_weights()["kernel"], kept)


def test_shared_layers_are_judged_on_all_their_calls():
    keras.utils.set_random_seed(8)
    a, b = keras.Input((5,)), keras.Input((5,))
    shared = layers.Dense(4, name="shared")
    model = keras.Model([a, b], layers.Concatenate()([shared(a), shared(b)]))
    x = [np.random.default_rng(seed).normal(size=(32, 5)).astype(np.float32) for seed in (1, 2)]
    qmodel = tfxp.quantize_model(model, "w3a6", tfxp.measure_model(model, x))
    plan, found = plan_of(qmodel), []
    learn_rounding(qmodel, plan.graph.to_model(), plan, [x], QUICK, found.append)
    (only,) = found
    calls = lambda net: [net.get_layer("shared").get_output_at(use) for use in (0, 1)]  # noqa: E731
    have, wanted = (
        np.concatenate([y.numpy() for y in keras.Model(net.inputs, calls(net))(x)])
        for net in (qmodel, model)
    )
    error = ((have - wanted) ** 2).mean() / (wanted**2).mean()
    np.testing.assert_allclose(only.learned, error, rtol=1e-4)


def test_masked_layers_keep_rounding_to_nearest():
    keras.utils.set_random_seed(8)
    model = keras.Sequential([keras.Input((4, 3)), layers.Masking(-1.0), layers.SimpleRNN(3)])
    x = np.random.default_rng(9).normal(size=(16, 4, 3)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w3a6", tfxp.measure_model(model, x))
    assert not learned(qmodel, x)


@pytest.fixture(scope="module")
def calibrated():
    model, qmodel, x = network("conv2d", "w2a8")
    result = calibrate_model(qmodel, x, method="adaround", rounding=QUICK)
    return qmodel, x, result


def test_calibration_learns_rounding_between_formats_and_biases(calibrated):
    _, _, result = calibrated
    assert list(result) == ["before", "after_formats", "after_rounding", "after_bias"]
    assert result["after_rounding"] < result["after_formats"]
    assert result["after_bias"] <= result["after_rounding"]


def test_what_was_learned_survives_saving_stripping_and_the_file(calibrated, tmp_path):
    qmodel, x, _ = calibrated
    y = qmodel.predict(x, verbose=0)
    qmodel.save(tmp_path / "net.keras")
    assert np.array_equal(tfxp.load_model(tmp_path / "net.keras").predict(x, verbose=0), y)
    plain = tfxp.strip(qmodel)
    for ours, theirs in zip(plain.get_weights(), tfxp.strip(plain_copy(qmodel)).get_weights(),
                            strict=True):  # fmt: skip
        assert np.array_equal(ours, theirs)
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite", verify=x)
    assert report.verification.exact
    precision = tfxp.precision_of(qmodel)
    tfxp.set_precision(qmodel, "w8a8")
    kernel = qmodel.get_layer("net")
    assert np.array_equal(kernel.quantized_weights()["kernel"], kernel.layer.get_weights()[0])
    tfxp.set_precision(qmodel, precision)
    assert np.array_equal(qmodel.predict(x, verbose=0), y)


def plain_copy(qmodel):
    """Quantized anew from its own weights and formats."""
    return tfxp.quantize_model(qmodel, tfxp.precision_of(qmodel))


def test_the_same_seed_gives_the_same_kernels():
    kernels = []
    for seed in (1, 1, 2):
        _, qmodel, x = network("dense")
        settings = RoundingSettings(20, 8, 0.1, seed=seed)
        task = LayerRounding(qmodel, plan_of(qmodel), "net")
        wanted = np.maximum(x @ qmodel.get_layer("net").layer.get_weights()[0], 0)
        kernels.append(task.learn(x, wanted, settings)["kernel"].numpy())
    assert np.array_equal(kernels[0], kernels[1])


def test_impossible_settings():
    with pytest.raises(ConfigError, match="got 0 steps"):
        RoundingSettings(steps=0)
    _, qmodel, x = network("dense")
    with pytest.raises(ConfigError, match="got method 'adaroun'; expected one of.*adaround"):
        calibrate_model(qmodel, x, method="adaroun")
