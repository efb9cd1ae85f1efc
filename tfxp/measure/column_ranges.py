"""Inputs whose columns differ so much that one format for all of them loses some."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np

from tfxp.data.input_scaling import crushed_columns
from tfxp.errors import ScalingWarning

_MOST_NAMED = 5


class ColumnRanges:
    """Ranges of the columns (the last axis) of every input, added up batch by batch."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._moments: list[np.ndarray | None] = [None] * len(names)
        self._limits: list[np.ndarray | None] = [None] * len(names)

    def update(self, batch: list[np.ndarray]) -> None:
        """Add one batch."""
        for index, part in enumerate(batch):
            if part.ndim < 2:
                continue
            rows = part.reshape(-1, part.shape[-1]).astype(np.float64)
            moments = np.stack([np.ones_like(rows), rows, rows * rows]).sum(axis=1)
            limits = np.stack([rows.min(axis=0), rows.max(axis=0)])
            before, known = self._moments[index], self._limits[index]
            if before is not None and known is not None and before.shape == moments.shape:
                moments += before
                low, high = np.minimum(limits[0], known[0]), np.maximum(limits[1], known[1])
                limits = np.stack([low, high])
            self._moments[index], self._limits[index] = moments, limits

    def warn(self, quantized: Collection[str]) -> None:
        """Name the inputs among the quantized ones of which 8 bits would lose columns."""
        for name, moments, limits in zip(self._names, self._moments, self._limits, strict=True):
            if name not in quantized or moments is None or limits is None:
                continue
            mean = moments[1] / moments[0]
            deviation = np.sqrt(np.maximum(moments[2] / moments[0] - mean**2, 0))
            lost = crushed_columns(limits[0], limits[1], deviation)
            if lost and len(mean) > 1:
                warnings.warn(_sentence(name, lost, limits), ScalingWarning, stacklevel=3)


def _sentence(name: str, lost: list[int], limits: np.ndarray) -> str:
    largest = np.abs(limits).max(axis=0)
    column, count = int(largest.argmax()), len(largest)
    shown = ", ".join(map(str, lost[:_MOST_NAMED])) + (", …" if len(lost) > _MOST_NAMED else "")
    return (
        f"input {name!r}: its columns differ by orders of magnitude (column {column} reaches "
        f"{largest[column]:.4g}), so that 8 bits for all of them keep next to nothing of "
        f"{len(lost)} of {count} columns ({shown}). Scale all columns to similar ranges before the "
        "network; tfxp.split_normalization takes a Normalization layer out of it."
    )
