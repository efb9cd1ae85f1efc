"""Trained steps: the papers' gradients in plain loops, finite differences, exact powers of two."""

import math

import numpy as np
import pytest

from tfxp.errors import ConfigError
from tfxp.formats import FixedPointFormat
from tfxp.keras import keras, layers, tf
from tfxp.quantizers import (
    LEARNING_RULES,
    FormatContext,
    LearnedActivationQuantizer,
    LearnedWeightQuantizer,
)
from tfxp.quantizers.learned_step import power_of_two, step_of, trained_from

FORMATS = ("Q1.2", "Q0.3s", "UQ1.3", "Q0.1", "UQ0.1", "Q2.5")


def ready(quantizer, shape, *names):
    """(the quantizer, its variables in formats of these names)."""
    formats = tuple(FixedPointFormat.parse(name) for name in names)
    variables = quantizer.build(shape, "t", layers.Layer())
    quantizer.assign(variables, FormatContext(output=formats[0], weights=formats))
    return quantizer, variables


def slopes(quantizer, variables, x, upstream, **options):
    """(output, gradient of the input, gradient of the trained variable)."""
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = quantizer(x, True, variables, **options)
        total = tf.reduce_sum(y * upstream)
    dx, dt = tape.gradient(total, (x, variables["trained"]))
    return y.numpy(), np.asarray(dx), np.asarray(dt)


def published(rule, x, upstream, fmt, count):
    """The gradient of one step as the papers write it, element by element in Python's floats."""
    scale, total = fmt.scale, 0.0
    for value, incoming in zip(np.ravel(x).tolist(), np.ravel(upstream).tolist(), strict=True):
        ratio = value / scale
        code = round(ratio)
        low, high = code < fmt.qmin, code > fmt.qmax
        if rule == "pact":
            total += incoming * (high - (low and fmt.qmin < 0))
            continue
        local = fmt.qmin if low else fmt.qmax if high else code - ratio
        if rule == "tqt":
            total += incoming * scale * math.log(2) * local
        else:
            total += incoming * local / math.sqrt(count * fmt.qmax)
    return total


@pytest.mark.parametrize("rule", LEARNING_RULES)
@pytest.mark.parametrize("name", FORMATS)
def test_gradients_are_the_papers(rule, name, rng):
    """Per tensor, activations and weights; half of what is drawn is clipped."""
    fmt = FixedPointFormat.parse(name)
    x = rng.normal(0, fmt.scale * fmt.qmax, (8, 3, 5)).astype(np.float32)
    upstream = rng.normal(size=x.shape).astype(np.float32)
    for quantizer, count in (
        (LearnedActivationQuantizer(method=rule), 15),
        (LearnedActivationQuantizer(rounding="half_away", method=rule), 15),
        (LearnedWeightQuantizer(method=rule), 120),
    ):
        quantizer, variables = ready(quantizer, x.shape, name)
        y, dx, dt = slopes(quantizer, variables, x, upstream)
        codes = np.clip(np.rint(x / fmt.scale), fmt.qmin, fmt.qmax)
        assert np.array_equal(y, codes * fmt.scale)
        assert np.array_equal(dx, np.where(np.rint(x / fmt.scale) == codes, upstream, 0))
        assert dt == pytest.approx(published(rule, x, upstream, fmt, count), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("rule", LEARNING_RULES)
@pytest.mark.parametrize(("shape", "axes", "trailing"), [
    ((3, 2, 4, 5), 1, 0), ((3, 3, 2, 2), 2, 0), ((2, 2, 3, 4), 1, 1),
])  # fmt: skip
def test_every_channel_has_its_own_gradient(rule, shape, axes, trailing, rng):
    """Convolutions, depthwise and transposed ones; each channel as a tensor of its own."""
    quantizer = LearnedWeightQuantizer(axes, trailing, method=rule, per_channel=True)
    sizes = [shape[axis] for axis in quantizer.channels(len(shape))]
    names = [f"Q{i % 3}.{3 - i % 3}" for i in range(math.prod(sizes))]
    quantizer, variables = ready(quantizer, shape, *names)
    assert variables["trained"].shape == (*sizes, *(1,) * trailing)
    x = rng.normal(size=shape).astype(np.float32) * 3
    upstream = rng.normal(size=shape).astype(np.float32)
    y, _, dt = slopes(quantizer, variables, x, upstream)
    taps = [axis for axis in range(len(shape)) if axis not in quantizer.channels(len(shape))]
    columns = [
        np.moveaxis(a, taps, range(len(taps))).reshape(-1, len(names)) for a in (x, upstream, y)
    ]
    for i, name in enumerate(names):
        fmt, (x_i, up_i, y_i) = FixedPointFormat.parse(name), (c[:, i] for c in columns)
        wanted = published(rule, x_i, up_i, fmt, len(x_i))
        assert dt.ravel()[i] == pytest.approx(wanted, rel=1e-4, abs=1e-4), name
        codes = np.clip(np.rint(x_i / fmt.scale), fmt.qmin, fmt.qmax)
        assert np.array_equal(y_i, codes * fmt.scale)


@pytest.mark.parametrize("name", ["UQ1.6", "Q1.6"])
def test_gradients_are_those_of_the_expectation(name):
    """Over a smooth distribution the output moves with the step as the gradient says.

    Jumps between codes are no part of an element's gradient, and are part of the mean's, which
    straight-through estimation is right about where the step is small beside the distribution.
    """
    fmt = FixedPointFormat.parse(name)
    x = np.linspace(-4 * fmt.qmax * fmt.scale, 4 * fmt.qmax * fmt.scale, 200_001, dtype=np.float32)
    weight = np.exp(-np.square(x / (1.5 * fmt.qmax * fmt.scale))).astype(np.float32)
    quantizer, variables = ready(LearnedActivationQuantizer(), x.shape, name)
    _, _, dt = slopes(quantizer, variables, x, weight * np.sign(x))

    def mean(scale):
        codes = np.clip(np.rint(x.astype(np.float64) / scale), fmt.qmin, fmt.qmax)
        return (codes * scale * weight * np.sign(x)).sum()

    width = 1e-3
    ratio = (mean(fmt.scale * 2**width) - mean(fmt.scale * 2**-width)) / (2 * width)
    assert dt == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize("rule", LEARNING_RULES)
@pytest.mark.parametrize("relu", [False, True])
def test_the_forward_pass_is_on_an_exact_format_whatever_is_learned(rule, relu, rng):
    """Random trained values; with a ReLU too, whose negative half asks for nothing."""
    x = rng.normal(size=(4, 50)).astype(np.float32)
    quantizer, variables = ready(LearnedActivationQuantizer(method=rule), x.shape, "UQ1.3")
    for _ in range(20):
        value = rng.uniform(-6, 3)
        variables["trained"].assign(value if rule == "tqt" else 2.0**value)
        y, dx, _ = slopes(quantizer, variables, x, np.ones_like(x), relu=relu)
        (fmt,) = quantizer.formats(variables)
        assert fmt.bits == 4 and math.log2(fmt.scale) == round(math.log2(fmt.scale))
        assert np.array_equal(y, np.clip(np.rint(x / fmt.scale), 0, fmt.qmax) * fmt.scale)
        assert not relu or not dx[x <= 0].any()


@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_assigned_formats_come_back_and_are_learned_from_their_middle(rule):
    for bits in (1, 2, 4, 8):
        for fraction in range(-6, 20):
            fmt = FixedPointFormat.of_bits(bits, fraction, False)
            quantizer, variables = ready(LearnedActivationQuantizer(method=rule), (), str(fmt))
            assert quantizer.formats(variables) == (fmt,)
            for factor in (0.75, 1.3):
                if rule == "tqt":
                    moved = variables["trained"] + math.log2(factor)
                else:
                    moved = variables["trained"] * factor
                assert float(step_of(rule, moved, fmt.qmax + 1.0)) == fmt.scale


def test_powers_of_two_are_exact():
    exponents = np.arange(-40, 41).astype(np.float32)
    assert np.array_equal(power_of_two(exponents), np.exp2(exponents))
    assert trained_from("lsq", np.array([0.25]), 8.0).dtype == np.float32


def test_stochastic_rounding_and_passing_gradients(rng):
    """What is drawn is what the step's gradient speaks of; "pass" is about the input alone."""
    x = rng.normal(size=200).astype(np.float32) * 2
    quantizer = LearnedWeightQuantizer(rounding="stochastic", saturation_gradient="pass")
    quantizer, variables = ready(quantizer, x.shape, "Q0.3")
    y, dx, dt = slopes(quantizer, variables, x, np.ones_like(x))
    inside = np.abs(x / 0.125 + 0.5) <= 8
    assert np.array_equal(dx, np.ones_like(x))
    assert dt == pytest.approx(math.log(2) * (y.sum() - x[inside].sum()), rel=1e-4)


def test_what_is_frozen_stays_and_the_rest_learns(rng):
    x = rng.normal(size=(5, 3)).astype(np.float32) * 4
    quantizer, variables = ready(LearnedWeightQuantizer(per_channel=True), x.shape, *["Q0.3"] * 3)
    variables["trained"].assign_add([2.0, 0.0, 0.0])
    step = quantizer.step(variables)
    assert step.is_settled.numpy().tolist() == [False, True, True]
    step.hold(np.array([1]))
    variables["trained"].assign_add([0.0, 5.0, 1.0])
    _, _, dt = slopes(quantizer, variables, x, np.ones_like(x))
    assert dt[1] == 0 and dt[0] != 0 and dt[2] != 0
    assert step.scale.numpy().tolist() == [0.5, 0.125, 0.25]
    assert np.abs(variables["slope"].numpy() - 0.01 * dt).max() < 1e-6


def test_wrong_rules_are_refused():
    with pytest.raises(ConfigError, match="learned formats: got 'sgd'; expected one of"):
        LearnedActivationQuantizer(method="sgd").build((), "t", layers.Layer())


def test_as_quantize_configs_of_tfmot(rng):
    """tfmot's own wrapper trains them, and tfxp reads them as what they are."""
    from tensorflow_model_optimization.quantization import keras as Q

    import tfxp
    from tfxp.quantization.quantize_config import TensorQuantizeConfig

    config = TensorQuantizeConfig(
        {"kernel": LearnedWeightQuantizer(per_channel=True)}, LearnedActivationQuantizer()
    )
    inner = layers.Dense(4, name="d")
    model = keras.Sequential([keras.Input((6,)), Q.quantize_annotate_layer(inner, config)])
    x = rng.normal(size=(64, 6)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w4a4c", tfxp.measure_model(model, x))
    names = [variable.name.split("/")[-1] for variable in qmodel.trainable_weights]
    assert sorted(names) == ["bias:0", "kernel:0", "kernel_tqt:0", "output_tqt:0"]
    frozen = tfxp.freeze_formats(qmodel)
    assert len(frozen.trainable_weights) == 2
    assert np.array_equal(frozen.predict(x, verbose=0), qmodel.predict(x, verbose=0))
