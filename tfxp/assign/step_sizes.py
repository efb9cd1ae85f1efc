"""The step of a symmetric uniform quantizer that loses least, by distribution and word length."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import ConfigError, did_you_mean

Array = NDArray[np.float64]
MAX_STEP_BITS = 16
_SQRT2, _SQRT3, _PI = math.sqrt(2), math.sqrt(3), math.pi
_erf = np.vectorize(math.erf, otypes=[np.float64])

# Each gives, for t >= 0, the mass and the first moment of |x| below t; all have unit variance but
# "uniform", which spans [-1, 1].
Moments = Callable[[Array], tuple[Array, Array]]


def _uniform(t: Array) -> tuple[Array, Array]:
    inside = np.minimum(t, 1.0)
    return inside, inside**2 / 2


def _gaussian(t: Array) -> tuple[Array, Array]:
    return _erf(t / _SQRT2), math.sqrt(2 / _PI) * (1 - np.exp(-(np.minimum(t, 60) ** 2) / 2))


def _laplacian(t: Array) -> tuple[Array, Array]:
    u = _SQRT2 * t
    decay = np.exp(-u)
    return 1 - decay, (1 - decay * (1 + u)) / _SQRT2


def _gamma(t: Array) -> tuple[Array, Array]:
    """|x| has the density u^(-1/2) e^(-u) / sqrt(pi) in u = sqrt(3) |x| / 2."""
    u = _SQRT3 * t / 2
    mass = _erf(np.sqrt(u))
    return mass, (mass - 2 / math.sqrt(_PI) * np.sqrt(u) * np.exp(-u)) / _SQRT3


DISTRIBUTIONS: dict[str, Moments] = {
    "uniform": _uniform,
    "gaussian": _gaussian,
    "laplacian": _laplacian,
    "gamma": _gamma,
}
_POWER = {"uniform": 1 / 3, "gaussian": 1.0, "laplacian": 1.0, "gamma": 1.0}


def quantizer_mse(step: float, bits: int, distribution: str = "gaussian") -> float:
    """Mean squared error of a midrise quantizer of 2^bits levels.

        levels +-(k - 1/2) step, k = 1 .. 2^(bits-1);  values beyond the outermost are clipped
        MSE = E[x^2] - 2 sum_k y_k E[|x|; cell k] + sum_k y_k^2 P(cell k)

    Args:
        step: distance of neighbouring levels, in units of the standard deviation (of the half
            width for "uniform").
        bits: word length.
        distribution: a key of `DISTRIBUTIONS`.

    Example:
        >>> round(quantizer_mse(2 * math.sqrt(2 / math.pi), 1), 4)  # 1 - 2/pi
        0.3634

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016,
        table 1 (after Shi and Sun, 2008), has its minima.
    """
    count = 2 ** (bits - 1)
    k = np.arange(count, dtype=np.float64)
    mass, moment = DISTRIBUTIONS[distribution](np.append(k * step, 1e12))
    levels = (k + 0.5) * step
    error = _POWER[distribution] - 2 * levels @ np.diff(moment) + levels**2 @ np.diff(mass)
    return float(error)


@functools.cache
def optimal_step(bits: int, distribution: str = "gaussian") -> float:
    """The step with the smallest mean squared error for unit variance ("uniform": on [-1, 1]).

        step = argmin_s  quantizer_mse(s, bits)

    Args:
        bits: word length, 1 to 16.
        distribution: "uniform", "gaussian", "laplacian" or "gamma".

    Raises:
        ConfigError: `bits` or `distribution` is none of these.

    Example:
        >>> [round(optimal_step(bits), 3) for bits in (1, 2, 3, 4)]
        [1.596, 0.996, 0.586, 0.335]

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, table 1
        (after Shi and Sun, 2008). Two of its 16 figures are not the minimum: Laplacian at 4 bits
        is printed as 0.456 (here 0.461), Gamma at 2 bits as 1.060 (here 1.066).
    """
    if distribution not in DISTRIBUTIONS:
        hint = did_you_mean(distribution, DISTRIBUTIONS)
        known = ", ".join(DISTRIBUTIONS)
        raise ConfigError(f"distribution: got {distribution!r}; expected one of {known}.{hint}")
    if not 1 <= bits <= MAX_STEP_BITS:
        raise ConfigError(f"bits of a step: got {bits}; expected 1 to {MAX_STEP_BITS}.")
    if distribution == "uniform":
        return 2.0 ** (1 - bits)
    # One coarse pass finds the basin, golden section the bottom of it.
    grid = 2.0 ** (1 - bits) * np.geomspace(0.5, 256, 240)
    errors = [quantizer_mse(step, bits, distribution) for step in grid]
    best = min(max(int(np.argmin(errors)), 1), grid.size - 2)
    return _golden_section(
        lambda step: quantizer_mse(step, bits, distribution),
        float(grid[best - 1]),
        float(grid[best + 1]),
    )


def _golden_section(function: Callable[[float], float], low: float, high: float) -> float:
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = function(a), function(b)
    while high - low > 1e-8 * high:
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = function(a)
        else:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = function(b)
    return (low + high) / 2
