"""TensorFlow quantization against the scalar definitions: codes, half steps, gradients."""

import numpy as np
import pytest

from tfxp.formats import FixedPointFormat, WrpnFormat, decode_scalar
from tfxp.formats.codec import encode_scalar
from tfxp.keras import tf
from tfxp.quantizers import straight_through as st

MODES = ("half_even", "half_away", "half_up", "floor")
OFFSETS = (-0.0004, 0.0, 0.0004)  # of a step, beside every half step; on the grid of 2^-11


def formats(bits=range(1, 9), fractions=(-2, 0, 3, 11)):
    for n in bits:
        for f in fractions:
            yield FixedPointFormat.of_bits(n, f, False)
            yield FixedPointFormat.of_bits(n, f)
            if n > 1:
                yield FixedPointFormat.of_bits(n, f, True, True)


def half_steps(fmt):
    """Twice the codes, from beyond one end of the format to beyond the other."""
    return np.arange(2 * fmt.qmin - 5, 2 * fmt.qmax + 6)


def rounded(halves, mode):
    """Halves of steps to codes, in integers."""
    below = halves // 2
    tie = halves % 2 == 1
    up = {
        "floor": 0,
        "half_up": 1,
        "half_even": below % 2,
        "half_away": halves > 0,
    }[mode]
    return below + tie * up


def tensors(fmt):
    return [tf.constant(v, tf.float32) for v in (fmt.scale, fmt.qmin, fmt.qmax)]


@pytest.fixture(scope="module")
def by_rounding():
    return {
        mode: tf.function(lambda x, s, a, b, m=mode: st.quantize_by_rounding(x, s, a, b, m))
        for mode in MODES
    }


def fast_functions(**options):
    nudges = {"half_even": 0.0, "half_up": st.HALF_UP_NUDGE}
    return {
        mode: tf.function(lambda x, s, a, b, n=n: st.quantize_half_even(x, s, a, b, n, **options))
        for mode, n in nudges.items()
    }


def test_oracle_is_the_scalar_definition():
    for fmt in formats(range(1, 5), (2,)):
        for mode in MODES:
            halves = half_steps(fmt)
            codes = np.clip(rounded(halves, mode), fmt.qmin, fmt.qmax)
            wanted = [encode_scalar(h / 2 * fmt.scale, fmt, mode) for h in halves]
            assert codes.tolist() == wanted


@pytest.mark.parametrize("mode", MODES)
def test_every_half_step_of_every_format(by_rounding, mode):
    for fmt in formats():
        halves = half_steps(fmt)
        x = (halves / 2 * fmt.scale).astype(np.float32)
        got = by_rounding[mode](x, *tensors(fmt)).numpy()
        codes = np.clip(rounded(halves, mode), fmt.qmin, fmt.qmax)
        assert np.array_equal(got, (codes * fmt.scale).astype(np.float32)), fmt
        assert all(decode_scalar(int(c), fmt) == g for c, g in zip(codes, got, strict=True))


@pytest.mark.parametrize("mode", ["half_even", "half_up"])
def test_fast_path_on_every_half_step_and_beside_it(mode):
    run = fast_functions()[mode]
    for fmt in formats():
        halves = half_steps(fmt)
        for offset in OFFSETS:
            step = 2.0**-11 * np.sign(offset)
            x = ((halves / 2 + step) * fmt.scale).astype(np.float32)
            beside = np.floor(halves / 2 + 0.5 + step) if offset else rounded(halves, mode)
            codes = np.clip(beside, fmt.qmin, fmt.qmax)
            got = run(x, *tensors(fmt)).numpy()
            assert np.array_equal(got, (codes * fmt.scale).astype(np.float32)), (fmt, offset)


@pytest.mark.parametrize("options", [{"nonnegative": True}, {"relu": True}])
def test_fast_path_behind_and_in_place_of_a_relu(options):
    for mode, run in fast_functions(**options).items():
        for fmt in formats(fractions=(3,)):
            halves = half_steps(fmt)
            if "nonnegative" in options:
                halves = halves[halves >= 0]
            x = (halves / 2 * fmt.scale).astype(np.float32)
            codes = np.clip(rounded(np.maximum(halves, 0), mode), fmt.qmin, fmt.qmax)
            got = run(x, *tensors(fmt)).numpy()
            assert np.array_equal(got, (codes * fmt.scale).astype(np.float32)), (fmt, mode)


def test_paths_agree_on_random_numbers(by_rounding, rng):
    fast = fast_functions()["half_even"]
    for fmt in formats(fractions=(3,)):
        spread = 0.7 * max(-fmt.min, fmt.max, fmt.scale)
        x = rng.normal(0, spread, 400).astype(np.float32)
        wanted = [encode_scalar(v, fmt) * fmt.scale for v in x]
        assert fast(x, *tensors(fmt)).numpy().tolist() == wanted, fmt
        assert by_rounding["half_even"](x, *tensors(fmt)).numpy().tolist() == wanted, fmt


@pytest.mark.parametrize("role", ["weights", "activations"])
def test_wrpn_grids(by_rounding, role):
    """Codes exactly; beside the ties, where float32 division may go either way, also."""
    fast = fast_functions()["half_even"]
    for bits in range(2, 9):
        fmt = WrpnFormat(bits, role)
        halves = np.arange(2 * fmt.qmin - 5, 2 * fmt.qmax + 6)
        x = np.concatenate([(halves / 2 + d) / fmt.qmax for d in (-0.01, 0.01)])
        x = np.concatenate([x, halves[1::2] // 2 / fmt.qmax]).astype(np.float32)
        wanted = [encode_scalar(v, fmt) for v in x]
        for run in (fast, by_rounding["half_even"]):
            codes = run(x, *tensors(fmt)).numpy().astype(np.float64) * fmt.qmax
            assert np.abs(codes - wanted).max() < 1e-4, fmt


def gradient_of(function, x, upstream, *grid):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x, *grid)
    return tape.gradient(y, x, output_gradients=upstream).numpy()


def gradients(function, fmt, x, rng):
    upstream = rng.normal(size=x.shape).astype(np.float32)
    got = gradient_of(function, tf.constant(x), tf.constant(upstream), *tensors(fmt))
    return got, upstream


def points(fmt):
    """On and a quarter beside every half step: no point on an edge in float32 but the edges."""
    quarters = np.arange(4 * fmt.qmin - 9, 4 * fmt.qmax + 10)
    return (quarters / 4 * fmt.scale).astype(np.float32), quarters / 4


@pytest.mark.parametrize("path", ["fast", "definition"])
def test_gradient_is_zero_outside_and_passes_inside(path, rng):
    if path == "fast":
        function = tf.function(lambda x, s, a, b: st.quantize_half_even(x, s, a, b))
    else:
        function = tf.function(lambda x, s, a, b: st.quantize_by_rounding(x, s, a, b, "half_away"))
    for fmt in formats(fractions=(3,)):
        x, steps = points(fmt)
        inside = (steps >= fmt.qmin - 0.5) & (steps <= fmt.qmax + 0.5)
        got, upstream = gradients(function, fmt, x, rng)
        assert np.array_equal(got, np.where(inside, upstream, 0)), fmt


def test_no_code_of_any_format_is_masked(rng):
    """The trap of the fake-quant kernels, which move their limits for 3, 5, 6 and 7 bits."""
    function = tf.function(lambda x, s, a, b: st.quantize_half_even(x, s, a, b))
    for fmt in formats(range(2, 9), (-3, 0, 5, 11)):
        x = (np.arange(fmt.qmin, fmt.qmax + 1) * fmt.scale).astype(np.float32)
        got, upstream = gradients(function, fmt, x, rng)
        assert np.array_equal(got, upstream), fmt


def test_gradient_of_a_relu_in_the_quantizer(rng):
    function = tf.function(lambda x, s, a, b: st.quantize_half_even(x, s, a, b, relu=True))
    for fmt in formats(fractions=(3,)):
        x, steps = points(fmt)
        inside = (steps > 0) & (steps <= fmt.qmax + 0.5)
        got, upstream = gradients(function, fmt, x, rng)
        assert np.array_equal(got, np.where(inside, upstream, 0)), fmt


def test_gradient_that_passes_everywhere(rng):
    fmt = FixedPointFormat.of_bits(3, 1)
    for mode in (*MODES, "stochastic"):
        x, _ = points(fmt)

        def function(x, s, a, b, mode=mode):
            return st.quantize_by_rounding(x, s, a, b, mode, "pass", seed=1)

        got, upstream = gradients(function, fmt, x, rng)
        assert np.array_equal(got, upstream)


def test_compiled_by_xla_like_everywhere(rng):
    fmt = FixedPointFormat.of_bits(5, 2, True, True)
    x, steps = points(fmt)
    for function in (
        lambda x, s, a, b: st.quantize_half_even(x, s, a, b),
        lambda x, s, a, b: st.quantize_by_rounding(x, s, a, b),
    ):
        plain, compiled = tf.function(function), tf.function(function, jit_compile=True)
        assert np.array_equal(plain(x, *tensors(fmt)), compiled(x, *tensors(fmt)))
        got, upstream = gradients(compiled, fmt, x, rng)
        inside = (steps >= fmt.qmin - 0.5) & (steps <= fmt.qmax + 0.5)
        assert np.array_equal(got, np.where(inside, upstream, 0))


def test_one_scale_per_channel(rng):
    scales = np.float32([0.25, 0.5, 2.0])
    x = rng.normal(0, 2, (50, 3)).astype(np.float32)
    got = st.quantize_by_rounding(tf.constant(x), scales, -4.0, 3.0).numpy()
    for channel, scale in enumerate(scales):
        fmt = FixedPointFormat.of_bits(3, int(-np.log2(scale)))
        wanted = [encode_scalar(v, fmt) * scale for v in x[:, channel]]
        assert got[:, channel].tolist() == wanted


def test_stochastic_rounding_is_unbiased_and_seeded():
    x = tf.fill([20000], 0.3125)

    def draw():
        tf.random.set_seed(7)
        return st.quantize_by_rounding(x, 1.0, -8.0, 7.0, "stochastic", seed=3).numpy()

    first = draw()
    assert set(first.tolist()) == {0.0, 1.0}
    assert abs(first.mean() - 0.3125) < 4 * np.sqrt(0.3125 * 0.6875 / 20000)
    assert np.array_equal(first, draw())
    whole = st.quantize_by_rounding(tf.range(-8.0, 8.0), 1.0, -8.0, 7.0, "stochastic", seed=3)
    assert whole.numpy().tolist() == list(range(-8, 8))
