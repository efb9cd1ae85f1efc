"""Rounding and overflow: the two decisions that every quantization states.

`round_scalar` is the definition, on exact fractions; `round_array` is its vectorised twin.

| mode       | 2.5 | -2.5 | 3.5 | -3.5 | who uses it |
|------------|-----|------|-----|------|-------------|
| half_even  |  2  |  -2  |  4  |  -4  | XNNPACK convolutions and dense layers; tfxp's weights |
| half_away  |  3  |  -3  |  4  |  -4  | ADaPTION, Sakr & Shanbhag; TFLite average pooling |
| half_up    |  3  |  -2  |  4  |  -3  | XNNPACK ADD and QUANTIZE |
| floor      |  2  |  -3  |  3  |  -4  | plain truncation of two's-complement bits |
| stochastic | up with probability of the fraction       | Gupta et al., ADaPTION |
"""

from __future__ import annotations

import enum
import math
from fractions import Fraction

import numpy as np

from tfxp.errors import FormatError


class Rounding(str, enum.Enum):
    """How a real number becomes an integer code.

    Example:
        >>> Rounding.parse("half_even") is Rounding.HALF_EVEN
        True

    References:
        half_away and stochastic: Milde et al., "ADaPTION", 2017, its two rounding schemes;
        half_away also: Sakr and Shanbhag, ICLR 2019.
    """

    HALF_EVEN = "half_even"
    HALF_AWAY = "half_away"
    HALF_UP = "half_up"
    FLOOR = "floor"
    STOCHASTIC = "stochastic"

    @classmethod
    def parse(cls, name: Rounding | str) -> Rounding:
        """The mode called `name`.

        Raises:
            FormatError: no rounding mode has that name.
        """
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(mode.value for mode in cls)
            raise FormatError(f"rounding mode: got {name!r}; expected one of {known}.") from None


class Overflow(str, enum.Enum):
    """What happens to a code that the format does not hold."""

    SATURATE = "saturate"
    WRAP = "wrap"

    @classmethod
    def parse(cls, name: Overflow | str) -> Overflow:
        """The mode called `name`.

        Raises:
            FormatError: no overflow mode has that name.
        """
        try:
            return cls(name)
        except ValueError:
            raise FormatError(f"overflow: got {name!r}; expected saturate or wrap.") from None


def round_scalar(value: Fraction | int | float, mode: Rounding | str, draw: float = 0.0) -> int:
    """Round one exact number to an integer: the definition of every mode.

    Args:
        value: finite number; taken exactly.
        mode: rounding mode.
        draw: for `stochastic`, a number in [0, 1): the result is floor(value + draw).

    Example:
        >>> [round_scalar(2.5, mode) for mode in ("half_even", "half_away", "half_up", "floor")]
        [2, 3, 3, 2]
    """
    mode = Rounding.parse(mode)
    exact = Fraction(value)
    if mode is Rounding.FLOOR:
        return math.floor(exact)
    if mode is Rounding.STOCHASTIC:
        return math.floor(exact + Fraction(draw))
    if mode is Rounding.HALF_UP:
        return math.floor(exact + Fraction(1, 2))
    if mode is Rounding.HALF_AWAY:
        magnitude = math.floor(abs(exact) + Fraction(1, 2))
        return magnitude if exact >= 0 else -magnitude
    return round(exact)  # Python rounds fractions half to even


def round_array(
    values: np.ndarray, mode: Rounding | str, generator: np.random.Generator | None = None
) -> np.ndarray:
    """Round an array of float64 to integers held in float64; twin of `round_scalar`.

    Adding one half first would be wrong: 0.49999999999999994 + 0.5 is 1.0 in float64. So the
    fraction is compared with one half instead, which is exact.

    Args:
        values: finite float64 array of any shape.
        mode: rounding mode.
        generator: source of draws; required for `stochastic`.

    Raises:
        FormatError: `stochastic` without a generator.

    Example:
        >>> round_array(np.array([2.5, -2.5]), "half_up").tolist()
        [3.0, -2.0]
    """
    mode = Rounding.parse(mode)
    if mode is Rounding.HALF_EVEN:
        return np.rint(values)
    below = np.floor(values)
    if mode is Rounding.FLOOR:
        return below
    if mode is Rounding.HALF_UP:
        return below + (values - below >= 0.5)
    if mode is Rounding.HALF_AWAY:
        return round_half_away(values)
    if generator is None:
        raise FormatError(
            "stochastic rounding: got no random generator; expected a seeded "
            "numpy.random.Generator. Pass generator=numpy.random.default_rng(seed)."
        )
    # floor(value + draw) without the sum, which would round; 1 - draw is exact, because draws are
    # multiples of 2^-53.
    return below + (values - below >= 1.0 - generator.random(values.shape))


def round_half_away(values: np.ndarray) -> np.ndarray:
    """Nearest integer with halves away from zero, in the input's own float type (C's `round`).

    Example:
        >>> round_half_away(np.float32([0.5, -0.5, 1.5, 0.49999997])).tolist()
        [1.0, -1.0, 2.0, 0.0]
    """
    # On magnitudes: -0.49999999999999994 - floor(...) would be 0.5, magnitudes stay exact.
    magnitude = np.abs(values)
    below = np.floor(magnitude)
    with np.errstate(invalid="ignore"):  # infinities have no fraction
        return np.copysign(below + (magnitude - below >= 0.5), values)
