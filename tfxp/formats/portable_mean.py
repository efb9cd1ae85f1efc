"""Means as sums of products with equal weights: the bias that makes all runtimes round alike."""

from __future__ import annotations

import math

# Weight of every element; half of it turns ties up.
MEAN_WEIGHT = 64
# Largest error of a runtime's float32 scales and products, in output steps: 128 * 3 * 2^-24.
_FLOAT_ERROR = 2.0**-15


def portable_mean_bias(count: int, ratio: float) -> int | None:
    """The bias with which a sum of products rounds a mean half up in every runtime.

        (64 S + bias) 2^k / (64 n),    2^k = s_in / s

    Ties exist where n 2^-k is even. Values are then at least 2^k / n from each other; the bias 32
    moves them half as far, which no runtime's error undoes: its float32 numbers err by less than
    2^-15, fixed-point multipliers of two roundings by at most 2^k / (64 n) more. Without ties the
    bias is 0, and the distance from one 2^v / (2 n), where 2^v divides n.

    Args:
        count: n, how many elements are averaged.
        ratio: s_in / s, a step of the input in steps of the output.

    Returns:
        32 or 0; None if the ratio is no power of two, sizes are free, or a runtime might err by
        more than the distance.

    Example:
        >>> [portable_mean_bias(n, 1.0) for n in (64, 49, 2**18)]
        [32, 0, None]
    """
    mantissa, exponent = math.frexp(ratio)
    if not count or mantissa != 0.5:
        return None
    shift = exponent - 1
    twos = (count & -count).bit_length() - 1
    ties = twos > shift
    distance = 2.0 ** (shift if ties else twos) / (2 * count)
    safe = distance > _FLOAT_ERROR + 2.0**shift / (MEAN_WEIGHT * count)
    return (MEAN_WEIGHT // 2 if ties else 0) if safe else None
