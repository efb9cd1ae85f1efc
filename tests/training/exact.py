"""Fixed-point training in exact fractions: the oracle of the tests in this folder."""

import math
from fractions import Fraction


def half_away(value):
    """The nearest integer to a fraction, ties away from zero."""
    magnitude = math.floor(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


def quantize(value, bits, fraction_bits, signed=True):
    """The value of the nearest code that the format has."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    scale = Fraction(2) ** -fraction_bits
    return min(max(half_away(Fraction(value) / scale), low), high) * scale


def update(weight, accumulator, gradient, rate, weights, gradients, accumulators):
    """One step of one weight; formats are (bits, fraction bits). Returns weight, accumulator."""
    step = Fraction(rate) * quantize(gradient, *gradients)
    total = weight + accumulator - step
    new = quantize(total, *weights)
    return new, quantize(total - new, *accumulators)


def fractions(array):
    """Nested lists of exact fractions."""
    if hasattr(array, "tolist"):
        array = array.tolist()
    if isinstance(array, list):
        return [fractions(item) for item in array]
    return Fraction(array)


def matmul(a, b):
    """Product of two lists of rows."""
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)]
        for row in a
    ]


def transpose(a):
    """Rows to columns."""
    return [list(column) for column in zip(*a, strict=True)]


def each(function, *arrays):
    """A function of every element of lists of rows."""
    return [
        [function(*values) for values in zip(*rows, strict=True)]
        for rows in zip(*arrays, strict=True)
    ]
