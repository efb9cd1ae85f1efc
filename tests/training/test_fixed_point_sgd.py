"""The optimizer against exact integers and fractions; saving; what it refuses."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tests.slow_cases import slow
from tests.training.exact import quantize, update
from tfxp.errors import ConfigError, PrecisionError
from tfxp.keras import keras, layers
from tfxp.training import FixedPointSGD, UpdatePrecision

# Layer 0 of the published configuration: B_W = 14, B_GW = 11 with r = 1/4, B_acc = 9.
LAYER0 = {"weights": "Q0.13", "weight_gradients": "Q-2.12", "accumulators": "Q-14.22"}
# The finest published accumulator.
FINEST = {"weights": "Q0.11", "weight_gradients": "Q-6.19", "accumulators": "Q-12.29"}
PUBLISHED_RATE = float(np.float32(1e-3))


def variable(values, name="layer/kernel"):
    return tf.Variable(np.asarray(values, np.float32), name=name)


def formats_of(names):
    precision = UpdatePrecision.from_dict(names, "layer")
    values = (precision.weights, precision.weight_gradients, precision.accumulators)
    return [(fmt.bits, fmt.fractional_bits) for fmt in values]


@pytest.mark.parametrize(
    ("names", "rate"), [(LAYER0, 2.0**-10), (FINEST, PUBLISHED_RATE)], ids=["layer 0", "finest"]
)
def test_a_thousand_steps_equal_exact_arithmetic(names, rate, rng):
    """No element of weights or accumulators ever differs from fractions."""
    size, steps = 6, 1000
    start = rng.uniform(-1, 1, size).astype(np.float32)
    kernel = variable(start)
    optimizer = FixedPointSGD(rate, {"layer": names})
    optimizer.build([kernel])
    w_format, g_format, acc_format = formats_of(names)
    spread = 2.0 ** (g_format[0] - g_format[1] - 2)
    gradients = rng.normal(0, spread, (steps, size)).astype(np.float32)
    step = tf.function(lambda g: optimizer.apply_gradients([(g, kernel)]))
    weights = [Fraction(float(v)) for v in start]
    held = [Fraction(0)] * size
    for gradient in gradients:
        step(tf.constant(gradient))
        for i, value in enumerate(gradient.tolist()):
            weights[i], held[i] = update(
                weights[i], held[i], value, rate, w_format, g_format, acc_format
            )
    scale = 2.0 ** -acc_format[1]
    codes = next(v for v in optimizer.variables if "accumulator" in v.name).numpy()
    assert kernel.numpy().tolist() == [float(w) for w in weights]
    assert (codes * scale).tolist() == [float(a) for a in held]
    assert len(set(codes.tolist())) > 1


def test_integers_do_not_drift():
    """All steps on the accumulator's grid: the sum of W and acc is an integer that never errs."""
    rate, steps = 2.0**-10, 1000
    kernel = variable([0.0, 0.25])
    optimizer = FixedPointSGD(rate, {"layer": {**LAYER0, "accumulators": "Q-14.22"}})
    optimizer.build([kernel])
    codes = np.random.default_rng(3).integers(-40, 40, (steps, 2))
    step = tf.function(lambda g: optimizer.apply_gradients([(g, kernel)]))
    total = np.array([0, 2**20], np.int64)  # in units of 2^-22
    for row in codes:
        step(tf.constant(row * 2.0**-12, tf.float32))
        total -= row  # lr * 2^-12 = 2^-22
    accumulator = next(v for v in optimizer.variables if "accumulator" in v.name).numpy()
    together = np.round(kernel.numpy().astype(np.float64) * 2**22).astype(np.int64) + accumulator
    assert together.tolist() == total.tolist()


def test_float32_would_drift():
    """Why codes are kept: the same sum in float32 loses what the finest accumulator holds."""
    weight, held, lost = np.float32(0.5), np.float32(0), 0
    exact = Fraction(1, 2)
    for _ in range(1000):
        total = np.float32(weight + np.float32(held + np.float32(2.0**-29)))
        exact += Fraction(1, 2**29)
        weight = np.float32(float(quantize(float(total), 12, 11)))
        held = np.float32(total - weight)
        lost += Fraction(float(weight)) + Fraction(float(held)) != exact
    assert lost > 900


def test_what_is_clipped_is_counted():
    names = {"weights": "Q0.3", "weight_gradients": "Q0.3", "accumulators": "Q-4.8"}
    kernel = variable([0.875, 0.0, -1.0, 0.5])
    optimizer = FixedPointSGD(1.0, {"layer": names})
    optimizer.build([kernel])
    optimizer.apply_gradients([(tf.constant([-0.5, 3.0, 0.5, 0.25]), kernel)])
    # 0.875 + 0.5 saturates at 0.875 and leaves 0.5 for an accumulator of range 1/16; 3.0 is held
    # at 0.875; -1 - 0.5 saturates at -1.
    assert kernel.numpy().tolist() == [0.875, -0.875, -1.0, 0.25]
    found = optimizer.saturation()["layer/kernel"]
    assert found == {
        "steps": 1, "weight_gradients": 0.25, "weights": 0.5, "accumulators": 0.5,
        "not_finite": 0, "accumulator_steps": 1.0,
    }  # fmt: skip


def test_the_tie_that_an_accumulator_cannot_hold_is_no_saturation():
    names = {"weights": "Q0.3", "weight_gradients": "Q0.7", "accumulators": "Q-4.8"}
    kernel = variable([-0.5])
    optimizer = FixedPointSGD(0.5, {"layer": names})
    optimizer.build([kernel])
    # -0.5 - 0.0625 is half way; away from zero to -0.625 leaves 1/16, one code above the format.
    optimizer.apply_gradients([(tf.constant([0.125]), kernel)])
    assert kernel.numpy().tolist() == [-0.625]
    accumulator = next(v for v in optimizer.variables if "accumulator" in v.name)
    assert accumulator.numpy().tolist() == [15]
    assert optimizer.saturation()["layer/kernel"]["accumulators"] == 0


def test_gradients_that_are_not_finite_change_nothing():
    kernel, bias = variable([0.5, -0.5]), variable([0.25], "layer/bias")
    optimizer = FixedPointSGD(0.5, {"layer": LAYER0}, momentum=0.5)
    optimizer.build([kernel, bias])
    bad = [(tf.constant([np.nan, 0.1]), kernel), (tf.constant([np.inf]), bias)]
    optimizer.apply_gradients(bad)
    assert kernel.numpy().tolist() == [0.5, -0.5]
    assert bias.numpy().tolist() == [0.25]
    assert optimizer.saturation()["layer/kernel"]["not_finite"] == 1


def test_without_accumulator_the_variable_is_the_float_shadow():
    kernel, bias = variable([0.3, -0.7]), variable([0.1], "layer/bias")
    optimizer = FixedPointSGD(0.125, {"layer": {"weight_gradients": "Q0.3"}})
    optimizer.build([kernel, bias])
    gradients = [(tf.constant([0.31, -2.0]), kernel), (tf.constant([0.7]), bias)]
    optimizer.apply_gradients(gradients)
    expected = np.float32([0.3, -0.7]).astype(np.float64) - 0.125 * np.array([0.25, -1.0])
    assert kernel.numpy().tolist() == expected.astype(np.float32).tolist()
    assert bias.numpy()[0] == np.float32(0.1) - np.float32(0.125) * np.float32(0.7)


def test_others_and_momentum():
    """Biases by the switch; with momentum the step is taken along the running sum of g."""
    names = {"weights": "Q1.6", "weight_gradients": "Q0.7", "accumulators": "Q-7.14"}
    beta = variable([0.5], "norm/beta")
    optimizer = FixedPointSGD(0.25, others=names, momentum=0.5)
    optimizer.build([beta])
    w_format, g_format, acc_format = formats_of(names)
    weight, held, velocity = Fraction(1, 2), Fraction(0), Fraction(0)
    for gradient in (0.3, -0.55, 0.01):
        optimizer.apply_gradients([(tf.constant([gradient], tf.float32), beta)])
        velocity = velocity / 2 + quantize(np.float32(gradient).item(), *g_format)
        total = weight + held - velocity / 4
        weight = quantize(total, *w_format)
        held = quantize(total - weight, *acc_format)
        assert beta.numpy()[0] == float(weight)
    assert "norm/beta" in optimizer.saturation()


def network():
    model = keras.Sequential(
        [
            layers.Dense(4, activation="relu", input_shape=(3,), name="block/first"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(2, name="second"),
        ]
    )
    names = {"weights": "Q0.7", "weight_gradients": "Q1.9", "accumulators": "Q-8.20"}
    rate = keras.optimizers.schedules.ExponentialDecay(0.25, 3, 0.5)
    precision = {"block/first": names, "second": names}
    model.compile(FixedPointSGD(rate, precision, momentum=0.5), "mse")
    return model


@pytest.mark.parametrize("name", ["model.keras", slow("model.h5")])
def test_saved_and_restored_exactly(name, tmp_path, rng):
    x, y = rng.normal(size=(24, 3)), rng.normal(size=(24, 2))
    model = network()
    model.fit(x, y, batch_size=8, verbose=0, shuffle=False)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.25 * 0.5 ** (2 / 3))
    model.save(tmp_path / name)
    loaded = keras.models.load_model(tmp_path / name)
    for one in (model, loaded):
        one.fit(x, y, batch_size=8, verbose=0, shuffle=False)
    pairs = zip(model.get_weights(), loaded.get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        assert (a.numpy() == b.numpy()).all()
    assert loaded.optimizer.saturation() == model.optimizer.saturation()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    path = checkpoint.save(tmp_path / "checkpoint")
    before = [v.numpy() for v in model.optimizer.variables]
    model.fit(x, y, batch_size=8, verbose=0)
    checkpoint.restore(path)
    assert all(
        (a == b.numpy()).all() for a, b in zip(before, model.optimizer.variables, strict=True)
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FixedPointSGD(momentum=1.0), ConfigError, "momentum: got 1.0"),
        (lambda: FixedPointSGD(rounding="up"), ConfigError, "rounding of FixedPointSGD"),
        (lambda: FixedPointSGD(weight_decay=0.1), ConfigError, "weight_decay of FixedPointSGD"),
        (
            lambda: FixedPointSGD(precision={"a": {"weight_gradients": 8}}),
            PrecisionError,
            "weight_gradients of a: got 8",
        ),
        (
            lambda: FixedPointSGD(precision={"a": {"accumulators": "Q0.7"}}),
            PrecisionError,
            "a: accumulators: got a format beside float weights",
        ),
        (
            lambda: FixedPointSGD(precision={"a": {"weights": "Q0.27", "accumulators": "Q0.30"}}),
            PrecisionError,
            "at most 24 bits",
        ),
        (
            lambda: FixedPointSGD(precision={"lauer": LAYER0}).build([variable([0.0])]),
            PrecisionError,
            "'lauer', which have no trainable kernel here; expected some of layer. Did you mean",
        ),
    ],
)
def test_what_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()
