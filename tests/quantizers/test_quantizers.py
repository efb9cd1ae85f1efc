"""The tfmot quantizers: pools and means against exact integers and LiteRT, weights, biases."""

from fractions import Fraction

import numpy as np
import pytest

from tests.interpreter.litert_oracle import Model, T, litert
from tfxp.formats import FixedPointFormat, int8_zero_point
from tfxp.formats.codec import encode_scalar
from tfxp.keras import keras, layers, tf
from tfxp.quantizers import (
    ActivationQuantizer,
    AveragePoolQuantizer,
    BiasQuantizer,
    LeakyReluQuantizer,
    MeanQuantizer,
    TableQuantizer,
    WeightQuantizer,
    WrpnActivationQuantizer,
    WrpnWeightQuantizer,
    seed_of,
)


def ready(quantizer, shape, fmt=None, **values):
    """A quantizer with its variables, as a function; compiled, as in training and prediction."""
    variables = quantizer.build(shape, "t", layers.Layer())
    if fmt is not None:
        values = {"scale": fmt.scale, "qmin": fmt.qmin, "qmax": fmt.qmax, **values}
    for name, value in values.items():
        variables[name].assign(tf.broadcast_to(tf.cast(value, tf.float32), variables[name].shape))
    return tf.function(lambda x, training=False: quantizer(x, training, variables))


def half_away(exact):
    magnitude = (abs(exact) + Fraction(1, 2)).__floor__()
    return magnitude if exact >= 0 else -magnitude


FORMATS = ["Q2.5", "Q0.7s", "UQ4.4", "UQ1.3", "Q1.2", "UQ0.1", "Q3.3"]


# --- average pool --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_average_pool_on_every_sum_of_codes(name):
    fmt = FixedPointFormat.parse(name)
    zero = int8_zero_point(fmt)
    for count in (1, 2, 3, 6, 7, 12, 49, 64):
        sums = np.unique(np.linspace(count * fmt.qmin, count * fmt.qmax, 1201).astype(int))
        run = ready(AveragePoolQuantizer(count), (None, 1), fmt, zero_point=zero)
        means = (sums.astype(np.float32) * np.float32(fmt.scale)) / np.float32(count)
        stored = [half_away(Fraction(int(s) + zero * count, count)) for s in sums]
        wanted = (np.array(stored) - zero) * fmt.scale
        assert np.array_equal(run(means[:, None]).numpy()[:, 0], wanted.astype(np.float32)), count


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("name", FORMATS)
def test_average_pool_against_litert(name, padding, rng):
    from tfxp.quantization.registry import pool_counts

    fmt = FixedPointFormat.parse(name)
    zero = int8_zero_point(fmt)
    for size, stride in (((2, 2), (2, 2)), ((3, 2), (1, 1)), ((3, 3), (2, 1)), ((1, 5), (1, 2))):
        codes = rng.integers(fmt.qmin, fmt.qmax + 1, (2, 7, 9, 4))
        x = (codes * fmt.scale).astype(np.float32)
        pool = layers.AveragePooling2D(size, stride, padding)
        counts = pool_counts(pool.get_config(), (7, 9))
        run = ready(AveragePoolQuantizer(counts), (None, 7, 9, 4), fmt, zero_point=zero)
        got = run(pool(x)).numpy() / fmt.scale + zero
        options = dict(
            padding=int(padding == "valid"), strideH=stride[0], strideW=stride[1],
            filterHeight=size[0], filterWidth=size[1],
        )  # fmt: skip
        tensors = [T(shape, "INT8", fmt.scale, zero) for shape in (codes.shape, got.shape)]
        model = Model("AVERAGE_POOL_2D", [tensors[0]], [tensors[1]], "Pool2DOptions", options)
        (wanted,) = litert(model.bytes(), [(codes + zero).astype(np.int8)], "litert")
        assert np.array_equal(got, wanted), (size, stride)


def test_pool_counts_by_brute_force():
    from tfxp.quantization.registry import pool_counts

    for size, stride, shape in (((3, 3), (2, 2), (7, 6)), ((2, 4), (1, 3), (5, 5))):
        pool = layers.AveragePooling2D(size, stride, "same")
        ones = keras.backend.ones((1, *shape, 1))
        summed = tf.nn.conv2d(ones, tf.ones((*size, 1, 1)), stride, "SAME")[0, :, :, 0]
        assert np.array_equal(pool_counts(pool.get_config(), shape), summed)
    assert pool_counts(layers.AveragePooling2D(2, 2, "same").get_config(), (4, 6)) == 4
    assert pool_counts(layers.AveragePooling2D(3).get_config(), (None, 6)) == 9


# --- mean ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["Q2.5", "UQ4.4", "UQ1.3", "Q1.2"])
def test_mean_is_a_float32_product_rounded_half_to_even(source):
    fmt = FixedPointFormat.parse(source)
    for name in ("UQ2.6", "Q3.0", "Q-1.8"):
        out = FixedPointFormat.parse(name)
        for count in (1, 6, 25, 49, 64):
            sums = np.unique(np.linspace(count * fmt.qmin, count * fmt.qmax, 801).astype(int))
            run = ready(MeanQuantizer(count), (None, 1), out, input_scale=fmt.scale)
            means = (sums.astype(np.float32) * np.float32(fmt.scale)) / np.float32(count)
            factor = np.float32(fmt.scale / (count * out.scale))
            codes = np.clip(np.rint(sums.astype(np.float32) * factor), out.qmin, out.qmax)
            got = run(means[:, None]).numpy()[:, 0]
            assert np.array_equal(got, (codes * out.scale).astype(np.float32)), (name, count)
            # Off the ties that is the exact mean, rounded.
            exact = [Fraction(int(s), count) * Fraction(fmt.scale / out.scale) for s in sums]
            near = np.array([abs(e - e.__floor__() - Fraction(1, 2)) > 1e-4 for e in exact])
            nearest = np.clip([round(e) for e in exact], out.qmin, out.qmax)
            assert np.array_equal(codes[near], nearest[near])


@pytest.mark.parametrize(
    ("source", "target"),
    [("Q2.5", "Q2.5"), ("UQ4.4", "UQ3.5"), ("UQ0.8", "Q0.7"), ("Q3.4", "Q1.6")],
)
def test_mean_against_litert(source, target, rng):
    """Formats that fill int8, so that nothing needs a MINIMUM or MAXIMUM behind the operator."""
    fmt, out = FixedPointFormat.parse(source), FixedPointFormat.parse(target)
    zeros = int8_zero_point(fmt), int8_zero_point(out)
    for height, width in ((4, 4), (5, 3), (7, 7), (8, 6)):
        codes = rng.integers(fmt.qmin, fmt.qmax + 1, (3, height, width, 16))
        codes[0] = rng.integers(0, 3, codes[0].shape)
        x = (codes * fmt.scale).astype(np.float32)
        run = ready(MeanQuantizer(height * width), (None, 16), out, input_scale=fmt.scale)
        got = run(layers.GlobalAveragePooling2D()(x)).numpy() / out.scale + zeros[1]
        axes = T((2,), "INT32", data=[1, 2])
        tensors = [T(codes.shape, "INT8", fmt.scale, zeros[0]), axes]
        result = [T((3, 16), "INT8", out.scale, zeros[1])]
        model = Model("MEAN", tensors, result, "ReducerOptions", {"keepDims": False})
        (wanted,) = litert(model.bytes(), [(codes + zeros[0]).astype(np.int8)], "litert")
        assert np.array_equal(got, wanted), (height, width)


def test_gradients_of_averages_pass():
    fmt = FixedPointFormat.parse("Q2.5")
    x = tf.constant(np.linspace(-3, 3, 13, dtype=np.float32)[:, None])
    pool = ready(AveragePoolQuantizer(4), (None, 1), fmt, zero_point=0)
    mean = ready(MeanQuantizer(4), (None, 1), fmt, input_scale=0.25)
    for run in (pool, mean):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = run(x)
        assert np.array_equal(tape.gradient(y, x), np.ones_like(x))


# --- weights and biases --------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["half_even", "half_away", "half_up", "floor"])
def test_weights_per_channel(rounding, rng):
    kernel = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)
    kernel[0, 0, 0] = [0.5, 0.25, 0.125, 0.0625, -0.5]
    fractions = (1, 2, 3, 4, 0)
    chosen = [FixedPointFormat.of_bits(4, f) for f in fractions]
    run = ready(
        WeightQuantizer(rounding=rounding), kernel.shape,
        scale=[f.scale for f in chosen], qmin=-8, qmax=7,
    )  # fmt: skip
    got = run(kernel).numpy()
    for channel, fmt in enumerate(chosen):
        flat = kernel[..., channel].ravel()
        wanted = [encode_scalar(v, fmt, rounding) * fmt.scale for v in flat]
        assert got[..., channel].ravel().tolist() == wanted


def test_depthwise_weights_have_two_channel_axes():
    quantizer = WeightQuantizer(channel_axes=2)
    assert quantizer.scale_shape((3, 3, 4, 2)) == (4, 2)
    assert WeightQuantizer().scale_shape(tf.TensorShape((3, 3, 4, 2))) == (2,)


@pytest.mark.parametrize(("gradient", "outside"), [("pass", 1.0), ("zero", 0.0)])
def test_weight_gradient_where_it_saturates(gradient, outside):
    fmt = FixedPointFormat.parse("Q0.3")
    run = ready(WeightQuantizer(saturation_gradient=gradient), (5, 1), fmt)
    x = tf.constant([[-3.0], [-1.0], [0.3], [0.875], [2.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = run(x)
    assert tape.gradient(y, x).numpy().ravel().tolist() == [outside, 1, 1, 1, outside]


def test_bias_on_the_accumulator_grid(rng):
    bias = rng.normal(size=4).astype(np.float32)
    bias[0] = 2.5 * 2**-6
    scales = np.float32([2**-6, 2**-8, 2**-10, 1])
    run = ready(BiasQuantizer(), (4,), scale=scales)
    codes = [
        round(Fraction(float(b)) / Fraction(float(s))) for b, s in zip(bias, scales, strict=True)
    ]
    assert run(bias).numpy().tolist() == (np.array(codes) * scales).tolist()
    x = tf.constant(bias)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = run(x)
    assert tape.gradient(y, x).numpy().tolist() == [1, 1, 1, 1]


# --- activations ---------------------------------------------------------------------------------


def test_activation_changes_format_by_assignment():
    quantizer = ActivationQuantizer()
    variables = quantizer.build((None, 3), "output", layers.Layer())
    traces = []

    @tf.function
    def run(x):
        traces.append(1)
        return quantizer(x, False, variables)

    x = np.float32([[0.3, -5.0, 5.0]])
    for name in ("Q0.3", "Q2.5", "UQ2.2", "Q3.0s", "UQ0.8"):
        fmt = FixedPointFormat.parse(name)
        for key in ("scale", "qmin", "qmax"):
            variables[key].assign(getattr(fmt, key))
        wanted = [[encode_scalar(v, fmt) * fmt.scale for v in x[0]]]
        assert run(x).numpy().tolist() == wanted
    assert len(traces) == 1


def test_stochastic_rounding_only_while_training():
    fmt = FixedPointFormat.parse("Q3.0")
    run = ready(ActivationQuantizer("stochastic", seed=5), (None, 1), fmt)
    x = np.full((1000, 1), 0.25, np.float32)
    assert np.array_equal(run(x, False), np.zeros_like(x))
    assert 150 < np.sum(run(x, True)) < 350


@pytest.mark.parametrize(
    "quantizer",
    [
        WeightQuantizer(2, 1, "floor", 9, "zero"),
        BiasQuantizer(),
        ActivationQuantizer("half_up", True, "pass", 3),
        MeanQuantizer(12),
        AveragePoolQuantizer([[1, 2], [2, 4]]),
        WrpnWeightQuantizer(2, 1, "floor", 9, True, True),
        WrpnActivationQuantizer("half_up", 3),
        TableQuantizer("tanh"),
        LeakyReluQuantizer(0.3),
    ],
)
def test_config_round_trip(quantizer):
    serial = keras.utils.legacy.serialize_keras_object(quantizer)
    again = keras.utils.legacy.deserialize_keras_object(serial)
    assert again == quantizer and hash(again) == hash(quantizer)
    assert again.get_config() == quantizer.get_config()
    assert quantizer != WeightQuantizer(1)


def test_seeds_belong_to_names():
    assert seed_of("a") == seed_of("a") != seed_of("b")
