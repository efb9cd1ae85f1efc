"""Grids in `keras.ops`: the same codes as `tfxp.quantizers`, straight through backward.

    y = clip(round(x / s), qmin, qmax) * s

Rounding is half to even, half up, half away from zero, or down; overflow saturates. Every step
`s` is a power of two here, so that a division is exact on every backend.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from tfxp.formats import Rounding
from tfxp.keras3.framework import K
from tfxp.keras_types import Tensor

State: TypeAlias = "dict[str, Tensor]"

# Added to a tie it still reaches the next integer; to the number below a tie it does not.
_BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))
# Rounding modes whose result depends on the tensor alone.
ROUNDINGS = ("half_even", "half_up", "half_away", "floor")


def rounded(v: Tensor, rounding: str) -> Tensor:
    """Whole numbers by one of `ROUNDINGS`; float32.

    Args:
        v: tensor, in steps of the grid.
        rounding: rounding mode.
    """
    mode = Rounding.parse(rounding)
    if mode is Rounding.HALF_EVEN:
        return K.ops.round(v)
    if mode is Rounding.HALF_AWAY:
        return K.ops.sign(v) * K.ops.floor(K.ops.abs(v) + _BELOW_HALF)
    below = K.ops.floor(v)
    if mode is Rounding.FLOOR:
        return below
    return below + K.ops.cast(v - below >= 0.5, v.dtype)


def on_grid(codes: Tensor, state: State) -> Tensor:
    """clip(codes, qmin, qmax) * scale; NaN stays NaN.

    Args:
        codes: whole numbers.
        state: `scale`, `qmin` and `qmax` of the format.
    """
    held = K.ops.minimum(K.ops.maximum(codes, state["qmin"]), state["qmax"])
    return held * state["scale"]


def inside(x: Tensor, state: State) -> Tensor:
    """Where a tensor is not saturated: qmin - 1/2 <= x / scale <= qmax + 1/2."""
    low, high = (state["qmin"] - 0.5) * state["scale"], (state["qmax"] + 0.5) * state["scale"]
    return K.ops.logical_and(x >= low, x <= high)


def straight_through(x: Tensor, held: Tensor, passes: Tensor | None = None) -> Tensor:
    """`held` forward; backward the gradient of `x`, where it passes.

    The second term is exactly 0, and knows the gradient: every backend differentiates it alike.

    Args:
        x: the tensor as it was computed.
        held: the tensor on its grid.
        passes: where the gradient passes; None for everywhere.
    """
    kept = x if passes is None else K.ops.where(passes, x, K.ops.zeros_like(x))
    return K.ops.stop_gradient(held) + (kept - K.ops.stop_gradient(kept))
