"""Runs a canonical layer on either engine and books what was counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter.mac.booking import book_run, positions_of
from tfxp.interpreter.mac.definition import run_definition
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult
from tfxp.interpreter.registry import Node


def run_layer(
    node: Node, layer: MacLayer, x: NDArray[Any], rows: Axis, columns: Axis
) -> NDArray[Any]:
    """Output codes (N, OH, OW, OC) of a layer; its counts go to `node.counters`.

    Args:
        node: whose engine and counters to use.
        layer: weights and constants.
        x: codes (N, H, W, C).
        rows, columns: where taps fall.
    """
    if node.engine == "reference":
        result = run_definition(layer, x, rows, columns)
    else:
        result = _compiled()(layer, x, rows, columns, node)
    sizes = x.size, result.codes.size
    book_run(node.counters, layer, sizes, result, positions_of(layer, x, rows, columns))
    return result.codes


@cache
def _compiled() -> Callable[..., MacResult]:
    """The compiled twin, imported when first needed: Numba takes half a second to load."""
    from tfxp.interpreter.compiled.layer import run_compiled

    return run_compiled


def as_image(x: NDArray[Any], channels: int) -> NDArray[Any]:
    """Rows of `channels` activations as images of one pixel."""
    return np.ascontiguousarray(x).reshape(-1, 1, 1, channels)
