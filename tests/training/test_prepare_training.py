"""Models that train in fixed point: steps by hand, dual copies, files, the way to inference."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

import tfxp
from tests.training.exact import each, fractions, matmul, quantize, transpose, update
from tfxp.errors import ConfigError, PrecisionError
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization import BackwardSettings
from tfxp.training import forward_precision, prepare_training, saturation_of

RATE = 0.25
FIRST = LayerPrecision("Q0.4", "UQ1.3", None, weight_gradients="Q1.4",
                       activation_gradients="Q-1.5", accumulators="Q-5.9")  # fmt: skip
SECOND = LayerPrecision("Q0.5", "float", None, weight_gradients="Q2.3",
                        activation_gradients="Q1.3", accumulators="Q-6.9")  # fmt: skip
MAP = PrecisionMap(
    LayerPrecision("float", "float"),
    {"@inputs": LayerPrecision(activations="Q1.3"), "first": FIRST, "second": SECOND},
    "half_away",
)


def two_layers():
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            layers.Dense(4, activation="relu", input_shape=(3,), name="first", use_bias=False),
            layers.Dense(2, name="second", use_bias=False),
        ]
    )
    # Multiples of 1/64, so that float32 computes everything exactly.
    model.set_weights([np.round(w * 64) / 64 for w in model.get_weights()])
    return model


def data(rng, count=4):
    x = rng.integers(-9, 10, (count, 3)) / 8
    return x.astype(np.float32), (rng.integers(-16, 17, (count, 2)) / 8).astype(np.float32)


class ByHand:
    """The two-layer net in fractions."""

    def __init__(self, model):
        self.weights = [fractions(w) for w in model.get_weights()]
        self.held = [each(lambda _: Fraction(0), w) for w in self.weights]

    def step(self, x, y):
        x = each(lambda v: quantize(v, 5, 3), fractions(x))
        forward = [each(lambda v, f=f: quantize(v, f + 1, f), w)
                   for w, f in zip(self.weights, (4, 5), strict=True)]  # fmt: skip
        sums = matmul(x, forward[0])
        hidden = each(lambda v: quantize(max(v, 0), 4, 3, signed=False), sums)
        outputs = matmul(hidden, forward[1])
        count = len(y) * len(y[0])
        g_out = each(lambda z, t: 2 * (z - t) / count, outputs, fractions(y))
        g_out = each(lambda v: quantize(v, 5, 3), g_out)
        g_hidden = each(lambda v: quantize(v, 5, 5), matmul(g_out, transpose(forward[1])))
        # Straight through; zero where the ReLU or the clipping at 2 - 1/8 cuts.
        top = Fraction(15, 8) + Fraction(1, 16)
        passed = each(lambda g, s: g if 0 < s <= top else Fraction(0), g_hidden, sums)
        gradients = [matmul(transpose(x), passed), matmul(transpose(hidden), g_out)]
        formats = [((5, 4), (6, 4), (5, 9)), ((6, 5), (6, 3), (4, 9))]
        for i, (gradient, names) in enumerate(zip(gradients, formats, strict=True)):
            pairs = each(
                lambda w, a, g, names=names: update(w, a, g, RATE, *names),
                self.weights[i], self.held[i], gradient,
            )  # fmt: skip
            self.weights[i] = each(lambda pair: pair[0], pairs)
            self.held[i] = each(lambda pair: pair[1], pairs)


def test_steps_of_a_two_layer_net_by_hand(rng):
    """Every weight and every accumulator after every one of twelve steps."""
    model = two_layers()
    ready, hand = prepare_training(model, MAP, loss="mse", learning_rate=RATE), ByHand(model)
    moved = 0
    for _ in range(12):
        x, y = data(rng)
        before = ready.get_weights()
        ready.train_on_batch(x, y)
        hand.step(x, y)
        accumulators = [v for v in ready.optimizer.variables if "accumulator" in v.name]
        kernels = [layer.layer.kernel for layer in (ready.get_layer("first"), ready.layers[-1])]
        for i in range(2):
            assert kernels[i].numpy().tolist() == each(float, hand.weights[i])
            found = accumulators[i].numpy() * 2.0**-9
            assert found.tolist() == each(float, hand.held[i])
        moved += any((a != b).any() for a, b in zip(before, ready.get_weights(), strict=True))
    assert moved == 12
    assert set(saturation_of(ready)) == {"first", "second"}


def test_fit_in_a_graph_equals_eager_steps(rng):
    x, y = data(rng, 16)
    results = []
    for eagerly in (True, False):
        ready = prepare_training(two_layers(), MAP, loss="mse", learning_rate=RATE)
        ready.run_eagerly = eagerly
        ready.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        results.append(ready.get_weights())
    assert all((a == b).all() for a, b in zip(*results, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_saved_and_resumed_exactly(name, tmp_path, rng):
    x, y = data(rng, 16)
    ready = prepare_training(two_layers(), MAP, loss="mse", learning_rate=RATE)
    ready.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    ready.save(tmp_path / name)
    loaded = keras.models.load_model(tmp_path / name)
    assert tfxp.precision_of(loaded) == tfxp.precision_of(ready)
    for one in (ready, loaded):
        one.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    pairs = zip(ready.get_weights(), loaded.get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)


def test_precision_is_read_back_and_changed_without_tracing(rng):
    ready = prepare_training(two_layers(), MAP, loss="mse", learning_rate=RATE)
    found = tfxp.precision_of(ready).layers
    assert str(found["first"].activation_gradients) == "Q-1.5"
    assert str(found["second"].activation_gradients) == "Q1.3"
    wider = dataclasses.replace(FIRST, activation_gradients="Q-1.9")
    tfxp.set_precision(ready, MAP.updated({"first": wider}))
    assert str(tfxp.precision_of(ready).layers["first"].activation_gradients) == "Q-1.9"
    with pytest.raises(PrecisionError, match="layers first_relu: got a map that changes"):
        tfxp.set_precision(ready, MAP.updated({"first": LayerPrecision("Q0.4", "UQ1.3")}))


def test_batch_norm_and_biases_stay_float_and_the_rest_lies_on_grids(rng):
    keras.utils.set_random_seed(0)
    x = inputs = layers.Input((6, 6, 2), name="input")
    x = layers.Conv2D(3, 3, name="conv")(x)
    x = layers.ReLU(2.0, name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    model = keras.Model(inputs, layers.Dense(3, name="head")(layers.Flatten()(x)))
    rule = LayerPrecision("Q0.9", "UQ1.5", weight_gradients="Q0.12",
                          activation_gradients="Q-2.12", accumulators="Q-10.20")  # fmt: skip
    head = dataclasses.replace(rule, activations="float")
    pmap = PrecisionMap(rule, {"head": head, "@inputs": LayerPrecision(activations="Q2.5")})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ready = prepare_training(model, pmap, loss=loss, learning_rate=0.05)
    images = rng.normal(size=(32, 6, 6, 2)).astype(np.float32)
    labels = np.arange(32) % 3
    first = ready.evaluate(images, labels, verbose=0)
    ready.fit(images, labels, batch_size=8, epochs=20, verbose=0)
    assert ready.evaluate(images, labels, verbose=0) < 0.9 * first
    for name, attribute in (("conv", "kernel"), ("depthwise", "depthwise_kernel")):
        codes = getattr(ready.get_layer(name).layer, attribute).numpy() * 2**9
        assert (codes == np.round(codes)).all()
    gamma = ready.get_layer("norm").gamma.numpy() * 2**9
    assert (gamma != np.round(gamma)).any()
    assert set(ready.optimizer.saturation()) == {
        "conv/kernel", "depthwise/depthwise_kernel", "head/kernel",
    }  # fmt: skip
    assert set(saturation_of(ready)) == {"conv", "depthwise", "head"}


def dual(backward, rule=None):
    """A map without gradients: the shadow copy stays float, forward is rounded."""
    rule = rule or LayerPrecision("Q0.2", "Q1.2", rounding="half_away")
    pmap = PrecisionMap(LayerPrecision("float", "float"), {"first": rule})
    return prepare_training(
        two_layers(), pmap, loss="mse", learning_rate=RATE, backward=BackwardSettings(**backward)
    )


@pytest.mark.parametrize("weights", ["rounded", "float"])
def test_dual_copies_read_the_weights_they_should(weights):
    """Layer `second` is rounded; what reaches `first` went through the copy asked for."""
    model = two_layers()
    rule = LayerPrecision("Q0.2", "float", rounding="half_away")
    pmap = PrecisionMap(LayerPrecision("float", "float"), {"second": rule})
    settings = BackwardSettings(backward_weights=weights)
    ready = prepare_training(model, pmap, loss="mse", learning_rate=RATE, backward=settings)
    x = np.array([[1.0, -0.5, 0.25]], np.float32)
    y = np.array([[0.5, -0.25]], np.float32)
    first, second = (w.astype(np.float64) for w in model.get_weights())
    rounded = np.clip(np.sign(second) * np.floor(np.abs(second) * 4 + 0.5), -4, 3) / 4
    hidden = np.maximum(x @ first, 0)
    g_out = hidden @ rounded - y  # 2 (z - y) / 2
    carrier = rounded if weights == "rounded" else second
    g_first = x.T @ ((g_out @ carrier.T) * (hidden > 0))
    ready.train_on_batch(x, y)
    assert np.allclose(ready.get_layer("first").kernel, first - RATE * g_first, atol=1e-6)
    shadow = ready.get_layer("second").layer.kernel
    assert np.allclose(shadow, second - RATE * hidden.T @ g_out, atol=1e-6)


@pytest.mark.parametrize("saturation", ["zero", "pass"])
def test_saturation_mask_of_dual_copies(saturation):
    ready = dual({"activation_saturation": saturation, "weight_saturation": saturation})
    kernel = ready.get_layer("first").layer.kernel
    kernel.assign(np.array([[3.0, 0.5, 0.25, 0.1]] * 3, np.float32))
    before = kernel.numpy()
    ready.train_on_batch(np.full((2, 3), 0.5, np.float32), np.zeros((2, 2), np.float32))
    moved = (kernel.numpy() != before).any(axis=0)
    # The first column is beyond the weights' range, and its outputs beyond the activations'.
    assert moved[0] == (saturation == "pass")
    assert moved[1]


@pytest.mark.slow
def test_stochastic_baseline_keeps_float_accumulators(rng):
    rules = {
        name: dataclasses.replace(rule, accumulators="float") for name, rule in MAP.layers.items()
    }
    pmap = dataclasses.replace(MAP, layers=rules)
    settings = BackwardSettings(gradient_rounding="stochastic", seed=3)
    x, y = data(rng, 8)
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(9)
        ready = prepare_training(
            two_layers(), pmap, loss="mse", learning_rate=RATE, backward=settings
        )
        ready.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        runs.append(ready.get_layer("first").layer.kernel.numpy())
    assert (runs[0] == runs[1]).all()
    assert not any("accumulator" in v.name for v in ready.optimizer.variables)
    assert (runs[0] * 2**4 != np.round(runs[0] * 2**4)).any()


@pytest.mark.slow
def test_the_forward_part_goes_on_to_export(tmp_path, rng):
    """What was trained is exported, bit for bit, with the forward precisions of the map."""
    model = two_layers()
    ready = prepare_training(model, MAP, loss="mse", learning_rate=RATE)
    x, y = data(rng, 16)
    ready.fit(x, y, batch_size=4, epochs=3, verbose=0)
    forward = forward_precision(MAP).updated(
        {"@outputs": LayerPrecision(activations="Q3.4"), "first": LayerPrecision("Q0.4", "UQ1.3")}
    )
    forward = dataclasses.replace(forward, rounding="engine")
    quantized = tfxp.quantize_model(tfxp.strip(ready), forward)
    report = tfxp.export_tflite(quantized, tmp_path / "net.tflite", verify=x)
    assert report.verification.mismatches_interpreter == 0
    trained = ready.get_layer("first").layer.kernel.numpy()
    codes = tfxp.integer_weights(quantized)["first"].weights
    assert (np.asarray(codes) == trained * 2**4).all()


def test_what_cannot_be():
    eight = PrecisionMap(LayerPrecision("Q0.7", "Q1.6", activation_gradients=8))
    with pytest.raises(PrecisionError, match="activation_gradients of 'first': got 8"):
        prepare_training(two_layers(), eight)
    gradient = PrecisionMap(LayerPrecision("Q0.7", "Q1.6", weight_gradients=8))
    with pytest.raises(PrecisionError, match="weight_gradients of first: got 8"):
        prepare_training(two_layers(), gradient)
    with pytest.raises(ConfigError, match="backward_weights: got 'both'"):
        BackwardSettings(backward_weights="both")
    with pytest.raises(ConfigError, match="gradient_rounding"):
        BackwardSettings(gradient_rounding="nearest")


def test_what_is_not_trained_needs_no_formats():
    """A frozen layer, and the ones in front of a BatchNormalization that stands alone."""
    x = inputs = keras.Input((3,))
    for name in ("cold", "warm"):
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        x = layers.Dense(3, name=name, trainable=name == "warm")(layers.ReLU()(x))
    everywhere = PrecisionMap(FIRST, {"@inputs": LayerPrecision(activations="Q1.3")}, "half_away")
    ready = prepare_training(keras.Model(inputs, x), everywhere, loss="mse", learning_rate=RATE)
    assert list(ready.optimizer.precision) == ["warm"]
    before = ready.get_weights()
    ready.fit(np.ones((8, 3)), np.ones((8, 3)), epochs=1, verbose=0)
    names = [weight.name for weight in ready.weights]
    changed = [
        name
        for name, old, new in zip(names, before, ready.get_weights(), strict=True)
        if not np.array_equal(old, new)
    ]
    assert any("warm_norm" in name for name in changed)
    assert not any("cold/" in name or "depthwise" in name for name in changed)
