"""Lin's formats, kappa, and the harmonic predictor against measured noise."""

import dataclasses
import math

import numpy as np
import pytest

from tfxp.assign import fit_kappa, lin_format, measure_kappa, optimal_step, predict_sqnr
from tfxp.errors import ConfigError, DataError
from tfxp.formats import TensorStats, parse_format, quantize
from tfxp.precision import LayerPrecision, LayerStats, ModelStats


def stats_of(values):
    stats = TensorStats()
    stats.update(np.asarray(values))
    return stats


def db(signal, noisy):
    return 10 * np.log10(np.mean(np.square(signal)) / np.mean(np.square(signal - noisy)))


@pytest.mark.parametrize("bits", range(1, 11))
@pytest.mark.parametrize("sigma", [0.013, 0.4, 7.0])
def test_lin_format_by_the_formula(rng, bits, sigma):
    values = rng.normal(0, sigma, 4000)
    s = 3 * values.std() * optimal_step(bits)
    ceil = lin_format(stats_of(values), bits)
    nearest = lin_format(stats_of(values), bits, rounding="nearest")
    assert ceil.bits == nearest.bits == bits
    assert ceil.fractional_bits == -math.ceil(math.log2(s))
    assert nearest.fractional_bits == -round(math.log2(s))
    narrow = lin_format(stats_of(values), bits, xi_factor=1.5)
    assert narrow.fractional_bits == ceil.fractional_bits + 1


def test_the_edge_case_of_the_paper():
    """sigma 1, 4 bits: 3 x 0.335 = 1.005, so that the ceiling doubles the step."""
    stats = stats_of([-1.0, 1.0])
    assert lin_format(stats, 4).scale == 2.0
    assert lin_format(stats, 4, rounding="nearest").scale == 1.0


def test_rectified_tensors_use_the_levels_of_one_more_bit(rng):
    values = rng.normal(0, 1, 100_000)
    signed = lin_format(stats_of(values), 6)
    rectified = lin_format(stats_of(np.maximum(values, 0)), 5, signed=False)
    assert rectified.scale == signed.scale
    assert not rectified.signed


def test_mse_never_loses_to_the_formula(rng):
    values = rng.laplace(0, 0.3, 5000)
    for bits in range(2, 9):
        best = quantize(values, lin_format(stats_of(values), bits, rounding="mse"))
        for rounding in ("ceil", "nearest"):
            other = quantize(values, lin_format(stats_of(values), bits, rounding=rounding))
            assert db(values, best) >= db(values, other) - 0.02


def test_kappa_of_known_distributions(rng):
    """About 6 dB per bit for uniform values, less for a Gaussian."""
    uniform = measure_kappa(stats_of(rng.uniform(-1, 1, 50_000)))
    gaussian = measure_kappa(stats_of(rng.normal(0, 1, 50_000)))
    assert uniform.kappa == pytest.approx(6.02, abs=0.25)  # one code less above zero
    assert 4.5 < gaussian.kappa < uniform.kappa
    assert uniform.bits(uniform.sqnr_db(7)) == pytest.approx(7)


def test_kappa_is_the_least_squares_line(rng):
    bits = np.arange(2, 9)
    sqnr = 2.5 * bits + 4 + rng.normal(0, 1, bits.size)
    slope, offset = np.polyfit(bits, sqnr, 1)
    line = fit_kappa(bits, sqnr)
    assert (line.kappa, line.offset_db) == (pytest.approx(slope), pytest.approx(offset))
    with pytest.raises(DataError, match="points for kappa"):
        fit_kappa([4, 5], [3.0, math.inf])


def chain(rng, width=256):
    """Three dense layers with ReLU, run here in float and quantized."""
    x = rng.normal(0, 1, (2000, width))
    kernels = [rng.normal(0, width**-0.5, (width, width)) for _ in range(3)]
    layers = {"x": LayerStats("x", "input", (), (width,), activations=stats_of(x))}
    value, before = x, "x"
    for index, kernel in enumerate(kernels):
        value = np.maximum(value @ kernel, 0)
        name = f"d{index}"
        layers[name] = LayerStats(
            name,
            "dense",
            (before,),
            (width,),
            kernel.shape,
            kernel.size,
            weights=stats_of(kernel),
            activations=stats_of(value),
        )
        before = name
    return x, kernels, ModelStats(layers, (before,))


def test_prediction_against_a_network_run_here(rng):
    """The rule is an approximation: within 1.5 dB for small noise, as in the paper's examples."""
    x, kernels, model = chain(rng)
    w, a, edge = parse_format("Q-1.6"), parse_format("UQ1.6"), parse_format("Q2.6")
    precision = {"x": LayerPrecision("float", edge)}
    precision |= {f"d{i}": LayerPrecision(w, a) for i in range(3)}
    clean, noisy, measured = x, quantize(x, edge).astype(float), {"x": db(x, quantize(x, edge))}
    for index, kernel in enumerate(kernels):
        clean = np.maximum(clean @ kernel, 0)
        noisy = quantize(np.maximum(noisy @ quantize(kernel, w), 0), a).astype(float)
        measured[f"d{index}"] = db(clean, noisy)
    rows = predict_sqnr(model, precision, measured_db=measured)
    assert [row.layer for row in rows] == ["x", "d0", "d1", "d2"]
    for row in rows:
        assert abs(row.error_db) < 1.5, row


def test_harmonic_rule_by_hand(rng):
    _, _, model = chain(rng, 16)
    formats = {"x": "Q1.3", "d0": "Q0.4", "d1": "Q0.3", "d2": "Q0.5"}
    precision = {name: LayerPrecision(f, "UQ1.4") for name, f in formats.items()}
    rows = {row.layer: row for row in predict_sqnr(model, precision)}

    def noise(value):
        return 0 if value is None else 10 ** (-value / 10)

    total = noise(rows["x"].requantization_db)
    for name in ("d0", "d1", "d2"):
        total += noise(rows[name].weights_db)
        assert noise(rows[name].output_db) == pytest.approx(total)
        total += noise(rows[name].requantization_db)
        assert noise(rows[name].rounded_db) == pytest.approx(total)


def test_branches_add_by_their_power(rng):
    a, b = rng.normal(0, 1, 5000), rng.normal(0, 3, 5000)
    model = ModelStats(
        {
            "a": LayerStats("a", "input", (), (1,), activations=stats_of(a)),
            "b": LayerStats("b", "input", (), (1,), activations=stats_of(b)),
            "s": LayerStats("s", "add", ("a", "b"), (1,), activations=stats_of(a + b)),
        },
        ("s",),
    )
    fa, fb = parse_format("Q3.2"), parse_format("Q4.4")
    precision = {
        "a": LayerPrecision("float", fa),
        "b": LayerPrecision("float", fb),
        "s": LayerPrecision("float", "float"),
    }
    expected = db(a + b, quantize(a, fa) + quantize(b, fb).astype(float))
    assert predict_sqnr(model, precision)[-1].output_db == pytest.approx(expected, abs=0.3)


def test_states_that_come_back_bring_no_noise(rng):
    """A layer of every step reads its own state; a chain without that state has the same noise."""
    _, _, model = chain(rng, 16)
    precision = {name: LayerPrecision("Q0.4", "UQ1.4") for name in model.layers}
    wanted = predict_sqnr(model, precision)[2]
    back = dataclasses.replace(model["d1"], inputs=("d0", "d2"))
    looped = ModelStats({**model.layers, "d1": back}, model.outputs)
    found = predict_sqnr(looped, precision)[2]
    assert found.layer == wanted.layer == "d1"
    assert found.weights_db == wanted.weights_db and found.output_db >= wanted.output_db


def test_what_was_not_measured_is_named():
    model = ModelStats({"d": LayerStats("d", "dense", (), (2,), (2, 2), 4)}, ("d",))
    with pytest.raises(DataError, match="weights of layer 'd': got no statistics"):
        predict_sqnr(model, {"d": LayerPrecision(4, "float")})
    with pytest.raises(ConfigError, match="rounding of the step: got 'floor'"):
        lin_format(stats_of([1.0]), 4, rounding="floor")


def test_power_rule_sees_what_cancels(rng):
    """Inputs far from zero mean through kernels of zero mean: 1/g grows by K P_w P_x / P_y."""
    x = rng.normal(4, 1, (4000, 64))
    kernel = rng.normal(0, 0.2, (64, 16))
    kernel -= kernel.mean(0)  # the mean of the inputs cancels, their noise does not
    y = x @ kernel
    layers = {
        "x": LayerStats("x", "input", (), (64,), activations=stats_of(x)),
        "d": LayerStats("d", "dense", ("x",), (16,), kernel.shape, kernel.size,
                        weights=stats_of(kernel), activations=stats_of(y)),
    }  # fmt: skip
    fmt = parse_format("Q3.1")
    precision = {"x": LayerPrecision("float", fmt), "d": LayerPrecision("float", "float")}
    measured = {"d": db(y, quantize(x, fmt).astype(float) @ kernel)}
    model = ModelStats(layers, ("d",))
    paper = predict_sqnr(model, precision, measured_db=measured)[-1]
    ours = predict_sqnr(model, precision, measured_db=measured, rule="power")[-1]
    assert paper.error_db < -8
    assert abs(ours.error_db) < 0.5
    with pytest.raises(ConfigError, match="rule of SQNR: got 'other'"):
        predict_sqnr(model, precision, rule="other")
