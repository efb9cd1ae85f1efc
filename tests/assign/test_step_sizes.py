"""The table of optimal steps against the printed one and against integration by brute force."""

import numpy as np
import pytest

from tfxp.assign import DISTRIBUTIONS, optimal_step, quantizer_mse
from tfxp.errors import ConfigError

# Lin et al. 2016, table 1; two cells are off the minimum by more than their last digit
PRINTED = {
    "uniform": (1.0, 0.5, 0.25, 0.125),
    "gaussian": (1.596, 0.996, 0.586, 0.335),
    "laplacian": (1.414, 1.087, 0.731, 0.456),
    "gamma": (1.154, 1.060, 0.796, 0.540),
}
OFF = {("laplacian", 4): 0.461, ("gamma", 2): 1.066}
# minimum of the error for more bits, computed elsewhere
EXTENDED = {
    "gaussian": (0.1881, 0.1041, 0.0569, 0.0308, 0.0165, 0.0088),
    "laplacian": (0.2800, 0.1657, 0.0961, 0.0548, 0.0309, 0.0172),
    "gamma": (0.3459, 0.2130, 0.1273, 0.0744, 0.0426, 0.0241),
}
DENSITIES = {
    "uniform": lambda x: np.where(np.abs(x) <= 1, 0.5, 0.0),
    "gaussian": lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    "laplacian": lambda x: np.exp(-np.sqrt(2) * np.abs(x)) / np.sqrt(2),
    "gamma": lambda x: (
        np.sqrt(np.sqrt(3) / (8 * np.pi * np.abs(x))) * np.exp(-np.sqrt(3) / 2 * np.abs(x))
    ),
}


@pytest.mark.parametrize("distribution", PRINTED)
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_printed_table(distribution, bits):
    step = optimal_step(bits, distribution)
    if (distribution, bits) in OFF:
        printed = PRINTED[distribution][bits - 1]
        assert step == pytest.approx(OFF[distribution, bits], abs=6e-4)
        assert quantizer_mse(step, bits, distribution) < quantizer_mse(printed, bits, distribution)
    else:
        assert step == pytest.approx(PRINTED[distribution][bits - 1], abs=1.1e-3)


@pytest.mark.parametrize("distribution", EXTENDED)
@pytest.mark.parametrize("bits", range(5, 11))
def test_more_bits(distribution, bits):
    assert optimal_step(bits, distribution) == pytest.approx(
        EXTENDED[distribution][bits - 5], abs=6e-5
    )


@pytest.mark.parametrize("bits", range(1, 13))
def test_uniform_closed_form(bits):
    assert optimal_step(bits, "uniform") == 2.0 ** (1 - bits)
    # and it is the minimum of the error, step^2 / 12
    step = 2.0 ** (1 - bits)
    assert quantizer_mse(step, bits, "uniform") == pytest.approx(step**2 / 12, abs=1e-12)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("bits", [1, 2, 3, 5])
@pytest.mark.parametrize("factor", [0.7, 1.0, 1.6])
def test_error_by_integration(distribution, bits, factor):
    """The error as an integral over a quantizer written as a loop over its levels."""
    step = optimal_step(bits, distribution) * factor
    # substitute x = v^4, for the pole of the Gamma density at zero
    v = (np.arange(200_000) + 0.5) / 200_000 * 60**0.25
    x, weight = v**4, 4 * v**3 * (60**0.25 / 200_000)
    levels = (np.arange(2 ** (bits - 1)) + 0.5) * step
    nearest = levels[np.minimum((x / step).astype(int), levels.size - 1)]
    error = 2 * np.sum((x - nearest) ** 2 * DENSITIES[distribution](x) * weight)
    assert quantizer_mse(step, bits, distribution) == pytest.approx(error, rel=2e-3, abs=1e-9)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("bits", [1, 3, 6, 10])
def test_no_other_step_is_better(distribution, bits):
    best = optimal_step(bits, distribution)
    error = quantizer_mse(best, bits, distribution)
    for other in best * np.geomspace(0.2, 5, 201):
        assert quantizer_mse(other, bits, distribution) >= error - 1e-12


def test_impossible_requests():
    with pytest.raises(ConfigError, match="Did you mean 'gaussian'"):
        optimal_step(4, "gausian")
    with pytest.raises(ConfigError, match="bits of a step: got 0"):
        optimal_step(0)
