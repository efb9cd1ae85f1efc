"""Shares of zeros while a model trains."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxp.callbacks.observer import Figures, Observer
from tfxp.callbacks.tensor_taps import Grid, Tap


class SparsityLogger(Observer):
    """Logs the share of zeros of every weight and activation tensor, as the network uses them.

    A line also holds the shares over all weights and over all activations ("total"), each tensor
    counted by its elements.

    Args:
        data, log_dir, options: as in `Observer`.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
        >>> model.compile("sgd", "mse")
        >>> zeros = SparsityLogger()
        >>> _ = model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0, callbacks=[zeros])
        >>> zeros.records[0]["total"]
        {'weights': 0.0}

    References:
        Milde et al., "ADaPTION", 2017: sparsity grows as formats get coarser.
    """

    name = "sparsity"

    def reduce(self, values: tf.Tensor, grid: Grid, tap: Tap) -> dict[str, Any]:
        """Number of zeros and of elements."""
        zeros = tf.math.count_nonzero(tf.equal(values, 0.0))
        return {"zero_count": zeros, "count": tf.size(values, tf.int64)}

    def record(self, figures: Figures) -> dict[str, Any]:
        """Shares by layer and tensor, and over all of them."""
        shares: dict[str, dict[str, float]] = {}
        for (layer, tensor), found in figures.items():
            shares.setdefault(layer, {})[tensor] = _share([found])
        return {"total": _totals(figures), "zeros": shares}

    def scalars(self, figures: Figures) -> dict[str, float]:
        """The shares as curves."""
        curves = {f"zeros/{layer}/{t}": _share([f]) for (layer, t), f in figures.items()}
        totals = {f"zeros_total/{kind}": share for kind, share in _totals(figures).items()}
        return {**curves, **totals}


def _totals(figures: Figures) -> dict[str, float]:
    kinds: dict[str, list[Any]] = {}
    for (_, tensor), found in figures.items():
        if tensor != "bias":
            kinds.setdefault(tensor if tensor == "activations" else "weights", []).append(found)
    return {kind: _share(rows) for kind, rows in kinds.items()}


def _share(rows: list[Any]) -> float:
    count = sum(int(row["count"]) for row in rows)
    return sum(int(row["zero_count"]) for row in rows) / max(count, 1)
